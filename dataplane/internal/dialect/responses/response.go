package responses

import (
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// AppendResponse implements neutral.Writer.
func (Codec) AppendResponse(dst []byte, r *neutral.Response, a *neutral.Answering) []byte {
	refused := false
	for i := range r.Parts {
		refused = refused || r.Parts[i].Kind == neutral.Refusal
	}
	o := object{a: a, created: r.Created, tokens: r.Usage, counted: r.Counted}
	if o.created == 0 {
		o.created = a.Created
	}
	o.status, o.reason = statusOf(r.Stop, refused)
	dst = o.appendHead(dst)

	var parts, raw []byte // of the message that is open; the text at hand
	index := 0
	first := true
	next := func() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
	}
	flush := func(status string) {
		if len(parts) > 0 {
			next()
			dst = appendMessage(dst, a, index, status, parts)
			parts = parts[:0]
			index++
		}
	}
	for i := range r.Parts {
		p := &r.Parts[i]
		if p.Kind == neutral.Text || p.Kind == neutral.Refusal {
			r.Losses.AddIf(p.Signature.Value != "", neutral.LossSignature)
			if len(parts) > 0 {
				parts = append(parts, ',')
			}
			raw = escaped(raw, p.Text)
			parts = appendPart(parts, p.Kind, raw)
			continue
		}
		flush("completed")
		switch p.Kind {
		case neutral.Call:
			// There is no place for a call's signature; it is remembered by the call's id.
			c := calling{p.ID, p.Name, isCustom(a, p.Name)}
			if c.custom {
				raw = freeText(raw, p.Args)
			} else {
				raw = escaped(raw, p.Args)
			}
			next()
			dst = appendCall(dst, a, index, "completed", &c, raw)
		case neutral.Think:
			raw = escaped(raw, p.Text)
			next()
			dst = appendReasoningItem(dst, a, index, true, p.Signature, raw)
		case neutral.Redacted:
			next()
			dst = appendReasoningItem(dst, a, index, true, hidden(p.Signature), nil)
		case neutral.Image:
			if p.Data == "" {
				r.Losses.Add(neutral.LossImages)
				continue
			}
			next()
			dst = appendImage(dst, a, index, p.Media, p.Data)
		case neutral.Audio:
			r.Losses.Add(neutral.LossAudio)
			continue
		default:
			r.Losses.Add(neutral.LossUnknownPart)
			continue
		}
		index++
	}
	flush(o.status)
	return o.appendTail(dst)
}

// ReadResponse implements neutral.Hearer.
func (Codec) ReadResponse(body []byte) (*neutral.Response, error) {
	if !dialect.ValidBytes(body) {
		return nil, errors.New("read a response: not valid JSON")
	}
	v := gjson.ParseBytes(body) // a copy: what is read may be kept longer than the body
	if e, bad := failed(v); bad {
		return nil, fmt.Errorf("read a response: it failed: %s: %s", e.Code, e.Message)
	}
	output := v.Get("output")
	if !output.IsArray() {
		return nil, errors.New("read a response: no output")
	}
	r := &neutral.Response{
		ID: v.Get("id").String(), Model: v.Get("model").String(), Created: v.Get("created_at").Int(),
	}
	output.ForEach(func(_, item gjson.Result) bool {
		r.Losses |= answerParts(item, func(p neutral.Part) { r.Parts = append(r.Parts, p) })
		return true
	})
	var calls, refused bool
	for i := range r.Parts {
		calls = calls || r.Parts[i].Kind == neutral.Call
		refused = refused || r.Parts[i].Kind == neutral.Refusal
	}
	switch status := v.Get("status").Str; status {
	case "completed", "": // some that imitate the API say nothing
		r.Stop = stopOf(calls, refused)
	case "incomplete":
		r.Stop = stopShort(v.Get("incomplete_details.reason").Str)
	default:
		return nil, fmt.Errorf("read a response: its status is %q", status)
	}
	if usage := v.Get("usage"); usage.IsObject() {
		r.Usage, r.Counted = findUsage([]byte(usageKey + ":" + usage.Raw))
	}
	return r, nil
}

// stopOf is why a complete answer stopped.
func stopOf(calls, refused bool) neutral.Stop {
	switch {
	case calls:
		return neutral.StopCall
	case refused:
		return neutral.StopFilter
	}
	return neutral.StopEnd
}

// stopShort is why an answer is incomplete.
func stopShort(reason string) neutral.Stop {
	if reason == "content_filter" {
		return neutral.StopFilter
	}
	return neutral.StopLength
}

// answerParts reads an item of an output, and says what of it has no place in the form.
func answerParts(item gjson.Result, say func(neutral.Part)) neutral.Losses {
	var lost neutral.Losses
	switch kind := item.Get("type").Str; kind {
	case "message":
		item.Get("content").ForEach(func(_, v gjson.Result) bool {
			lost |= lostOf(v)
			switch v.Get("type").Str {
			case "output_text", "text":
				say(neutral.Part{Kind: neutral.Text, Text: v.Get("text").String()})
			case "refusal":
				say(neutral.Part{Kind: neutral.Refusal, Text: v.Get("refusal").String()})
			}
			return true
		})
	case "function_call":
		say(neutral.Part{
			Kind: neutral.Call, ID: callID(item), Name: item.Get("name").String(), Args: objectArgs(item.Get("arguments").String()),
		})
	case "custom_tool_call":
		say(neutral.Part{
			Kind: neutral.Call, ID: callID(item), Name: item.Get("name").String(),
			Args: textArgs(item.Get("input").String()),
		})
	case "reasoning":
		if p, ok := reasoningPart(item); ok {
			full := joined(item.Get("content"))
			lost.AddIf(full != "" && p.Kind == neutral.Think && p.Text != full, neutral.LossThinking)
			say(p)
		}
	case "image_generation_call":
		if p, ok := imagePart(item); ok {
			say(p)
		}
	default:
		if serverItem(kind) {
			lost.Add(neutral.LossServerTools)
		} else {
			lost.Add(neutral.LossUnknownPart)
		}
	}
	return lost
}

// lostOf is what of a part of a message has no place in the form.
func lostOf(v gjson.Result) neutral.Losses {
	var lost neutral.Losses
	switch v.Get("type").Str {
	case "output_text", "text":
		lost.AddIf(v.Get("annotations.#").Int() > 0, neutral.LossCitations)
		lost.AddIf(v.Get("logprobs.#").Int() > 0, neutral.LossLogprobs)
	case "refusal":
	case "output_audio":
		lost.Add(neutral.LossAudio)
	default:
		lost.Add(neutral.LossUnknownPart)
	}
	return lost
}

// callID is the id that the result of a call names.
func callID(item gjson.Result) string {
	if id := item.Get("call_id").String(); id != "" {
		return id
	}
	return item.Get("id").String()
}

// objectArgs are arguments as the form wants them: an object. A model may write nothing for none; and what it wrote badly, or
// was cut short in, goes on as free text, so that whoever checks it against the tool's schema can say so.
func objectArgs(args string) string {
	switch {
	case args == "":
		return "{}"
	case isObject(args):
		return args
	}
	return textArgs(args)
}

// textArgs are the arguments of a tool that takes free text.
func textArgs(text string) string {
	return string(append(dialect.AppendQuoted([]byte(`{"input":`), text), '}'))
}
