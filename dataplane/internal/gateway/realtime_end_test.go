package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/report"
	"fairway/pkg/testkit/fakellm"
)

// Until an upstream has agreed, another one may be asked.
func TestRealtimeFailover(t *testing.T) {
	const badAccept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm90IHlvdXIga2V5IGF0IGFsbCE=\r\n\r\n"
	for _, tc := range []struct {
		name     string
		fault    fakellm.Behaviour
		raw      string // what a broken upstream answers instead
		verdict  string
		held     bool
		failures int32
	}{
		{name: "401", fault: fakellm.Status(401, "invalid_api_key", 0), verdict: "credential", held: true, failures: 1},
		{name: "429", fault: fakellm.Status(429, "rate_limit_exceeded", 7*time.Second), verdict: "rate_limit", held: true, failures: 1},
		{name: "500", fault: fakellm.Status(500, "", 0), verdict: "server_error", failures: 1},
		{name: "closed before a byte", fault: fakellm.CloseBeforeBytes(), verdict: "connection", failures: 1},
		{name: "200", raw: sized("{}"), verdict: "unexpected_status", failures: 1},
		{name: "101 to another key", raw: badAccept, verdict: "unexpected_status", failures: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.channel("b", 50, secretB)
			if tc.raw != "" {
				base, _ := rawUpstream(t, tc.raw)
				w.upstreamOf(base)
			} else {
				w.tiers(secretA)
			}
			w.provider.SetBehaviour(secretA, tc.fault)
			s := w.session("gpt-x")
			s.respond(8, 2, 5)
			want := report.Record{
				KeyID: "k1", ChannelID: "c-b", AccountID: "a-b0", Model: "gpt-x", Input: 8, Cached: 2, Output: 5, Unpriced: true,
			}
			if d := cmp.Diff([]report.Record{want}, w.books.all(), ignoreTime); d != "" {
				t.Errorf("records (-want +got):\n%s", d)
			}
			_ = s.Close(websocket.StatusNormalClosure, "")
			w.settled(t)
			w.noConnections()
			cell := w.cell("acc-a0")
			if got := cell.Failures.Load(); got != tc.failures {
				t.Errorf("failures = %d, want %d", got, tc.failures)
			}
			if got := cell.HeldUntil.Load() > time.Now().UnixMilli(); got != tc.held {
				t.Errorf("held = %v, want %v", got, tc.held)
			}
			if got := w.cell("acc-b0").Failures.Load(); got != 0 {
				t.Errorf("the good account has %d failures", got)
			}
			w.eventually("the decision is logged", func() bool { return strings.Contains(w.log.String(), "verdict="+tc.verdict) })
			if n := testutil.ToFloat64(w.gateway.meters.retries); n != 1 {
				t.Errorf("retries = %v", n)
			}
		})
	}
}

// When all accounts fail, the client reads an answer as to any request, and the books have one that failed.
func TestRealtimeExhausted(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA, secretB)
	w.provider.SetBehaviour(secretA, fakellm.Status(500, "", 0))
	w.provider.SetBehaviour(secretB, fakellm.CloseBeforeBytes())
	_, resp, err := w.upgrade("?model=gpt-x", w.key)
	if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("%v, %+v", err, resp)
	}
	if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), `"code":"upstream_unavailable"`) {
		t.Errorf("answer: %s", body)
	}
	w.settled(t)
	if all := w.books.all(); len(all) != 1 || !all[0].Error || all[0].Input != 0 || all[0].Output != 0 {
		t.Errorf("records %+v", all)
	}
}

// An upstream that dies in the middle: the client sees the end, what it got is on the books, and the account has failed;
// one that says good-bye has not.
func TestRealtimeUpstreamEnds(t *testing.T) {
	normal := func(err error) bool { return websocket.CloseStatus(err) == websocket.StatusNormalClosure }
	cut := func(err error) bool {
		return err != nil && websocket.CloseStatus(err) == -1 && !errors.Is(err, context.DeadlineExceeded)
	}
	for _, tc := range []struct {
		name   string
		how    fakellm.Death
		ends   func(error) bool
		failed int32
		lossy  bool // a reset may overtake what was sent before it
	}{
		{"closed", fakellm.FIN, cut, 1, false},
		{"reset", fakellm.RST, cut, 1, true},
		{"good-bye", fakellm.CleanEnd, normal, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA, secretB)
			w.provider.SetBehaviour(secretA, fakellm.DieMidStream(3, tc.how))
			s := w.session("gpt-x")
			s.say(itemCreate)
			s.until("conversation.item.added")
			s.say(responseCreate)
			var err error
			var got strings.Builder
			for err == nil {
				var event string
				event, err = s.next()
				got.WriteString(event)
			}
			if !tc.ends(err) {
				t.Errorf("the session ends with %v", err)
			}
			w.settled(t)
			w.noConnections()
			all := w.books.all()
			delivered := strings.Contains(got.String(), ".delta")
			if !tc.lossy && !delivered {
				t.Errorf("heard %s", &got)
			}
			if delivered && (len(all) != 1 || !all[0].Estimated || all[0].Input == 0 || all[0].Output == 0 || all[0].AccountID != "a-a0") {
				t.Errorf("records %+v of what was delivered: %s", all, &got)
			}
			if n := w.cell("acc-a0").Failures.Load(); n != tc.failed {
				t.Errorf("failures = %d, want %d", n, tc.failed)
			}
			if n := testutil.ToFloat64(w.gateway.meters.attemptFailures.WithLabelValues("stream_died")); n != float64(tc.failed) {
				t.Errorf("streams that died = %v", n)
			}
			if n := testutil.ToFloat64(w.gateway.meters.hangUps); n != 0 {
				t.Errorf("%v hang-ups of a client that stayed", n)
			}
		})
	}
}

