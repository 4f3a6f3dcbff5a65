package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server whose one handler waits to be told to answer.
type fixture struct {
	url     string
	entered chan struct{} // a request is in the handler
	answer  chan struct{} // closed: answer
	stop    context.CancelFunc
	served  chan error // what HTTP returned
}

func start(t *testing.T, grace time.Duration) *fixture {
	t.Helper()
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		url: "http://" + ln.Addr().String(), entered: make(chan struct{}), answer: make(chan struct{}), served: make(chan error, 1),
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.entered <- struct{}{}
		select {
		case <-f.answer:
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})}
	ctx, cancel := context.WithCancel(t.Context())
	f.stop = cancel
	go func() { f.served <- HTTP(ctx, ln, srv, grace) }()
	return f
}

type result struct {
	body string
	err  error
}

func (f *fixture) get() <-chan result {
	out := make(chan result, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(f.url)
		if err != nil {
			out <- result{err: err}
			return
		}
		body, err := io.ReadAll(resp.Body)
		out <- result{string(body), errors.Join(err, resp.Body.Close())}
	}()
	return out
}

func TestHTTPFinishesRequests(t *testing.T) {
	f := start(t, time.Hour)
	got := f.get()
	<-f.entered
	f.stop()
	// Nobody new is let in: the listener closes before the request is over.
	for {
		conn, err := net.Dial("tcp", f.url[len("http://"):])
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	select {
	case err := <-f.served:
		t.Fatalf("HTTP returned %v with a request in flight", err)
	default:
	}
	close(f.answer)
	if r := <-got; r.body != "done" || r.err != nil {
		t.Errorf("the request in flight got %q, %v", r.body, r.err)
	}
	if err := <-f.served; err != nil {
		t.Errorf("HTTP returned %v", err)
	}
}

func TestHTTPCutsAfterGrace(t *testing.T) {
	for _, grace := range []time.Duration{-1, 0, time.Millisecond} {
		f := start(t, grace)
		got := f.get()
		<-f.entered
		f.stop()
		if err := <-f.served; !errors.Is(err, ErrCut) {
			t.Errorf("grace %v: %v, want ErrCut", grace, err)
		}
		if r := <-got; r.err == nil {
			t.Errorf("grace %v: the request was answered with %q", grace, r.body)
		}
	}
}

// An idle server stops at once.
func TestHTTPStopsIdle(t *testing.T) {
	f := start(t, time.Second)
	f.stop()
	if err := <-f.served; err != nil {
		t.Errorf("HTTP returned %v", err)
	}
}

func TestHTTPReportsFailure(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := HTTP(t.Context(), ln, &http.Server{ReadHeaderTimeout: time.Minute}, time.Hour); !errors.Is(err, net.ErrClosed) {
		t.Errorf("HTTP on a closed listener returned %v", err)
	}
}
