package tunnel

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"fairway/pkg/h1"
)

// A browser's WebSocket cannot set header fields, so OpenAI's clients put what they would say there into items of
// Sec-WebSocket-Protocol: "realtime, openai-insecure-api-key.<key>, openai-organization.<id>, openai-project.<id>".
const (
	keyItem          = "openai-insecure-api-key."
	organizationItem = "openai-organization."
	projectItem      = "openai-project."
)

// Protocols are the subprotocols that a client offers.
type Protocols struct {
	// Key is the client's credential, empty when it is not among them. It aliases the header and must not go upstream.
	Key []byte
	// Offer is the rest, in order: what goes upstream, and what a choice may be of. Organisations and projects are not in
	// it: they belong to a credential, and the one that goes upstream is another.
	Offer []string
}

// ReadProtocols reads the subprotocols of a handshake. Its error is a *HandshakeError and says nothing of the items.
func ReadProtocols(h Fields) (Protocols, error) {
	var p Protocols
	refuse := func(reason string) error { return &HandshakeError{Status: http.StatusBadRequest, Reason: reason} }
	for _, value := range h(fieldProtocol) {
		for item := range bytes.SplitSeq(value, []byte{','}) {
			if item = h1.Trim(item); len(item) == 0 {
				continue // RFC 9110, 5.6.1: empty elements are ignored
			}
			if !h1.Token(item) {
				return Protocols{}, refuse("Sec-WebSocket-Protocol is not a list of tokens")
			}
			switch key, found := cut(item, keyItem); {
			case found && len(p.Key) > 0:
				// Whoever stands before or behind us might go by the other one.
				return Protocols{}, refuse("more than one API key in Sec-WebSocket-Protocol")
			case found && len(key) == 0:
				return Protocols{}, refuse("an empty API key in Sec-WebSocket-Protocol")
			case found:
				p.Key = key
			case begins(item, organizationItem), begins(item, projectItem):
			case slices.Contains(p.Offer, string(item)):
				return Protocols{}, refuse("Sec-WebSocket-Protocol has an item twice")
			default:
				p.Offer = append(p.Offer, string(item))
			}
		}
	}
	return p, nil
}

// cut takes an item's name off it. In another case it is nothing that OpenAI knows, but still a key that must not go on.
func cut(item []byte, name string) (rest []byte, found bool) {
	if !begins(item, name) {
		return nil, false
	}
	return item[len(name):], true
}

func begins(item []byte, name string) bool {
	return len(item) >= len(name) && strings.EqualFold(string(item[:len(name)]), name)
}

// Value is the field's value that goes upstream; without any there is to be no field.
func (p Protocols) Value() string { return strings.Join(p.Offer, ", ") }
