package gateway

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/dataplane/internal/ingress"
	"fairway/pkg/testkit/fakellm"
)

// A client that breaks off, and that only a write to it tells: in the middle of a stream's piece the upstream's connection
// is in use. Nothing panics, nothing is left, and what was delivered is on the books.
func TestClientLostInWrite(t *testing.T) {
	w := newWorld(t, func(_ *Options, o *ingress.Options) { o.Lookout, o.WatchAfter = nil, time.Hour })
	w.tiers(secretA)
	w.provider.SetBehaviour(secretA, fakellm.SlowEvents(2*time.Millisecond))
	body := strings.Replace(streamBody, "one two three", strings.Repeat("word ", 300), 1)
	for range 20 {
		c := w.dial()
		_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, body))
		if _, err := io.ReadFull(c, make([]byte, 600)); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	w.settled(t)
	if n := testutil.ToFloat64(w.gateway.meters.panics); n != 0 {
		t.Errorf("%v panics:\n%s", n, w.log)
	}
	if n := testutil.ToFloat64(w.gateway.meters.hangUps); n != 20 {
		t.Errorf("hang-ups = %v", n)
	}
	records := w.books.all()
	if len(records) != 20 {
		t.Fatalf("%d records", len(records))
	}
	for _, r := range records {
		if !r.Estimated || r.Output == 0 {
			t.Errorf("record %+v", r)
		}
	}
}
