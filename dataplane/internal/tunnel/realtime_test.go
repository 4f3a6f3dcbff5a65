package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairway/pkg/testkit/fakellm"
)

const (
	account = "account-credential"
	model   = "fake-large"
)

// gate is the least that has a tunnel in it: what a gateway does with a handshake, and a tunnel.
type gate struct {
	t        *testing.T
	relay    *Relay
	upstream string
	results  chan Result
	used     chan Usage
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := func(h http.Header) Fields {
		return func(name string) (out [][]byte) {
			for _, value := range h.Values(name) {
				out = append(out, []byte(value))
			}
			return out
		}
	}
	key, err := Check(r.Method, r.Proto, h(r.Header))
	if err == nil {
		var offered Protocols
		if offered, err = ReadProtocols(h(r.Header)); err == nil && string(offered.Key) != "sk-fw-client" {
			err = &HandshakeError{Status: http.StatusUnauthorized, Reason: "who are you?"}
		}
		if err == nil {
			g.serve(w, r, string(key), offered.Offer, h)
			return
		}
	}
	var refused *HandshakeError
	if errors.As(err, &refused) {
		http.Error(w, refused.Reason, refused.Status)
	}
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request, key string, offer []string, h func(http.Header) Fields) {
	upstream, err := new(net.Dialer).DialContext(r.Context(), "tcp", g.upstream)
	if err != nil {
		g.t.Error(err)
		return
	}
	own := NewKey()
	fmt.Fprintf(upstream, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		r.RequestURI, g.upstream, account, own, Protocols{Offer: offer}.Value())
	from := bufio.NewReader(upstream)
	resp, err := http.ReadResponse(from, r)
	if err != nil {
		g.t.Error(err)
		return
	}
	protocol, err := CheckAnswer(resp.StatusCode, h(resp.Header), own, offer)
	if err != nil {
		g.t.Error(err)
		return
	}
	client, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		g.t.Error(err)
		return
	}
	fmt.Fprintf(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n", Accept(key), protocol)
	early, _ := rw.Peek(rw.Reader.Buffered())
	first, _ := from.Peek(from.Buffered())
	g.results <- g.relay.Open(Side{Conn: client, Buffered: early}, Side{Conn: upstream, Buffered: first}, func(u Usage) *Farewell {
		g.used <- u
		return nil
	}).Run()
}

// session is a client's, through the gate, to a fake provider.
func session(t *testing.T, b fakellm.Behaviour) (*fakellm.Provider, *gate, *websocket.Conn) {
	t.Helper()
	p := fakellm.New(fakellm.Options{Accounts: map[string]fakellm.Behaviour{account: b}, Models: []string{model}})
	s, err := p.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, relay: New(Options{}), upstream: s.Addr().String(), results: make(chan Result, 1), used: make(chan Usage, 10)}
	var sessions sync.WaitGroup
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sessions.Add(1)
		defer sessions.Done()
		g.ServeHTTP(w, r)
	}))
	transport := &http.Transport{}
	conn, _, err := websocket.Dial(t.Context(), door.URL+"/v1/realtime?model="+model, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: websocket.CompressionContextTakeover,
		Subprotocols: []string{"realtime", "openai-insecure-api-key.sk-fw-client"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.CloseNow()
		sessions.Wait()
		transport.CloseIdleConnections()
		door.Close()
		_ = s.Close()
		if v := p.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v)
		}
	})
	if conn.Subprotocol() != "realtime" {
		t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	return p, g, conn
}

// hear reads events up to one of a type.
func hear(ctx context.Context, conn *websocket.Conn, kind string) (int, error) {
	for n := 1; ; n++ {
		_, event, err := conn.Read(ctx)
		if err != nil || strings.HasPrefix(string(event), `{"type":"`+kind+`"`) {
			return n, err
		}
	}
}

func say(t *testing.T, conn *websocket.Conn, event string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(event)); err != nil {
		t.Fatal(err)
	}
}

const (
	item   = `{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"one two three"}]}}`
	create = `{"type":"response.create","response":{"max_output_tokens":4,"metadata":{"fakellm_input":"50","fakellm_cached":"20"}}}`
)

// A client that knows nothing of us talks to a provider that forgives nothing, and the books agree.
func TestRealtimeSession(t *testing.T) {
	p, g, conn := session(t, fakellm.Healthy())
	say(t, conn, item)
	for range 3 {
		say(t, conn, create)
		if _, err := hear(t.Context(), conn, "response.done"); err != nil {
			t.Fatal(err)
		}
		if u := <-g.used; u != exact(50, 20, 4) {
			t.Errorf("used %+v", u)
		}
	}
	if err := conn.Ping(conn.CloseRead(t.Context())); err != nil {
		t.Error(err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
	want := Result{Usage: exact(150, 60, 12), Responses: 3, By: Client, Why: Closed, CloseCode: 1000, Up: Traffic{Messages: 4}, Down: Traffic{Messages: 20}}
	if diff := cmp.Diff(want, <-g.results, cmpopts.IgnoreFields(Traffic{}, "Bytes")); diff != "" {
		t.Error(diff)
	}
	if b := p.Books().Total; b.Input != 150 || b.Cached != 60 || b.Output != 12 {
		t.Errorf("the provider's books: %+v", b)
	}
}

// Whoever leaves without a word, the other side hears of it, and what was delivered is on the books.
func TestRealtimeHangUp(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		gate := fakellm.NewGate()
		p, g, conn := session(t, fakellm.HangMidStream(3, gate))
		say(t, conn, item)
		say(t, conn, create)
		held := <-gate.Entered()
		for range 2 {
			if _, err := hear(t.Context(), conn, "response.output_text.delta"); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.CloseNow()
		if got := <-p.Canceled(); got != held {
			t.Errorf("canceled %+v, held %+v", got, held)
		}
		// "one two three", and "Hello! This ": both in bytes, by four.
		if got := <-g.results; got.By != Client || got.Why != HungUp || got.Usage != guess(4, 3) {
			t.Errorf("%+v", got)
		}
	})
	for name, death := range map[string]fakellm.Death{"reset": fakellm.RST, "closed": fakellm.FIN} {
		t.Run("upstream "+name, func(t *testing.T) {
			_, g, conn := session(t, fakellm.DieMidStream(2, death))
			say(t, conn, create)
			if _, err := hear(t.Context(), conn, "none"); err == nil || websocket.CloseStatus(err) != -1 {
				t.Errorf("err = %v", err)
			}
			if got := <-g.results; got.By != Upstream || got.Why != HungUp || got.Responses != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("upstream with a Close frame", func(t *testing.T) {
		_, g, conn := session(t, fakellm.DieMidStream(2, fakellm.CleanEnd))
		say(t, conn, create)
		if _, err := hear(t.Context(), conn, "none"); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("err = %v", err)
		}
		if got := <-g.results; got.By != Upstream || got.Why != Closed || got.CloseCode != 1000 || !got.Usage.Estimated {
			t.Errorf("%+v", got)
		}
	})
	t.Run("error event", func(t *testing.T) {
		_, g, conn := session(t, fakellm.ErrorMidStream(1, "server_error"))
		say(t, conn, create)
		if _, err := hear(t.Context(), conn, "error"); err != nil {
			t.Error(err)
		}
		_ = conn.CloseNow()
		if got := <-g.results; got.Errors != 1 || got.LastError != "server_error" || got.Usage != (Usage{}) {
			t.Errorf("%+v", got)
		}
	})
}
