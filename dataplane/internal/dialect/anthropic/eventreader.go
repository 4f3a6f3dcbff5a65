package anthropic

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

const (
	// maxSignature bounds what is kept of a signature that comes in pieces. Real ones have some thousand bytes.
	maxSignature = 1 << 20
	// maxWaiting bounds what blocks say while one before them is open.
	maxWaiting = 16 << 20
)

// NewEventReader implements neutral.Hearer.
func (Codec) NewEventReader() neutral.EventReader { return &eventReader{} }

// eventReader reads one stream. The API lets a block begin before the one in front of it has ended; such a block waits. Of
// a stream in which blocks follow each other nothing is held but a block's signature.
type eventReader struct {
	event    neutral.Event // what is emitted, so that none is allocated
	counts   counts
	losses   neutral.Losses
	current  content
	queue    []content // those that wait, in their order
	waiting  int       // bytes that the queue holds
	begun    bool
	stopped  bool // why the answer ended was said
	over     bool // nothing more is emitted
	complete bool
}

// content is a block of the stream.
type content struct {
	open      bool
	kind      neutral.Kind // 0: it is not carried
	index     []byte       // as it is written
	id, name  string
	redacted  neutral.Signature
	signature []byte
	input     []byte // of a call, escaped: said at once, and void with the first delta
	text      []byte // what is to be emitted behind its beginning
	said      bool   // something of it was emitted
	ended     bool   // while it waits
}

var _ neutral.EventReader = (*eventReader)(nil)

// Losses implements neutral.EventReader.
func (r *eventReader) Losses() neutral.Losses { return r.losses }

// Read implements neutral.EventReader.
func (r *eventReader) Read(name, data []byte, emit neutral.Emit) {
	if r.over {
		return
	}
	var h heard
	if !h.read(data) {
		r.fail(emit, "the upstream sent an event that is not JSON")
		return
	}
	kind := inside(h.kind)
	if len(kind) == 0 {
		kind = name
	}
	switch string(kind) {
	case "content_block_delta":
		r.delta(&h, emit)
	case "content_block_start":
		r.start(&h, emit)
	case "content_block_stop":
		r.stop(h.index, emit)
	case "message_start":
		r.begin(&h, emit)
	case "message_delta":
		r.finish(&h, emit)
	case "message_stop":
		r.end(emit)
	case "error":
		e, _ := parseEnvelope(data)
		e.Status = impliedStatus(e.Type)
		r.failWith(emit, e)
	}
	// ping, and what the API says of unknown events: ignore them.
}

// Close implements neutral.EventReader. An answer whose reason for stopping was said is complete.
func (r *eventReader) Close(emit neutral.Emit) bool {
	if !r.over && r.stopped {
		r.end(emit)
	}
	return r.complete
}

func (r *eventReader) emit(emit neutral.Emit, e neutral.Event) {
	r.event = e
	emit(&r.event)
}

func (r *eventReader) fail(emit neutral.Emit, message string) {
	r.failWith(emit, dialect.UpstreamError{Status: 502, Type: "api_error", Message: message})
}

func (r *eventReader) failWith(emit neutral.Emit, e dialect.UpstreamError) {
	r.over = true
	r.emit(emit, neutral.Event{Kind: neutral.Failed, Failure: &e})
}

func (r *eventReader) begin(h *heard, emit neutral.Emit) {
	if r.begun || len(h.message) == 0 || h.message[0] != '{' {
		r.fail(emit, "the upstream began its answer in a way that makes no sense")
		return
	}
	r.begun = true
	message := gjson.Parse(view(h.message))
	r.emit(emit, neutral.Event{Kind: neutral.Begin, ID: message.Get("id").Str, Name: message.Get("model").Str})
	r.usage([]byte(message.Get("usage").Raw), emit)
}

// usage emits the totals that an object of counts makes of those before it.
func (r *eventReader) usage(raw []byte, emit neutral.Emit) {
	s := dialect.Scanner{B: raw}
	said := false
	if s.Take('{') && r.counts.scan(&s, &said) && said {
		r.emit(emit, neutral.Event{Kind: neutral.Usage, Tokens: r.counts.tokens()})
	}
}

func (r *eventReader) start(h *heard, emit neutral.Emit) {
	if !r.begun || r.stopped || len(h.block) == 0 || h.block[0] != '{' || r.find(h.index) != nil {
		r.fail(emit, "the upstream began a block in a way that makes no sense")
		return
	}
	c := content{open: true, index: bytes.Clone(h.index)}
	block := gjson.Parse(view(h.block))
	var first gjson.Result
	switch kind := block.Get("type").Str; kind {
	case "text":
		c.kind, first = neutral.Text, block.Get("text")
		cites := block.Get("citations")
		r.losses.AddIf(cites.IsArray() && cites.Get("#").Int() > 0, neutral.LossCitations)
	case "thinking":
		c.kind, first = neutral.Think, block.Get("thinking")
		c.signature = append(c.signature, block.Get("signature").Str...)
	case "redacted_thinking":
		c.kind, c.redacted = neutral.Redacted, signature(strings.Clone(block.Get("data").Str))
	case "tool_use":
		c.kind = neutral.Call
		c.id, c.name = strings.Clone(block.Get("id").Str), strings.Clone(block.Get("name").Str)
		if input := block.Get("input"); input.IsObject() && len(input.Map()) > 0 {
			c.input = dialect.AppendEscaped(nil, input.Raw)
		}
	default:
		if serverBlock(kind) {
			r.losses.Add(neutral.LossServerTools)
		} else {
			r.losses.Add(neutral.LossUnknownPart)
		}
	}
	c.text = bytes.Clone(inside([]byte(first.Raw)))
	if !inString(c.text) {
		r.fail(emit, "the upstream sent a string that is not JSON")
		return
	}
	if r.current.open {
		r.queue = append(r.queue, c)
		r.wait(len(h.block), emit)
		return
	}
	r.open(c, emit)
}

