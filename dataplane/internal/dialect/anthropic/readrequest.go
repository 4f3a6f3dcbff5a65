package anthropic

import (
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// reader reads one request or response. The first thing that makes no sense is kept; after it the rest does not matter.
type reader struct {
	losses neutral.Losses
	fault  *fault.Error
	within int // documents and search results that the block at hand is inside of
}

// refuse notes that the value at param makes no sense.
func (r *reader) refuse(param, message string) {
	if r.fault == nil {
		r.fault = fault.New(fault.Invalid, "%s", param+" "+message).WithParam(param)
	}
}

// ReadRequest implements neutral.Reader. It reads requests for counts of tokens too, so max_tokens may be missing.
func (Codec) ReadRequest(body []byte, model string, stream bool) (*neutral.Request, *fault.Error) {
	if !escapesHold(body) {
		return nil, fault.New(fault.Invalid, "the request body has a string with an invalid escape")
	}
	r := &reader{}
	q := &neutral.Request{Model: model, Stream: stream}
	var messages bool
	gjson.Parse(view(body)).ForEach(func(key, v gjson.Result) bool {
		if key.Str == "messages" {
			messages = true
		}
		r.member(q, key.Str, v)
		return r.fault == nil
	})
	if !messages {
		r.refuse("messages", "is required")
	}
	if r.fault != nil {
		return nil, r.fault
	}
	q.Losses = r.losses
	return q, nil
}

// member reads one member of a request.
func (r *reader) member(q *neutral.Request, name string, v gjson.Result) {
	switch name {
	case "model", "stream", "anthropic_version", "anthropic_beta", "betas":
		// The path or the peek said the first two; the others are the API's form, not the conversation.
	case "messages":
		q.Turns = r.turns(v)
	case "system":
		if v.Type != gjson.Null {
			q.System = r.texts(v, place{turn: inSystem, part: whole, inner: whole})
		}
	case "max_tokens":
		q.MaxTokens = r.number(v, name)
	case "temperature":
		q.Temperature = r.number(v, name)
	case "top_p":
		q.TopP = r.number(v, name)
	case "top_k":
		q.TopK = r.number(v, name)
	case "stop_sequences":
		q.Stop = r.strings(v, name)
	case "tools":
		q.Tools = r.tools(v)
	case "tool_choice":
		r.choice(q, v)
	case "thinking":
		r.thinking(q, v)
	case "output_config":
		r.output(q, v)
	case "output_format":
		r.format(q, v, name)
	case "metadata":
		r.metadata(q, v)
	case "service_tier":
		switch v.Str {
		case "auto":
			q.Tier = "auto"
		case "standard_only":
			q.Tier = "default"
		default:
			r.losses.AddIf(v.Type != gjson.Null, neutral.LossTier)
		}
	case "speed":
		r.losses.AddIf(v.Type != gjson.Null && v.Str != "standard", neutral.LossTier)
	case "cache_control":
		r.losses.AddIf(v.Type != gjson.Null, neutral.LossCacheControl)
	case "mcp_servers":
		r.losses.AddIf(v.IsArray() && v.Get("#").Int() > 0, neutral.LossServerTools)
	case "container":
		r.losses.AddIf(v.Type != gjson.Null, neutral.LossState)
	case "context_management":
		r.losses.AddIf(v.Type != gjson.Null, neutral.LossTruncation)
	default:
		r.losses.AddIf(v.Type != gjson.Null, neutral.LossUnknownField)
	}
}

// number reads a JSON number as it is written; null is absent.
func (r *reader) number(v gjson.Result, param string) neutral.Number {
	switch v.Type {
	case gjson.Null:
		return ""
	case gjson.Number:
		return neutral.Number(v.Raw)
	}
	r.refuse(param, "must be a number")
	return ""
}

// flag reads a boolean; null is absent.
func (r *reader) flag(v gjson.Result, param string) *bool {
	switch v.Type {
	case gjson.Null:
		return nil
	case gjson.True, gjson.False:
		b := v.Bool()
		return &b
	}
	r.refuse(param, "must be a boolean")
	return nil
}

// str reads a string that must be there.
func (r *reader) str(v gjson.Result, param string) string {
	if v.Type != gjson.String {
		r.refuse(param, "must be a string")
	}
	return v.Str
}

// need is str for a member of what is at a place; its path is written only where something is wrong.
func (r *reader) need(v gjson.Result, at place, field string) string {
	if v.Type != gjson.String {
		r.refuse(at.field(field), "must be a string")
	}
	return v.Str
}

// yes reads a boolean member of what is at a place; null and absent are false.
func (r *reader) yes(v gjson.Result, at place, field string) bool {
	if v.Type != gjson.Null && !v.IsBool() {
		r.refuse(at.field(field), "must be a boolean")
	}
	return v.Type == gjson.True
}

func (r *reader) strings(v gjson.Result, param string) []string {
	if v.Type == gjson.Null {
		return nil
	}
	if !v.IsArray() {
		r.refuse(param, "must be an array of strings")
		return nil
	}
	var out []string
	v.ForEach(func(_, s gjson.Result) bool {
		out = append(out, r.str(s, param+"["+strconv.Itoa(len(out))+"]"))
		return r.fault == nil
	})
	return out
}

func (r *reader) metadata(q *neutral.Request, v gjson.Result) {
	if v.Type == gjson.Null {
		return
	}
	if !v.IsObject() {
		r.refuse("metadata", "must be an object")
		return
	}
	v.ForEach(func(key, value gjson.Result) bool {
		switch {
		case value.Type == gjson.Null:
		case key.Str == "user_id":
			q.User = r.str(value, "metadata.user_id")
		default:
			r.losses.Add(neutral.LossMetadata)
		}
		return r.fault == nil
	})
}

// turns reads the messages. Neighbours of one role become one turn, and what says nothing is none.
func (r *reader) turns(v gjson.Result) []neutral.Turn {
	if !v.IsArray() {
		r.refuse("messages", "must be an array")
		return nil
	}
	var turns []neutral.Turn
	n := 0
	v.ForEach(func(_, m gjson.Result) bool {
		role, parts := r.message(m, place{turn: n, part: whole, inner: whole})
		n++
		switch last := len(turns) - 1; {
		case len(parts) == 0:
		case last >= 0 && turns[last].Role == role:
			turns[last].Parts = append(turns[last].Parts, parts...)
		default:
			turns = append(turns, neutral.Turn{Role: role, Parts: parts})
		}
		return r.fault == nil
	})
	if n == 0 {
		r.refuse("messages", "must not be empty")
	}
	return turns
}

func (r *reader) message(m gjson.Result, at place) (neutral.Role, []neutral.Part) {
	if !m.IsObject() {
		r.refuse(at.String(), "must be an object")
		return 0, nil
	}
	var content, role gjson.Result
	m.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "role":
			role = v
		case "content":
			content = v
		default:
			r.losses.AddIf(v.Type != gjson.Null, neutral.LossUnknownField)
		}
		return true
	})
	switch role.Str {
	case "user":
		return neutral.User, r.parts(content, at, neutral.User)
	case "assistant":
		return neutral.Assistant, r.parts(content, at, neutral.Assistant)
	case "system":
		return neutral.System, r.texts(content, at)
	}
	r.refuse(at.field("role"), "must be user, assistant or system")
	return 0, nil
}

// place is where a block or a tool stands.
type place struct{ turn, part, inner int }

// whole: not a block but what holds it; inSystem, inTools: not in a message, but in the system text or the tools.
const (
	whole    = -1
	inSystem = -2
	inTools  = -3
)

// String is the path of the block, as in "messages[2].content[0]".
func (p place) String() string {
	var path string
	switch p.turn {
	case inSystem:
		path = "system"
	case inTools:
		path = "tools"
	default:
		path = "messages[" + strconv.Itoa(p.turn) + "]"
	}
	for _, n := range [...]int{p.part, p.inner} {
		if n == whole {
			break
		}
		if p.turn >= 0 {
			path += ".content"
		}
		path += "[" + strconv.Itoa(n) + "]"
	}
	return path
}

func (p place) field(name string) string { return p.String() + "." + name }

// content is the path of the content at p.
func (p place) content() string {
	if p.turn == inSystem {
		return p.String()
	}
	return p.field("content")
}

// block is the place of the nth block at p.
func (p place) block(n int) place {
	if p.part == whole {
		p.part = n
	} else {
		p.inner = n
	}
	return p
}
