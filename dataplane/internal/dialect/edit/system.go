package edit

import (
	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
)

// AppendSystem appends body, a request of op, with text before its system prompt. A body whose system prompt is of a shape
// that no API of the dialect has stays as it is, for the upstream to refuse; so does every operation that has none.
func AppendSystem(dst, body []byte, op operation.Operation, text string) []byte {
	switch op {
	case operation.Chat:
		return append(dst, first(body, "messages", func(b []byte) []byte {
			b = append(b, `{"role":"system","content":`...)
			b = dialect.AppendQuoted(b, text)
			return append(b, '}')
		})...)
	case operation.Responses:
		return append(dst, before(body, "instructions", text, nil)...)
	case operation.Messages, operation.CountTokens:
		return append(dst, before(body, "system", text, func(b []byte) []byte {
			b = append(b, `{"type":"text","text":`...)
			b = dialect.AppendQuoted(b, text)
			return append(b, '}')
		})...)
	case operation.Generate, operation.StreamGenerate:
		return append(dst, geminiSystem(body, text)...)
	case operation.Converse, operation.ConverseStream:
		part := func(b []byte) []byte {
			b = append(b, `{"text":`...)
			b = dialect.AppendQuoted(b, text)
			return append(b, '}')
		}
		if _, ok := find(body, []string{"system"}); !ok {
			return append(dst, put(body, []string{"system"}, append(part([]byte{'['}), ']'), true)...)
		}
		return append(dst, first(body, "system", part)...)
	}
	return append(dst, body...)
}

// first puts an item at the front of the array that name holds.
func first(body []byte, name string, item func([]byte) []byte) []byte {
	m, ok := find(body, []string{name})
	if !ok || body[m.value.Start] != '[' {
		return body
	}
	b := item(nil)
	s := dialect.Scanner{B: body, At: m.value.Start + 1}
	s.Space()
	if body[s.At] != ']' {
		b = append(b, ',')
	}
	return splice(body, dialect.Span{Start: m.value.Start + 1, End: m.value.Start + 1}, b)
}

// before puts text before the string that name holds, or makes one; into an array goes item instead.
func before(body []byte, name, text string, item func([]byte) []byte) []byte {
	m, ok := find(body, []string{name})
	if ok && body[m.value.Start] == '[' && item != nil {
		return first(body, name, item)
	}
	if ok && body[m.value.Start] == '"' {
		// The rest of the string stays as it was written.
		b := dialect.AppendQuoted(nil, text+"\n\n")
		if body[m.value.Start+1] == '"' {
			b = dialect.AppendQuoted(nil, text)
		}
		return splice(body, dialect.Span{Start: m.value.Start, End: m.value.Start + 1}, b[:len(b)-1])
	}
	if ok && string(body[m.value.Start:m.value.End]) != "null" {
		return body
	}
	return put(body, []string{name}, dialect.AppendQuoted(nil, text), true)
}

func geminiSystem(body []byte, text string) []byte {
	name := "systemInstruction"
	if _, ok := find(body, []string{name}); !ok {
		if _, ok := find(body, []string{"system_instruction"}); ok {
			name = "system_instruction"
		}
	}
	part := dialect.AppendQuoted([]byte(`{"text":`), text)
	part = append(part, '}')
	m, ok := find(body, []string{name, "parts"})
	if !ok {
		content := append([]byte(`{"parts":[`), part...)
		return put(body, []string{name}, append(content, `]}`...), true)
	}
	if !gjson.ParseBytes(body[m.value.Start:m.value.End]).IsArray() {
		return body
	}
	s := dialect.Scanner{B: body, At: m.value.Start + 1}
	s.Space()
	if body[s.At] != ']' {
		part = append(part, ',')
	}
	return splice(body, dialect.Span{Start: m.value.Start + 1, End: m.value.Start + 1}, part)
}
