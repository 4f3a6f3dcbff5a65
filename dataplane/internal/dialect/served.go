package dialect

import (
	"bytes"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// ServedObject reads in which way of service a provider says that it served, from a whole JSON object; false = it does not
// say. Only the places where a provider writes it are looked at, so neither what a model wrote nor what an answer repeats of
// its request passes for it.
func ServedObject(b []byte) (resourcev1.ServiceVariant, bool) {
	if !tells(b) {
		return 0, false
	}
	s := Scanner{B: b}
	s.Space()
	if !s.Take('{') {
		return 0, false
	}
	var served serving
	if s.Members(func(key []byte) bool { return served.member(&s, key, 0) }) != "" {
		return 0, false
	}
	return served.variant, served.said
}

// ServedStream reads the same from the events of a stream, of which pieces are given: whole data lines count, and the last
// one that says something.
func ServedStream(piece []byte) (v resourcev1.ServiceVariant, said bool) {
	if !tells(piece) {
		return 0, false
	}
	for len(piece) > 0 {
		line := piece
		if i := bytes.IndexByte(piece, '\n'); i >= 0 {
			line, piece = piece[:i], piece[i+1:]
		} else {
			piece = nil
		}
		data, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		if found, ok := ServedObject(bytes.TrimSpace(data)); ok {
			v, said = found, true
		}
	}
	return v, said
}

// tells says whether b can say it at all: most answers do not, and need not be read again.
func tells(b []byte) bool {
	return bytes.Contains(b, []byte(`"service_tier"`)) || bytes.Contains(b, []byte(`"serviceTier"`)) || bytes.Contains(b, []byte(`"trafficType"`))
}

// serving is what was said so far; what comes later counts.
type serving struct {
	variant resourcev1.ServiceVariant
	said    bool
}

// servedDepth is how deep it stands at most: in message.usage of an event of Messages.
const servedDepth = 2

// member reads the value of one member of an answer, an event, or what is in them at the given depth.
func (v *serving) member(s *Scanner, key []byte, depth int) bool {
	switch string(key) {
	case "service_tier", "serviceTier", "trafficType":
		if !s.open() {
			return v.value(s)
		}
		// Bedrock's is an object.
		return s.Members(func(key []byte) bool {
			if string(key) == "type" {
				return v.value(s)
			}
			return s.Value()
		}) == ""
	case "usage", "usageMetadata", "message", "response":
		if depth == servedDepth || !s.open() {
			return s.Value()
		}
		return s.Members(func(key []byte) bool { return v.member(s, key, depth+1) }) == ""
	}
	return s.Value()
}

// open walks an opening brace, if it is next.
func (s *Scanner) open() bool {
	s.Space()
	return s.Take('{')
}

func (v *serving) value(s *Scanner) bool {
	start := s.At
	if !s.Value() {
		return false
	}
	switch string(s.B[start:s.At]) {
	case `"batch"`, `"BATCH"`:
		v.variant = resourcev1.ServiceVariant_SERVICE_VARIANT_BATCH
	case `"flex"`, `"FLEX"`, `"ON_DEMAND_FLEX"`:
		v.variant = resourcev1.ServiceVariant_SERVICE_VARIANT_FLEX
	case `"priority"`, `"PRIORITY"`, `"ON_DEMAND_PRIORITY"`:
		v.variant = resourcev1.ServiceVariant_SERVICE_VARIANT_PRIORITY
	case "null":
		return true
	default:
		v.variant = 0
	}
	v.said = true
	return true
}
