package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/pkg/testkit/fakellm"
)

func TestHangUp(t *testing.T) {
	const plain = `{"model":"gpt-x","messages":[{"role":"user","content":"one two three"}]}`
	for _, tc := range []struct {
		name, body string
		fault      func(*fakellm.Gate) fakellm.Behaviour
		events     int // that the client reads before it leaves
	}{
		{"plain request waiting", plain, fakellm.Hang, 0},
		{"stream before its first event", streamBody, fakellm.Hang, 0},
		{"stream between events", streamBody, func(g *fakellm.Gate) fakellm.Behaviour { return fakellm.HangMidStream(3, g) }, 3},
	} {
		for _, how := range []string{"closed", "half-closed", "reset"} {
			t.Run(tc.name+", "+how, func(t *testing.T) {
				w := newWorld(t)
				w.tiers(secretA, secretB)
				gate := fakellm.NewGate()
				w.provider.SetBehaviour(secretA, tc.fault(gate))
				c := w.dial()
				_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, tc.body))
				wait(t, "the upstream holds the request", gate.Entered())
				r := bufio.NewReader(c)
				for n := 0; n < tc.events; {
					line, err := r.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasPrefix(line, "data: ") {
						n++
					}
				}
				switch how {
				case "closed":
					_ = c.Close()
				case "half-closed":
					_ = c.(*net.TCPConn).CloseWrite()
				case "reset":
					_ = c.(*net.TCPConn).SetLinger(0)
					_ = c.Close()
				}
				// The upstream sees it although it has sent nothing since.
				wait(t, "the upstream request is canceled", gate.Canceled())
				record := w.record()
				if record.Error || !record.Estimated || (record.Output > 0) != (tc.events > 0) {
					t.Errorf("record = %+v", record)
				}
				w.settled(t)
				if got := w.served(); len(got) != 1 {
					t.Errorf("attempts = %d: a request that nobody waits for was retried", len(got))
				}
				if n := len(w.books.all()); n != 1 {
					t.Errorf("%d records", n)
				}
				if f := w.cell("acc-a0").Failures.Load(); f != 0 {
					t.Errorf("the account has %d failures for its client's", f)
				}
				if n := testutil.ToFloat64(w.gateway.meters.hangUps); n != 1 {
					t.Errorf("hang-ups = %v", n)
				}
			})
		}
	}
}

func TestHangUpDuringUpload(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	for _, framing := range []string{"Content-Length: 200000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n30d40\r\n"} {
		c := w.dial()
		_, _ = io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "+
			w.key+"\r\n"+framing+strings.Repeat(" ", 100_000))
		w.eventually("the body is being read", func() bool { return w.gateway.load.bodies.Load() > 0 })
		_ = c.Close()
		w.settled(t)
	}
	if n := len(w.books.all()) + len(w.served()); n != 0 {
		t.Errorf("%d records and upstream requests for requests that never came", n)
	}
}

// A client that pipelines while it waits loses no byte of its second request.
func TestPipelining(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	gate := fakellm.NewGate()
	w.provider.SetBehaviour(secretA, fakellm.Behaviour{Hold: gate, Times: 1})
	c := w.dial()
	first := request("/v1/chat/completions", w.key, streamBody)
	_, _ = io.WriteString(c, first)
	wait(t, "the upstream holds the request", gate.Entered())
	// The watch reads a byte of this, and puts it back.
	const second = `{"model":"gpt-y","messages":[{"role":"user","content":"x"}]}`
	_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, second, "Connection: close"))
	gate.Open()
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(all), "HTTP/1.1 200 OK"); n != 2 {
		t.Errorf("%d answers, want 2:\n%s", n, all)
	}
	if a, b := w.record(), w.record(); a.Model != "gpt-x" || b.Model != "gpt-y" {
		t.Errorf("records of %s, %s", a.Model, b.Model)
	}
}

// A thousand requests over one connection, with a watch on each.
func TestKeepAlive(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	c := w.dial()
	r := bufio.NewReader(c)
	const body = `{"model":"gpt-x","messages":[{"role":"user","content":"x"}]}`
	for i := range 200 {
		_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, body))
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
			t.Fatalf("request %d: %q, %v", i, line, err)
		}
		length := 0
		for {
			line, err = r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
			if line == "\r\n" {
				break
			}
		}
		if _, err := io.CopyN(io.Discard, r, int64(length)); err != nil {
			t.Fatal(err)
		}
	}
	w.settled(t)
	if n := len(w.books.all()); n != 200 {
		t.Errorf("%d records", n)
	}
}
