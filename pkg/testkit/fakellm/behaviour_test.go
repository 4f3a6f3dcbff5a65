package fakellm

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// usageStream is streamBody's answer in events: role, 4 words, finish, usage, [DONE].
const usageStreamEvents = 8

func TestStreamBytes(t *testing.T) {
	_, s := start(t, Healthy())
	w := dial(t, s)
	w.send(t, post(s, chatPath, streamBody))
	resp, text, err := w.answer(t)
	if err != nil {
		t.Fatal(err)
	}
	events := strings.SplitAfter(text, "\n\n")
	if resp.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" ||
		len(events) != usageStreamEvents+1 || events[7] != done || events[8] != "" {
		t.Fatalf("stream %q", text)
	}
	if !strings.HasSuffix(events[5], "],\"usage\":null}\n\n") || !strings.Contains(events[6], `"choices":[],"usage":{"prompt_tokens":3,`) {
		t.Errorf("last chunks %q", events[5:7])
	}
}

// How each behaviour looks to the client, to the byte where that matters.
func TestBehaviours(t *testing.T) {
	closed := func(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
	reset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
	tests := map[string]struct {
		behaviour Behaviour
		body      string
		status    int // 0 = no answer at all
		broken    func(error) bool
		events    int
		want      string
		finished  int64
	}{
		"status": {Status(503, "overloaded", 0), chatBody, 503, nil, 0, `"code":"overloaded"`, 0},
		"error first event": {ErrorFirstEvent("server_error"), streamBody, 200, nil, 1,
			`data: {"error":{"message":"The server had an error`, 0},
		"error first event, no stream": {ErrorFirstEvent("x"), chatBody, 500, nil, 0, `"code":"x"`, 0},
		"error mid stream":             {ErrorMidStream(3, "x"), streamBody, 200, nil, 4, `"code":"x"`, 0},
		"reset mid stream":             {DieMidStream(2, RST), streamBody, 200, reset, 2, "", 0},
		"closed mid stream":            {DieMidStream(2, FIN), streamBody, 200, closed, 2, "", 0},
		"closed before an event":       {DieMidStream(0, FIN), streamBody, 200, closed, 0, "", 0},
		"clean end mid stream":         {DieMidStream(2, CleanEnd), streamBody, 200, nil, 2, "", 0},
		"clean end without done":       {DieMidStream(1000, CleanEnd), streamBody, 200, nil, usageStreamEvents - 1, "", 0},
		"closed before bytes":          {CloseBeforeBytes(), chatBody, 0, closed, 0, "", 0},
		"truncated":                    {TruncatedBody(), chatBody, 200, closed, 0, `{"id":`, 0},
		"truncated stream":             {TruncatedBody(), streamBody, 200, closed, 1, "", 0},
		"no usage":                     {NoUsage(), chatBody, 200, nil, 0, `"finish_reason":"stop"}],"service_tier"`, 1},
		"no usage in a stream":         {NoUsage(), streamBody, 200, nil, usageStreamEvents - 1, done, 1},
		"slow":                         {SlowEvents(time.Microsecond), streamBody, 200, nil, usageStreamEvents, done, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, test.behaviour)
			w := dial(t, s)
			w.send(t, post(s, chatPath, test.body))
			resp, text, err := w.answer(t)
			switch {
			case test.broken == nil && err != nil:
				t.Fatal(err)
			case test.broken != nil && !test.broken(err):
				t.Errorf("err = %v", err)
			}
			if (resp == nil) != (test.status == 0) || (resp != nil && resp.StatusCode != test.status) {
				t.Errorf("response %+v, want status %d", resp, test.status)
			}
			// A reset may overtake what was sent before it.
			if got := strings.Count(text, "\n\n"); got > test.events || got < test.events && !reset(err) {
				t.Errorf("%d events, want %d: %q", got, test.events, text)
			}
			if !strings.Contains(text, test.want) {
				t.Errorf("%q is not in %q", test.want, text)
			}
			if got := p.Books().Total; got.Started != 1 || got.Finished != test.finished {
				t.Errorf("books %+v, want %d finished", got, test.finished)
			}
			wantNoViolations(t, p)
		})
	}
}

