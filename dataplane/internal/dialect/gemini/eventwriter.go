package gemini

import (
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// maxArgs is the longest text of one call's arguments that is held until the call is whole.
const maxArgs = 1 << 20

const (
	chunkStart = `data: {"candidates":[{"content":{"parts":[`
	chunkEnd   = `],"role":"model"},"index":0}]`
)

// NewEventWriter implements neutral.Writer.
func (Codec) NewEventWriter(a *neutral.Answering) neutral.EventWriter { return &telling{a: a} }

// telling is one client's stream: each chunk is a response of its own; the last has the reason and what was used.
//
// The last piece of what was thought waits for the signature and goes with it: Google's Go SDK leaves chunks without text
// out of its history, and the signature with them.
type telling struct {
	a    *neutral.Answering
	tail []byte // what each chunk ends with, from behind the candidates on

	part     neutral.Kind // that is open
	id, name string       // of the call that is open
	args     []byte       // of it, escaped
	thought  []byte       // the last piece of thinking, escaped

	spoilt, over bool // a call was lost; nothing more is told
	stop         neutral.Stop
	tokens       money.Tokens
	counted      bool
	losses       neutral.Losses
}

// Losses implements neutral.EventWriter.
func (t *telling) Losses() neutral.Losses { return t.losses }

// Append implements neutral.EventWriter.
func (t *telling) Append(dst []byte, e *neutral.Event) []byte {
	if t.over {
		return dst
	}
	if t.tail == nil {
		id := ""
		if e.Kind == neutral.Begin {
			id = e.ID
		}
		t.tail = append(appendNames(nil, t.a, id), "}\n\n"...)
	}
	switch e.Kind {
	case neutral.PartBegin:
		return t.begin(dst, e)
	case neutral.Delta:
		return t.delta(dst, e)
	case neutral.PartEnd:
		return t.end(dst, e)
	case neutral.Finish:
		t.stop = e.Stop
	case neutral.Usage:
		t.tokens, t.counted = e.Tokens, true
	case neutral.End:
		t.over = true
		return t.last(dst)
	case neutral.Failed:
		return t.fail(dst, e.Failure)
	case neutral.Begin: // the first chunk is the first content
	}
	return dst
}

// chunk closes a chunk whose part was appended.
func (t *telling) chunk(dst []byte) []byte {
	return append(append(dst, chunkEnd...), t.tail...)
}

func (t *telling) begin(dst []byte, e *neutral.Event) []byte {
	t.part = e.Part
	switch e.Part {
	case neutral.Call:
		t.id, t.name, t.args = strings.Clone(e.ID), strings.Clone(e.Name), t.args[:0]
	case neutral.Redacted:
		return t.chunk(appendWords(append(dst, chunkStart...), "", true, wrapRedacted(e.Signature)))
	case neutral.Image, neutral.Audio:
		p := neutral.Part{Kind: e.Part, Media: e.Media, Data: e.Data}
		return t.chunk(append(appendBytes(append(dst, chunkStart...), &p), '}'))
	case neutral.Text, neutral.Refusal, neutral.Think:
	default:
		t.losses.Add(neutral.LossUnknownPart)
	}
	return dst
}

func (t *telling) delta(dst []byte, e *neutral.Event) []byte {
	if len(e.Raw) == 0 {
		return dst
	}
	switch t.part {
	case neutral.Call:
		if len(t.args)+len(e.Raw) > maxArgs {
			return t.fail(dst, &dialect.UpstreamError{Status: 502, Message: "the arguments of a function call are too long"})
		}
		t.args = append(t.args, e.Raw...)
	case neutral.Text, neutral.Refusal:
		dst = append(append(dst, chunkStart+`{"text":"`...), e.Raw...)
		return t.chunk(append(dst, `"}`...))
	case neutral.Think:
		dst = t.think(dst, "")
		t.thought = append(t.thought, e.Raw...)
	}
	return dst
}

// think tells the piece of thinking that waits, with the signature if there is one.
func (t *telling) think(dst []byte, sig string) []byte {
	if len(t.thought) == 0 && sig == "" {
		return dst
	}
	dst = append(append(dst, chunkStart+`{"text":"`...), t.thought...)
	dst = appendSignature(append(dst, `","thought":true`...), sig)
	if t.thought = t.thought[:0]; cap(t.thought) > maxKept {
		t.thought = nil
	}
	return t.chunk(append(dst, '}'))
}

// end tells a call, which is whole now, or the signature of what was said: with an empty text, as Google does.
func (t *telling) end(dst []byte, e *neutral.Event) []byte {
	part := t.part
	t.part = 0
	sig := e.Signature.Wrap(native)
	switch part {
	case neutral.Call:
		return t.call(dst, sig)
	case neutral.Think:
		return t.think(dst, sig)
	case neutral.Text, neutral.Refusal:
		if sig != "" {
			return t.chunk(appendWords(append(dst, chunkStart...), "", false, sig))
		}
	}
	return dst
}

// call tells a call. Arguments that are no object, such as those that the end of the answer cut, cannot be told: the reason
// says so.
func (t *telling) call(dst []byte, sig string) []byte {
	args := appendUnescaped(make([]byte, 0, len(t.args)), t.args)
	if cap(t.args) > maxKept {
		t.args = nil
	}
	if !isArgs(text(args)) {
		t.spoilt = true
		return dst
	}
	return t.chunk(appendCall(append(dst, chunkStart...), t.id, t.name, text(args), sig))
}

// last tells the end. Its text is empty, as in streams of Google's own.
func (t *telling) last(dst []byte) []byte {
	dst = append(dst, chunkStart+`{"text":""}],"role":"model"},"finishReason":"`...)
	dst = append(append(dst, reasonOf(t.stop, t.spoilt)...), `","index":0}]`...)
	if t.counted {
		dst = appendUsage(append(dst, `,"usageMetadata":`...), &t.tokens)
	}
	return append(dst, t.tail...)
}

func (t *telling) fail(dst []byte, e *dialect.UpstreamError) []byte {
	t.over = true
	dst = t.think(dst, "")
	if e == nil {
		e = &dialect.UpstreamError{Status: 502, Message: "the upstream failed"}
	}
	return append(appendError(append(dst, "data: "...), e), "\n\n"...)
}
