package converse

import (
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// NewEventReader implements neutral.Hearer.
func (Codec) NewEventReader() neutral.EventReader { return &events{} }

// events reads one stream. Blocks come one after the other; those of text begin with their first delta.
type events struct {
	event     neutral.Event // reused, so that emitting allocates nothing
	begun     bool
	open      neutral.Kind // of the part that is open; 0 = none
	index     int64        // of the block that the open part is
	argued    bool         // the open call has arguments
	signature []byte       // of the open part
	stopped   bool         // messageStop came
	ended     bool         // End or Failed is out
	format    string       // of the image that began
	losses    neutral.Losses
}

// Losses implements neutral.EventReader.
func (r *events) Losses() neutral.Losses { return r.losses }

// maxSignature bounds what is held of a signature; a longer one is dropped, and the next turn goes without it.
const maxSignature = 1 << 20

// Read implements neutral.EventReader.
func (r *events) Read(name, data []byte, emit neutral.Emit) {
	if r.ended || len(data) == 0 {
		return
	}
	if e, ok := readError(string(name) == "error", data); ok {
		failure := e // only this one escapes
		r.fail(emit, &failure)
		return
	}
	body := gjson.Parse(view(data))
	if !body.IsObject() || !dialect.ValidBytes(data) {
		r.fail(emit, &dialect.UpstreamError{Status: 502, Message: "the stream has an event that is no JSON object"})
		return
	}
	switch string(name) {
	case "messageStart":
		r.begin(emit)
	case "contentBlockStart":
		r.begin(emit)
		r.start(body, emit)
	case "contentBlockDelta":
		r.begin(emit)
		r.delta(body, emit)
	case "contentBlockStop":
		r.end(emit)
	case "messageStop":
		r.begin(emit)
		r.end(emit)
		r.stopped = true
		stop := stopOf(body.Get("stopReason").Str)
		r.emit(emit, neutral.Event{
			Kind: neutral.Finish, Stop: stop, Sequence: body.Get("additionalModelResponseFields.stop_sequence").String(),
		})
	case "metadata":
		r.begin(emit)
		if tokens, ok := tokensOf(body.Get("usage")); ok {
			r.emit(emit, neutral.Event{Kind: neutral.Usage, Tokens: tokens})
		}
		if r.stopped {
			r.finish(emit)
		}
	}
}

// Close implements neutral.EventReader. A stream is complete when the model said why it stopped.
func (r *events) Close(emit neutral.Emit) bool {
	if r.stopped {
		r.finish(emit)
	}
	return r.stopped
}

func (r *events) emit(emit neutral.Emit, e neutral.Event) {
	r.event = e
	emit(&r.event)
}

func (r *events) begin(emit neutral.Emit) {
	if !r.begun {
		r.begun = true
		r.emit(emit, neutral.Event{Kind: neutral.Begin})
	}
}

func (r *events) finish(emit neutral.Emit) {
	if !r.ended {
		r.ended = true
		r.emit(emit, neutral.Event{Kind: neutral.End})
	}
}

func (r *events) fail(emit neutral.Emit, failure *dialect.UpstreamError) {
	r.ended, r.stopped = true, false
	r.emit(emit, neutral.Event{Kind: neutral.Failed, Failure: failure})
}

// start begins a block that says what it is before its first delta: a call.
func (r *events) start(body gjson.Result, emit neutral.Emit) {
	r.end(emit)
	call := body.Get("start.toolUse")
	r.format = strings.Clone(body.Get("start.image.format").Str)
	if !call.IsObject() || call.Get("type").Str == "server_tool_use" {
		r.losses.AddIf(call.IsObject() || body.Get("start.toolResult").Exists(), neutral.LossServerTools)
		return
	}
	r.partBegin(emit, body.Get("contentBlockIndex").Int(), neutral.Event{
		Part: neutral.Call, ID: call.Get("toolUseId").String(), Name: call.Get("name").String(),
	})
}

func (r *events) partBegin(emit neutral.Emit, index int64, e neutral.Event) {
	r.open, r.index, r.argued, r.signature = e.Part, index, false, r.signature[:0]
	e.Kind = neutral.PartBegin
	r.emit(emit, e)
}

// end ends the open part, if there is one.
func (r *events) end(emit neutral.Emit) {
	if r.open == 0 {
		return
	}
	if r.open == neutral.Call && !r.argued {
		r.emit(emit, neutral.Event{Kind: neutral.Delta, Raw: []byte("{}")}) // arguments are always an object
	}
	e := neutral.Event{Kind: neutral.PartEnd}
	r.losses.AddIf(len(r.signature) > maxSignature, neutral.LossSignature)
	if len(r.signature) > 0 && len(r.signature) <= maxSignature {
		e.Signature = neutral.Signature{Value: string(r.signature), Origin: origin}
	}
	r.open = 0
	r.emit(emit, e)
}

// delta reads {"contentBlockIndex","delta":{…}} in one pass: this is what a stream is made of.
func (r *events) delta(body gjson.Result, emit neutral.Emit) {
	var index int64
	var delta gjson.Result
	body.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "contentBlockIndex":
			index = v.Int()
		case "delta":
			delta = v
		}
		return true
	})
	delta.ForEach(func(kind, v gjson.Result) bool {
		switch kind.Str {
		case "text":
			r.add(neutral.Text, index, v, emit)
		case "toolUse":
			// Without its beginning nobody knows which tool is called.
			if input := v.Get("input"); r.open == neutral.Call && r.index == index && len(inside(input)) > 0 {
				r.argued = true
				r.emit(emit, neutral.Event{Kind: neutral.Delta, Raw: inside(input)})
			}
		case "reasoningContent":
			r.reasoning(index, v, emit)
		case "image":
			r.image(index, v, emit)
		case "citation":
			r.losses.Add(neutral.LossCitations)
		case "toolResult":
			r.losses.Add(neutral.LossServerTools)
		case "audio":
			r.losses.Add(neutral.LossAudio)
		default:
			r.losses.Add(neutral.LossUnknownPart)
		}
		return true
	})
}

