package fakellm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/coder/websocket"
)

// realtimePath is OpenAI's realtime API over WebSocket.
const realtimePath = "/v1/realtime"

// realtimeProtocol is the one subprotocol that is served.
const realtimeProtocol = "realtime"

func isRealtime(r *http.Request) bool { return r.URL.Path == realtimePath }

// inspectUpgrade returns what is wrong with the handshake, beyond what is asked of every request.
func inspectUpgrade(r *http.Request) []*apiError {
	var found []*apiError
	bad := func(param, format string, args ...any) {
		found = append(found, badRequest("gateway_violation", param, format, args...))
	}
	once := func(name, value string) {
		if got := r.Header.Values(name); len(got) != 1 || !strings.EqualFold(got[0], value) {
			bad(name, "header %s is %q, not %s", name, got, value)
		}
	}
	once("Upgrade", "websocket")
	once("Connection", "upgrade")
	once("Sec-Websocket-Version", "13")
	if n := len(r.Header.Values("Sec-Websocket-Key")); n != 1 {
		bad("Sec-WebSocket-Key", "header Sec-WebSocket-Key came %d times", n)
	}
	// Compressed messages cannot be metered; and where the client's page is from is nobody else's business.
	for _, name := range []string{"Sec-Websocket-Extensions", "Origin"} {
		if len(r.Header.Values(name)) > 0 {
			bad(name, "header %s must not come through", name)
		}
	}
	for _, item := range tokens(r.Header.Values("Sec-Websocket-Protocol")) {
		switch {
		case strings.HasPrefix(item, "openai-insecure-api-key."):
			bad("Sec-WebSocket-Protocol", "a credential is among the subprotocols")
		case item != realtimeProtocol:
			bad("Sec-WebSocket-Protocol", "subprotocol %q is not served", item)
		}
	}
	if n := len(r.URL.Query()["model"]); n != 1 {
		bad("model", "the query has %d models", n)
	}
	return found
}

// serveRealtime answers the handshake as the behaviour says, and holds the session.
func (x *exchange) serveRealtime(ctx context.Context) {
	b := x.behaviour
	x.request.Model, x.request.Stream = x.r.URL.Query().Get("model"), true
	if !x.p.serves(x.request.Model) {
		x.p.refuse(x.w, x.r, unknownModel(x.request.Model))
		return
	}
	if !x.pause(b.Delay) || b.Hold != nil && b.HoldEvents == 0 && !x.hold() {
		return
	}
	switch {
	case b.CloseBeforeBytes:
		abort(x.w, FIN)
		return
	case b.StatusCode != 0:
		faultOf(b.StatusCode, b.ErrorCode).write(x.w, b.RetryAfter)
		return
	}
	keeper := &connKeeper{ResponseWriter: x.w}
	conn, err := websocket.Accept(keeper, x.r, &websocket.AcceptOptions{
		Subprotocols: []string{realtimeProtocol}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		// It has answered, and said why.
		x.p.violate("%s %s: the handshake is refused", x.r.Method, safePath(x.r))
		return
	}
	conn.SetReadLimit(x.p.maxBody)
	ctx, end := context.WithCancel(ctx)
	s := &session{x: x, request: x.request, conn: conn, raw: keeper.conn, came: make(chan []byte)}
	x.r = x.r.WithContext(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer end()
		s.read(ctx)
	}()
	s.run(ctx)
	end()
	_ = conn.CloseNow()
	<-read
}

// connKeeper remembers the connection that was taken over: a session that is to die badly needs it.
type connKeeper struct {
	http.ResponseWriter
	conn net.Conn
}

func (k *connKeeper) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(k.ResponseWriter).Hijack()
	k.conn = conn
	return conn, rw, err
}

// session is one realtime connection. run owns everything but the reading.
type session struct {
	x       *exchange
	request Request // the handshake
	conn    *websocket.Conn
	raw     net.Conn
	came    chan []byte
	gone    atomic.Bool // the client left without a Close frame
	events  int64       // event ids
	items   int64       // words of the conversation's items
}

// read hands over messages until the client is gone, which ends the session's context.
func (s *session) read(ctx context.Context) {
	for {
		kind, message, err := s.conn.Read(ctx)
		if err != nil {
			var closed websocket.CloseError
			s.gone.Store(!errors.As(err, &closed) && ctx.Err() == nil)
			return
		}
		if kind != websocket.MessageText {
			s.x.p.violate("%s: a message is not text", realtimePath)
			continue
		}
		if fault := inspectBody(message); fault != nil {
			s.x.p.violate("%s: %s", realtimePath, fault.message)
		}
		select {
		case s.came <- message:
		case <-ctx.Done():
			return
		}
	}
}

// run answers the client's events one by one.
func (s *session) run(ctx context.Context) {
	if !s.send(ctx, s.sessionEvent("session.created")) {
		return
	}
	for {
		select {
		case <-ctx.Done():
			if s.gone.Load() {
				s.x.p.noteCanceled(s.request)
			}
			return
		case message := <-s.came:
			if !s.answer(ctx, message) {
				return
			}
		}
	}
}

// clientEvent is what of a client's event is looked at.
type clientEvent struct {
	Type string `json:"type"`
	Item struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	} `json:"item"`
	Response struct {
		Instructions    string            `json:"instructions"`
		MaxOutputTokens json.RawMessage   `json:"max_output_tokens"`
		Metadata        map[string]string `json:"metadata"`
	} `json:"response"`
}

// answer answers one event; false ends the session.
func (s *session) answer(ctx context.Context, message []byte) bool {
	var e clientEvent
	if fault := decodeInto(message, &e); fault != nil {
		return s.send(ctx, s.errorEvent(fault))
	}
	switch e.Type {
	case "session.update":
		return s.send(ctx, s.sessionEvent("session.updated"))
	case "conversation.item.create":
		for _, part := range e.Item.Content {
			s.items += words(part.Text)
		}
		return s.send(ctx, s.event("conversation.item.added", `"item":{"object":"realtime.item","type":"message","role":"user"}`))
	case "input_audio_buffer.append":
		return true
	case "response.create":
		return s.respond(ctx, e)
	}
	return s.send(ctx, s.errorEvent(badRequest("invalid_value", "type", "Invalid value: '%s'.", e.Type)))
}

// send writes one event; false = the client is gone.
func (s *session) send(ctx context.Context, event []byte) bool {
	return s.conn.Write(ctx, websocket.MessageText, event) == nil
}
