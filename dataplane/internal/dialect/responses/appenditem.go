package responses

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// Items of an output, as the answer and the end of its stream hold them. Texts come escaped: the inside of a JSON string.

// appendID appends an item's id as a member's value.
func appendID(dst []byte, prefix string, a *neutral.Answering, index int) []byte {
	dst = append(dst, '"')
	dst = append(dst, prefix...)
	dst = append(dst, a.ID...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	return append(dst, '"')
}

// appendRaw appends a member whose value is an escaped text.
func appendRaw(dst []byte, name string, raw []byte) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":"`...)
	dst = append(dst, raw...)
	return append(dst, '"')
}

// escaped is the inside of text as a JSON string, in the memory of scratch.
func escaped(scratch []byte, text string) []byte {
	quoted := dialect.AppendQuoted(scratch[:0], text)
	return quoted[1 : len(quoted)-1]
}

// unescaped is the text whose inside as a JSON string raw is.
func unescaped(raw []byte) string {
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	return parse(quoted).String()
}

// appendPart appends a part of a message: text or a refusal.
func appendPart(dst []byte, kind neutral.Kind, raw []byte) []byte {
	if kind == neutral.Refusal {
		dst = append(dst, `{"type":"refusal"`...)
		dst = appendRaw(dst, "refusal", raw)
	} else {
		dst = append(dst, `{"type":"output_text","annotations":[],"logprobs":[]`...)
		dst = appendRaw(dst, "text", raw)
	}
	return append(dst, '}')
}

// appendMessage appends a message around its parts.
func appendMessage(dst []byte, a *neutral.Answering, index int, status string, parts []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, "msg_", a, index)
	dst = append(dst, `,"type":"message","status":"`...)
	dst = append(dst, status...)
	dst = append(dst, `","content":[`...)
	dst = append(dst, parts...)
	return append(dst, `],"role":"assistant"}`...)
}

// appendCall appends the call of a tool; input is free text where the tool takes that.
func appendCall(dst []byte, a *neutral.Answering, index int, status string, c *calling, input []byte) []byte {
	prefix, kind, member := "fc_", "function_call", "arguments"
	if c.custom {
		prefix, kind, member = "ctc_", "custom_tool_call", "input"
	}
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, prefix, a, index)
	dst = append(dst, `,"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","status":"`...)
	dst = append(dst, status...)
	dst = append(dst, '"')
	dst = appendRaw(dst, member, input)
	dst = appendString(dst, "call_id", c.id)
	dst = appendString(dst, "name", c.name)
	return append(dst, '}')
}

// calling is a call without what it is called with.
type calling struct {
	id, name string
	custom   bool // the tool takes free text
}

// isCustom says whether the client declared the tool as one that takes free text.
func isCustom(a *neutral.Answering, name string) bool {
	if a.Request == nil {
		return false
	}
	for i := range a.Request.Tools {
		if t := &a.Request.Tools[i]; t.Name == name {
			return t.Schema == customSchema
		}
	}
	return false
}

// freeText is the free text in a custom tool's arguments, escaped; arguments that are none are the text.
func freeText(scratch []byte, args string) []byte {
	if input := gjson.Get(args, "input"); input.Type == gjson.String && len(input.Raw) >= 2 && dialect.Valid(args) {
		return append(scratch[:0], input.Raw[1:len(input.Raw)-1]...)
	}
	return escaped(scratch, args)
}

// appendReasoningItem appends what a model thought. A foreign proof travels in an envelope. own = the item's id is free to
// choose: it is then the one that it has at OpenAI, if that is where it comes from.
func appendReasoningItem(dst []byte, a *neutral.Answering, index int, own bool, sig neutral.Signature, raw []byte) []byte {
	dst = append(dst, `{"id":`...)
	proof := sig.Wrap(neutral.FromOpenAI)
	if id, native := splitProof(proof); own && sig.Origin == neutral.FromOpenAI && id != "" {
		dst = dialect.AppendQuoted(dst, id)
		proof = native
	} else {
		dst = appendID(dst, "rs_", a, index)
		if sig.Origin == neutral.FromOpenAI {
			proof = strings.TrimPrefix(proof, ":")
		}
	}
	dst = append(dst, `,"type":"reasoning"`...)
	if proof != "" {
		dst = appendString(dst, "encrypted_content", proof)
	}
	if len(raw) == 0 {
		return append(dst, `,"summary":[]}`...)
	}
	dst = append(dst, `,"summary":[`...)
	dst = appendSummaryPart(dst, raw)
	return append(dst, "]}"...)
}

func appendSummaryPart(dst, raw []byte) []byte {
	dst = append(dst, `{"type":"summary_text"`...)
	dst = appendRaw(dst, "text", raw)
	return append(dst, '}')
}

// hidden is the proof of reasoning that only its provider can read.
func hidden(sig neutral.Signature) neutral.Signature {
	if sig.Origin != neutral.FromOpenAI {
		sig.Value = redacted + sig.Value
	}
	return sig
}

// appendImage appends an image that was made; there is no other item for one.
func appendImage(dst []byte, a *neutral.Answering, index int, media, data string) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, "ig_", a, index)
	dst = append(dst, `,"type":"image_generation_call","status":"completed"`...)
	dst = appendString(dst, "output_format", strings.TrimPrefix(media, "image/"))
	dst = appendString(dst, "result", data)
	return append(dst, '}')
}
