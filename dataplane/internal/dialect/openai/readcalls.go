package openai

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// maxCalls is how many tool calls of one answer may be open at once.
const maxCalls = 1024

// callList is the tool calls of a stream that have not ended, in the order in which they came.
type callList struct {
	open []*openCall
	held int // bytes of arguments that came before the name or the id
}

// openCall is a call of which more may come.
type openCall struct {
	index     int64 // as the upstream says it; -1 = it does not
	part      int
	id, name  string
	begun     bool
	held      []byte // arguments that came before the name or the id, still escaped
	args      argsEnd
	signature neutral.Signature
}

// call takes a piece of a tool call: an element of tool_calls.
func (r *eventReader) call(v gjson.Result, emit neutral.Emit) {
	if !v.IsObject() {
		return
	}
	index, id := int64(-1), ""
	var function, extra gjson.Result
	v.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "index":
			if v.Type == gjson.Number {
				index = int64(v.Num)
			}
		case "id":
			id = v.Str
		case "function":
			function = v
		case "extra_content":
			extra = v
		}
		return true
	})
	r.function(index, id, function, extra, emit)
}

// function takes what a piece of a tool call says of its function.
func (r *eventReader) function(index int64, id string, function, extra gjson.Result, emit neutral.Emit) {
	if r.over {
		return
	}
	name := ""
	var args gjson.Result
	if function.IsObject() {
		function.ForEach(func(key, v gjson.Result) bool {
			switch key.Str {
			case "name":
				name = v.Str
			case "arguments":
				args = v
			}
			return true
		})
	}
	c := r.calls.find(index, id, name)
	if c == nil {
		if len(r.calls.open) == maxCalls {
			r.tooMuch(emit)
			return
		}
		r.endWords(neutral.Signature{}, emit)
		r.endCalls(false, emit)
		c = &openCall{index: index, part: r.parts}
		r.parts++
		r.calls.open = append(r.calls.open, c)
	}
	if !c.begun {
		if c.id == "" {
			c.id = strings.Clone(id)
		}
		if c.name == "" {
			c.name = strings.Clone(name)
		}
	}
	if sig := callSignature(extra); sig.Value != "" {
		sig.Value = strings.Clone(sig.Value)
		c.signature = sig
	}
	r.arguments(c, args, emit)
}

// tooMuch fails a stream that would have us hold more of it than we do.
func (r *eventReader) tooMuch(emit neutral.Emit) {
	r.fail(emit, &dialect.UpstreamError{Status: 502, Message: "the upstream's stream has too much open at once"})
}

// find is the open call that a piece belongs to; nil = it begins a new one. Some upstreams say no index, some the same for
// all, some no id, and some repeat the name in each piece.
func (l *callList) find(index int64, id, name string) *openCall {
	for _, c := range slices.Backward(l.open) {
		switch {
		case index >= 0 && c.index != index:
			continue
		case index < 0 && id != "" && c.id != "" && c.id != id:
			continue
		}
		differs := id != "" && c.id != "" && c.id != id
		if name != "" && c.name != "" && (differs || id == "" && c.args.whole) {
			return nil
		}
		return c
	}
	return nil
}

func (r *eventReader) arguments(c *openCall, args gjson.Result, emit neutral.Emit) {
	var raw []byte
	switch {
	case args.Type == gjson.String:
		s := inside(args)
		raw = unsafe.Slice(unsafe.StringData(s), len(s))
	case args.IsObject(): // some servers forget that it is a string
		raw = dialect.AppendEscaped(nil, args.Raw)
	}
	c.args.add(raw)
	if !c.begun && (c.id == "" || c.name == "") {
		if r.calls.held += len(raw); r.calls.held > neutral.MaxHeld {
			r.tooMuch(emit)
			return
		}
		c.held = append(c.held, raw...)
		return
	}
	r.beginCall(c, emit)
	if len(raw) > 0 {
		r.event = neutral.Event{Kind: neutral.Delta, Raw: raw}
		r.put(c.part, emit)
	}
}

// beginCall begins the part of a call, if it has not, with what came before it could.
func (r *eventReader) beginCall(c *openCall, emit neutral.Emit) {
	if c.begun {
		return
	}
	c.begun, r.called = true, true
	r.event = neutral.Event{Kind: neutral.PartBegin, Part: neutral.Call, ID: c.id, Name: c.name}
	r.put(c.part, emit)
	if len(c.held) > 0 {
		r.event = neutral.Event{Kind: neutral.Delta, Raw: c.held}
		r.put(c.part, emit)
		r.calls.held -= len(c.held)
		c.held = nil
	}
}

// endCalls ends the calls whose arguments are whole, or all of them. Others may go on beside what comes next.
func (r *eventReader) endCalls(all bool, emit neutral.Emit) {
	if len(r.calls.open) == 0 {
		return
	}
	left := r.calls.open[:0]
	for _, c := range r.calls.open {
		switch {
		case !all && !c.args.whole:
			left = append(left, c)
			continue
		case c.begun:
		case c.name == "" && len(c.held) == 0:
			continue // an empty piece behind the end of its call
		case c.name == "":
			r.fail(emit, &dialect.UpstreamError{Status: 502, Message: "the upstream's stream has a tool call without a name"})
			return
		case c.id == "":
			c.id = newCallID()
		}
		if r.over {
			return
		}
		r.beginCall(c, emit)
		r.event = neutral.Event{Kind: neutral.PartEnd, Signature: c.signature}
		r.put(c.part, emit)
	}
	clear(r.calls.open[len(left):])
	r.calls.open = left
}

// argsEnd finds the end of a JSON object that comes in pieces, each the inside of a JSON string: nothing else tells when a
// call is whole before the stream ends, and without it every call but the first would have to wait until then.
type argsEnd struct {
	depth         int
	quoted, slash bool
	whole         bool
}

func (a *argsEnd) add(raw []byte) {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '\\' && i+1 < len(raw) {
			i++
			switch raw[i] {
			case '"', '\\', '/':
				c = raw[i]
			case 'u':
				c = unescape(raw[i+1:])
				i += 4
			default:
				c = ' '
			}
		}
		switch {
		case a.slash:
			a.slash = false
		case a.quoted:
			a.slash = c == '\\'
			a.quoted = c != '"'
		case c == '"':
			a.quoted = true
		case c == '{' || c == '[':
			a.depth++
		case c == '}' || c == ']':
			a.depth--
			a.whole = a.depth <= 0
		}
	}
}

// unescape is the ASCII character that four hexadecimal digits stand for; a space for every other.
func unescape(digits []byte) byte {
	if len(digits) < 4 || digits[0] != '0' || digits[1] != '0' {
		return ' '
	}
	n := 0
	for _, d := range digits[2:4] {
		switch {
		case d >= '0' && d <= '9':
			n = n<<4 | int(d-'0')
		default:
			n = n<<4 | int(d|0x20-'a'+10)
		}
	}
	if n >= 0x80 {
		return ' '
	}
	return byte(n)
}
