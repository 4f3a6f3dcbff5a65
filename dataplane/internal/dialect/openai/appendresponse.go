package openai

import (
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// AppendResponse implements neutral.Writer. Chat has one text per answer: several are joined.
func (Codec) AppendResponse(dst []byte, r *neutral.Response, a *neutral.Answering) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, r.ID, a)
	dst = append(dst, `,"object":"chat.completion","created":`...)
	dst = appendCreated(dst, r.Created, a)
	dst = append(dst, `,"model":`...)
	dst = dialect.AppendQuoted(dst, a.Model)
	dst = append(dst, `,"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	dst = appendJoined(dst, r.Parts, neutral.Text)
	dst = append(dst, `,"refusal":`...)
	dst = appendJoined(dst, r.Parts, neutral.Refusal)
	dst = appendReasoning(dst, r.Parts)
	dst = appendImages(dst, r)
	calls := 0
	for i := range r.Parts {
		p := &r.Parts[i]
		r.Losses.AddIf(p.Kind == neutral.Text && p.Signature.Value != "", neutral.LossSignature)
		r.Losses.AddIf(p.Kind == neutral.Audio, neutral.LossAudio)
		if p.Kind != neutral.Call {
			continue
		}
		if calls == 0 {
			dst = append(dst, `,"tool_calls":[`...)
		} else {
			dst = append(dst, ',')
		}
		calls++
		if isCustom(a.Request, p.Name) {
			dst = appendCustomCall(dst, p)
		} else {
			dst = appendCall(dst, p.ID, p.Name, p.Args, p.Signature)
		}
	}
	if calls > 0 {
		dst = append(dst, ']')
	}
	dst = append(dst, `,"annotations":[]},"logprobs":null,"finish_reason":"`...)
	dst = append(dst, finishReason(r.Stop, calls > 0)...)
	dst = append(dst, `"}]`...)
	if r.Counted {
		dst = append(dst, `,"usage":`...)
		dst = appendCounts(dst, &r.Usage)
	}
	return append(dst, '}')
}

func appendID(dst []byte, id string, a *neutral.Answering) []byte {
	if id == "" {
		id = "chatcmpl-" + a.ID
	}
	return dialect.AppendQuoted(dst, id)
}

func appendCreated(dst []byte, created int64, a *neutral.Answering) []byte {
	if created == 0 {
		created = a.Created
	}
	return strconv.AppendInt(dst, created, 10)
}

// appendJoined appends the texts of the parts of a kind as one string, or null if there are none.
func appendJoined(dst []byte, parts []neutral.Part, kind neutral.Kind) []byte {
	some := false
	for i := range parts {
		if parts[i].Kind != kind {
			continue
		}
		if !some {
			dst = append(dst, '"')
		}
		some = true
		dst = dialect.AppendEscaped(dst, parts[i].Text)
	}
	if !some {
		return append(dst, "null"...)
	}
	return append(dst, '"')
}

// appendImages appends images where servers with models that paint put them.
func appendImages(dst []byte, r *neutral.Response) []byte {
	n := 0
	for i := range r.Parts {
		p := &r.Parts[i]
		if p.Kind != neutral.Image {
			continue
		}
		if p.Data == "" && p.URL == "" {
			r.Losses.Add(neutral.LossImages)
			continue
		}
		if n == 0 {
			dst = append(dst, `,"images":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendImage(dst, n, p.Media, p.Data, p.URL)
		n++
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return dst
}

func appendImage(dst []byte, index int, media, data, url string) []byte {
	dst = append(dst, `{"type":"image_url","image_url":{"url":`...)
	dst = appendAddress(dst, media, data, url)
	dst = append(dst, `},"index":`...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	return append(dst, '}')
}

// isCustom says whether the tool of a name is one that takes any text, as the request offered it.
func isCustom(r *neutral.Request, name string) bool {
	if r == nil {
		return false
	}
	for i := range r.Tools {
		if r.Tools[i].Name == name {
			return r.Tools[i].Schema == customSchema
		}
	}
	return false
}

// appendCustomCall appends a call of a custom tool: its text is the only argument of the function that stood for it.
func appendCustomCall(dst []byte, p *neutral.Part) []byte {
	dst = append(dst, `{"id":`...)
	dst = dialect.AppendQuoted(dst, p.ID)
	dst = append(dst, `,"type":"custom","custom":{"name":`...)
	dst = dialect.AppendQuoted(dst, p.Name)
	dst = append(dst, `,"input":`...)
	dst = dialect.AppendQuoted(dst, customInput(p.Args))
	dst = append(dst, '}')
	dst = appendCallSignature(dst, p.Signature)
	return append(dst, '}')
}

// customInput is the text for a custom tool; a model that did not keep to the schema has its arguments passed on as they are.
func customInput(args string) string {
	if input := gjson.Get(args, "input"); input.Type == gjson.String {
		return input.Str
	}
	return args
}
