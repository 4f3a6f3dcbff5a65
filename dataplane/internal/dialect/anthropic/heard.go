package anthropic

import "fairway/dataplane/internal/dialect"

// heard is an event taken apart. All are raw values of data; nil = absent.
type heard struct {
	kind, index            []byte
	message, block, usage  []byte
	delta                  bool
	deltaKind              []byte
	text, json, thought    []byte
	signature              []byte
	stopReason, stopString []byte
	container              []byte
}

// inside is a JSON string without its quotes; nil for everything else.
func inside(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' {
		return nil
	}
	return raw[1 : len(raw)-1]
}

// read takes an event apart; false = it is no JSON object.
func (h *heard) read(data []byte) bool {
	s := dialect.Scanner{B: data}
	s.Space()
	if !s.Take('{') {
		return false
	}
	return s.Members(func(key []byte) bool {
		switch string(key) {
		case "type":
			return keep(&s, &h.kind)
		case "index":
			return keep(&s, &h.index)
		case "delta":
			h.delta = true
			return members(&s, func(key []byte) bool { return h.readDelta(&s, key) })
		case "message":
			return keep(&s, &h.message)
		case "content_block":
			return keep(&s, &h.block)
		case "usage":
			return keep(&s, &h.usage)
		}
		return s.Value()
	}) == ""
}

func (h *heard) readDelta(s *dialect.Scanner, key []byte) bool {
	switch string(key) {
	case "type":
		return keep(s, &h.deltaKind)
	case "text":
		return keep(s, &h.text)
	case "partial_json":
		return keep(s, &h.json)
	case "thinking":
		return keep(s, &h.thought)
	case "signature":
		return keep(s, &h.signature)
	case "stop_reason":
		return keep(s, &h.stopReason)
	case "stop_sequence":
		return keep(s, &h.stopString)
	case "container":
		return keep(s, &h.container)
	}
	return s.Value()
}

// keep walks a value and remembers where it was.
func keep(s *dialect.Scanner, into *[]byte) bool {
	start := s.At
	if !s.Value() {
		return false
	}
	*into = s.B[start:s.At]
	return true
}
