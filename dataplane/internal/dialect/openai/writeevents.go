package openai

import (
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// NewEventWriter implements neutral.Writer.
func (Codec) NewEventWriter(a *neutral.Answering) neutral.EventWriter {
	return &eventWriter{answering: a}
}

// eventWriter writes one stream of chunks.
type eventWriter struct {
	answering *neutral.Answering
	losses    neutral.Losses

	head   []byte // of every chunk, up to its delta
	part   neutral.Kind
	calls  int    // tool calls so far
	empty  bool   // the open call has no arguments yet
	custom bool   // it is of a custom tool
	input  []byte // the arguments of a custom tool's call, escaped: the text in them is known when they are whole
	detail int    // reasoning_details so far
	images int

	finished bool
	counted  bool
	tokens   money.Tokens
}

// Losses implements neutral.EventWriter.
func (w *eventWriter) Losses() neutral.Losses { return w.losses }

// Append implements neutral.EventWriter.
func (w *eventWriter) Append(dst []byte, e *neutral.Event) []byte {
	switch e.Kind {
	case neutral.Begin:
		return w.begin(dst, e)
	case neutral.PartBegin:
		return w.beginPart(dst, e)
	case neutral.Delta:
		return w.delta(dst, e.Raw)
	case neutral.PartEnd:
		return w.endPart(dst, e)
	case neutral.Finish:
		return w.finish(dst, e.Stop)
	case neutral.Usage:
		w.tokens, w.counted = e.Tokens, true
	case neutral.End:
		return w.end(dst)
	case neutral.Failed:
		return appendFailure(dst, e.Failure)
	}
	return dst
}

func (w *eventWriter) begin(dst []byte, e *neutral.Event) []byte {
	w.head = append(w.head, `data: {"id":`...)
	w.head = appendID(w.head, e.ID, w.answering)
	w.head = append(w.head, `,"object":"chat.completion.chunk","created":`...)
	w.head = appendCreated(w.head, e.Created, w.answering)
	w.head = append(w.head, `,"model":`...)
	w.head = dialect.AppendQuoted(w.head, w.answering.Model)
	w.head = append(w.head, `,"choices":[`...)
	dst = w.open(dst)
	return w.shut(append(dst, `"role":"assistant","content":"","refusal":null`...))
}

// open begins a chunk with a delta.
func (w *eventWriter) open(dst []byte) []byte {
	dst = append(dst, w.head...)
	return append(dst, `{"index":0,"delta":{`...)
}

// shut ends what open began.
func (w *eventWriter) shut(dst []byte) []byte {
	return w.shutWith(dst, "null")
}

func (w *eventWriter) shutWith(dst []byte, reason string) []byte {
	dst = append(dst, `},"logprobs":null,"finish_reason":`...)
	dst = append(dst, reason...)
	dst = append(dst, `}]`...)
	if w.answering.WantUsage {
		dst = append(dst, `,"usage":null`...)
	}
	return append(dst, "}\n\n"...)
}

func (w *eventWriter) beginPart(dst []byte, e *neutral.Event) []byte {
	w.part = e.Part
	switch e.Part {
	case neutral.Call:
		w.empty, w.custom = true, isCustom(w.answering.Request, e.Name)
		dst = append(w.open(dst), `"tool_calls":[{"index":`...)
		dst = strconv.AppendInt(dst, int64(w.calls), 10)
		dst = append(dst, `,"id":`...)
		dst = dialect.AppendQuoted(dst, e.ID)
		if w.custom {
			dst = append(dst, `,"type":"custom","custom":{"name":`...)
			dst = dialect.AppendQuoted(dst, e.Name)
			dst = append(dst, `,"input":""}}]`...)
		} else {
			dst = append(dst, `,"type":"function","function":{"name":`...)
			dst = dialect.AppendQuoted(dst, e.Name)
			dst = append(dst, `,"arguments":""}}]`...)
		}
		return w.shut(dst)
	case neutral.Redacted:
		return w.signed(dst, neutral.Redacted, e.Signature)
	case neutral.Image:
		dst = append(w.open(dst), `"images":[`...)
		dst = appendImage(dst, w.images, e.Media, e.Data, "")
		w.images++
		return w.shut(append(dst, ']'))
	case neutral.Audio:
		w.losses.Add(neutral.LossAudio)
	}
	return dst
}

func (w *eventWriter) delta(dst, raw []byte) []byte {
	if len(raw) == 0 {
		return dst
	}
	switch w.part {
	case neutral.Text:
		dst = append(w.open(dst), `"content":"`...)
	case neutral.Refusal:
		dst = append(w.open(dst), `"refusal":"`...)
	case neutral.Think:
		dst = append(w.open(dst), `"reasoning_content":"`...)
	case neutral.Call:
		w.empty = false
		if w.custom {
			return w.customDelta(dst, raw)
		}
		return w.arguments(dst, raw)
	default:
		return dst
	}
	dst = append(dst, raw...)
	return w.shut(append(dst, '"'))
}

func (w *eventWriter) arguments(dst, raw []byte) []byte {
	dst = append(w.open(dst), `"tool_calls":[{"index":`...)
	dst = strconv.AppendInt(dst, int64(w.calls), 10)
	dst = append(dst, `,"function":{"arguments":"`...)
	dst = append(dst, raw...)
	return w.shut(append(dst, `"}}]`...))
}

// customDelta keeps the arguments of a custom tool's call. What is longer than we hold goes out as it is.
func (w *eventWriter) customDelta(dst, raw []byte) []byte {
	w.input = append(w.input, raw...)
	if len(w.input) > neutral.MaxHeld {
		dst = w.customInput(dst, w.input)
		w.input = w.input[:0]
	}
	return dst
}

func (w *eventWriter) customInput(dst, raw []byte) []byte {
	dst = append(w.open(dst), `"tool_calls":[{"index":`...)
	dst = strconv.AppendInt(dst, int64(w.calls), 10)
	dst = append(dst, `,"custom":{"input":"`...)
	dst = append(dst, raw...)
	return w.shut(append(dst, `"}}]`...))
}

func (w *eventWriter) endPart(dst []byte, e *neutral.Event) []byte {
	switch w.part {
	case neutral.Call:
		switch {
		case w.custom && len(w.input) > 0:
			quoted := append(append([]byte{'"'}, w.input...), '"')
			dst = w.customInput(dst, dialect.AppendEscaped(nil, customInput(gjson.ParseBytes(quoted).Str)))
			w.input = nil
		case !w.custom && w.empty:
			dst = w.arguments(dst, []byte("{}")) // clients parse what they have collected
		}
		if e.Signature.Value != "" {
			dst = append(w.open(dst), `"tool_calls":[{"index":`...)
			dst = strconv.AppendInt(dst, int64(w.calls), 10)
			dst = appendCallSignature(dst, e.Signature)
			dst = w.shut(append(dst, `}]`...))
		}
		w.calls++
	case neutral.Think:
		if e.Signature.Value != "" {
			dst = w.signed(dst, neutral.Think, e.Signature)
		}
	default:
		w.losses.AddIf(e.Signature.Value != "", neutral.LossSignature)
	}
	w.part = 0
	return dst
}

// signed writes the detail with the signature of a thought whose text has gone before it, or with a redacted one.
func (w *eventWriter) signed(dst []byte, kind neutral.Kind, sig neutral.Signature) []byte {
	dst = append(w.open(dst), `"reasoning_details":[`...)
	dst = appendDetail(dst, w.detail, kind, "", sig)
	w.detail++
	return w.shut(append(dst, ']'))
}

func (w *eventWriter) finish(dst []byte, stop neutral.Stop) []byte {
	if w.finished {
		return dst
	}
	w.finished = true
	return w.shutWith(w.open(dst), `"`+finishReason(stop, w.calls > 0)+`"`)
}

// end writes the usage, in a chunk of its own, if the client asked for it, and what every stream ends with.
func (w *eventWriter) end(dst []byte) []byte {
	dst = w.finish(dst, 0) // clients wait for it
	if w.answering.WantUsage && w.counted {
		dst = append(dst, w.head...)
		dst = append(dst, `],"usage":`...)
		dst = appendCounts(dst, &w.tokens)
		dst = append(dst, "}\n\n"...)
	}
	return append(dst, "data: "+doneMark+"\n\n"...)
}

// appendFailure appends an error in the midst of a stream, behind which nothing comes.
func appendFailure(dst []byte, e *dialect.UpstreamError) []byte {
	if e == nil {
		e = &dialect.UpstreamError{}
	}
	kind := "server_error"
	switch {
	case e.Status == 429:
		kind = "rate_limit_error"
	case e.Status >= 400 && e.Status < 500:
		kind = "invalid_request_error"
	}
	dst = append(dst, `data: {"error":{"message":`...)
	dst = dialect.AppendQuoted(dst, e.Message)
	dst = append(dst, `,"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","param":null,"code":`...)
	if e.Code == "" {
		dst = append(dst, "null"...)
	} else {
		dst = dialect.AppendQuoted(dst, e.Code)
	}
	return append(dst, "}}\n\n"...)
}
