package ingress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/dataplane/internal/sock"
	"fairway/pkg/testkit/testcert"
)

func TestTLS(t *testing.T) { forms(t, testTLS) }

func testTLS(t *testing.T, l *sock.Lookout) {
	ca := testcert.NewCA(t)
	gone := make(chan struct{}, 1)
	r := start(t, func(r *Request, w *Response) {
		switch string(r.Target()) {
		case "/stream":
			w.Begin(-1)
			for i := range 100 {
				_, _ = fmt.Fprintf(w, "piece %d;", i)
			}
			_ = w.Last(nil)
		case "/wait":
			h := make(told)
			r.Watch(h)
			<-h
			gone <- struct{}{}
		default:
			describe(r, w)
		}
	}, Options{
		Lookout: l, WatchAfter: time.Microsecond, IdleTimeout: 20 * time.Second,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t, "proxy.test")}},
	})
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool(), ServerName: "proxy.test"}
	dials := 0
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: config,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials++
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
		},
	}}
	defer client.CloseIdleConnections()
	ask := func(method, path, body string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "https://proxy.test"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		out, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	large := strings.Repeat("large ", 100_000)
	for range 3 {
		if got := ask("POST", "/a", "hello"); got != "POST /a 5:hello" {
			t.Errorf("got %q", got)
		}
		if got := ask("POST", "/b", large); got != fmt.Sprintf("POST /b %d:%s", len(large), large) {
			t.Errorf("a large body: %d bytes", len(got))
		}
		if got := ask("GET", "/stream", ""); strings.Count(got, "piece") != 100 || !strings.HasSuffix(got, "piece 99;") {
			t.Errorf("a stream: %q", got)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections for requests one after the other", dials)
	}

	// Two requests in one record: the second is behind TLS already when the first is answered.
	c := r.dial()
	secured := tls.Client(c, config)
	_, _ = io.WriteString(secured, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := responses(t, secured, 2); got[0] != "200 GET /1 0:" || got[1] != "200 GET /2 0:" {
		t.Errorf("%q", got)
	}
	_, _ = io.WriteString(secured, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = secured.Close()
	<-gone

	// Whoever does not speak TLS is counted, and gone.
	plain := r.dial()
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if line, err := bufio.NewReader(plain).ReadString('\n'); err == nil && strings.HasPrefix(line, "HTTP") {
		t.Errorf("answered %q", line)
	}
	for testutil.ToFloat64(r.server.meters.handshakes) == 0 {
		time.Sleep(time.Millisecond)
	}
}

// A client that never finishes its handshake holds no connection for ever, and a drain does not wait for it.
func TestTLSHandshakeStalls(t *testing.T) {
	ca := testcert.NewCA(t)
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t, "proxy.test")}}
	r := start(t, describe, Options{Lookout: lookout(t), TLS: config, HeaderTimeout: 20 * time.Millisecond})
	c := r.dial()
	_, _ = c.Write([]byte{0x16, 3, 1})
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}
