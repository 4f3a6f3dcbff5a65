package responses

import (
	"strconv"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// maxKept bounds how much of an answer a stream keeps: its last event repeats all of it. Beyond, what repeats a text is empty.
const maxKept = 16 << 20

// eventWriter writes one stream. Texts are kept escaped, as they came.
type eventWriter struct {
	o      object
	losses neutral.Losses
	seq    int
	ended  bool

	output  []byte // items that are done, with commas between
	index   int    // of the item at hand
	item    itemKind
	parts   []byte // of the message at hand, those that are done
	content int    // index of the part at hand in its message
	part    neutral.Kind
	call    calling
	text    []byte // of the part at hand, or a call's arguments
	over    bool   // there was too much to keep
	spoke   bool   // the part at hand had a delta
	refused bool
	stop    neutral.Stop
}

// itemKind is what the item at hand is.
type itemKind uint8

const (
	noItem itemKind = iota
	messageItem
	callItem
	reasoningItem
)

// NewEventWriter implements neutral.Writer.
func (Codec) NewEventWriter(a *neutral.Answering) neutral.EventWriter {
	return &eventWriter{o: object{a: a, created: a.Created, status: "in_progress"}}
}

// Losses implements neutral.EventWriter.
func (w *eventWriter) Losses() neutral.Losses { return w.losses }

// Append implements neutral.EventWriter.
func (w *eventWriter) Append(dst []byte, e *neutral.Event) []byte {
	if w.ended {
		return dst
	}
	if w.seq == 0 && e.Kind != neutral.Failed {
		if e.Kind == neutral.Begin && e.Created != 0 {
			w.o.created = e.Created
		}
		dst = w.appendState(dst, "created")
		dst = w.appendState(dst, "in_progress")
	}
	switch e.Kind {
	case neutral.PartBegin:
		return w.begin(dst, e)
	case neutral.Delta:
		return w.delta(dst, e.Raw)
	case neutral.PartEnd:
		return w.end(dst, e)
	case neutral.Finish:
		w.stop = e.Stop
	case neutral.Usage:
		w.o.tokens, w.o.counted = e.Tokens, true
	case neutral.End:
		w.ended = true
		w.o.status, w.o.reason = statusOf(w.stop, w.refused)
		dst = w.endMessage(dst, w.o.status)
		return w.appendState(dst, w.o.status)
	case neutral.Failed:
		w.ended = true
		return w.fail(dst, e)
	}
	return dst
}

// open begins an event: its name, type and sequence number.
func (w *eventWriter) open(dst []byte, name string) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, name...)
	dst = append(dst, "\ndata: {\"type\":\""...)
	dst = append(dst, name...)
	dst = append(dst, `","sequence_number":`...)
	dst = strconv.AppendInt(dst, int64(w.seq), 10)
	w.seq++
	return dst
}

func shut(dst []byte) []byte { return append(dst, "}\n\n"...) }

// appendState appends an event that shows the whole response.
func (w *eventWriter) appendState(dst []byte, name string) []byte {
	dst = w.open(dst, "response."+name)
	dst = append(dst, `,"response":`...)
	dst = w.o.appendHead(dst)
	dst = append(dst, w.output...)
	dst = w.o.appendTail(dst)
	return shut(dst)
}

// about begins an event about the item at hand, or, with an index of a kind, about one of its parts.
func (w *eventWriter) about(dst []byte, name, prefix, index string) []byte {
	dst = w.open(dst, name)
	dst = append(dst, `,"item_id":`...)
	dst = appendID(dst, prefix, w.o.a, w.index)
	dst = append(dst, `,"output_index":`...)
	dst = strconv.AppendInt(dst, int64(w.index), 10)
	if index != "" {
		dst = append(dst, `,"`...)
		dst = append(dst, index...)
		dst = append(dst, `":`...)
		dst = strconv.AppendInt(dst, int64(w.content), 10)
	}
	return dst
}

// itemEvent begins an event that shows the item at hand.
func (w *eventWriter) itemEvent(dst []byte, name string) []byte {
	dst = w.open(dst, name)
	dst = append(dst, `,"output_index":`...)
	dst = strconv.AppendInt(dst, int64(w.index), 10)
	return append(dst, `,"item":`...)
}

