package tunnel

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 names it, and nothing rests on its strength
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"fairway/pkg/h1"
)

// Version is the value of Sec-WebSocket-Version, the only one there is.
const Version = "13"

// Names of header fields.
const (
	fieldConnection = "Connection"
	fieldUpgrade    = "Upgrade"
	fieldKey        = "Sec-WebSocket-Key"
	fieldAccept     = "Sec-WebSocket-Accept"
	fieldVersion    = "Sec-WebSocket-Version"
	fieldProtocol   = "Sec-WebSocket-Protocol"
	fieldExtensions = "Sec-WebSocket-Extensions"
)

// Fields returns the values of all header fields with a name, in order; the name is in the spelling above, and fields are
// found in any.
type Fields func(name string) [][]byte

// HandshakeError is a request for an upgrade that cannot be granted.
type HandshakeError struct {
	// Status is what to answer; with 426 go "Upgrade: websocket" and Sec-WebSocket-Version.
	Status int
	// Reason is for the client.
	Reason string
}

func (r *HandshakeError) Error() string { return "websocket: " + r.Reason }

// Wants says whether a request asks for an upgrade to WebSocket, rightly or not.
func Wants(h Fields) bool { return listed(h(fieldUpgrade), "websocket") }

// Check checks that a request is a valid opening handshake (RFC 6455, 4.2.1) and returns its key, which aliases the
// header. The error is a *HandshakeError. Extensions that the client offers are its right, and are declined by silence.
func Check(method, proto string, h Fields) (key []byte, err error) {
	refuse := func(status int, reason string) ([]byte, error) {
		return nil, &HandshakeError{Status: status, Reason: reason}
	}
	switch {
	case !listed(h(fieldUpgrade), "websocket") || !listed(h(fieldConnection), "upgrade"):
		return refuse(http.StatusUpgradeRequired, "this path is for WebSocket connections")
	case method != http.MethodGet:
		return refuse(http.StatusMethodNotAllowed, "the method of a WebSocket handshake is GET")
	case proto != "HTTP/1.1":
		return refuse(http.StatusBadRequest, "a WebSocket handshake needs HTTP/1.1")
	case hasBody(h):
		// Its bytes would pass for frames.
		return refuse(http.StatusBadRequest, "a WebSocket handshake has no body")
	}
	if v := h(fieldVersion); len(v) != 1 || string(h1.Trim(v[0])) != Version {
		return refuse(http.StatusUpgradeRequired, "Sec-WebSocket-Version must be 13")
	}
	keys := h(fieldKey)
	if len(keys) != 1 {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key must be there once")
	}
	key = h1.Trim(keys[0])
	var raw [18]byte
	if base64.StdEncoding.DecodedLen(len(key)) != len(raw) {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64")
	}
	if n, err := base64.StdEncoding.Strict().Decode(raw[:], key); err != nil || n != 16 {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return key, nil
}

func hasBody(h Fields) bool {
	for _, length := range h("Content-Length") {
		if string(h1.Trim(length)) != "0" {
			return true
		}
	}
	return len(h("Transfer-Encoding")) > 0
}

// NewKey makes a key for a handshake of our own.
func NewKey() string {
	var raw [16]byte
	// It never fails.
	_, _ = rand.Read(raw[:])
	return base64.StdEncoding.EncodeToString(raw[:])
}

// Accept is what proves that a handshake with the key was understood: the value of Sec-WebSocket-Accept.
func Accept(key string) string {
	//nolint:gosec // RFC 6455, 4.2.2
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// errAnswer begins every error of CheckAnswer.
var errAnswer = errors.New("websocket handshake with the upstream")

// CheckAnswer checks an upstream's answer to a handshake (RFC 6455, 4.2.2) with key that offered these subprotocols and no
// extension, and returns the subprotocol that was chosen, or "". Answers with another status than 101 are the caller's.
func CheckAnswer(status int, h Fields, key string, offered []string) (protocol string, err error) {
	fail := func(what string) (string, error) { return "", fmt.Errorf("%w: %s", errAnswer, what) }
	accept, chosen := h(fieldAccept), h(fieldProtocol)
	switch {
	case status != http.StatusSwitchingProtocols:
		return fail("the status is not 101")
	case !listed(h(fieldUpgrade), "websocket") || !listed(h(fieldConnection), "upgrade"):
		return fail("it does not upgrade to websocket")
	case len(accept) != 1 || string(h1.Trim(accept[0])) != Accept(key):
		return fail("Sec-WebSocket-Accept does not prove that it was understood")
	case len(h(fieldExtensions)) > 0:
		return fail("it uses an extension that was not offered")
	case len(chosen) == 0:
		return "", nil
	case len(chosen) > 1:
		return fail("it chooses more than one subprotocol")
	}
	for _, o := range offered {
		if string(h1.Trim(chosen[0])) == o {
			return o, nil
		}
	}
	return fail("it chooses a subprotocol that was not offered")
}

// listed says whether a list, over all its fields, has a token, which is in lower case; fields have it in any case.
func listed(values [][]byte, token string) bool {
	for _, value := range values {
		if h1.HasToken(value, token) {
			return true
		}
	}
	return false
}
