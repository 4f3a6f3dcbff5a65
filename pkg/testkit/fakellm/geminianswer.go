package fakellm

import (
	"fmt"
	"strings"
)

// geminiForm is how an answer is sent.
type geminiForm uint8

const (
	wholeGemini geminiForm = iota
	eventsGemini
	arrayGemini
)

// contentAnswer is content that Google's dialect generates.
type contentAnswer struct {
	utterance
	model string
	form  geminiForm
	// thinks says that the model thinks, so that what it says is signed; shown that its thoughts are told, too.
	thinks, shown bool
}

// callSignature signs a call; arguments are in canonical JSON.
func callSignature(name, arguments string) string {
	return signatureOf("call", name, canonical(arguments))
}

func (c contentAnswer) thoughtParts() []string {
	if !c.shown {
		return nil
	}
	out := make([]string, 0, len(c.thoughts))
	for _, thought := range c.thoughts {
		out = append(out, `{"text":`+quote(thought)+`,"thought":true}`)
	}
	return out
}

// callParts are the calls, each whole. Of calls made at once, the first is signed.
func (c contentAnswer) callParts(s stamp) []string {
	out := make([]string, 0, len(c.calls))
	for i, call := range c.calls {
		arguments := strings.Join(call.arguments, "")
		part := fmt.Sprintf(`{"functionCall":{"id":"fc_fake%d_%d","name":%s,"args":%s}`, s.sequence, i, quote(call.name), arguments)
		if c.thinks && i == 0 {
			part += `,"thoughtSignature":` + quote(callSignature(call.name, arguments))
		}
		out = append(out, part+"}")
	}
	return out
}

// signed closes a text part, with its signature if the model thinks.
func (c contentAnswer) textPart(text string, sign bool) string {
	out := `{"text":` + quote(text)
	if sign && c.thinks {
		out += `,"thoughtSignature":` + quote(signatureOf("text"))
	}
	return out + "}"
}

func (c contentAnswer) whole(s stamp, withUsage bool) []byte {
	if c.blocked != "" {
		return c.tail(s, append([]byte{'{'}, c.feedback()...), withUsage, c.usage.output)
	}
	var parts []string
	if len(c.thoughts) > 0 && c.shown {
		parts = append(parts, `{"text":`+quote(strings.Join(c.thoughts, ""))+`,"thought":true}`)
	}
	if len(c.parts) > 0 {
		parts = append(parts, c.textPart(strings.Join(c.parts, ""), true))
	}
	parts = append(parts, c.callParts(s)...)
	return c.chunk(s, parts, true, withUsage, c.usage.output)
}

// pieces are the parts of a stream, one a chunk, but for the last chunk's.
func (c contentAnswer) pieces(s stamp) []string {
	out := c.thoughtParts()
	for _, part := range c.parts {
		out = append(out, c.textPart(part, false))
	}
	return append(out, c.callParts(s)...)
}

func (c contentAnswer) events(s stamp, withUsage bool, yield func([]byte) bool) {
	if c.blocked != "" {
		return
	}
	for i, part := range c.pieces(s) {
		// What was said so far; a count is as good as its last chunk.
		said := min(c.reasoning+int64(i), c.usage.output)
		if !yield(c.frame(c.chunk(s, []string{part}, false, withUsage, said), i == 0, false)) {
			return
		}
	}
}

func (c contentAnswer) last(s stamp, withUsage bool) []byte {
	if c.blocked != "" {
		return c.frame(c.whole(s, withUsage), true, true)
	}
	first := len(c.pieces(s)) == 0
	return c.frame(c.chunk(s, []string{c.textPart("", len(c.calls) == 0)}, true, withUsage, c.usage.output), first, true)
}

// frame makes a chunk an event, or an element of the one array.
func (c contentAnswer) frame(chunk []byte, first, last bool) []byte {
	if c.form == eventsGemini {
		return append(append([]byte("data: "), chunk...), "\r\n\r\n"...)
	}
	open := ",\r\n"
	if first {
		open = "["
	}
	out := append([]byte(open), chunk...)
	if last {
		out = append(out, ']')
	}
	return out
}

func (c contentAnswer) chunk(s stamp, parts []string, end, withUsage bool, output int64) []byte {
	out := append([]byte(`{"candidates":[{"content":{"parts":[`), strings.Join(parts, ",")...)
	out = append(out, `],"role":"model"}`...)
	if end {
		out = append(append(out, `,"finishReason":`...), quote(c.reason())...)
	}
	return c.tail(s, append(out, `,"index":0}]`...), withUsage, output)
}

func (c contentAnswer) reason() string {
	switch {
	case c.finish != "":
		return c.finish
	case c.end == endLength:
		return "MAX_TOKENS"
	}
	// Calls, too, are no reason of their own.
	return "STOP"
}

// feedback says why there is no candidate.
func (c contentAnswer) feedback() string {
	return `"promptFeedback":{"blockReason":` + quote(c.blocked) + `,"safetyRatings":[{"category":"HARM_CATEGORY_DANGEROUS_CONTENT",` +
		`"probability":"HIGH","blocked":true}]}`
}

// tail closes a response with what each has.
func (c contentAnswer) tail(s stamp, dst []byte, withUsage bool, output int64) []byte {
	if withUsage {
		if c.blocked != "" {
			output = 0
		}
		thoughts := min(c.reasoning, output)
		dst = fmt.Appendf(dst, `,"usageMetadata":{"promptTokenCount":%d,`, c.usage.input)
		if output > thoughts {
			dst = fmt.Appendf(dst, `"candidatesTokenCount":%d,`, output-thoughts)
		}
		dst = fmt.Appendf(dst, `"totalTokenCount":%d,`, c.usage.input+output)
		if c.usage.cached > 0 {
			dst = fmt.Appendf(dst, `"cachedContentTokenCount":%d,"cacheTokensDetails":[{"modality":"TEXT","tokenCount":%d}],`,
				c.usage.cached, c.usage.cached)
		}
		dst = fmt.Appendf(dst, `"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]`, c.usage.input)
		if thoughts > 0 {
			dst = fmt.Appendf(dst, `,"thoughtsTokenCount":%d`, thoughts)
		}
		dst = append(dst, '}')
	}
	dst = appendString(append(dst, `,"modelVersion":`...), c.model)
	return fmt.Appendf(dst, `,"responseId":"fake%d"}`, s.sequence)
}
