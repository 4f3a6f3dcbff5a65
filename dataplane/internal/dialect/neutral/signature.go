package neutral

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// Origin is the maker of a signature: nobody else can read it.
type Origin uint8

// The origins.
const (
	FromAnthropic Origin = iota + 1
	FromGemini
	FromOpenAI
)

// Signature is a provider's opaque proof of what its model thought, which it wants back in the next turn.
type Signature struct {
	Value  string // as the provider wrote it; "" = none
	Origin Origin
}

// clone is s with a string of its own.
func (s Signature) clone() Signature { return Signature{strings.Clone(s.Value), s.Origin} }

// wrapped is how signatures begin that a dialect carries for another provider: base64 of "fairway:".
const wrapped = "ZmFpcndheTo"

// Wrap writes the signature for a place that belongs to a dialect of native's: as it is if it is native's own, else in an
// envelope that Unwrap knows. The envelope is base64 (standard alphabet, padded), because Gemini's SDKs decode what
// stands there.
func (s Signature) Wrap(native Origin) string {
	if s.Value == "" || s.Origin == native {
		return s.Value
	}
	return base64.StdEncoding.EncodeToString([]byte("fairway:" + string('0'+rune(s.Origin)) + ":" + s.Value))
}

// HasWrapped says whether a request carries a signature that Wrap has put into an envelope: the provider whose place it
// stands in does not know it, so the request cannot pass as it is.
func HasWrapped(body []byte) bool { return bytes.Contains(body, []byte(wrapped)) }

// Unwrap reads what Wrap wrote for native.
func Unwrap(value string, native Origin) Signature {
	if !strings.HasPrefix(value, wrapped) {
		return Signature{Value: value, Origin: native}
	}
	plain, err := base64.StdEncoding.DecodeString(value)
	inner, ok := strings.CutPrefix(string(plain), "fairway:")
	if err != nil || !ok || len(inner) < 2 || inner[1] != ':' || inner[0] < '1' || inner[0] > '3' {
		return Signature{Value: value, Origin: native}
	}
	return Signature{Value: inner[2:], Origin: Origin(inner[0] - '0')}
}

// For returns the signature's value if it is origin's own, and "" otherwise: a foreign one would make the provider refuse
// the request. Whoever drops one notes LossSignature.
func (s Signature) For(origin Origin) string {
	if s.Origin != origin {
		return ""
	}
	return s.Value
}
