package responses

import (
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// redacted marks, in the envelope of a foreign signature, reasoning that only its provider can read: the dialect has one
// kind of item for both.
const redacted = "redacted:"

// reasoningPart reads a reasoning item; false = it says nothing. Several summaries become one text with blank lines between.
func reasoningPart(v gjson.Result) (neutral.Part, bool) {
	p := neutral.Part{Kind: neutral.Think, Text: joined(v.Get("summary"))}
	if p.Text == "" {
		p.Text = joined(v.Get("content"))
	}
	p.Signature = reasoningSignature(v)
	if inner, ok := strings.CutPrefix(p.Signature.Value, redacted); ok && p.Signature.Origin != neutral.FromOpenAI {
		p.Kind, p.Signature.Value = neutral.Redacted, inner
		p.Text = ""
	}
	return p, p.Text != "" || p.Signature.Value != ""
}

// reasoningSignature is a reasoning item's proof. OpenAI's own is "id:encrypted_content".
func reasoningSignature(v gjson.Result) neutral.Signature {
	proof := v.Get("encrypted_content").String()
	if proof == "" {
		return neutral.Signature{}
	}
	sig := neutral.Unwrap(proof, neutral.FromOpenAI)
	// A proof of OpenAI's has no colon; one with a colon was written by a stream, with the id that it has at OpenAI.
	if sig.Origin == neutral.FromOpenAI && strings.IndexByte(proof, ':') < 0 {
		sig.Value = v.Get("id").String() + ":" + proof
	}
	return sig
}

// joined is the text of a list of parts.
func joined(list gjson.Result) string {
	var text strings.Builder
	list.ForEach(func(_, v gjson.Result) bool {
		if t := v.Get("text").String(); t != "" {
			if text.Len() > 0 {
				text.WriteString("\n\n")
			}
			text.WriteString(t)
		}
		return true
	})
	return text.String()
}

// splitProof takes a signature of OpenAI's apart.
func splitProof(value string) (id, proof string) {
	id, proof, ok := strings.Cut(value, ":")
	if !ok {
		return "", value
	}
	return id, proof
}

// imagePart reads an image that was made.
func imagePart(v gjson.Result) (neutral.Part, bool) {
	format := v.Get("output_format").Str
	if format == "" {
		format = "png"
	}
	p := neutral.Part{Kind: neutral.Image, Media: "image/" + format, Data: v.Get("result").String()}
	return p, p.Data != ""
}
