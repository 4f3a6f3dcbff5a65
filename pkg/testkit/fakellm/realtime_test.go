package fakellm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3/realtime"
)

// connect opens a realtime session as a gateway does; change edits the header.
func connect(t *testing.T, s *Server, query string, change func(http.Header), protocols ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	h := http.Header{}
	h.Set("Authorization", "Bearer "+credential)
	if change != nil {
		change(h)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	conn, resp, err := websocket.Dial(t.Context(), s.URL()+realtimePath+query, &websocket.DialOptions{
		HTTPHeader: h, HTTPClient: &http.Client{Transport: transport}, Subprotocols: protocols,
	})
	if conn != nil {
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, resp, err
}

// talk opens a session and takes session.created.
func talk(t *testing.T, s *Server) *websocket.Conn {
	t.Helper()
	conn, _, err := connect(t, s, "?model="+model, nil, "realtime")
	if err != nil {
		t.Fatal(err)
	}
	if conn.Subprotocol() != "realtime" {
		t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	if e := hear(t, conn); e.Type != "session.created" || e.Session.Model != model {
		t.Errorf("first event %s", e.raw)
	}
	return conn
}

// heard is an event of the server. Usage is read as the official client reads it.
type heard struct {
	Type     string
	Delta    string
	Session  struct{ Model string }
	Response struct {
		Usage realtime.RealtimeResponseUsage
	}
	Error struct{ Code, Message string }
	raw   string
}

func hear(t *testing.T, conn *websocket.Conn) heard {
	t.Helper()
	e, err := next(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func next(ctx context.Context, conn *websocket.Conn) (e heard, err error) {
	kind, message, err := conn.Read(ctx)
	if err != nil {
		return e, err
	}
	if kind != websocket.MessageText {
		return e, errors.New("not text")
	}
	e.raw = string(message)
	return e, json.Unmarshal(message, &e)
}

func say(t *testing.T, conn *websocket.Conn, event string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(event)); err != nil {
		t.Fatal(err)
	}
}

const (
	itemCreate     = `{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"one two three"}]}}`
	responseCreate = `{"type":"response.create","response":{"max_output_tokens":4}}`
)

func TestRealtime(t *testing.T) {
	p, s := start(t, Healthy())
	conn := talk(t, s)
	say(t, conn, `{"type":"session.update","session":{"instructions":"be kind"}}`)
	if e := hear(t, conn); e.Type != "session.updated" {
		t.Errorf("event %s", e.raw)
	}
	say(t, conn, itemCreate)
	if e := hear(t, conn); e.Type != "conversation.item.added" {
		t.Errorf("event %s", e.raw)
	}
	say(t, conn, `{"type":"input_audio_buffer.append","audio":"AAAA"}`)
	say(t, conn, responseCreate)
	var kinds []string
	var text strings.Builder
	var usage realtime.RealtimeResponseUsage
	for usage.TotalTokens == 0 {
		e := hear(t, conn)
		kinds = append(kinds, e.Type)
		text.WriteString(e.Delta)
		usage = e.Response.Usage
	}
	const delta = "response.output_text.delta"
	if diff := cmp.Diff([]string{"response.created", delta, delta, delta, delta, "response.done"}, kinds); diff != "" {
		t.Error(diff)
	}
	if text.String() != "Hello! This is the " || usage.InputTokens != 3 || usage.OutputTokens != 4 || usage.InputTokenDetails.CachedTokens != 0 {
		t.Errorf("%q, usage %s", text.String(), usage.RawJSON())
	}
	say(t, conn, `{"type":"response.create","response":{"metadata":{"fakellm_input":"50","fakellm_cached":"20","fakellm_output":"7"}}}`)
	for hear(t, conn).Type != "response.done" {
		continue
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(Counters{Started: 2, Finished: 2, Input: 53, Cached: 20, Output: 11}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
	if r := p.Requests(); len(r) != 2 || r[0].Path != realtimePath || r[0].Credential != credential || r[0].Model != model {
		t.Errorf("requests %+v", r)
	}
	wantNoViolations(t, p)
}

// The client's own mistakes are answered with error events; the session stays.
func TestRealtimeMistakes(t *testing.T) {
	p, s := start(t, Healthy())
	conn := talk(t, s)
	for event, want := range map[string]string{
		`{"type":"response.rewind"}`: "Invalid value: 'response.rewind'.",
		`{"type":7}`:                 "Invalid type for 'type'",
		`{"type":"response.create","response":{"max_output_tokens":"many"}}`:           "it is no number",
		`{"type":"response.create","response":{"max_output_tokens":0}}`:                "must be between",
		`{"type":"response.create","response":{"metadata":{"fakellm_input":"a lot"}}}`: "not a number of tokens",
	} {
		say(t, conn, event)
		if e := hear(t, conn); e.Type != "error" || !strings.Contains(e.Error.Message, want) {
			t.Errorf("%s: %s, want %q", event, e.raw, want)
		}
	}
	if got := p.Books().Total; got != (Counters{}) {
		t.Errorf("books %+v", got)
	}
	wantNoViolations(t, p)
}

func TestRealtimeViolations(t *testing.T) {
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	tests := map[string]struct {
		query     string
		change    func(http.Header)
		protocols []string
		status    int // 0 = 400
		want      string
	}{
		"no credential":     {change: func(h http.Header) { h.Del("Authorization") }, status: 401, want: "You didn't provide"},
		"other credential":  {change: set("Authorization", "Bearer x"), status: 401, want: "Incorrect API key"},
		"client key":        {change: set("X-Trace", "sk-fw-abc"), want: "client key is in header X-Trace"},
		"key in a protocol": {protocols: []string{"realtime", "openai-insecure-api-key.k"}, want: "a credential is among"},
		"client key in one": {protocols: []string{"openai-insecure-api-key.sk-fw-abc"}, want: "client key is in header Sec-Websocket-Protocol"},
		"unknown protocol":  {protocols: []string{"chat"}, want: `subprotocol "chat"`},
		"origin":            {change: set("Origin", "https://example.com"), want: "Origin must not"},
		"forwarded":         {change: set("X-Forwarded-For", "10.0.0.1"), want: "X-Forwarded-For must not"},
		"cookie":            {change: set("Cookie", "a=b"), want: "Cookie must not"},
		"extension":         {change: set("Sec-WebSocket-Extensions", "permessage-deflate"), want: "Extensions must not"},
		"no model":          {query: "?", want: "0 models"},
		"two models":        {query: "?model=fake-large&model=fake-small", want: "2 models"},
		"unknown model":     {query: "?model=none", status: 404, want: "`none` does not exist"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			if test.query == "" {
				test.query = "?model=" + model
			}
			_, resp, err := connect(t, s, test.query, test.change, test.protocols...)
			if test.status == 0 {
				test.status = http.StatusBadRequest
			}
			if err == nil || resp == nil || resp.StatusCode != test.status {
				t.Fatalf("%v %+v, want status %d", err, resp, test.status)
			}
			violations := strings.Join(p.Violations(), "\n")
			if !strings.Contains(violations, test.want) || strings.Contains(violations, "sk-fw-abc") {
				t.Errorf("violations %q, want %q", violations, test.want)
			}
		})
	}
	t.Run("no upgrade", func(t *testing.T) {
		p, s := start(t, Healthy())
		w := dial(t, s)
		w.send(t, "GET "+realtimePath+"?model="+model+" HTTP/1.1\r\nHost: "+s.Addr().String()+"\r\nAuthorization: Bearer "+credential+"\r\n\r\n")
		resp, text, err := w.answer(t)
		if err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%v %+v %s", err, resp, text)
		}
		if v := strings.Join(p.Violations(), "\n"); !strings.Contains(v, "header Upgrade is []") {
			t.Errorf("violations %q", v)
		}
	})
	t.Run("messages", func(t *testing.T) {
		p, s := start(t, Healthy())
		conn := talk(t, s)
		if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		say(t, conn, `{"type":"a","type":"b"}`)
		hear(t, conn)
		say(t, conn, `{"type":"a","note":"sk-fw-abc"}`)
		hear(t, conn)
		v := p.Violations()
		if len(v) != 3 || !strings.Contains(v[0], "not text") || !strings.Contains(v[1], "twice") || !strings.Contains(v[2], "client key is in the body") {
			t.Errorf("violations %q", v)
		}
	})
}

func TestRealtimeBehaviours(t *testing.T) {
	closed := func(err error) bool { return errors.Is(err, io.EOF) }
	broken := func(err error) bool { return err != nil }
	normal := func(err error) bool { return websocket.CloseStatus(err) == websocket.StatusNormalClosure }
	tests := map[string]struct {
		behaviour Behaviour
		events    []string // of one response, without "response."
		ends      func(error) bool
		finished  int64
	}{
		"healthy":         {Healthy(), []string{"created", "output_text.delta", "done"}, nil, 1},
		"no usage":        {NoUsage(), []string{"created", "output_text.delta", "done"}, nil, 1},
		"closed":          {DieMidStream(2, FIN), []string{"created", "output_text.delta"}, closed, 0},
		"closed at once":  {DieMidStream(0, FIN), nil, closed, 0},
		"reset":           {DieMidStream(2, RST), nil, broken, 0},
		"clean end":       {DieMidStream(1, CleanEnd), []string{"created"}, normal, 0},
		"error event":     {ErrorMidStream(1, "server_error"), []string{"created", "error"}, nil, 0},
		"error at once":   {ErrorFirstEvent("server_error"), []string{"error"}, nil, 0},
		"error near last": {ErrorMidStream(2, "server_error"), []string{"created", "output_text.delta", "error"}, nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, test.behaviour)
			conn := talk(t, s)
			say(t, conn, `{"type":"response.create","response":{"max_output_tokens":1}}`)
			var got []string
			for {
				e, err := next(t.Context(), conn)
				if err != nil {
					if test.ends == nil || !test.ends(err) {
						t.Errorf("err = %v", err)
					}
					break
				}
				got = append(got, strings.TrimPrefix(e.Type, "response."))
				if e.Type == "response.done" && strings.Contains(e.raw, `"usage":null`) != test.behaviour.NoUsage {
					t.Errorf("done: %s", e.raw)
				}
				if e.Type == "error" && e.Error.Code != "server_error" {
					t.Errorf("error: %s", e.raw)
				}
				if test.ends == nil && len(got) == len(test.events) {
					break
				}
			}
			if diff := cmp.Diff(test.events, got); diff != "" && name != "reset" { // which may overtake what was sent
				t.Error(diff)
			}
			if b := p.Books().Total; b.Started != 1 || b.Finished != test.finished {
				t.Errorf("books %+v", b)
			}
			wantNoViolations(t, p)
		})
	}
}

func TestRealtimeHandshakeBehaviours(t *testing.T) {
	_, s := start(t, Status(http.StatusTooManyRequests, "rate_limit_exceeded", 0))
	if _, resp, err := connect(t, s, "?model="+model, nil); err == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%v %+v", err, resp)
	}
	_, s = start(t, CloseBeforeBytes())
	if _, _, err := connect(t, s, "?model="+model, nil); !errors.Is(err, io.EOF) {
		t.Errorf("err = %v", err)
	}
	gate := NewGate()
	_, s = start(t, Hang(gate))
	go func() {
		<-gate.Entered()
		gate.Open()
	}()
	talk(t, s)
}

// Whoever leaves is noticed: in the middle of a response, and between two, unless with a Close frame.
func TestRealtimeHangUp(t *testing.T) {
	t.Run("in a response", func(t *testing.T) {
		gate := NewGate()
		p, s := start(t, HangMidStream(1, gate))
		conn := talk(t, s)
		say(t, conn, responseCreate)
		held := <-gate.Entered()
		_ = conn.CloseNow()
		if got := <-p.Canceled(); got != held || got.Model != model {
			t.Errorf("canceled %+v, held %+v", got, held)
		}
		<-gate.Canceled()
	})
	t.Run("at rest", func(t *testing.T) {
		p, s := start(t, Healthy())
		conn := talk(t, s)
		_ = conn.CloseNow()
		if got := <-p.Canceled(); got.Path != realtimePath {
			t.Errorf("canceled %+v", got)
		}
	})
	t.Run("server closes", func(t *testing.T) {
		p, s := start(t, Healthy())
		conn := talk(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := next(t.Context(), conn); err == nil {
			t.Error("the session goes on")
		}
		select {
		case r := <-p.Canceled():
			t.Errorf("canceled %+v", r)
		default:
		}
	})
}
