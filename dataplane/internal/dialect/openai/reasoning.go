package openai

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// Chat has no place of its own for reasoning. Servers and clients that know it use two: reasoning_content (or reasoning), a
// string, and reasoning_details, an array of {"type","text","signature","data","format","index"}, where format says whose
// signature it is. Signatures of tool calls stand where Google put them: extra_content.google.thought_signature.

// readReasoning appends the reasoning of a message. Neighbouring pieces of text with one index are one thought, up to the
// piece with its signature: clients that collect a stream keep the pieces. Where the details hold only signatures, the
// text is the one of content.
func readReasoning(parts []neutral.Part, content, details gjson.Result, l *neutral.Losses) []neutral.Part {
	first := len(parts)
	thought := -1   // where the first thought is
	open := -1      // where the thought is that goes on
	index := ""     // its index
	worded := false // some thought has text
	var more []byte // its text, where that comes in pieces
	end := func() {
		if open >= 0 && more != nil {
			parts[open].Text = string(more)
		}
		open, more = -1, nil
	}
	each := func(_, d gjson.Result) bool {
		switch kind := d.Get("type").Str; kind {
		case "reasoning.text", "reasoning.summary":
			text := d.Get("text").Str
			if kind == "reasoning.summary" {
				text = d.Get("summary").Str
			}
			sig, known := signatureOf(d, "signature")
			l.AddIf(!known, neutral.LossSignature)
			if i := d.Get("index").Raw; open < 0 || i != index {
				end()
				parts = append(parts, neutral.Part{Kind: neutral.Think, Text: text})
				open, index = len(parts)-1, i
			} else {
				if more == nil {
					more = append(more, parts[open].Text...)
				}
				more = append(more, text...)
			}
			if thought < 0 {
				thought = open
			}
			worded = worded || text != ""
			if sig.Value != "" {
				parts[open].Signature = sig
				end()
			}
		case "reasoning.encrypted":
			end()
			sig, known := signatureOf(d, "data")
			l.AddIf(!known, neutral.LossSignature)
			if sig.Value != "" {
				parts = append(parts, neutral.Part{Kind: neutral.Redacted, Signature: sig})
			}
		default:
			l.Add(neutral.LossUnknownPart)
		}
		return true
	}
	if details.IsArray() {
		details.ForEach(each)
		end()
	}
	switch {
	case content.Str == "" || worded:
	case thought >= 0:
		parts[thought].Text = content.Str
	default:
		parts = append(parts, neutral.Part{})
		copy(parts[first+1:], parts[first:])
		parts[first] = neutral.Part{Kind: neutral.Think, Text: content.Str}
	}
	return parts
}

// signatureOf reads the signature in a member of a detail; false = there is one, and nobody says whose.
func signatureOf(detail gjson.Result, member string) (neutral.Signature, bool) {
	value := detail.Get(member).Str
	if value == "" {
		return neutral.Signature{}, true
	}
	format := detail.Get("format").Str
	for _, row := range [...]struct {
		prefix string
		origin neutral.Origin
	}{
		{"anthropic", neutral.FromAnthropic}, {"gemini", neutral.FromGemini}, {"google", neutral.FromGemini}, {"openai", neutral.FromOpenAI},
	} {
		if strings.HasPrefix(format, row.prefix) {
			return neutral.Signature{Value: value, Origin: row.origin}, true
		}
	}
	return neutral.Signature{}, false
}

// formatOf names the maker of a signature.
func formatOf(o neutral.Origin) string {
	switch o {
	case neutral.FromAnthropic:
		return "anthropic"
	case neutral.FromGemini:
		return "gemini"
	}
	return "openai"
}

// appendReasoning appends the members, each with a comma before it, that hold the reasoning among parts; nothing if there is
// none. One thought without a signature needs only the string.
func appendReasoning(dst []byte, parts []neutral.Part) []byte {
	thoughts, detailed := 0, false
	for i := range parts {
		switch p := &parts[i]; p.Kind {
		case neutral.Think:
			thoughts++
			detailed = detailed || p.Signature.Value != ""
		case neutral.Redacted:
			detailed = true
		}
	}
	if thoughts > 0 {
		dst = append(dst, `,"reasoning_content":"`...)
		for i := range parts {
			if parts[i].Kind == neutral.Think {
				dst = dialect.AppendEscaped(dst, parts[i].Text)
			}
		}
		dst = append(dst, '"')
	}
	if !detailed && thoughts < 2 {
		return dst
	}
	dst = append(dst, `,"reasoning_details":[`...)
	n := 0
	for i := range parts {
		p := &parts[i]
		if p.Kind != neutral.Think && p.Kind != neutral.Redacted {
			continue
		}
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = appendDetail(dst, n, p.Kind, p.Text, p.Signature)
		n++
	}
	return append(dst, ']')
}

// appendDetail appends one of reasoning_details.
func appendDetail(dst []byte, index int, kind neutral.Kind, text string, sig neutral.Signature) []byte {
	if kind == neutral.Redacted {
		dst = append(dst, `{"type":"reasoning.encrypted","data":`...)
		dst = dialect.AppendQuoted(dst, sig.Value)
	} else {
		dst = append(dst, `{"type":"reasoning.text","text":`...)
		dst = dialect.AppendQuoted(dst, text)
		if sig.Value != "" {
			dst = append(dst, `,"signature":`...)
			dst = dialect.AppendQuoted(dst, sig.Value)
		}
	}
	if sig.Value != "" {
		dst = append(dst, `,"format":"`...)
		dst = append(dst, formatOf(sig.Origin)...)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	return append(dst, '}')
}

// callSignature reads the signature of a tool call from its extra_content.
func callSignature(extra gjson.Result) neutral.Signature {
	if !extra.IsObject() {
		return neutral.Signature{}
	}
	value := extra.Get("google.thought_signature").Str
	if value == "" {
		return neutral.Signature{}
	}
	return neutral.Unwrap(value, neutral.FromGemini)
}

// appendCallSignature appends the member, with a comma before it, that holds a tool call's signature.
func appendCallSignature(dst []byte, sig neutral.Signature) []byte {
	if sig.Value == "" {
		return dst
	}
	dst = append(dst, `,"extra_content":{"google":{"thought_signature":`...)
	dst = dialect.AppendQuoted(dst, sig.Wrap(neutral.FromGemini))
	return append(dst, `}}`...)
}
