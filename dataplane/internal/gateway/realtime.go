package gateway

import (
	"bytes"
	"context"
	"errors"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/meter"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/tunnel"
	"fairway/dataplane/internal/upstream"
	"fairway/pkg/fault"
	"fairway/pkg/money"
	"fairway/pkg/operation"
)

// handshake is a client's wish for a WebSocket, and our own with the upstream.
type handshake struct {
	accept    string // proves to the client that its wish was understood
	protocols tunnel.Protocols
	key       string // ours, of the last attempt
	protocol  string // that the upstream chose
}

// relayRealtime is the walk of a WebSocket connection: the same steps as for a request, up to the upstream's agreement;
// then bytes pass both ways until one side goes, and each response is on the books as it ends.
func (x *exchange) relayRealtime(model string) *fault.Error {
	presented, f := x.readHandshake()
	if f != nil {
		return f
	}
	if f := x.findCaller(presented); f != nil {
		return f
	}
	if model == "" {
		return fault.New(fault.Invalid, "the query must name one model").WithCode("missing_model").WithParam("model")
	}
	if len(model) > maxModelName {
		return notFound(model)
	}
	x.setModel([]byte(model))
	x.peek.Stream = true // for what counts streams
	if f := x.admit(); f != nil {
		return f
	}
	return x.dispatch()
}

// readHandshake checks the client's handshake and returns the credential that it brings: in the header, or, from a browser,
// among the subprotocols.
func (x *exchange) readHandshake() (presented []byte, f *fault.Error) {
	version := "HTTP/1.1"
	if x.in.Old() {
		version = "HTTP/1.0"
	}
	key, err := tunnel.Check(string(x.in.Method()), version, x.field)
	if err == nil {
		x.handshake.protocols, err = tunnel.ReadProtocols(x.field)
	}
	var refused *tunnel.HandshakeError
	if errors.As(err, &refused) {
		if refused.Status == 426 {
			x.out.Set("Connection", "Upgrade") // RFC 9110, 7.8: wherever Upgrade is
			x.out.Set("Upgrade", "websocket")
			x.out.Set("Sec-WebSocket-Version", tunnel.Version)
		}
		return nil, fault.New(fault.Invalid, "%s", refused.Reason).WithStatus(refused.Status).WithCode("websocket_handshake")
	}
	x.handshake.accept = tunnel.Accept(string(key))
	if presented, f = x.credential(); f != nil {
		return nil, f
	}
	switch among := x.handshake.protocols.Key; {
	case len(among) == 0:
	case len(presented) > 0:
		return nil, fault.New(fault.Unauthenticated, "an API key in the header and another among the subprotocols").WithCode("invalid_api_key")
	default:
		presented = among
	}
	return presented, nil
}

// field returns all values of a header.
func (x *exchange) field(name string) [][]byte {
	var all [][]byte
	for n, value := range x.in.Fields {
		if bytes.EqualFold(n, []byte(name)) {
			all = append(all, value)
		}
	}
	return all
}

// tryUpgrade makes one attempt with the picked candidate. When it returns nil, x.tunnel leads to the upstream.
func (x *exchange) tryUpgrade() *failure {
	a := x.candidate.Account
	x.handshake.key = tunnel.NewKey()
	x.plan = operation.Realtime
	x.buildUpgrade(a)
	x.request = upstream.Request{Target: targetOf(a, x.group), Head: x.head}
	x.depart(a)
	t, response, err := x.g.upstream.Upgrade(context.Background(), &x.call, &x.request)
	x.now = x.g.now()
	if err != nil {
		return x.brokenBy(err)
	}
	x.waited = x.now.Sub(x.began)
	if response != nil {
		x.response = response
		x.hears()
		if f := x.refusedBy(response); f != nil {
			return f
		}
		return &failure{
			verdict: dialect.Classify(&dialect.UpstreamError{}), status: 502,
			cause: errors.New("the upstream answers a WebSocket handshake without switching protocols"),
		}
	}
	x.tunnel = t
	fields := func(name string) [][]byte {
		var all [][]byte
		for n, value := range t.Fields {
			if bytes.EqualFold(n, []byte(name)) {
				all = append(all, value)
			}
		}
		return all
	}
	x.handshake.protocol, err = tunnel.CheckAnswer(101, fields, x.handshake.key, x.handshake.protocols.Offer)
	if err != nil {
		x.closeTunnel()
		return &failure{verdict: dialect.Classify(&dialect.UpstreamError{}), status: 502, cause: err}
	}
	// How long the tunnel stands is nobody's business but the two sides'.
	late := x.total.off()
	if x.limit.off() || late {
		x.closeTunnel()
		return x.brokenBy(upstream.ErrAborted)
	}
	x.ttft = x.now.Sub(x.start)
	x.praise()
	return nil
}