func TestHang(t *testing.T) {
	for name, behave := range map[string]func(*Gate) Behaviour{
		"before the first byte": Hang,
		"mid stream":            func(g *Gate) Behaviour { return HangMidStream(2, g) },
	} {
		t.Run(name, func(t *testing.T) {
			gate := NewGate()
			p, s := start(t, behave(gate))
			gone := dial(t, s)
			gone.send(t, post(s, chatPath, streamBody))
			if r := <-gate.Entered(); r.Credential != credential || r.Model != model || !r.Stream || r.BodyBytes != len(streamBody) {
				t.Errorf("request %+v", r)
			}
			stays := dial(t, s)
			stays.send(t, post(s, chatPath, streamBody))
			second := <-gate.Entered()
			if err := gone.Close(); err != nil {
				t.Fatal(err)
			}
			if r := <-gate.Canceled(); r.Sequence != second.Sequence-1 {
				t.Errorf("request %d was canceled, want the first", r.Sequence)
			}
			<-p.Canceled()
			gate.Open()
			gate.Open()
			if _, text, err := stays.answer(t); err != nil || !strings.HasSuffix(text, done) {
				t.Errorf("%q, %v", text, err)
			}
			if got := p.Books().Total; got.Started != 2 || got.Finished != 1 {
				t.Errorf("books %+v", got)
			}
		})
	}
}

// A client that leaves between events is noticed, though nobody waits at a gate.
func TestCanceledStream(t *testing.T) {
	p, s := start(t, SlowEvents(time.Hour))
	w := dial(t, s)
	w.send(t, post(s, chatPath, streamBody))
	if _, err := http.ReadResponse(w.r, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-p.Canceled(); r.Model != model {
		t.Errorf("request %+v", r)
	}
}

func TestEarlyResponse(t *testing.T) {
	_, s := start(t, EarlyResponse())
	w := dial(t, s)
	head, _, _ := strings.Cut(post(s, chatPath, chatBody), "{")
	w.send(t, head)
	// Not one byte of the body was sent.
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestStaleConnections(t *testing.T) {
	t.Run("closed when idle", func(t *testing.T) {
		_, s := start(t, StaleKeepAlive())
		w := dial(t, s)
		w.send(t, post(s, chatPath, chatBody))
		if resp, _, err := w.answer(t); err != nil || resp.Close {
			t.Fatalf("the first answer must be complete and promise to stay: %v", err)
		}
		if _, err := w.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("err = %v, want EOF", err)
		}
	})
	t.Run("closed when reused", func(t *testing.T) {
		p, s := start(t, StaleOnReuse())
		w := dial(t, s)
		w.send(t, post(s, chatPath, chatBody))
		if resp, _, err := w.answer(t); err != nil || resp.Close {
			t.Fatalf("the first answer must be complete and promise to stay: %v", err)
		}
		w.send(t, post(s, chatPath, chatBody))
		if _, err := w.r.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("err = %v, want EOF", err)
		}
		if got := p.Books().Total.Started; got != 1 {
			t.Errorf("%d requests started, want 1", got)
		}
	})
	t.Run("kept", func(t *testing.T) {
		p, s := start(t, Healthy())
		w := dial(t, s)
		for range 3 {
			w.send(t, post(s, chatPath, chatBody))
			if _, _, err := w.answer(t); err != nil {
				t.Fatal(err)
			}
		}
		if got := p.Books().Total.Finished; got != 3 {
			t.Errorf("%d requests finished, want 3", got)
		}
	})
}

func TestRequestsAreRemembered(t *testing.T) {
	p := New(Options{Accounts: map[string]Behaviour{credential: {}}, AnyModel: true, Remember: 2})
	s, err := p.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	w := dial(t, s)
	for _, name := range []string{"a", "b", "c"} {
		w.send(t, post(s, chatPath, strings.Replace(chatBody, model, name, 1)))
		if _, _, err := w.answer(t); err != nil {
			t.Fatal(err)
		}
	}
	got := p.Requests()
	if len(got) != 2 || got[0].Model != "b" || got[1].Model != "c" || got[1].Path != chatPath {
		t.Errorf("requests %+v", got)
	}
}

func TestServesTLS(t *testing.T) {
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	p := New(Options{Accounts: map[string]Behaviour{credential: {}}, Models: []string{model}})
	s, err := p.StartTLS("127.0.0.1:0", &tls.Config{Certificates: ca.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	transport := ca.Client().Transport.(*http.Transport).Clone()
	transport.DisableCompression = true
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v1/models", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+credential)
	resp, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 1 {
		t.Errorf("status %d, %s", resp.StatusCode, resp.Proto)
	}
	wantNoViolations(t, p)
}

// Close ends requests that would never end.
func TestCloseEndsHeldRequests(t *testing.T) {
	gate := NewGate()
	p := New(Options{Accounts: map[string]Behaviour{credential: Hang(gate)}, Models: []string{model}})
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := p.Serve(ln)
	w := dial(t, s)
	w.send(t, post(s, chatPath, chatBody))
	<-gate.Entered()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-gate.Canceled()
}
