package anthropic

import (
	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// AppendResponse implements neutral.Writer. A signature of a call has no slot here; the gateway keeps it by the call's id,
// so it is no loss.
func (Codec) AppendResponse(dst []byte, r *neutral.Response, a *neutral.Answering) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendAnswerID(dst, r.ID, a)
	dst = append(dst, `,"type":"message","role":"assistant","model":`...)
	dst = dialect.AppendQuoted(dst, a.Model)
	dst = append(dst, `,"content":[`...)
	items := 0
	var has said
	for i := range r.Parts {
		p := &r.Parts[i]
		if lost, ok := unsaid(p.Kind); ok {
			r.Losses.Add(lost)
			continue
		}
		has.note(p.Kind)
		r.Losses.AddIf(p.Kind == neutral.Text && p.Signature.Value != "", neutral.LossSignature)
		if items++; items > 1 {
			dst = append(dst, ',')
		}
		dst = appendBlock(dst, p)
	}
	dst = append(dst, `],"stop_reason":"`...)
	dst = append(dst, stopReason(has.why(r.Stop))...)
	dst = append(dst, `","stop_sequence":`...)
	dst = appendNullable(dst, r.Sequence)
	dst = append(dst, `,"usage":`...)
	dst = appendUsage(dst, &r.Usage)
	return append(dst, '}')
}

// said is what an answer has that its end must fit to.
type said struct{ refusal, call bool }

func (s *said) note(k neutral.Kind) {
	s.refusal = s.refusal || k == neutral.Refusal
	s.call = s.call || k == neutral.Call
}

// why is why the answer ended: others call it a usual end when the model refused, and some when it called a tool.
func (s *said) why(stop neutral.Stop) neutral.Stop {
	switch {
	case stop > neutral.StopEnd:
		return stop
	case s.call:
		return neutral.StopCall
	case s.refusal:
		return neutral.StopFilter
	}
	return neutral.StopEnd
}

// unsaid is the loss that a part of an answer is for which there is no block; false = there is one.
func unsaid(k neutral.Kind) (neutral.Loss, bool) {
	switch k {
	case neutral.Text, neutral.Refusal, neutral.Think, neutral.Redacted, neutral.Call:
		return 0, false
	case neutral.Image:
		return neutral.LossImages, true
	case neutral.Audio:
		return neutral.LossAudio, true
	case neutral.File:
		return neutral.LossFiles, true
	}
	return neutral.LossUnknownPart, true
}

func appendBlock(dst []byte, p *neutral.Part) []byte {
	switch p.Kind {
	case neutral.Call:
		dst = append(dst, `{"type":"tool_use","id":`...)
		dst = dialect.AppendQuoted(dst, p.ID)
		dst = append(dst, `,"name":`...)
		dst = dialect.AppendQuoted(dst, p.Name)
		dst = append(dst, `,"input":`...)
		dst = appendArgs(dst, p.Args)
	case neutral.Think:
		dst = append(dst, `{"type":"thinking","thinking":`...)
		dst = dialect.AppendQuoted(dst, p.Text)
		dst = append(dst, `,"signature":`...)
		dst = dialect.AppendQuoted(dst, p.Signature.Wrap(native))
	case neutral.Redacted:
		dst = append(dst, `{"type":"redacted_thinking","data":`...)
		dst = dialect.AppendQuoted(dst, p.Signature.Wrap(native))
	default:
		dst = append(dst, `{"type":"text","text":`...)
		dst = dialect.AppendQuoted(dst, p.Text)
	}
	return append(dst, '}')
}

// appendAnswerID appends the id of an answer: the upstream's, or one of ours.
func appendAnswerID(dst []byte, id string, a *neutral.Answering) []byte {
	if id == "" {
		id = "msg_" + a.ID
	}
	return dialect.AppendQuoted(dst, id)
}

func appendNullable(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return dialect.AppendQuoted(dst, s)
}
