package dialect

import (
	"bytes"
	"encoding/json"

	"fairway/pkg/fault"
)

// maxModel is the longest model name in bytes, as in the resource.
const maxModel = 256

// Span is a range of a body's bytes. The zero value is no range: nothing of interest starts at 0.
type Span struct{ Start, End int }

// Present says whether there is something at all.
func (s Span) Present() bool { return s.End > s.Start }

// Peek is what a body says, by offset.
type Peek struct {
	// Model is what the client asks for. It aliases the body unless the name was spelt with escapes.
	Model []byte
	// ModelAt is the value of "model" with its quotes.
	ModelAt Span
	// ModelsAt are the places behind it where a batch says the same.
	ModelsAt []Span
	// Stream is the value of "stream"; null and absent are false.
	Stream bool
	// UsageAsked: stream_options.include_usage is true.
	UsageAsked bool
	// TextBytes is about how much of the body is text that a model reads: strings that are values, without what looks
	// like encoded binary. For estimates.
	TextBytes int

	// Opening is what the conversation begins with.
	Opening Opening
	// Asks is how much is asked for.
	Asks Asks

	// Form: the body is a multipart form, and ModelAt has no quotes.
	Form bool

	empty       bool // the body has no members
	open        int  // after the body's opening brace
	options     Span // the value of "stream_options"
	optionsNull bool
	optionsNone bool // an object without members
	usage       Span // the value of "include_usage"
	usageSplice bool // it is false or null, so it can be set
	optionsOdd  bool // not an object and not null: the upstream shall say what is wrong with it
}

// PeekBody reads body, which must be one JSON object, in one pass without decoding it. It returns a fault (400) when the
// body is not an object, when "model" is missing, empty, too long or no string, when "stream" is no boolean, and when one
// of the members that routing depends on comes twice, in any spelling that some parser would take for the same name.
// What is inside strings, such as invalid escapes or bytes that are not UTF-8, is left to the upstream. fallback is the
// model where the body may leave it out; "" = it may not.
func PeekBody(body []byte, fallback string) (Peek, *fault.Error) {
	p := Peek{}
	s := Scanner{B: body}
	s.Space()
	if !s.Take('{') {
		return p, invalid("the request body must be a JSON object")
	}
	p.open = s.At
	var seen members
	p.empty = true
	err := s.Members(func(key []byte) bool {
		p.empty = false
		return p.member(&s, key, &seen)
	})
	if err == "" {
		s.Space()
		if s.At != len(body) {
			err = "something follows the JSON object of the request body"
		}
	}
	p.TextBytes = s.Text
	switch {
	case seen.fault != nil:
		return p, seen.fault
	case err != "":
		return p, invalid(err)
	case !seen.model && fallback != "":
		p.Model = []byte(fallback)
	case !seen.model:
		return p, invalid("you must provide a model parameter").WithParam("model")
	}
	return p, nil
}

// PeekObject reads a body that names neither model nor stream: it must be one JSON object.
func PeekObject(body []byte) (Peek, *fault.Error) {
	p := Peek{}
	s := Scanner{B: body}
	s.Space()
	if !s.Take('{') {
		return p, invalid("the request body must be a JSON object")
	}
	p.open = s.At
	err := s.Members(func(key []byte) bool { return p.openingMember(&s, key) })
	if err == "" {
		s.Space()
		if s.At != len(body) {
			err = "something follows the JSON object of the request body"
		}
	}
	if err != "" {
		return p, invalid(err)
	}
	p.TextBytes = s.Text
	return p, nil
}

// members are the facts met so far.
type members struct {
	model, stream, options, usage bool
	fault                         *fault.Error
}

// member reads the value of a top-level member; false = stop, for the reason in seen.fault or in s.why.
func (p *Peek) member(s *Scanner, key []byte, seen *members) bool {
	switch name := known(key); name {
	case "model":
		if !seen.once(&seen.model, name) {
			return false
		}
		return p.model(s, seen)
	case "stream":
		if !seen.once(&seen.stream, name) {
			return false
		}
		start := s.At
		if !s.Value() {
			return false
		}
		switch string(s.B[start:s.At]) {
		case "true":
			p.Stream = true
		case "false", "null":
		default:
			seen.fault = invalid("stream must be a boolean").WithParam("stream")
			return false
		}
		return true
	case "stream_options":
		if !seen.once(&seen.options, name) {
			return false
		}
		return p.streamOptions(s, seen)
	}
	return p.openingMember(s, key)
}

