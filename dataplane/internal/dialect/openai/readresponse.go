package openai

import (
	"crypto/rand"
	"errors"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// ReadResponse implements neutral.Hearer. Of several choices it reads the first.
func (Codec) ReadResponse(body []byte) (*neutral.Response, error) {
	if !dialect.ValidBytes(body) {
		return nil, errors.New("read chat completion: not valid JSON")
	}
	// A copy, because the answer may outlive the buffer that it came in.
	root := gjson.ParseBytes(body)
	r := &neutral.Response{ID: root.Get("id").Str, Model: root.Get("model").Str, Created: root.Get("created").Int()}
	choices := root.Get("choices")
	if !choices.IsArray() {
		return nil, errors.New("read chat completion: no choices")
	}
	var choice gjson.Result
	choices.ForEach(func(_, v gjson.Result) bool {
		r.Losses.AddIf(choice.Exists(), neutral.LossN)
		if !choice.Exists() || v.Get("index").Num < choice.Get("index").Num {
			choice = v
		}
		return true
	})
	message := choice.Get("message")
	if !message.IsObject() {
		return nil, errors.New("read chat completion: no message")
	}
	readAnswer(r, message)
	calls := false
	for i := range r.Parts {
		calls = calls || r.Parts[i].Kind == neutral.Call
	}
	r.Stop = calling(stopOf(choice.Get("finish_reason").Str), calls)
	r.Losses.AddIf(choice.Get("logprobs").IsObject(), neutral.LossLogprobs)
	r.Usage, r.Counted = readCounts(root.Get("usage"))
	return r, nil
}

// readAnswer reads the message of an answer into its parts.
func readAnswer(r *neutral.Response, message gjson.Result) {
	reasoning := message.Get("reasoning_content")
	if reasoning.Str == "" {
		reasoning = message.Get("reasoning")
	}
	r.Parts = readReasoning(r.Parts, reasoning, message.Get("reasoning_details"), &r.Losses)
	content := message.Get("content")
	switch {
	case content.Str != "":
		r.Parts = append(r.Parts, neutral.Part{Kind: neutral.Text, Text: content.Str})
	case content.IsArray():
		content.ForEach(func(_, v gjson.Result) bool {
			readPiece(r, v)
			return true
		})
	}
	if refusal := message.Get("refusal").Str; refusal != "" {
		r.Parts = append(r.Parts, neutral.Part{Kind: neutral.Refusal, Text: refusal})
	}
	if audio := message.Get("audio"); audio.IsObject() {
		r.Losses.Add(neutral.LossAudio)
		if text := audio.Get("transcript").Str; text != "" {
			r.Parts = append(r.Parts, neutral.Part{Kind: neutral.Text, Text: text})
		}
	}
	elements(message.Get("images"), func(v gjson.Result) {
		p := neutral.Part{Kind: neutral.Image}
		if readAddress(&p, v.Get("image_url.url").Str) && (p.Data != "" || p.URL != "") {
			r.Parts = append(r.Parts, p)
		} else {
			r.Losses.Add(neutral.LossImages)
		}
	})
	elements(message.Get("tool_calls"), func(v gjson.Result) {
		p := readCall(v)
		if p.ID == "" {
			p.ID = newCallID()
		}
		r.Parts = append(r.Parts, p)
	})
	if call := message.Get("function_call"); call.IsObject() {
		r.Parts = append(r.Parts, neutral.Part{
			Kind: neutral.Call, ID: newCallID(), Name: call.Get("name").Str, Args: object(call.Get("arguments").Str),
		})
	}
	r.Losses.AddIf(message.Get("annotations.#").Int() > 0, neutral.LossCitations)
}

// elements calls f for each element of an array; what is none has none.
func elements(v gjson.Result, f func(v gjson.Result)) {
	if !v.IsArray() {
		return
	}
	v.ForEach(func(_, v gjson.Result) bool {
		f(v)
		return true
	})
}

// readPiece reads a part of a content that is an array, as Mistral's reasoning models answer.
func readPiece(r *neutral.Response, v gjson.Result) {
	switch v.Get("type").Str {
	case "text":
		r.Parts = append(r.Parts, neutral.Part{Kind: neutral.Text, Text: v.Get("text").Str})
	case "refusal":
		r.Parts = append(r.Parts, neutral.Part{Kind: neutral.Refusal, Text: v.Get("refusal").Str})
	case "thinking":
		elements(v.Get("thinking"), func(v gjson.Result) {
			r.Parts = append(r.Parts, neutral.Part{Kind: neutral.Think, Text: v.Get("text").Str})
		})
	default:
		r.Losses.Add(neutral.LossUnknownPart)
	}
}

// newCallID is an id for a call that the upstream gave none: random, because results name it in later requests.
func newCallID() string { return "call_" + rand.Text() }