// find is the block of an index, if it is open.
func (r *eventReader) find(index []byte) *content {
	if r.current.open && bytes.Equal(index, r.current.index) {
		return &r.current
	}
	for i := range r.queue {
		if c := &r.queue[i]; !c.ended && bytes.Equal(index, c.index) {
			return c
		}
	}
	return nil
}

// wait notes that n more bytes wait.
func (r *eventReader) wait(n int, emit neutral.Emit) {
	if r.waiting += n; r.waiting > maxWaiting {
		r.fail(emit, "the upstream says too much at once")
	}
}

func (r *eventReader) open(c content, emit neutral.Emit) {
	text := c.text
	c.text = nil
	r.current = c
	if c.kind == 0 {
		return
	}
	r.emit(emit, neutral.Event{Kind: neutral.PartBegin, Part: c.kind, ID: c.id, Name: c.name, Signature: c.redacted})
	if len(text) > 0 {
		r.say(text, emit)
	}
}

// say emits what is added to the block that is not waiting.
func (r *eventReader) say(raw []byte, emit neutral.Emit) {
	r.current.said = true
	r.emit(emit, neutral.Event{Kind: neutral.Delta, Raw: raw})
}

func (r *eventReader) delta(h *heard, emit neutral.Emit) {
	c := r.find(h.index)
	if !h.delta || c == nil {
		r.fail(emit, "the upstream added to a block that is not open")
		return
	}
	if c.kind == 0 {
		return
	}
	var raw []byte
	fits := true
	switch kind := inside(h.deltaKind); string(kind) {
	case "text_delta":
		raw, fits = h.text, c.kind == neutral.Text
	case "input_json_delta":
		raw, fits = h.json, c.kind == neutral.Call
	case "thinking_delta":
		raw, fits = h.thought, c.kind == neutral.Think
	case "signature_delta":
		c.signature = append(c.signature, gjson.Parse(view(h.signature)).Str...)
		fits = c.kind == neutral.Think && len(c.signature) <= maxSignature
	case "citations_delta":
		r.losses.Add(neutral.LossCitations)
	default:
		r.losses.Add(neutral.LossUnknownPart)
	}
	raw = inside(raw)
	switch {
	case !fits:
		r.fail(emit, "the upstream added to a block what is not of its kind")
	case !inString(raw):
		r.fail(emit, "the upstream sent a string that is not JSON")
	case len(raw) == 0:
	case c == &r.current:
		r.say(raw, emit)
	default:
		c.text = append(c.text, raw...)
		r.wait(len(raw), emit)
	}
}

// stop ends a block, and begins those that waited for it.
func (r *eventReader) stop(index []byte, emit neutral.Emit) {
	switch c := r.find(index); c {
	case nil:
	case &r.current:
		r.next(emit)
		for r.current.open && r.current.ended {
			r.next(emit)
		}
	default:
		c.ended = true
	}
}

// next ends the block that is not waiting, and begins the one behind it.
func (r *eventReader) next(emit neutral.Emit) {
	r.close(emit)
	r.current = content{}
	if len(r.queue) == 0 {
		r.waiting = 0
		return
	}
	c := r.queue[0]
	r.queue = r.queue[1:]
	r.open(c, emit)
}

// closeAll ends all blocks: the answer is over.
func (r *eventReader) closeAll(emit neutral.Emit) {
	for r.current.open {
		r.next(emit)
	}
}

// close emits the end of a part. A call without arguments has none that others could parse, so it gets an empty object.
func (r *eventReader) close(emit neutral.Emit) {
	c := &r.current
	if c.kind == 0 {
		return
	}
	if c.kind == neutral.Call && !c.said {
		if len(c.input) == 0 {
			c.input = append(c.input, "{}"...)
		}
		r.say(c.input, emit)
	}
	e := neutral.Event{Kind: neutral.PartEnd}
	if c.kind == neutral.Think {
		e.Signature = signature(view(c.signature))
	}
	r.emit(emit, e)
}

func (r *eventReader) finish(h *heard, emit neutral.Emit) {
	if !r.begun {
		r.fail(emit, "the upstream ended an answer that it did not begin")
		return
	}
	if len(inside(h.stopReason)) > 0 && !r.stopped {
		r.closeAll(emit)
		r.stopped = true
		r.emit(emit, neutral.Event{
			Kind: neutral.Finish, Stop: stopOf(view(inside(h.stopReason))), Sequence: gjson.Parse(view(h.stopString)).Str,
		})
	}
	r.usage(h.usage, emit)
	r.losses.AddIf(len(h.container) > 0 && h.container[0] == '{', neutral.LossState)
}

func (r *eventReader) end(emit neutral.Emit) {
	if !r.begun {
		r.fail(emit, "the upstream ended an answer that it did not begin")
		return
	}
	r.closeAll(emit)
	r.over, r.complete = true, true
	r.emit(emit, neutral.Event{Kind: neutral.End})
}