// Whoever leaves is noticed by the upstream, and whatever was held for it is given back.
func TestRealtimeHangUp(t *testing.T) {
	for _, tc := range []struct {
		name    string
		fault   func(*fakellm.Gate) fakellm.Behaviour
		began   bool
		records int
	}{
		{"before the upstream agrees", fakellm.Hang, false, 1},
		{"at rest", nil, true, 0},
		{"in a response", func(g *fakellm.Gate) fakellm.Behaviour { return fakellm.HangMidStream(3, g) }, true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA, secretB)
			gate := fakellm.NewGate()
			if tc.fault != nil {
				w.provider.SetBehaviour(secretA, tc.fault(gate))
			}
			if tc.began {
				s := w.session("gpt-x")
				if tc.fault != nil {
					s.say(responseCreate)
					wait(t, "the upstream holds the response", gate.Entered())
					s.until("response.output_text.delta")
				}
				_ = s.CloseNow()
			} else {
				c := w.dial()
				_, _ = io.WriteString(c, "GET "+realtimePath+"?model=gpt-x HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer "+w.key+
					"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
				wait(t, "the upstream holds the handshake", gate.Entered())
				_ = c.Close()
			}
			if tc.fault != nil {
				wait(t, "the upstream sees it", gate.Canceled())
			} else {
				wait(t, "the upstream sees it", w.provider.Canceled())
			}
			w.settled(t)
			w.noConnections()
			all := w.books.all()
			if len(all) != tc.records || tc.records > 0 && (!all[0].Estimated || all[0].Error || (all[0].Output > 0) != tc.began) {
				t.Errorf("records %+v, want %d", all, tc.records)
			}
			if n := w.cell("acc-a0").Failures.Load(); n != 0 {
				t.Errorf("the account has %d failures for its client's", n)
			}
			if n := testutil.ToFloat64(w.gateway.meters.hangUps); n != 1 {
				t.Errorf("hang-ups = %v", n)
			}
			if n := w.gateway.load.streams.Load(); n != 0 {
				t.Errorf("%d streams are never given back", n)
			}
		})
	}
}

// A proxy that ends does not wait for sessions beyond its patience.
func TestRealtimeDrain(t *testing.T) {
	ended := make(chan error, 1)
	t.Run("proxy", func(t *testing.T) {
		w := newWorld(t, func(_ *Options, o *ingress.Options) { o.Grace = 50 * time.Millisecond })
		w.tiers(secretA)
		// By hand: those of the world end before it does.
		s, _, err := websocket.Dial(context.Background(), "http://"+w.addr+realtimePath+"?model=gpt-x", &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer " + w.key}},
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for err == nil {
				_, _, err = s.Read(context.Background())
			}
			ended <- err
		}()
	})
	if err := wait(t, "the session ends", ended); err == nil {
		t.Error("a session without an end")
	}
}

// A secret that the upstream quotes ends here, wherever in a session it says it.
func TestRealtimeScrubsCredentials(t *testing.T) {
	const quote = `{"type":"error","error":{"code":"x","message":"bad key ` + secretA + `"}}`
	masked := strings.Repeat("*", len(secretA))
	for _, where := range []string{"refusal", "header", "first event", "event"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			w.upstreamOf(brokenUpstream(t, func(rw http.ResponseWriter, r *http.Request) {
				switch where {
				case "refusal":
					http.Error(rw, `{"error":{"message":"bad key `+secretA+`"}}`, http.StatusBadRequest)
					return
				case "header":
					rw.Header().Set("Openai-Debug", secretA)
				}
				conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
				if err != nil {
					return
				}
				ctx := context.Background()
				if where == "event" {
					_, _, _ = conn.Read(ctx) // so that it does not come with the head
				}
				_ = conn.Write(ctx, websocket.MessageText, []byte(quote))
				_ = conn.Close(websocket.StatusNormalClosure, "")
			}))
			s, resp, err := w.upgrade("?model=gpt-x", w.key)
			var got strings.Builder
			_ = resp.Header.Write(&got)
			if where == "refusal" {
				if err == nil || resp.StatusCode != 400 {
					t.Fatalf("%v, %+v", err, resp)
				}
				_, _ = io.Copy(&got, resp.Body)
			} else {
				if err != nil {
					t.Fatal(err)
				}
				if where == "event" {
					s.say(`{"type":"session.update"}`)
				}
				got.WriteString(s.hear())
				_, _ = s.next()
			}
			if strings.Contains(got.String(), secretA) || !strings.Contains(got.String(), "bad key "+masked) {
				t.Errorf("the client reads %s", &got)
			}
			w.settled(t)
		})
	}
}
