package openai

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// kinds is a set of the parts that a message may hold.
type kinds uint16

func kindsOf(all ...neutral.Kind) (s kinds) {
	for _, k := range all {
		s |= 1 << k
	}
	return s
}

// messageReader reads the messages, one after the other.
type messageReader struct {
	*requestReader
	at     int    // which message it is
	spoken bool   // somebody other than the system has spoken
	called string // the id that stands for the last function_call, which has none
}

// message is one message, its members taken apart.
type message struct {
	role, name, callID                   string
	content, refusal, calls, call        gjson.Result
	reasoningContent, reasoning, details gjson.Result
}

func (q *requestReader) readMessages() {
	if q.fault != nil {
		return
	}
	if !q.messages.IsArray() || empty(q.messages) {
		q.refuse("messages", "must be an array with at least one message")
		return
	}
	m := messageReader{requestReader: q}
	q.messages.ForEach(func(_, v gjson.Result) bool {
		m.message(v)
		m.at++
		return q.fault == nil
	})
}

// refuseAt refuses a field of the message.
func (m *messageReader) refuseAt(field, what string) {
	m.refuse("messages["+strconv.Itoa(m.at)+"]"+field, what)
}

func (m *messageReader) message(v gjson.Result) {
	if !v.IsObject() {
		m.refuseAt("", "must be an object")
		return
	}
	var g message
	m.each(v, func(key string, v gjson.Result) {
		switch key {
		case "role":
			m.text("messages["+strconv.Itoa(m.at)+"].role", v, &g.role)
		case "content":
			g.content = v
		case "name":
			g.name = v.Str
		case "tool_call_id":
			g.callID = v.Str
		case "refusal":
			g.refusal = v
		case "tool_calls":
			g.calls = v
		case "function_call":
			g.call = v
		case "reasoning_content":
			g.reasoningContent = v
		case "reasoning":
			g.reasoning = v
		case "reasoning_details":
			g.details = v
		case "audio":
			m.r.Losses.Add(neutral.LossAudio)
		case "annotations":
			m.r.Losses.AddIf(!empty(v), neutral.LossCitations)
		case "cache_control":
			m.r.Losses.Add(neutral.LossCacheControl)
		default:
			m.r.Losses.Add(neutral.LossUnknownField)
		}
	})
	if m.fault != nil {
		return
	}
	switch g.role {
	case "system", "developer":
		m.system(&g)
	case "user":
		m.user(&g)
	case "assistant":
		m.assistant(&g)
	case "tool", "function":
		m.result(&g)
	case "":
		m.refuseAt(".role", "is required")
	default:
		m.refuseAt(".role", "must be system, developer, user, assistant, tool or function")
	}
}

// say adds to the turn of role, or begins one.
func (m *messageReader) say(role neutral.Role, parts ...neutral.Part) {
	m.spoken = true
	if n := len(m.r.Turns); n > 0 && m.r.Turns[n-1].Role == role {
		last := &m.r.Turns[n-1]
		last.Parts = append(last.Parts, parts...)
		return
	}
	m.r.Turns = append(m.r.Turns, neutral.Turn{Role: role, Parts: parts})
}

func (m *messageReader) system(g *message) {
	m.r.Losses.AddIf(g.name != "", neutral.LossNames)
	parts := m.content(nil, g.content, kindsOf(neutral.Text))
	switch {
	case !m.spoken:
		m.r.System = append(m.r.System, parts...)
	case len(parts) > 0:
		m.say(neutral.System, parts...)
	}
}

func (m *messageReader) user(g *message) {
	m.r.Losses.AddIf(g.name != "", neutral.LossNames)
	parts := m.content(nil, g.content, kindsOf(neutral.Text, neutral.Image, neutral.Audio, neutral.File))
	if len(parts) > 0 {
		m.say(neutral.User, parts...)
	}
}