func (p *Peek) model(s *Scanner, seen *members) bool {
	start := s.At
	if !s.Value() {
		return false
	}
	p.ModelAt = Span{start, s.At}
	raw := s.B[start:s.At]
	if raw[0] != '"' {
		seen.fault = invalid("model must be a string").WithParam("model")
		return false
	}
	name, ok := unquote(raw)
	switch {
	case !ok:
		seen.fault = invalid("model is not a valid string").WithParam("model")
	case len(name) == 0:
		seen.fault = invalid("model must not be empty").WithParam("model")
	case len(name) > maxModel:
		seen.fault = invalid("model is too long").WithParam("model")
	}
	p.Model = name
	return seen.fault == nil
}

func (p *Peek) streamOptions(s *Scanner, seen *members) bool {
	start := s.At
	var ok bool
	switch {
	case s.At < len(s.B) && s.B[s.At] == '{':
		s.At++
		p.optionsNone = true
		s.why = s.Members(func(key []byte) bool {
			p.optionsNone = false
			if known(key) != "include_usage" {
				return s.Value()
			}
			if !seen.once(&seen.usage, "include_usage") {
				return false
			}
			at := s.At
			if !s.Value() {
				return false
			}
			p.usage = Span{at, s.At}
			switch string(s.B[at:s.At]) {
			case "true":
				p.UsageAsked = true
			case "false", "null":
				p.usageSplice = true
			}
			return true
		})
		ok = s.why == "" && seen.fault == nil
	default:
		if ok = s.Value(); ok {
			p.optionsNull = string(s.B[start:s.At]) == "null"
			p.optionsOdd = !p.optionsNull
		}
	}
	p.options = Span{start, s.At}
	return ok
}

// once notes that a member was met; a second time is a fault.
func (m *members) once(met *bool, name string) bool {
	if *met {
		m.fault = invalid("the request body has " + name + " more than once").WithParam(name)
		return false
	}
	*met = true
	return true
}

// known returns the canonical name of a member that routing depends on, or "". Parsers differ in what they take for one
// name: escapes are always the same name, and some (Go's) fold case. Whatever any of them could read counts.
func known(raw []byte) string {
	key := raw
	if bytes.IndexByte(key, '\\') >= 0 {
		var s string
		if json.Unmarshal(quoted(key), &s) != nil {
			return ""
		}
		key = []byte(s)
	}
	switch string(key) {
	case "model":
		return "model"
	case "stream":
		return "stream"
	case "stream_options":
		return "stream_options"
	case "include_usage":
		return "include_usage"
	}
	// A folded letter takes up to three bytes (K, U+212A); anything longer cannot match.
	if len(key) < len("model") || len(key) > 3*len("stream_options") {
		return ""
	}
	for _, name := range [...]string{"model", "stream", "stream_options", "include_usage"} {
		// Nearly all keys stop here: only a letter that takes more than one byte makes up for another length.
		if (len(key) == len(name) || !ascii(key)) && bytes.EqualFold(key, []byte(name)) {
			return name
		}
	}
	return ""
}

func ascii(b []byte) bool {
	var all byte
	for _, c := range b {
		all |= c
	}
	return all < 0x80
}

func quoted(raw []byte) []byte {
	out := make([]byte, 0, len(raw)+2)
	out = append(out, '"')
	out = append(out, raw...)
	return append(out, '"')
}

// unquote decodes a JSON string with its quotes, without a copy if it has no escapes.
func unquote(raw []byte) ([]byte, bool) {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		for _, c := range inner {
			if c < 0x20 {
				return nil, false
			}
		}
		return inner, true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, false
	}
	return []byte(s), true
}

func invalid(message string) *fault.Error { return fault.New(fault.Invalid, "%s", message) }
