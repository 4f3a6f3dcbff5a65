package gemini

import (
	"bytes"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// maxKept is the largest buffer that a stream keeps between events.
const maxKept = 64 << 10

// NewEventReader implements neutral.Hearer.
func (Codec) NewEventReader() neutral.EventReader { return &hearing{} }

// hearing is one upstream's stream: chunks that each are a response of their own, without an end but the last byte. Why
// the model stopped is told at the end only, since older models give a reason with each chunk, and some more content after it.
type hearing struct {
	emit neutral.Emit  // while Read runs
	e    neutral.Event // the one being emitted; kept here so that none is allocated
	id   string        // the answer's

	began, failed, blocked bool
	open                   neutral.Kind // of the part that is open; 0 = none
	parts                  int
	called                 bool
	reason                 []byte // why it ended; nil = it has not
	usage                  []byte // the last usageMetadata, not read before it is asked for
	args                   []byte // of a call
	losses                 neutral.Losses
}

// Losses implements neutral.EventReader.
func (h *hearing) Losses() neutral.Losses { return h.losses }

// chunkPart is what a part of a chunk says, as it is written; nil = nothing.
type chunkPart struct {
	text, signature, call, blob, file []byte
	thought                           bool
}

// Read implements neutral.EventReader.
func (h *hearing) Read(_, data []byte, emit neutral.Emit) {
	if h.failed {
		return
	}
	h.emit = emit
	h.read(data)
	h.emit = nil
}

func (h *hearing) read(data []byte) {
	s := dialect.Scanner{B: data}
	s.Space()
	if !h.began {
		if v := envelope(data); v.Exists() {
			h.error(v)
			return
		}
		if s.At >= len(data) || data[s.At] != '{' {
			h.nonsense()
			return
		}
		h.begin(data)
	}
	ok := object(&s, func(key []byte) bool {
		switch string(key) {
		case "candidates":
			return array(&s, func(i int) bool {
				if i > 0 {
					h.losses.Add(neutral.LossN)
					return s.Value()
				}
				return h.candidate(&s)
			})
		case "usageMetadata":
			v, ok := value(&s)
			h.usage = append(h.usage[:0], v...)
			return ok
		case "promptFeedback":
			v, ok := value(&s)
			h.blocked = h.blocked || gjson.Get(text(v), "blockReason").String() != ""
			return ok
		case "error":
			v, ok := value(&s)
			if ok {
				h.error(gjson.Parse(text(v)))
			}
			return ok && !h.failed
		}
		return s.Value()
	})
	if h.failed {
		return
	}
	s.Space()
	if !ok || s.At != len(data) {
		h.nonsense()
	}
}

// begin emits Begin, and what is known of the usage: some dialects tell it at their start.
func (h *hearing) begin(data []byte) {
	h.began = true
	root := gjson.Parse(text(data))
	h.id = string(append([]byte(nil), root.Get("responseId").String()...))
	h.send(neutral.Event{
		Kind: neutral.Begin, ID: h.id, Name: root.Get("modelVersion").String(), Created: created(root.Get("createTime").String()),
	})
	if t, ok := ParseUsage(data); ok {
		h.send(neutral.Event{Kind: neutral.Usage, Tokens: t})
	}
}

func (h *hearing) candidate(s *dialect.Scanner) bool {
	return object(s, func(key []byte) bool {
		switch string(key) {
		case "content":
			return object(s, func(key []byte) bool {
				if string(key) != "parts" {
					return s.Value()
				}
				return array(s, func(int) bool { return h.part(s) })
			})
		case "finishReason":
			v, ok := value(s)
			if len(v) > 2 && v[0] == '"' && string(v) != `"FINISH_REASON_UNSPECIFIED"` {
				h.reason = append(h.reason[:0], v[1:len(v)-1]...)
			}
			return ok
		case "citationMetadata", "groundingMetadata", "urlContextMetadata":
			return h.remark(s, neutral.LossCitations)
		case "logprobsResult":
			return h.remark(s, neutral.LossLogprobs)
		}
		return s.Value()
	})
}

// remark walks what is said of a candidate; it is lost where it says something.
func (h *hearing) remark(s *dialect.Scanner, l neutral.Loss) bool {
	v, ok := value(s)
	if ok && v[0] == '{' {
		h.losses.AddIf(!none(gjson.Parse(text(v))), l)
	}
	return ok
}

// part reads a part and emits it.
func (h *hearing) part(s *dialect.Scanner) bool {
	var p chunkPart
	if !object(s, func(key []byte) bool {
		v, ok := value(s)
		switch string(key) {
		case "text":
			p.text = inside(v)
		case "thought":
			p.thought = string(v) == "true"
		case "thoughtSignature":
			p.signature = inside(v)
		case "functionCall":
			p.call = v
		case "inlineData":
			p.blob = v
		case "fileData":
			p.file = v
		case "executableCode", "codeExecutionResult", "toolCall", "toolResponse":
			h.losses.Add(neutral.LossServerTools)
		default:
			h.losses.Add(neutral.LossUnknownField)
		}
		return ok
	}) {
		return false
	}
	switch {
	case p.call != nil:
		return h.call(&p)
	case p.blob != nil:
		h.losses.AddIf(len(p.signature) > 0, neutral.LossSignature)
		h.blob(gjson.Parse(text(p.blob)))
		return true
	case p.file != nil:
		h.losses.AddIf(len(p.signature) > 0, neutral.LossSignature)
		h.losses.Add(lossOf(kindOf(gjson.Parse(text(p.file)).Get("mimeType").Str)))
		return true
	}
	return h.words(&p)
}

// inside is what is between the quotes of a string; nil = it is none.
func inside(v []byte) []byte {
	if len(v) < 2 || v[0] != '"' {
		return nil
	}
	return v[1 : len(v)-1]
}

// words emits text or thinking. A signature ends its part.
func (h *hearing) words(p *chunkPart) bool {
	if len(p.text) == 0 && len(p.signature) == 0 {
		return true
	}
	kind := neutral.Text
	if p.thought {
		kind = neutral.Think
	}
	if !clean(p.text) {
		return false
	}
	if h.open != kind {
		h.end(neutral.Signature{})
		h.open = kind
		h.parts++
		h.send(neutral.Event{Kind: neutral.PartBegin, Part: kind})
	}
	if len(p.text) > 0 {
		h.send(neutral.Event{Kind: neutral.Delta, Part: kind, Raw: p.text})
	}
	if len(p.signature) > 0 {
		h.end(h.signature(p))
	}
	return true
}

func (h *hearing) signature(p *chunkPart) neutral.Signature {
	if len(p.signature) == 0 {
		return neutral.Signature{}
	}
	if bytes.IndexByte(p.signature, '\\') < 0 {
		return neutral.Signature{Value: text(p.signature), Origin: native}
	}
	return neutral.Signature{Value: string(appendUnescaped(nil, p.signature)), Origin: native}
}

// call emits a call, which comes whole.
func (h *hearing) call(p *chunkPart) bool {
	q := neutral.Part{Signature: h.signature(p)}
	other := func() { h.losses.Add(neutral.LossUnknownField) }
	if !readCall(&q, gjson.Parse(text(p.call)), other) || q.Name == "" || !dialect.Valid(q.Args) {
		return false
	}
	if q.ID == "" {
		q.ID = callID(h.id, h.parts, &q)
	}
	h.end(neutral.Signature{})
	h.called = true
	h.parts++
	h.send(neutral.Event{Kind: neutral.PartBegin, Part: neutral.Call, ID: q.ID, Name: q.Name})
	h.args = dialect.AppendEscaped(h.args[:0], q.Args)
	h.send(neutral.Event{Kind: neutral.Delta, Part: neutral.Call, Raw: h.args})
	if cap(h.args) > maxKept {
		h.args = nil
	}
	h.open = neutral.Call
	h.end(q.Signature)
	return true
}

// blob emits an image or a sound; anything else has no place in an answer.
func (h *hearing) blob(v gjson.Result) {
	media, data := v.Get("mimeType").String(), v.Get("data").String()
	kind := kindOf(media)
	if data == "" || kind != neutral.Image && kind != neutral.Audio {
		h.losses.Add(lossOf(kind))
		return
	}
	h.end(neutral.Signature{})
	h.open = kind
	h.parts++
	h.send(neutral.Event{Kind: neutral.PartBegin, Part: kind, Media: media, Data: data})
	h.end(neutral.Signature{})
}

// end ends the part that is open.
func (h *hearing) end(sig neutral.Signature) {
	if h.open != 0 {
		h.send(neutral.Event{Kind: neutral.PartEnd, Part: h.open, Signature: sig})
		h.open = 0
	}
}

func (h *hearing) send(e neutral.Event) {
	h.e = e
	h.emit(&h.e)
	h.e = neutral.Event{}
}

func (h *hearing) error(v gjson.Result) {
	e, ok := readError(v)
	if !ok {
		h.nonsense()
		return
	}
	h.fail(&e)
}

func (h *hearing) nonsense() {
	h.fail(&dialect.UpstreamError{Status: 502, Message: "the upstream's stream holds an event that makes no sense"})
}

func (h *hearing) fail(e *dialect.UpstreamError) {
	h.failed = true
	h.send(neutral.Event{Kind: neutral.Failed, Failure: e})
}

// Close implements neutral.EventReader. What was used is told also of a stream that was cut.
func (h *hearing) Close(emit neutral.Emit) bool {
	if h.failed || !h.began {
		return false
	}
	h.emit = emit
	defer func() { h.emit = nil }()
	complete := h.reason != nil || h.blocked
	if complete {
		h.end(neutral.Signature{})
		stop := neutral.StopFilter
		if h.reason != nil {
			stop = stopOf(string(h.reason), h.called)
		}
		h.send(neutral.Event{Kind: neutral.Finish, Stop: stop})
	}
	if t, ok := h.tokens(); ok {
		h.send(neutral.Event{Kind: neutral.Usage, Tokens: t})
	}
	if complete {
		h.send(neutral.Event{Kind: neutral.End})
	}
	return complete
}

func (h *hearing) tokens() (money.Tokens, bool) {
	s := dialect.Scanner{B: h.usage}
	if len(h.usage) == 0 {
		return money.Tokens{}, false
	}
	return usageObject(&s)
}