func (m *messageReader) assistant(g *message) {
	m.r.Losses.AddIf(g.name != "", neutral.LossNames)
	thought := g.reasoningContent
	if !said(thought) {
		thought = g.reasoning
	}
	// An empty message says nothing, and a turn without parts makes no sense elsewhere.
	var parts []neutral.Part
	parts = readReasoning(parts, thought, g.details, &m.r.Losses)
	if g.content.Raw != `""` && said(g.content) {
		parts = m.content(parts, g.content, kindsOf(neutral.Text, neutral.Refusal))
	}
	if g.refusal.Str != "" {
		parts = append(parts, neutral.Part{Kind: neutral.Refusal, Text: g.refusal.Str})
	}
	parts = m.calls(parts, g)
	if len(parts) == 0 {
		if !said(g.content) {
			m.refuseAt(".content", "is required unless tool_calls is given")
		}
		return
	}
	m.say(neutral.Assistant, parts...)
}

func (m *messageReader) calls(parts []neutral.Part, g *message) []neutral.Part {
	if said(g.calls) && !g.calls.IsArray() {
		m.refuseAt(".tool_calls", "must be an array")
		return parts
	}
	i := 0
	m.each(g.calls, func(_ string, v gjson.Result) {
		p := readCall(v)
		switch at := ".tool_calls[" + strconv.Itoa(i) + "]"; {
		case p.ID == "":
			m.refuseAt(at+".id", "is required")
		case p.Name == "":
			m.refuseAt(at+".function.name", "is required")
		}
		parts = append(parts, p)
		i++
	})
	if g.call.IsObject() {
		p := neutral.Part{Kind: neutral.Call, Name: g.call.Get("name").Str, Args: object(g.call.Get("arguments").Str)}
		if p.Name == "" {
			m.refuseAt(".function_call.name", "is required")
		}
		m.called = "call_function_" + strconv.Itoa(m.at)
		p.ID = m.called
		parts = append(parts, p)
	}
	return parts
}

// readCall reads a tool call of a message.
func readCall(v gjson.Result) neutral.Part {
	p := neutral.Part{Kind: neutral.Call, ID: v.Get("id").Str, Signature: callSignature(v.Get("extra_content"))}
	if custom := v.Get("custom"); custom.IsObject() {
		p.Name, p.Args = custom.Get("name").Str, wrapInput(custom.Get("input").Str)
		return p
	}
	function := v.Get("function")
	p.Name = function.Get("name").Str
	args := function.Get("arguments")
	if args.IsObject() { // some servers forget that it is a string
		p.Args = args.Raw
	} else {
		p.Args = object(args.Str)
	}
	return p
}

func (m *messageReader) result(g *message) {
	p := neutral.Part{Kind: neutral.Result, ID: g.callID, Name: g.name}
	if g.role == "function" {
		p.ID = m.called
	}
	switch {
	case p.ID == "" && g.role == "function":
		m.refuseAt(".role", "is function, but no function_call comes before it")
		return
	case p.ID == "":
		m.refuseAt(".tool_call_id", "is required")
		return
	}
	// Images are not OpenAI's, but several servers take them.
	p.Parts = m.content(nil, g.content, kindsOf(neutral.Text, neutral.Image, neutral.File))
	if len(p.Parts) == 1 && p.Parts[0].Kind == neutral.Text && p.Parts[0].Text == "" {
		p.Parts = nil
	}
	m.say(neutral.User, p)
}

// content appends what a message's content says: a string, or an array of parts of which only those in allowed make sense.
func (m *messageReader) content(parts []neutral.Part, v gjson.Result, allowed kinds) []neutral.Part {
	switch {
	case v.Type == gjson.String:
		return append(parts, neutral.Part{Kind: neutral.Text, Text: v.Str})
	case !v.IsArray() || empty(v):
		m.refuseAt(".content", "must be a string or an array of parts")
		return parts
	}
	i := 0
	v.ForEach(func(_, v gjson.Result) bool {
		p, why := m.part(v)
		switch {
		case why.what != "":
			m.refuseAt(".content["+strconv.Itoa(i)+"]"+why.field, why.what)
		case p.Kind == 0:
			m.r.Losses.Add(neutral.LossUnknownPart)
		case allowed&(1<<p.Kind) == 0:
			m.refuseAt(".content["+strconv.Itoa(i)+"].type", "is not allowed in a message of this role")
		default:
			parts = append(parts, p)
		}
		i++
		return m.fault == nil
	})
	return parts
}

