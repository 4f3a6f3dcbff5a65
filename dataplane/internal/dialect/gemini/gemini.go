// Package gemini is Google's dialect: generateContent and streamGenerateContent, with countTokens, lists of models and
// errors. Answers understands what passes through; Codec carries conversations to and from the neutral form, for clients
// that speak Gemini and for upstreams that do.
//
// It refuses to address or to authenticate anything, to convert embeddings, to carry what only Google's own tools mean
// (each is a loss with a name), and to keep more of a stream than the arguments of one function call, which Google never
// sends in pieces.
package gemini

import (
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// Codec is the dialect's four halves. Its zero value is ready, and safe for concurrent use.
type Codec struct{}

var (
	_ neutral.Reader = Codec{}
	_ neutral.Writer = Codec{}
	_ neutral.Asker  = Codec{}
	_ neutral.Hearer = Codec{}
)

const native = neutral.FromGemini

// Placeholders of Google's own for a signature that a client does not have; they stand for "do not check"
// (https://ai.google.dev/gemini-api/docs/thought-signatures).
const (
	skipSignature    = "skip_thought_signature_validator"
	contextSignature = "context_engineering_is_the_way_to_go"
)

// redacted marks, inside a signature's envelope, reasoning that is nothing but its signature. Gemini has no such part, and
// its SDKs leave out an empty text, so the part's shape cannot say it.
const redacted = "redacted:"

// readSignature reads a part's thoughtSignature. hidden says that the part was a Redacted one.
func readSignature(value string) (sig neutral.Signature, hidden bool) {
	if value == "" || value == skipSignature || value == contextSignature {
		return neutral.Signature{}, false
	}
	sig = neutral.Unwrap(value, native)
	if sig.Origin != native && len(sig.Value) >= len(redacted) && sig.Value[:len(redacted)] == redacted {
		sig.Value = sig.Value[len(redacted):]
		return sig, true
	}
	return sig, false
}

// wrapRedacted writes the content of a Redacted part as a thoughtSignature.
func wrapRedacted(sig neutral.Signature) string {
	sig.Value = redacted + sig.Value
	return sig.Wrap(native)
}

// text is b as a string, without a copy: b must not change as long as the string is in use.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// raw is s as bytes, without a copy: they must not be changed.
func raw(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// camel is a member's name as Google spells it in JSON: its parsers take the name in the .proto (snake_case) as well.
func camel(name string) string {
	i := 1
	for i < len(name) && name[i] != '_' {
		i++
	}
	if i >= len(name) {
		return name
	}
	out := append(make([]byte, 0, len(name)), name[:i]...)
	for up := false; i < len(name); i++ {
		switch c := name[i]; {
		case c == '_':
			up = true
		case up && c >= 'a' && c <= 'z':
			out, up = append(out, c-'a'+'A'), false
		default:
			out, up = append(out, c), false
		}
	}
	return string(out)
}

// member yields the members of an object by their names in camelCase, without those that are null.
func member(v gjson.Result, yield func(name string, v gjson.Result) bool) {
	if !v.IsObject() {
		return
	}
	v.ForEach(func(key, v gjson.Result) bool {
		return v.Type == gjson.Null || yield(camel(key.Str), v)
	})
}

// elements yields what a repeated field holds. Google takes a lone value for a list of one.
func elements(v gjson.Result, yield func(i int, v gjson.Result) bool) {
	if !v.IsArray() {
		if v.Exists() && v.Type != gjson.Null {
			yield(0, v)
		}
		return
	}
	i := 0
	v.ForEach(func(_, v gjson.Result) bool {
		i++
		return yield(i-1, v)
	})
}

// bad says what makes no sense in a request, and where.
type bad struct{ path, why string }

// in puts the place of the value that b is about in front.
func (b *bad) in(where string) *bad {
	switch {
	case b == nil:
		return nil
	case b.path == "":
		return &bad{where, b.why}
	case b.path[0] == '[':
		return &bad{where + b.path, b.why}
	}
	return &bad{where + "." + b.path, b.why}
}

// fault is what the client hears. Paths are names that we know and indexes; nothing of it is the client's own text.
func (b *bad) fault() *fault.Error {
	if b == nil {
		return nil
	}
	if b.path == "" {
		return fault.New(fault.Invalid, "%s", b.why)
	}
	return fault.New(fault.Invalid, "invalid value at '%s': %s", b.path, b.why).WithParam(b.path)
}
