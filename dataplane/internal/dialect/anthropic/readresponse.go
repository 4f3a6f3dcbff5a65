package anthropic

import (
	"errors"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

var errAnswer = errors.New("the answer is no message of the Messages API")

// ReadResponse implements neutral.Hearer.
func (Codec) ReadResponse(body []byte) (*neutral.Response, error) {
	if !dialect.ValidBytes(body) {
		return nil, errAnswer
	}
	message := gjson.Parse(view(body))
	if !message.IsObject() || message.Get("type").Str == "error" {
		return nil, errAnswer
	}
	r := &reader{}
	out := &neutral.Response{}
	var content, usage gjson.Result
	message.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "id":
			out.ID = v.Str
		case "model":
			out.Model = v.Str
		case "content":
			content = v
		case "stop_reason":
			out.Stop = stopOf(v.Str)
		case "stop_sequence":
			out.Sequence = v.Str
		case "usage":
			usage = v
		case "container":
			r.losses.AddIf(v.Type != gjson.Null, neutral.LossState)
		}
		return true
	})
	if !content.IsArray() {
		return nil, errAnswer
	}
	out.Parts = r.parts(content, place{part: whole, inner: whole}, neutral.Assistant)
	if r.fault != nil {
		return nil, errAnswer
	}
	if usage.IsObject() {
		var c counts
		s := dialect.Scanner{B: []byte(usage.Raw), At: 1}
		if c.scan(&s, &out.Counted) {
			out.Usage = c.tokens()
		}
	}
	out.Losses = r.losses
	return out, nil
}
