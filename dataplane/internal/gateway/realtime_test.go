package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/dataplane/internal/accesslog"
	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/report"
	"fairway/pkg/clientkey"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

const realtimePath = "/v1/realtime"

// talk is a realtime session through the proxy.
type talk struct {
	*websocket.Conn
	t testing.TB
}

// upgrade asks for a session; key "" sends none in the header.
func (w *world) upgrade(query, key string, protocols ...string) (*talk, *http.Response, error) {
	w.t.Helper()
	h := http.Header{"X-Request-Id": {"mine"}}
	if key != "" {
		h.Set("Authorization", "Bearer "+key)
	}
	transport := &http.Transport{DisableCompression: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, "http://"+w.addr+realtimePath+query, &websocket.DialOptions{
		HTTPHeader: h, HTTPClient: &http.Client{Transport: transport}, Subprotocols: protocols,
	})
	if err != nil {
		return nil, resp, err
	}
	w.t.Cleanup(func() { _ = conn.CloseNow() })
	return &talk{conn, w.t}, resp, nil
}

// session is one that has begun.
func (w *world) session(model string) *talk {
	w.t.Helper()
	s, resp, err := w.upgrade("?model="+model, w.key, "realtime")
	if err != nil {
		w.t.Fatalf("%v, %+v", err, resp)
	}
	if first := s.hear(); !strings.Contains(first, `"session.created"`) {
		w.t.Fatalf("first event: %s", first)
	}
	return s
}

func (s *talk) next() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, message, err := s.Read(ctx)
	return string(message), err
}

func (s *talk) hear() string {
	s.t.Helper()
	event, err := s.next()
	if err != nil {
		s.t.Fatal(err)
	}
	return event
}

func (s *talk) say(event string) {
	s.t.Helper()
	if err := s.Write(context.Background(), websocket.MessageText, []byte(event)); err != nil {
		s.t.Fatal(err)
	}
}

// until hears events up to one of a type, and returns how many there were.
func (s *talk) until(kind string) (events int) {
	s.t.Helper()
	for events = 1; !strings.Contains(s.hear(), fmt.Sprintf(`{"type":%q`, kind)); events++ {
	}
	return events
}

// respond has the upstream make a response that uses so many tokens.
func (s *talk) respond(input, cached, output int) {
	s.t.Helper()
	s.say(fmt.Sprintf(`{"type":"response.create","response":{"metadata":{"fakellm_input":"%d","fakellm_cached":"%d","fakellm_output":"%d"}}}`,
		input, cached, output))
	s.until("response.done")
}

const (
	itemCreate     = `{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"one two three"}]}}`
	responseCreate = `{"type":"response.create","response":{"max_output_tokens":4}}`
)

// noConnections says that no connection to an upstream is left.
func (w *world) noConnections() {
	w.t.Helper()
	w.eventually("upstream connections end", func() bool {
		for _, h := range w.gateway.upstream.Stats() {
			if h.Open > 0 {
				return false
			}
		}
		return true
	})
	w.eventually("client connections end", func() bool { return w.gauge("fairway_ingress_connections") == 0 })
}

