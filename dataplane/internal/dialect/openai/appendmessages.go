package openai

import (
	"encoding/base64"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// messageWriter writes the messages of a request.
type messageWriter struct {
	r         *neutral.Request
	reasoning bool // the upstream wants the reasoning of earlier turns
	some      bool // a message was written
}

func (m *messageWriter) appendMessages(dst []byte) []byte {
	dst = append(dst, `,"messages":[`...)
	if len(m.r.System) > 0 {
		dst = m.open(dst, "system")
		dst = m.appendContent(dst, m.r.System, kindsOf(neutral.Text))
		dst = append(dst, '}')
	}
	for i := range m.r.Turns {
		switch t := &m.r.Turns[i]; t.Role {
		case neutral.System:
			dst = m.open(dst, "system")
			dst = m.appendContent(dst, t.Parts, kindsOf(neutral.Text))
			dst = append(dst, '}')
		case neutral.User:
			dst = m.appendUser(dst, t.Parts)
		case neutral.Assistant:
			dst = m.appendAssistant(dst, t.Parts)
		}
	}
	return append(dst, ']')
}

// open begins a message.
func (m *messageWriter) open(dst []byte, role string) []byte {
	if m.some {
		dst = append(dst, ',')
	}
	m.some = true
	dst = append(dst, `{"role":"`...)
	dst = append(dst, role...)
	return append(dst, '"')
}

// appendUser writes the results of tools first, each as a message, because they must follow the calls at once. Images and
// files in a result, for which a tool message has no place, lead the user's own message.
func (m *messageWriter) appendUser(dst []byte, parts []neutral.Part) []byte {
	var moved []neutral.Part
	rest := 0
	for i := range parts {
		p := &parts[i]
		if p.Kind != neutral.Result {
			rest++
			continue
		}
		// There is nowhere to say that a tool failed but in its own words.
		m.r.Losses.AddIf(p.Failed, neutral.LossUnknownField)
		dst = m.open(dst, "tool")
		dst = appendText(dst, "tool_call_id", p.ID)
		var texts []neutral.Part
		for j := range p.Parts {
			if inner := &p.Parts[j]; inner.Kind == neutral.Text {
				texts = append(texts, *inner)
			} else {
				moved = append(moved, *inner)
			}
		}
		dst = m.appendContent(dst, texts, kindsOf(neutral.Text))
		dst = append(dst, '}')
	}
	if len(moved)+rest == 0 {
		return dst
	}
	own := parts
	if rest < len(parts) {
		own = moved
		for i := range parts {
			if parts[i].Kind != neutral.Result {
				own = append(own, parts[i])
			}
		}
	}
	dst = m.open(dst, "user")
	dst = m.appendContent(dst, own, kindsOf(neutral.Text, neutral.Image, neutral.Audio, neutral.File))
	return append(dst, '}')
}

func (m *messageWriter) appendAssistant(dst []byte, parts []neutral.Part) []byte {
	var content []neutral.Part
	calls, refused := 0, false
	for i := range parts {
		switch p := &parts[i]; p.Kind {
		case neutral.Call:
			calls++
		case neutral.Refusal:
			refused = true
		case neutral.Think, neutral.Redacted:
			m.r.Losses.AddIf(!m.reasoning && (p.Kind == neutral.Redacted || p.Text != ""), neutral.LossThinking)
			m.r.Losses.AddIf(!m.reasoning && p.Signature.Value != "", neutral.LossSignature)
		default:
			content = append(content, *p)
		}
	}
	dst = m.open(dst, "assistant")
	if len(content) == 0 && (calls > 0 || refused) {
		dst = append(dst, `,"content":null`...)
	} else {
		dst = m.appendContent(dst, content, kindsOf(neutral.Text))
	}
	if m.reasoning {
		dst = appendReasoning(dst, parts)
	}
	if refused {
		dst = append(dst, `,"refusal":"`...)
		for i := range parts {
			if parts[i].Kind == neutral.Refusal {
				dst = dialect.AppendEscaped(dst, parts[i].Text)
			}
		}
		dst = append(dst, '"')
	}
	if calls > 0 {
		dst = append(dst, `,"tool_calls":[`...)
		n := 0
		for i := range parts {
			p := &parts[i]
			if p.Kind != neutral.Call {
				continue
			}
			if n > 0 {
				dst = append(dst, ',')
			}
			n++
			sig := p.Signature
			if !m.reasoning && sig.Value != "" {
				m.r.Losses.Add(neutral.LossSignature)
				sig = neutral.Signature{}
			}
			dst = appendCall(dst, p.ID, p.Name, p.Args, sig)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendCall appends a tool call of a message.
func appendCall(dst []byte, id, name, args string, sig neutral.Signature) []byte {
	dst = append(dst, `{"id":`...)
	dst = dialect.AppendQuoted(dst, id)
	dst = append(dst, `,"type":"function","function":{"name":`...)
	dst = dialect.AppendQuoted(dst, name)
	dst = append(dst, `,"arguments":`...)
	if args == "" {
		args = "{}"
	}
	dst = dialect.AppendQuoted(dst, args)
	dst = append(dst, '}')
	dst = appendCallSignature(dst, sig)
	return append(dst, '}')
}

// appendContent appends the member content: a string where one text is all there is, else an array. Parts that are not
// allowed in the message, or have no form in chat, are lost.
func (m *messageWriter) appendContent(dst []byte, parts []neutral.Part, allowed kinds) []byte {
	dst = append(dst, `,"content":`...)
	if len(parts) == 0 {
		return append(dst, `""`...)
	}
	for i := range parts {
		p := &parts[i]
		m.r.Losses.AddIf(p.Kind == neutral.Text && p.Signature.Value != "", neutral.LossSignature)
		m.r.Losses.AddIf(plainText(p) && p.Name != "", neutral.LossNames)
	}
	if len(parts) == 1 && parts[0].Kind == neutral.Text {
		return dialect.AppendQuoted(dst, parts[0].Text)
	}
	start := len(dst)
	dst = append(dst, '[')
	for i := range parts {
		at := len(dst)
		if at > start+1 {
			dst = append(dst, ',')
		}
		next, ok := dst, false
		if allowed&(1<<parts[i].Kind) != 0 {
			next, ok = appendPart(dst, &parts[i])
		}
		if !ok {
			m.r.Losses.Add(lossOf(parts[i].Kind))
			dst = dst[:at]
			continue
		}
		dst = next
	}
	if len(dst) == start+1 {
		return append(dst[:start], `""`...)
	}
	return append(dst, ']')
}

// lossOf is the loss that a part is where it cannot be said.
func lossOf(k neutral.Kind) neutral.Loss {
	switch k {
	case neutral.Image:
		return neutral.LossImages
	case neutral.File:
		return neutral.LossFiles
	case neutral.Audio:
		return neutral.LossAudio
	}
	return neutral.LossUnknownPart
}

// appendPart appends one part of a content; false = chat has no form for it.
func appendPart(dst []byte, p *neutral.Part) ([]byte, bool) {
	switch p.Kind {
	case neutral.Text:
		dst = append(dst, `{"type":"text","text":`...)
		dst = dialect.AppendQuoted(dst, p.Text)
		return append(dst, '}'), true
	case neutral.Image:
		if p.Data == "" && p.URL == "" {
			return dst, false
		}
		dst = append(dst, `{"type":"image_url","image_url":{"url":`...)
		dst = appendAddress(dst, p.Media, p.Data, p.URL)
		dst = appendText(dst, "detail", p.Detail)
		return append(dst, `}}`...), true
	case neutral.Audio:
		format := ""
		switch p.Media {
		case "audio/wav", "audio/x-wav", "audio/wave":
			format = "wav"
		case "audio/mpeg", "audio/mp3":
			format = "mp3"
		}
		if format == "" || p.Data == "" {
			return dst, false
		}
		dst = append(dst, `{"type":"input_audio","input_audio":{"data":`...)
		dst = dialect.AppendQuoted(dst, p.Data)
		dst = appendText(dst, "format", format)
		return append(dst, `}}`...), true
	case neutral.File:
		return appendFile(dst, p)
	}
	return dst, false
}

// plainText says whether p is a file of text. Chat takes only PDF as a file, so it is said as text.
func plainText(p *neutral.Part) bool {
	return p.Kind == neutral.File && p.Data != "" && strings.HasPrefix(p.Media, "text/")
}

func appendFile(dst []byte, p *neutral.Part) ([]byte, bool) {
	switch {
	case plainText(p):
		text, err := base64.StdEncoding.DecodeString(p.Data)
		if err != nil {
			return dst, false
		}
		dst = append(dst, `{"type":"text","text":`...)
		dst = dialect.AppendQuoted(dst, strings.ToValidUTF8(string(text), "\uFFFD"))
		return append(dst, '}'), true
	case p.Data != "":
		name := p.Name
		if name == "" {
			name = "file" // chat insists on one
		}
		dst = append(dst, `{"type":"file","file":{"filename":`...)
		dst = dialect.AppendQuoted(dst, name)
		dst = append(dst, `,"file_data":`...)
		dst = appendAddress(dst, p.Media, p.Data, "")
		return append(dst, `}}`...), true
	case p.FileID != "":
		dst = append(dst, `{"type":"file","file":{"file_id":`...)
		dst = dialect.AppendQuoted(dst, p.FileID)
		dst = appendText(dst, "filename", p.Name)
		return append(dst, `}}`...), true
	}
	return dst, false
}

// appendAddress appends, as a JSON string, where something is: the address itself, or one with the data in it.
func appendAddress(dst []byte, media, data, url string) []byte {
	if data == "" {
		return dialect.AppendQuoted(dst, url)
	}
	if media == "" {
		media = "application/octet-stream"
	}
	dst = append(dst, `"data:`...)
	dst = dialect.AppendEscaped(dst, media)
	dst = append(dst, `;base64,`...)
	dst = dialect.AppendEscaped(dst, data)
	return append(dst, '"')
}
