package responses

import (
	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
)

// event is what an event of a stream says, by the members that matter. Values are raw JSON in the event's own memory.
type event struct {
	kind     []byte
	delta    []byte // a string, with its quotes; nil = none
	text     []byte // of a done event: text, refusal or arguments, with its quotes
	item     []byte
	part     []byte
	response []byte
	itemAt   int // output_index; -1 = unsaid
	partAt   int // content_index or summary_index; -1 = unsaid
}

// parseEvent reads data in one pass; false = it is no JSON object.
func parseEvent(data []byte) (event, bool) {
	e := event{itemAt: -1, partAt: -1}
	s := dialect.Scanner{B: data}
	s.Space()
	if !s.Take('{') {
		return e, false
	}
	why := s.Members(func(key []byte) bool {
		start := s.At
		if !s.Value() {
			return false
		}
		raw := data[start:s.At]
		switch string(key) {
		case "type":
			e.kind = inside(raw)
		case "delta":
			e.delta = text(raw)
		case "text", "refusal", "arguments":
			e.text = text(raw)
		case "item":
			e.item = raw
		case "part":
			e.part = raw
		case "response":
			e.response = raw
		case "output_index":
			e.itemAt = index(raw)
		case "content_index", "summary_index":
			e.partAt = index(raw)
		}
		return true
	})
	s.Space()
	// The scanner bounds the depth, but does not look into strings; what is broken there would break what it is copied to.
	return e, why == "" && s.At == len(data) && gjson.ValidBytes(data)
}

// text is raw if it is a string.
func text(raw []byte) []byte {
	if raw[0] != '"' {
		return nil
	}
	return raw
}

// inside is a string without its quotes.
func inside(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' {
		return nil
	}
	return raw[1 : len(raw)-1]
}

// maxItems bounds how many items a stream may have; no real one comes near.
const maxItems = 4096

// index reads an index; -1 = it is none that a stream could have.
func index(raw []byte) int {
	n := 0
	for _, c := range raw {
		if c < '0' || c > '9' {
			return -1
		}
		if n = n*10 + int(c-'0'); n >= maxItems {
			return -1
		}
	}
	return n
}