// A session with two responses: two records, each on the books before the client can see the end of its response; the
// model has its upstream name in a query that is otherwise as it was; and the access log has the sum.
func TestRealtimeSession(t *testing.T) {
	w := newWorld(t)
	queries := make(chan string, 1)
	provider := w.provider.Handler()
	host := strings.TrimPrefix(w.upstream, "http://")
	base := brokenUpstream(t, func(rw http.ResponseWriter, r *http.Request) {
		queries <- r.URL.RawQuery
		r.Host = host
		provider.ServeHTTP(rw, r)
	})
	w.put(syncv1.Kind_KIND_MODEL, "m1", &syncv1.ModelState{
		Name: "alias-z", Priced: true, Input: 1_000_000, CachedInput: 500_000, Output: 2_000_000,
	})
	w.upstreamOf(base)
	var out lockedBuffer
	access, err := accesslog.New(accesslog.Options{File: "-", Sample: 1, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- access.Run(ctx) }()
	w.gateway.access = access

	s, resp, err := w.upgrade("?a=b%2Fc&model=alias-z&model2=x&&d", w.key, "realtime")
	if err != nil {
		t.Fatal(err)
	}
	if got := wait(t, "the handshake", queries); got != "model=up-z&a=b%2Fc&model2=x&d" {
		t.Errorf("query upstream: %s", got)
	}
	if s.Subprotocol() != "realtime" || len(resp.Header.Get("X-Request-Id")) == 0 {
		t.Errorf("answer: %v", resp.Header)
	}
	if first := s.hear(); !strings.Contains(first, `"model":"up-z"`) {
		t.Errorf("first event: %s", first)
	}
	s.say(itemCreate)
	s.until("conversation.item.added")
	s.say(responseCreate)
	s.until("response.done")
	want := []report.Record{{
		KeyID: "k1", ChannelID: "c-a", AccountID: "a-a0", Model: "alias-z", Input: 3, Output: 4, CostNanoUSD: 2 * (3 + 4*2), PriceVersion: 2,
	}}
	if d := cmp.Diff(want, w.books.all(), ignoreTime); d != "" {
		t.Errorf("after one response (-want +got):\n%s", d)
	}
	s.respond(50, 20, 7)
	want = append(want, report.Record{
		KeyID: "k1", ChannelID: "c-a", AccountID: "a-a0", Model: "alias-z", Input: 50, Cached: 20, Output: 7,
		CostNanoUSD: 2 * (30 + 20/2 + 7*2), PriceVersion: 2,
	})
	if d := cmp.Diff(want, w.books.all(), ignoreTime); d != "" {
		t.Errorf("after two (-want +got):\n%s", d)
	}
	if err := s.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
	w.settled(t)
	w.noConnections()
	if n := len(w.books.all()); n != 2 {
		t.Errorf("%d records after the end", n)
	}
	if n := testutil.ToFloat64(w.gateway.meters.hangUps); n != 0 {
		t.Errorf("a client that says good-bye is counted as %v hang-ups", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"client_request_id":"mine"`, `"status":101`, `"stream":true`, `"operation":"realtime"`, `"model":"alias-z"`, `"input_tokens":53`, `"cached_tokens":20`, `"output_tokens":11`,
		fmt.Sprintf(`"cost_nano_usd":%d`, want[0].CostNanoUSD+want[1].CostNanoUSD),
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %s in the access log: %s", part, &out)
		}
	}
}

// The key comes in the header, or from a browser among the subprotocols; either way it ends here. (That it does is the
// provider's to say, at the end of each test.)
func TestRealtimeKey(t *testing.T) {
	const item = "openai-insecure-api-key."
	for _, tc := range []struct {
		name, header string
		protocols    func(key string) []string
		want         int
		chosen       string
	}{
		{"header", "key", func(string) []string { return nil }, 101, ""},
		{"header, with a protocol", "key", func(string) []string { return []string{"realtime"} }, 101, "realtime"},
		{"protocol", "", func(k string) []string { return []string{"realtime", item + k} }, 101, "realtime"},
		{"protocol alone", "", func(k string) []string { return []string{item + k} }, 101, ""},
		{"protocol, with an organisation", "", func(k string) []string {
			return []string{"realtime", item + k, "openai-organization.org-x", "openai-project.proj-x"}
		}, 101, "realtime"},
		{"in both", "key", func(k string) []string { return []string{"realtime", item + k} }, 401, ""},
		{"twice", "", func(k string) []string { return []string{item + k, item + k} }, 400, ""},
		{"nowhere", "", func(string) []string { return []string{"realtime"} }, 401, ""},
		{"another's", clientkey.New().Reveal(), func(string) []string { return nil }, 401, ""},
		{"another's as protocol", "", func(string) []string { return []string{"realtime", item + clientkey.New().Reveal()} }, 401, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA)
			if tc.header == "key" {
				tc.header = w.key
			}
			s, resp, err := w.upgrade("?model=gpt-x", tc.header, tc.protocols(w.key)...)
			if resp == nil || resp.StatusCode != tc.want {
				t.Fatalf("%v, %+v, want %d", err, resp, tc.want)
			}
			if tc.want != 101 {
				if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), `{"error":{`) || strings.Contains(string(body), w.key) {
					t.Errorf("answer: %s", body)
				}
				return
			}
			if s.Subprotocol() != tc.chosen || strings.Contains(fmt.Sprint(resp.Header), w.key) {
				t.Errorf("protocol %q, answer %v", s.Subprotocol(), resp.Header)
			}
			s.respond(5, 0, 6)
			if got := w.record(); got.KeyID != "k1" || got.Input != 5 || got.Output != 6 || got.Estimated {
				t.Errorf("record %+v", got)
			}
		})
	}
}

// What is no wish for a session, or for none that there is, is refused as any other request, and no upstream hears of it.
func TestRealtimeRefusals(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	const wish = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, tc := range []struct {
		name, method, query, version, header string
		status                               int
		code                                 string
	}{
		{"no wish", "GET", "?model=gpt-x", "1.1", "", 426, "websocket_handshake"},
		{"another version", "GET", "?model=gpt-x", "1.1", strings.Replace(wish, "13", "8", 1), 426, "websocket_handshake"},
		{"no key of the handshake", "GET", "?model=gpt-x", "1.1", strings.Replace(wish, "Sec-WebSocket-Key", "X", 1), 400, "websocket_handshake"},
		{"a body", "GET", "?model=gpt-x", "1.1", wish + "Content-Length: 3\r\n", 400, "websocket_handshake"},
		{"old HTTP", "GET", "?model=gpt-x", "1.0", wish, 400, "websocket_handshake"},
		{"another method", "POST", "?model=gpt-x", "1.1", wish, 405, "method_not_allowed"},
		{"no model", "GET", "", "1.1", wish, 400, "missing_model"},
		{"an empty model", "GET", "?model=", "1.1", wish, 400, "missing_model"},
		{"two models", "GET", "?model=gpt-x&mode%6c=gpt-y", "1.1", wish, 400, "missing_model"},
		{"an unknown model", "GET", "?model=none", "1.1", wish, 404, "model_not_found"},
		{"a long model", "GET", "?model=" + strings.Repeat("m", 1000), "1.1", wish, 400, "missing_model"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.caller()
			_, _ = fmt.Fprintf(c, "%s %s%s HTTP/%s\r\nHost: proxy\r\nAuthorization: Bearer %s\r\n%s\r\n", tc.method, realtimePath, tc.query, tc.version, w.key, tc.header)
			got := c.answer()
			var body struct {
				Error struct{ Message, Type, Code string }
			}
			if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.Error.Message == "" || body.Error.Type == "" {
				t.Errorf("not the envelope (%v): %s", err, got)
			}
			if got.status != tc.status || body.Error.Code != tc.code {
				t.Errorf("%s, want %d %s", got, tc.status, tc.code)
			}
			var says []string
			for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Version"} {
				says = append(says, got.header.Get(name))
			}
			if (tc.status == 426) != (strings.Join(says, " ") == "Upgrade websocket 13") {
				t.Errorf("says %q of what it would take", says)
			}
			_ = c.Close()
		})
	}
	w.quiet()
	w.noConnections()
	if n := len(w.books.all()); n != 0 || w.gauge("fairway_attempts_total") != 0 || w.gateway.load.streams.Load() != 0 {
		t.Errorf("%d records, %v attempts, %d streams", n, w.gauge("fairway_attempts_total"), w.gateway.load.streams.Load())
	}
}

// A tunnel is a stream for as long as it lives.
func TestRealtimeIsShed(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *ingress.Options) { o.MaxStreams = 1 })
	w.tiers(secretA)
	s := w.session("gpt-x")
	_, resp, err := w.upgrade("?model=gpt-x", w.key)
	if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Fatalf("a second session: %v, %+v", err, resp)
	}
	if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), `"overloaded"`) {
		t.Errorf("a second session: %s", body)
	}
	if got := w.post(chatPath, streamBody); status(got) != "503" {
		t.Errorf("a stream beside it: %s", got)
	}
	if got := w.post(chatPath, plainBody); status(got) != "200" {
		t.Errorf("a plain request beside it: %s", got)
	}
	_ = s.Close(websocket.StatusNormalClosure, "")
	w.settled(t)
	s = w.session("gpt-x")
	s.respond(1, 0, 1)
	_ = s.CloseNow()
	w.settled(t)
	if n := w.gateway.load.streams.Load(); n != 0 {
		t.Errorf("%d streams are never given back", n)
	}
}

// Many sessions at once: what all records say is what the provider counted, to the token.
func TestRealtimeBooksAgree(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA, secretB)
	const sessions, each = 16, 4
	var all sync.WaitGroup
	open := make([]*talk, sessions)
	for i := range open {
		open[i] = w.session("gpt-x")
	}
	for i, s := range open {
		all.Go(func() {
			for n := range each {
				s.respond(100*i+n, i, 10*n+1)
			}
			if i%2 == 0 {
				_ = s.Close(websocket.StatusNormalClosure, "")
			} else {
				_ = s.CloseNow()
			}
		})
	}
	all.Wait()
	w.settled(t)
	w.noConnections()
	var got fakellm.Counters
	for _, r := range w.books.all() {
		got.Finished++
		got.Input, got.Cached, got.Output = got.Input+r.Input, got.Cached+r.Cached, got.Output+r.Output
	}
	got.Started = got.Finished
	if d := cmp.Diff(w.provider.Books().Total, got); d != "" || got.Finished != sessions*each {
		t.Errorf("(-provider +books):\n%s", d)
	}
}