func (w *eventWriter) begin(dst []byte, e *neutral.Event) []byte {
	w.text, w.spoke, w.part = w.text[:0], false, e.Part
	switch e.Part {
	case neutral.Text, neutral.Refusal:
		return w.beginText(dst)
	case neutral.Image:
		if e.Data == "" {
			w.losses.Add(neutral.LossImages)
			return dst
		}
		dst = w.endMessage(dst, "completed")
		return w.image(dst, e)
	case neutral.Audio:
		w.losses.Add(neutral.LossAudio)
		return dst
	}
	dst = w.endMessage(dst, "completed")
	switch e.Part {
	case neutral.Call:
		w.item = callItem
		w.call = calling{strings.Clone(e.ID), strings.Clone(e.Name), isCustom(w.o.a, e.Name)}
		dst = w.itemEvent(dst, "response.output_item.added")
		dst = appendCall(dst, w.o.a, w.index, "in_progress", &w.call, nil)
		return shut(dst)
	case neutral.Think, neutral.Redacted:
		w.item = reasoningItem
		dst = w.itemEvent(dst, "response.output_item.added")
		dst = appendReasoningItem(dst, w.o.a, w.index, false, neutral.Signature{}, nil)
		dst = shut(dst)
		if e.Part == neutral.Redacted {
			return w.endReasoning(dst, hidden(e.Signature))
		}
		return dst
	}
	w.losses.Add(neutral.LossUnknownPart)
	w.item = noItem
	return dst
}

func (w *eventWriter) beginText(dst []byte) []byte {
	if w.item == messageItem {
		w.content++
	} else {
		w.item, w.content, w.parts = messageItem, 0, w.parts[:0]
		dst = w.itemEvent(dst, "response.output_item.added")
		dst = appendMessage(dst, w.o.a, w.index, "in_progress", nil)
		dst = shut(dst)
	}
	w.refused = w.refused || w.part == neutral.Refusal
	dst = w.about(dst, "response.content_part.added", "msg_", "content_index")
	dst = append(dst, `,"part":`...)
	dst = appendPart(dst, w.part, nil)
	return shut(dst)
}

func (w *eventWriter) delta(dst, raw []byte) []byte {
	if len(raw) == 0 || w.whole() {
		return dst
	}
	switch w.item {
	case messageItem:
		if w.part == neutral.Refusal {
			dst = w.about(dst, "response.refusal.delta", "msg_", "content_index")
			dst = appendRaw(dst, "delta", raw)
		} else {
			dst = w.about(dst, "response.output_text.delta", "msg_", "content_index")
			dst = appendRaw(dst, "delta", raw)
			dst = append(dst, `,"logprobs":[]`...)
		}
		dst = shut(dst)
	case reasoningItem:
		if !w.spoke {
			w.content = 0
			dst = w.about(dst, "response.reasoning_summary_part.added", "rs_", "summary_index")
			dst = append(dst, `,"part":`...)
			dst = appendSummaryPart(dst, nil)
			dst = shut(dst)
		}
		dst = w.about(dst, "response.reasoning_summary_text.delta", "rs_", "summary_index")
		dst = shut(appendRaw(dst, "delta", raw))
	case callItem:
		// Free text lies inside of arguments: it is taken out when they are whole.
		if !w.call.custom {
			dst = w.about(dst, "response.function_call_arguments.delta", "fc_", "")
			dst = shut(appendRaw(dst, "delta", raw))
		}
	default:
		return dst
	}
	w.spoke = true
	w.keep(raw)
	return dst
}

// keep keeps a piece of the text at hand for the events that repeat it.
func (w *eventWriter) keep(raw []byte) {
	if w.over || len(w.output)+len(w.parts)+len(w.text)+len(raw) > maxKept {
		w.over = true
		w.text = nil
		return
	}
	w.text = append(w.text, raw...)
}

// whole says whether the part at hand is none that goes on: no item waits for its end.
func (w *eventWriter) whole() bool {
	return w.part == 0 || w.part == neutral.Image || w.part == neutral.Audio
}

func (w *eventWriter) end(dst []byte, e *neutral.Event) []byte {
	if w.whole() {
		return dst
	}
	defer func() { w.part = 0 }()
	switch w.item {
	case messageItem:
		w.losses.AddIf(e.Signature.Value != "", neutral.LossSignature)
		return w.endText(dst)
	case callItem:
		return w.endCall(dst)
	case reasoningItem:
		return w.endReasoning(dst, e.Signature)
	}
	return dst
}

func (w *eventWriter) endText(dst []byte) []byte {
	if w.part == neutral.Refusal {
		dst = w.about(dst, "response.refusal.done", "msg_", "content_index")
		dst = appendRaw(dst, "refusal", w.text)
	} else {
		dst = w.about(dst, "response.output_text.done", "msg_", "content_index")
		dst = appendRaw(dst, "text", w.text)
		dst = append(dst, `,"logprobs":[]`...)
	}
	dst = shut(dst)
	dst = w.about(dst, "response.content_part.done", "msg_", "content_index")
	dst = append(dst, `,"part":`...)
	start := len(dst)
	dst = appendPart(dst, w.part, w.text)
	if len(w.parts)+len(dst)-start <= maxKept {
		if len(w.parts) > 0 {
			w.parts = append(w.parts, ',')
		}
		w.parts = append(w.parts, dst[start:]...)
	}
	return shut(dst)
}

