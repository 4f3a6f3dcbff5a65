package anthropic

import (
	"strconv"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// NewEventWriter implements neutral.Writer. What is counted is said at the end, in message_delta: nobody knows it before.
// A signature of a call has no slot here; the gateway keeps it by the call's id, so it is no loss.
func (Codec) NewEventWriter(a *neutral.Answering) neutral.EventWriter {
	return &eventWriter{answering: a}
}

// eventWriter writes one stream.
type eventWriter struct {
	answering *neutral.Answering
	losses    neutral.Losses
	index     int64
	open      neutral.Kind // the block that is open; 0 = none
	begun     bool
	over      bool
	has       said
	stop      neutral.Stop
	sequence  string
	tokens    money.Tokens
}

var _ neutral.EventWriter = (*eventWriter)(nil)

// Losses implements neutral.EventWriter.
func (w *eventWriter) Losses() neutral.Losses { return w.losses }

// Append implements neutral.EventWriter.
func (w *eventWriter) Append(dst []byte, e *neutral.Event) []byte {
	if w.over {
		return dst
	}
	switch e.Kind {
	case neutral.Delta:
		return w.delta(dst, e.Raw)
	case neutral.Begin:
		return w.begin(dst, e.ID)
	case neutral.PartBegin:
		return w.block(w.stopBlock(w.begin(dst, "")), e)
	case neutral.PartEnd:
		return w.partEnd(dst, e)
	case neutral.Finish:
		w.stop, w.sequence = e.Stop, strings.Clone(e.Sequence)
	case neutral.Usage:
		w.tokens = e.Tokens
	case neutral.End:
		return w.end(w.stopBlock(w.begin(dst, "")))
	case neutral.Failed:
		return w.failed(dst, e)
	}
	return dst
}

func (w *eventWriter) begin(dst []byte, id string) []byte {
	if w.begun {
		return dst
	}
	w.begun = true
	dst = append(dst, "event: message_start\ndata: "+`{"type":"message_start","message":{"id":`...)
	dst = appendAnswerID(dst, id, w.answering)
	dst = append(dst, `,"type":"message","role":"assistant","model":`...)
	dst = dialect.AppendQuoted(dst, w.answering.Model)
	dst = append(dst, `,"content":[],"stop_reason":null,"stop_sequence":null,"usage":`...)
	dst = appendUsage(dst, &w.tokens)
	return append(dst, "}}\n\n"...)
}

// block begins one, if there is any for the part.
func (w *eventWriter) block(dst []byte, e *neutral.Event) []byte {
	if lost, ok := unsaid(e.Part); ok {
		w.losses.Add(lost)
		return dst
	}
	w.open = e.Part
	w.has.note(e.Part)
	dst = append(dst, "event: content_block_start\ndata: "+`{"type":"content_block_start","index":`...)
	dst = strconv.AppendInt(dst, w.index, 10)
	switch e.Part {
	case neutral.Think:
		dst = append(dst, `,"content_block":{"type":"thinking","thinking":"","signature":""`...)
	case neutral.Redacted:
		dst = append(dst, `,"content_block":{"type":"redacted_thinking","data":`...)
		dst = dialect.AppendQuoted(dst, e.Signature.Wrap(native))
	case neutral.Call:
		dst = append(dst, `,"content_block":{"type":"tool_use","id":`...)
		dst = dialect.AppendQuoted(dst, e.ID)
		dst = append(dst, `,"name":`...)
		dst = dialect.AppendQuoted(dst, e.Name)
		dst = append(dst, `,"input":{}`...)
	default:
		dst = append(dst, `,"content_block":{"type":"text","text":""`...)
	}
	return append(dst, "}}\n\n"...)
}

func (w *eventWriter) delta(dst, raw []byte) []byte {
	if len(raw) == 0 {
		return dst
	}
	var what string
	switch w.open {
	case neutral.Text, neutral.Refusal:
		what = `,"delta":{"type":"text_delta","text":"`
	case neutral.Think:
		what = `,"delta":{"type":"thinking_delta","thinking":"`
	case neutral.Call:
		what = `,"delta":{"type":"input_json_delta","partial_json":"`
	default: // of a part that is lost
		return dst
	}
	dst = w.deltaHead(dst)
	dst = append(dst, what...)
	dst = append(dst, raw...)
	return append(dst, "\"}}\n\n"...)
}

func (w *eventWriter) deltaHead(dst []byte) []byte {
	dst = append(dst, "event: content_block_delta\ndata: "+`{"type":"content_block_delta","index":`...)
	return strconv.AppendInt(dst, w.index, 10)
}

func (w *eventWriter) partEnd(dst []byte, e *neutral.Event) []byte {
	if e.Signature.Value != "" {
		switch w.open {
		case neutral.Think:
			dst = w.deltaHead(dst)
			dst = append(dst, `,"delta":{"type":"signature_delta","signature":`...)
			dst = dialect.AppendQuoted(dst, e.Signature.Wrap(native))
			dst = append(dst, "}}\n\n"...)
		case neutral.Text, neutral.Refusal:
			w.losses.Add(neutral.LossSignature)
		}
	}
	return w.stopBlock(dst)
}

func (w *eventWriter) stopBlock(dst []byte) []byte {
	if w.open == 0 {
		return dst
	}
	w.open = 0
	dst = append(dst, "event: content_block_stop\ndata: "+`{"type":"content_block_stop","index":`...)
	dst = strconv.AppendInt(dst, w.index, 10)
	w.index++
	return append(dst, "}\n\n"...)
}

func (w *eventWriter) end(dst []byte) []byte {
	w.over = true
	dst = append(dst, "event: message_delta\ndata: "+`{"type":"message_delta","delta":{"stop_reason":"`...)
	dst = append(dst, stopReason(w.has.why(w.stop))...)
	dst = append(dst, `","stop_sequence":`...)
	dst = appendNullable(dst, w.sequence)
	dst = append(dst, `},"usage":`...)
	dst = appendUsage(dst, &w.tokens)
	return append(dst, "}\n\nevent: message_stop\ndata: "+`{"type":"message_stop"}`+"\n\n"...)
}

// failed writes the error, as it was given. Types of other dialects become the one of their status.
func (w *eventWriter) failed(dst []byte, e *neutral.Event) []byte {
	w.over = true
	kind, message := "api_error", "the upstream failed"
	if f := e.Failure; f != nil {
		kind = errorType(f.Status)
		if impliedStatus(f.Type) != 500 {
			kind = f.Type
		}
		if f.Message != "" {
			message = f.Message
		}
	}
	dst = append(dst, "event: error\ndata: "+`{"type":"error","error":{"type":`...)
	dst = dialect.AppendQuoted(dst, kind)
	dst = append(dst, `,"message":`...)
	dst = dialect.AppendQuoted(dst, message)
	return append(dst, "}}\n\n"...)
}