// complaint is what is wrong with a part, and in which field.
type complaint struct{ field, what string }

// part reads a part of a message's content; its kind is 0 where nobody here knows it.
func (m *messageReader) part(v gjson.Result) (neutral.Part, complaint) {
	if !v.IsObject() {
		return neutral.Part{}, complaint{"", "must be an object"}
	}
	kind := v.Get("type").Str
	switch kind {
	case "":
		return neutral.Part{}, complaint{".type", "is required"}
	case "text", "refusal":
		text := v.Get(kind)
		if text.Type != gjson.String {
			return neutral.Part{}, complaint{"." + kind, "must be a string"}
		}
		m.unknown(v, "type", kind)
		p := neutral.Part{Kind: neutral.Text, Text: text.Str}
		if kind == "refusal" {
			p.Kind = neutral.Refusal
		}
		return p, complaint{}
	case "image_url":
		m.unknown(v, "type", kind)
		return m.image(v.Get(kind))
	case "input_audio":
		m.unknown(v, "type", kind)
		return m.sound(v.Get(kind))
	case "file":
		m.unknown(v, "type", kind)
		return m.file(v.Get(kind))
	}
	return neutral.Part{}, complaint{}
}

func (m *messageReader) image(v gjson.Result) (neutral.Part, complaint) {
	p := neutral.Part{Kind: neutral.Image}
	address := v // some clients leave the object out
	if v.IsObject() {
		address = v.Get("url")
		m.unknown(v, "url", "detail")
		switch detail := v.Get("detail").Str; detail {
		case "", "low", "high", "auto":
			p.Detail = detail
		default:
			m.r.Losses.Add(neutral.LossImageDetail)
		}
	}
	if address.Str == "" {
		return p, complaint{".image_url.url", "must be a string"}
	}
	if !readAddress(&p, address.Str) {
		return p, complaint{".image_url.url", "must be an http(s) address or a data address in base64"}
	}
	return p, complaint{}
}

// readAddress puts an address into p, taken apart if the data stands in it.
func readAddress(p *neutral.Part, address string) bool {
	rest, ok := strings.CutPrefix(address, "data:")
	if !ok {
		p.URL = address
		return true
	}
	meta, data, ok := strings.Cut(rest, ",")
	meta, coded := strings.CutSuffix(meta, ";base64")
	p.Media, _, _ = strings.Cut(meta, ";")
	p.Data = data
	return ok && coded && data != ""
}

func (m *messageReader) sound(v gjson.Result) (neutral.Part, complaint) {
	p := neutral.Part{Kind: neutral.Audio, Data: v.Get("data").Str}
	m.unknown(v, "data", "format")
	switch v.Get("format").Str {
	case "wav":
		p.Media = "audio/wav"
	case "mp3":
		p.Media = "audio/mpeg"
	default:
		return p, complaint{".input_audio.format", "must be wav or mp3"}
	}
	if p.Data == "" {
		return p, complaint{".input_audio.data", "must be a string"}
	}
	return p, complaint{}
}

func (m *messageReader) file(v gjson.Result) (neutral.Part, complaint) {
	p := neutral.Part{Kind: neutral.File, Name: v.Get("filename").Str, FileID: v.Get("file_id").Str}
	m.unknown(v, "filename", "file_id", "file_data")
	data := v.Get("file_data").Str
	switch {
	case data == "" && p.FileID == "":
		return p, complaint{".file", "must have file_data or file_id"}
	case data == "":
	case p.FileID != "":
		return p, complaint{".file", "must have only one of file_data and file_id"}
	case !strings.HasPrefix(data, "data:"):
		p.Media, p.Data = "application/pdf", data // the only kind that OpenAI takes
	case !readAddress(&p, data):
		return p, complaint{".file.file_data", "must be base64"}
	}
	return p, complaint{}
}