// endMessage ends the message at hand, if there is one: until something else comes, it may get more parts.
func (w *eventWriter) endMessage(dst []byte, status string) []byte {
	if w.item != messageItem {
		return dst
	}
	dst = w.itemEvent(dst, "response.output_item.done")
	start := len(dst)
	dst = appendMessage(dst, w.o.a, w.index, status, w.parts)
	return w.done(dst, start)
}

// done keeps the item at hand, which begins at start, ends its event and goes on to the next.
func (w *eventWriter) done(dst []byte, start int) []byte {
	if len(w.output)+len(dst)-start <= maxKept {
		if len(w.output) > 0 {
			w.output = append(w.output, ',')
		}
		w.output = append(w.output, dst[start:]...)
	}
	w.parts = w.parts[:0]
	w.text = w.text[:0]
	w.item = noItem
	w.index++
	return shut(dst)
}

func (w *eventWriter) endCall(dst []byte) []byte {
	input := w.text
	switch {
	case w.call.custom:
		input = freeText(nil, unescaped(w.text))
		dst = w.about(dst, "response.custom_tool_call_input.delta", "ctc_", "")
		dst = shut(appendRaw(dst, "delta", input))
		dst = w.about(dst, "response.custom_tool_call_input.done", "ctc_", "")
		dst = shut(appendRaw(dst, "input", input))
	case !w.spoke: // arguments are an object, an empty one at least
		dst = w.delta(dst, []byte("{}"))
		input = w.text
		fallthrough
	default:
		dst = w.about(dst, "response.function_call_arguments.done", "fc_", "")
		dst = appendString(dst, "name", w.call.name)
		dst = shut(appendRaw(dst, "arguments", input))
	}
	dst = w.itemEvent(dst, "response.output_item.done")
	start := len(dst)
	dst = appendCall(dst, w.o.a, w.index, "completed", &w.call, input)
	return w.done(dst, start)
}

func (w *eventWriter) endReasoning(dst []byte, sig neutral.Signature) []byte {
	if w.spoke {
		dst = w.about(dst, "response.reasoning_summary_text.done", "rs_", "summary_index")
		dst = shut(appendRaw(dst, "text", w.text))
		dst = w.about(dst, "response.reasoning_summary_part.done", "rs_", "summary_index")
		dst = append(dst, `,"part":`...)
		dst = shut(appendSummaryPart(dst, w.text))
	}
	dst = w.itemEvent(dst, "response.output_item.done")
	start := len(dst)
	dst = appendReasoningItem(dst, w.o.a, w.index, false, sig, w.text)
	return w.done(dst, start)
}

// image is an item in itself.
func (w *eventWriter) image(dst []byte, e *neutral.Event) []byte {
	dst = w.itemEvent(dst, "response.output_item.added")
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, "ig_", w.o.a, w.index)
	dst = shut(append(dst, `,"type":"image_generation_call","status":"in_progress","result":null}`...))
	dst = shut(w.about(dst, "response.image_generation_call.completed", "ig_", ""))
	dst = w.itemEvent(dst, "response.output_item.done")
	start := len(dst)
	dst = appendImage(dst, w.o.a, w.index, e.Media, e.Data)
	return w.done(dst, start)
}

// fail ends the stream with an error event, in the API's flat form and in the envelope by which its SDKs know an error; and
// if the stream had begun, with the response as it failed.
func (w *eventWriter) fail(dst []byte, e *neutral.Event) []byte {
	begun := w.seq > 0
	failure := e.Failure
	if failure == nil {
		failure = &dialect.UpstreamError{}
	}
	kind := failure.Type
	if kind == "" {
		kind = "server_error"
	}
	code := codeOf(failure)
	dst = w.open(dst, "error")
	dst = appendString(dst, "code", code)
	dst = appendString(dst, "message", failure.Message)
	dst = append(dst, `,"param":null,"error":{"type":`...)
	dst = dialect.AppendQuoted(dst, kind)
	dst = appendString(dst, "code", code)
	dst = appendString(dst, "message", failure.Message)
	dst = shut(append(dst, `,"param":null}`...))
	if !begun {
		return dst
	}
	w.o.status, w.o.failure = "failed", failure
	return w.appendState(dst, "failed")
}