// buildUpgrade writes the head of the upstream handshake.
func (x *exchange) buildUpgrade(a *snapshot.Account) {
	h := x.beginHead(a, nil)
	h = appendHeader(h, "Connection", "Upgrade")
	h = appendHeader(h, "Upgrade", "websocket")
	h = appendHeader(h, "Sec-WebSocket-Version", tunnel.Version)
	h = appendHeader(h, "Sec-WebSocket-Key", x.handshake.key)
	if offer := x.handshake.protocols.Value(); offer != "" {
		h = appendHeader(h, "Sec-WebSocket-Protocol", offer)
	}
	x.head = x.endHead(h, a.Channel, false)
}

// tunnelRealtime connects the client with the upstream until one of them goes.
func (x *exchange) tunnelRealtime() {
	x.status = 101
	x.out.Set("Upgrade", "websocket")
	x.out.Set("Sec-WebSocket-Accept", x.handshake.accept)
	if x.handshake.protocol != "" {
		x.out.Set("Sec-WebSocket-Protocol", x.handshake.protocol)
	}
	x.debugHeaders()
	x.limitHeaders()
	client, err := x.out.Switch()
	if err != nil {
		x.noteHangUp()
	}
	if x.gone.Load() {
		// The tunnel was aborted on its client's account, if that left just now: its end says nothing about the upstream.
		return
	}
	x.forgetHead()
	up := x.tunnel
	x.mask(up.Buffered)
	t := x.g.tunnels.Open(
		tunnel.Side{Conn: client.Conn, Buffered: client.Buffered, Each: func(t tunnel.Taker) { client.Sock.Each(client.Conn, t) }},
		tunnel.Side{Conn: up.Conn, Buffered: up.Buffered, Each: func(t tunnel.Taker) { up.Sock.Each(up.Conn, &masking{x: x, t: t}) }},
		x.bookResponse,
	)
	result := t.Run()
	x.sent, x.size = result.Down.Bytes, result.Up.Bytes
	x.settled = true // response by response
	if result.By == tunnel.Upstream && result.Why != tunnel.Closed {
		x.streamFailed("died", result.Err)
	}
	if result.By == tunnel.Client && result.Why == tunnel.HungUp {
		x.noteHangUp()
	}
}

// bookResponse puts one response of a tunnel on the books, and says whether there is room for another.
func (x *exchange) bookResponse(u tunnel.Usage) *tunnel.Farewell {
	x.now = x.g.now()
	x.usage.Tokens = money.Tokens{
		Input: x.usage.Input + u.Input, Cached: x.usage.Cached + u.Cached, Output: x.usage.Output + u.Output,
	}
	x.usage.Estimated = x.usage.Estimated || u.Estimated
	x.g.health.Spent(x.served, u.Input+u.Output)
	x.book(meter.Usage{Tokens: u.Tokens, Estimated: u.Estimated}, false)
	x.between, x.sinceLast = true, x.now
	return x.reserveNext()
}

// reserveNext takes what the session's next response will probably use. If there is no room for it, the session ends: with
// an error event, and a code that says whether it is worth coming back.
func (x *exchange) reserveNext() *tunnel.Farewell {
	if !x.limited() {
		return nil
	}
	f := x.g.limits.Admit(x, &x.reserved, &x.scopes, x.expectation())
	x.leaves.Store(nil)
	if f == nil || x.gone.Load() {
		return nil
	}
	x.noRoom, x.refused = *f, f.Fault()
	message := append([]byte(`{"type":"error","event_id":"`), x.out.RequestID()...)
	message = append(append(message, `",`...), fault.AppendOpenAI(nil, x.refused)[1:]...)
	const policyViolation, tryAgainLater = 1008, 1013 // RFC 6455, 7.4.1, and IANA's registry
	code := uint16(tryAgainLater)
	if f.Terminal() {
		code = policyViolation
	}
	return &tunnel.Farewell{Message: message, Code: code, Reason: x.refused.Code}
}

// closeTunnel ends the connection to the upstream, if there is one.
func (x *exchange) closeTunnel() {
	if x.tunnel != nil {
		_ = x.tunnel.Close()
		x.tunnel = nil
	}
}

// masking takes the account's secret out of what an upstream sends.
type masking struct {
	x    *exchange
	t    tunnel.Taker
	room []byte
}

// Room is the taker's.
func (m *masking) Room() []byte {
	m.room = m.t.Room()
	return m.room
}

// Take masks what came.
func (m *masking) Take(n int, err error) bool {
	m.x.mask(m.room[:n])
	return m.t.Take(n, err)
}
