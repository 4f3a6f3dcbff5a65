package converse

import (
	"errors"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

var errNoMessage = errors.New("converse: the answer has no message")

// ReadResponse implements neutral.Hearer.
func (Codec) ReadResponse(body []byte) (*neutral.Response, error) {
	if !dialect.ValidBytes(body) {
		return nil, errors.New("converse: the answer is not valid JSON")
	}
	answer := gjson.Parse(view(body))
	content := answer.Get("output.message.content")
	if !content.IsArray() {
		return nil, errNoMessage
	}
	r := &neutral.Response{
		Stop:     stopOf(answer.Get("stopReason").Str),
		Sequence: answer.Get("additionalModelResponseFields.stop_sequence").String(),
	}
	r.Usage, r.Counted = tokensOf(answer.Get("usage"))
	content.ForEach(func(_, block gjson.Result) bool {
		block.ForEach(func(kind, v gjson.Result) bool {
			readBlock(r, kind.Str, v)
			return true
		})
		return true
	})
	return r, nil
}

// readBlock reads one block of content.
func readBlock(r *neutral.Response, kind string, v gjson.Result) {
	add := func(p neutral.Part) { r.Parts = append(r.Parts, p) }
	switch kind {
	case "text":
		add(neutral.Part{Kind: neutral.Text, Text: v.String()})
	case "toolUse":
		if v.Get("type").Str == "server_tool_use" {
			r.Losses.Add(neutral.LossServerTools)
			return
		}
		args := v.Get("input").Raw
		if args == "" || args == "null" {
			args = "{}"
		}
		add(neutral.Part{Kind: neutral.Call, ID: v.Get("toolUseId").String(), Name: v.Get("name").String(), Args: args})
	case "reasoningContent":
		if text := v.Get("reasoningText"); text.Exists() {
			add(neutral.Part{Kind: neutral.Think, Text: text.Get("text").String(), Signature: signature(text.Get("signature").String())})
		}
		if redacted := v.Get("redactedContent"); redacted.Exists() {
			add(neutral.Part{Kind: neutral.Redacted, Signature: signature(redacted.String())})
		}
	case "image":
		data, format := v.Get("source.bytes").String(), v.Get("format").String()
		if data == "" || format == "" {
			r.Losses.Add(neutral.LossImages)
			return
		}
		add(neutral.Part{Kind: neutral.Image, Media: "image/" + format, Data: data})
	case "citationsContent":
		r.Losses.Add(neutral.LossCitations)
		v.Get("content").ForEach(func(_, c gjson.Result) bool {
			add(neutral.Part{Kind: neutral.Text, Text: c.Get("text").String()})
			return true
		})
	case "toolResult":
		r.Losses.Add(neutral.LossServerTools)
	case "audio":
		r.Losses.Add(neutral.LossAudio)
	default:
		r.Losses.Add(neutral.LossUnknownPart)
	}
}

// signature reads one; none is the zero value.
func signature(value string) neutral.Signature {
	if value == "" {
		return neutral.Signature{}
	}
	return neutral.Signature{Value: value, Origin: origin}
}
