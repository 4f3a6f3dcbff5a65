package ingress

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"fairway/dataplane/internal/sock"
)

func TestSwitch(t *testing.T) { forms(t, testSwitch) }

func testSwitch(t *testing.T, l *sock.Lookout) {
	r := start(t, func(r *Request, w *Response) {
		if !r.Upgrade() {
			w.Status(426)
			_ = w.Send(nil)
			return
		}
		r.Watch(make(told))
		w.Set("Upgrade", "echo")
		s, err := w.Switch()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = s.Conn.Write(s.Buffered)
		_, _ = io.Copy(s.Conn, s.Conn)
	}, Options{Lookout: l, WatchAfter: time.Hour})
	c := r.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nfirst,")
	in := bufio.NewReader(c)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Upgrade") != "echo" ||
		response.Header.Get("Connection") != "Upgrade" || response.ContentLength > 0 {
		t.Fatalf("%+v, %v", response, err)
	}
	_ = response.Body.Close()
	_, _ = io.WriteString(c, "second")
	got := make([]byte, len("first,second"))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "first,second" {
		t.Fatalf("%q, %v", got, err)
	}
	_ = c.Close()
	if got := r.raw("GET / HTTP/1.1\r\n" + closing + "\r\n"); status(got) != "426" {
		t.Errorf("%s", got)
	}
}
