package openai

import (
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// NewEventReader implements neutral.Hearer. Of several choices it reads the one with index 0.
func (Codec) NewEventReader() neutral.EventReader { return &eventReader{} }

// eventReader reads one stream of chunks.
type eventReader struct {
	seq   neutral.Sequencer
	event neutral.Event // reused, so that no event costs an allocation
	parts int           // how many were begun: the number of the next

	begun, over bool
	open        neutral.Kind // the part of words that goes on: Text, Refusal, Think, or 0
	at          int          // its number
	thought     string       // index of the open Think, where the upstream says one
	calls       callList

	stop      neutral.Stop
	stopped   bool // a finish_reason came
	called    bool // a tool was called
	tokens    money.Tokens
	countedAt bool // tokens came behind the finish_reason
	losses    neutral.Losses
}

// Losses implements neutral.EventReader.
func (r *eventReader) Losses() neutral.Losses { return r.losses }

// Read implements neutral.EventReader.
func (r *eventReader) Read(name, data []byte, emit neutral.Emit) {
	var c chunk
	switch {
	case r.over || len(data) == 0:
		return
	case string(data) == doneMark:
		r.finish(emit)
		return
	case !c.scan(data) || !c.choice.delta.sound():
		if dialect.ValidBytes(data) && !view(data).IsObject() {
			return // it says nothing
		}
		r.fail(emit, &dialect.UpstreamError{Status: 502, Message: "the upstream's stream has an event that is not valid JSON"})
		return
	case c.isError() || string(name) == "error":
		r.failed(data, emit)
		return
	}
	r.chunk(&c, emit)
}

// isError says whether the chunk is an error instead. Servers without an envelope have an object of that name.
func (c *chunk) isError() bool {
	if e := c.failure; len(e) > 0 && (e[0] == '{' || e[0] == '"' && len(e) > len(`""`)) {
		return true
	}
	return string(c.object) == `"error"`
}

func (r *eventReader) chunk(c *chunk, emit neutral.Emit) {
	counted := len(c.usage) > 0 && c.usage[0] == '{'
	r.losses.AddIf(c.further, neutral.LossN)
	r.losses.AddIf(len(c.choice.logprobs) > 0 && c.choice.logprobs[0] == '{', neutral.LossLogprobs)
	if !r.begun {
		// What comes before the first choice, such as Azure's verdict on the prompt, has no id and no model.
		if !c.choice.met && !counted {
			return
		}
		r.begun = true
		r.event = neutral.Event{
			Kind: neutral.Begin, ID: strings.Clone(value(c.id).Str), Name: strings.Clone(value(c.model).Str),
		}
		if created := value(c.created).Num; created > 0 && created < 1<<53 {
			r.event.Created = int64(created)
		}
		emit(&r.event)
	}
	r.delta(&c.choice.delta, emit)
	if r.over {
		return
	}
	if reason := value(c.choice.reason).Str; reason != "" {
		r.stop, r.stopped = stopOf(reason), true
	}
	if !counted {
		return
	}
	if t, ok := readCounts(value(c.usage)); ok {
		if r.stopped {
			r.tokens, r.countedAt = t, true
		} else {
			r.event = neutral.Event{Kind: neutral.Usage, Tokens: t}
			emit(&r.event)
		}
	}
}

func (r *eventReader) delta(d *delta, emit neutral.Emit) {
	if d.details == nil || !r.details(value(d.details), emit) {
		r.words(neutral.Think, d.reasoning, emit)
	}
	if len(d.content) > 0 && d.content[0] == '[' { // Mistral's reasoning models
		elements(value(d.content), func(v gjson.Result) { r.element(v, emit) })
	} else {
		r.words(neutral.Text, d.content, emit)
	}
	r.words(neutral.Refusal, d.refusal, emit)
	if d.audio != nil && d.audio[0] == '{' {
		r.losses.Add(neutral.LossAudio)
		r.piece(neutral.Text, value(d.audio).Get("transcript"), emit)
	}
	r.losses.AddIf(value(d.annotations).Get("#").Int() > 0, neutral.LossCitations)
	if d.images != nil {
		elements(value(d.images), func(v gjson.Result) { r.image(v, emit) })
	}
	if d.calls != nil {
		elements(value(d.calls), func(v gjson.Result) { r.call(v, emit) })
	}
	if call := value(d.call); call.IsObject() {
		r.function(-1, "", call, gjson.Result{}, emit)
	}
}

// element takes an element of a content that is an array.
func (r *eventReader) element(v gjson.Result, emit neutral.Emit) {
	switch v.Get("type").Str {
	case "text":
		r.piece(neutral.Text, v.Get("text"), emit)
	case "refusal":
		r.piece(neutral.Refusal, v.Get("refusal"), emit)
	case "thinking":
		elements(v.Get("thinking"), func(v gjson.Result) { r.piece(neutral.Think, v.Get("text"), emit) })
	default:
		r.losses.Add(neutral.LossUnknownPart)
	}
}

// words takes more text of a kind: a JSON string, or nothing.
func (r *eventReader) words(kind neutral.Kind, raw []byte, emit neutral.Emit) {
	if len(raw) <= len(`""`) || raw[0] != '"' {
		return
	}
	r.openWords(kind, emit)
	r.event = neutral.Event{Kind: neutral.Delta, Raw: raw[1 : len(raw)-1]}
	r.put(r.at, emit)
}

// piece is words of a value that was parsed.
func (r *eventReader) piece(kind neutral.Kind, v gjson.Result, emit neutral.Emit) {
	r.words(kind, unsafe.Slice(unsafe.StringData(v.Raw), len(v.Raw)), emit)
}

func (r *eventReader) openWords(kind neutral.Kind, emit neutral.Emit) {
	if r.open == kind {
		return
	}
	r.endWords(neutral.Signature{}, emit)
	r.endCalls(false, emit)
	r.open, r.at = kind, r.parts
	r.parts++
	r.event = neutral.Event{Kind: neutral.PartBegin, Part: kind}
	r.put(r.at, emit)
}

func (r *eventReader) endWords(sig neutral.Signature, emit neutral.Emit) {
	if r.open == 0 {
		return
	}
	r.open, r.thought = 0, ""
	r.event = neutral.Event{Kind: neutral.PartEnd, Signature: sig}
	r.put(r.at, emit)
}

// details takes reasoning_details; true = they hold text, which reasoning_content then only repeats.
func (r *eventReader) details(details gjson.Result, emit neutral.Emit) (worded bool) {
	elements(details, func(d gjson.Result) {
		switch d.Get("type").Str {
		case "reasoning.text":
			text := d.Get("text")
			sig, known := signatureOf(d, "signature")
			r.losses.AddIf(!known, neutral.LossSignature)
			index := d.Get("index").Raw
			if r.open == neutral.Think && text.Str != "" && r.thought != "" && r.thought != index {
				r.endWords(neutral.Signature{}, emit)
			}
			if text.Str != "" {
				worded = true
				r.piece(neutral.Think, text, emit)
				if r.thought != index {
					r.thought = strings.Clone(index)
				}
			}
			if sig.Value != "" {
				sig.Value = strings.Clone(sig.Value)
				r.openWords(neutral.Think, emit)
				r.endWords(sig, emit)
			}
		case "reasoning.summary":
			worded = true
			r.piece(neutral.Think, d.Get("summary"), emit)
		case "reasoning.encrypted":
			sig, known := signatureOf(d, "data")
			r.losses.AddIf(!known, neutral.LossSignature)
			if sig.Value != "" {
				sig.Value = strings.Clone(sig.Value)
				r.whole(&neutral.Event{Kind: neutral.PartBegin, Part: neutral.Redacted, Signature: sig}, emit)
			}
		default:
			r.losses.Add(neutral.LossUnknownPart)
		}
	})
	return worded
}

// image takes an image that came whole. One that is only an address has no place in an event.
func (r *eventReader) image(v gjson.Result, emit neutral.Emit) {
	p := neutral.Part{}
	if readAddress(&p, v.Get("image_url.url").Str) && p.Data != "" {
		r.whole(&neutral.Event{Kind: neutral.PartBegin, Part: neutral.Image, Media: strings.Clone(p.Media), Data: strings.Clone(p.Data)}, emit)
		return
	}
	r.losses.Add(neutral.LossImages)
}

// whole emits a part that has come at once.
func (r *eventReader) whole(begin *neutral.Event, emit neutral.Emit) {
	r.endWords(neutral.Signature{}, emit)
	r.endCalls(false, emit)
	at := r.parts
	r.parts++
	r.event = *begin
	r.put(at, emit)
	r.event = neutral.Event{Kind: neutral.PartEnd}
	r.put(at, emit)
}

// put gives r.event to the sequencer as one of part at.
func (r *eventReader) put(at int, emit neutral.Emit) {
	if !r.over && !r.seq.Put(at, &r.event, emit) {
		r.over, r.stopped = true, false
	}
}

// Close implements neutral.EventReader. A stream is complete that said why it ended, with [DONE] behind it or without.
func (r *eventReader) Close(emit neutral.Emit) bool {
	if r.over {
		return r.stopped
	}
	if !r.stopped {
		return false
	}
	r.finish(emit)
	return r.stopped
}

// finish ends the stream.
func (r *eventReader) finish(emit neutral.Emit) {
	if !r.begun {
		r.fail(emit, &dialect.UpstreamError{Status: 502, Message: "the upstream's stream is empty"})
		return
	}
	r.endWords(neutral.Signature{}, emit)
	r.endCalls(true, emit)
	if r.over { // what was still to be said made no sense
		return
	}
	r.over, r.stopped = true, true
	r.event = neutral.Event{Kind: neutral.Finish, Stop: calling(r.stop, r.called)}
	emit(&r.event)
	if r.countedAt {
		r.event = neutral.Event{Kind: neutral.Usage, Tokens: r.tokens}
		emit(&r.event)
	}
	r.event = neutral.Event{Kind: neutral.End}
	emit(&r.event)
}

// failed reads an event that is an error.
func (r *eventReader) failed(data []byte, emit neutral.Emit) {
	e, ok := dialect.Envelope(data)
	if !ok { // as vLLM has it: the error itself, without an envelope
		root := gjson.ParseBytes(data)
		e = dialect.UpstreamError{
			Code: root.Get("code").String(), Type: root.Get("type").String(), Message: root.Get("message").String(),
		}
	}
	e.Status = dialect.ImpliedStatus(&e)
	r.fail(emit, &e)
}

func (r *eventReader) fail(emit neutral.Emit, e *dialect.UpstreamError) {
	r.over, r.stopped = true, false
	r.event = neutral.Event{Kind: neutral.Failed, Failure: e}
	emit(&r.event)
}