// add adds to the open part, or begins the one that it must be.
func (r *events) add(kind neutral.Kind, index int64, text gjson.Result, emit neutral.Emit) {
	if r.open != kind || r.index != index {
		r.end(emit)
		r.partBegin(emit, index, neutral.Event{Part: kind})
	}
	if raw := inside(text); len(raw) > 0 {
		r.emit(emit, neutral.Event{Kind: neutral.Delta, Raw: raw})
	}
}

func (r *events) reasoning(index int64, v gjson.Result, emit neutral.Emit) {
	v.ForEach(func(kind, v gjson.Result) bool {
		switch kind.Str {
		case "text":
			r.add(neutral.Think, index, v, emit)
		case "signature":
			r.add(neutral.Think, index, gjson.Result{}, emit)
			if len(r.signature) <= maxSignature {
				r.signature = append(r.signature, v.String()...)
			}
		case "redactedContent":
			r.end(emit)
			r.partBegin(emit, index, neutral.Event{Part: neutral.Redacted, Signature: signature(v.String())})
			r.end(emit)
		default:
			r.losses.Add(neutral.LossUnknownPart)
		}
		return true
	})
}

func (r *events) image(index int64, v gjson.Result, emit neutral.Emit) {
	data := v.Get("source.bytes").String()
	if data == "" {
		r.losses.Add(neutral.LossImages)
		return
	}
	format := v.Get("format").String()
	if format == "" {
		format = r.format
	}
	if format == "" {
		format = "png"
	}
	r.end(emit)
	r.partBegin(emit, index, neutral.Event{Part: neutral.Image, Media: "image/" + format, Data: data})
	r.end(emit)
}
