package responses

import (
	"bytes"
	"net/http"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// maxHeld bounds the items that wait until the one before them is done.
const maxHeld = 16 << 20

// eventReader reads one stream.
//
// Everything that a stream says in deltas it says again when the part, the item and the response are done. So it may leave
// out deltas, or whole kinds of events, or mix those of several items: one item at a time is read as it comes, and of all
// others only the end counts.
//
// Strings of its events are copies, because whoever takes an event may well keep its strings; only Raw is not.
type eventReader struct {
	out    neutral.Event
	state  uint8
	seen   [maxItems / 64]uint64 // bit n: item n is done, or was skipped
	held   []byte                // items that are done and wait, each behind its length
	item   itemKind              // at hand
	itemAt int
	partAt int          // index of the part at hand, or of the next
	part   neutral.Kind // at hand; 0 = none
	spoke  bool         // the part at hand had a delta
	summed bool         // the reasoning at hand comes as a summary, not in full
	calls  bool
	refuse bool
	losses neutral.Losses
}

// The states of a stream.
const (
	waiting uint8 = iota
	running
	over // complete
	broken
)

// NewEventReader implements neutral.Hearer.
func (Codec) NewEventReader() neutral.EventReader { return &eventReader{} }

// Read implements neutral.EventReader.
func (r *eventReader) Read(name, data []byte, emit neutral.Emit) {
	if r.state >= over || len(data) == 0 {
		return
	}
	if string(data) == "[DONE]" { // not OpenAI's, but of some that imitate the API
		if r.state == running {
			r.complete(nil, stopOf(r.calls, r.refuse), emit)
		}
		return
	}
	e, ok := parseEvent(data)
	if !ok {
		r.nonsense("the upstream sent an event that is not valid JSON", emit)
		return
	}
	if len(e.kind) == 0 {
		e.kind = name
	}
	r.dispatch(&e, data, emit)
}

// Losses implements neutral.EventReader.
func (r *eventReader) Losses() neutral.Losses { return r.losses }

// Close implements neutral.EventReader.
func (r *eventReader) Close(neutral.Emit) bool { return r.state == over }

func (r *eventReader) dispatch(e *event, data []byte, emit neutral.Emit) {
	kind := e.kind
	switch string(kind) {
	case "error", "response.error":
		failure := bareError(data)
		r.fail(&failure, emit)
		return
	case "response.created", "response.queued", "response.in_progress":
		r.start(e.response, emit)
		return
	}
	if !bytes.HasPrefix(kind, []byte("response.")) {
		if failure, is := dialect.Envelope(data); is {
			failure.Status = dialect.ImpliedStatus(&failure)
			r.fail(&failure, emit)
		}
		return
	}
	r.start(e.response, emit)
	if e.itemAt < 0 {
		e.itemAt = r.guess()
	}
	switch string(kind[len("response."):]) {
	case "output_text.delta":
		r.delta(e, messageItem, neutral.Text, emit)
	case "refusal.delta":
		r.delta(e, messageItem, neutral.Refusal, emit)
	case "reasoning_summary_text.delta":
		r.think(e, true, emit)
	case "reasoning_text.delta":
		r.think(e, false, emit)
	case "function_call_arguments.delta":
		r.delta(e, callItem, neutral.Call, emit)
	case "output_text.done":
		r.partDone(e, neutral.Text, inside(e.text), emit)
	case "refusal.done":
		r.partDone(e, neutral.Refusal, inside(e.text), emit)
	case "content_part.done":
		r.contentDone(e, emit)
	case "output_text.annotation.added":
		r.losses.Add(neutral.LossCitations)
	case "function_call_arguments.done":
		if r.item == callItem && r.itemAt == e.itemAt {
			r.fill(inside(e.text), emit)
		}
	case "output_item.added":
		r.added(e, emit)
	case "output_item.done":
		r.itemDone(e.itemAt, e.item, emit)
	case "completed", "incomplete", "failed", "cancelled":
		r.last(e, emit)
	}
}

// last reads the event that ends a stream. The status of its response counts for more than its name.
func (r *eventReader) last(e *event, emit neutral.Emit) {
	v := gjson.ParseBytes(e.response)
	if failure, is := failed(v); is {
		r.fail(&failure, emit)
		return
	}
	name, status := string(e.kind[len("response."):]), v.Get("status").Str
	switch {
	case name == "incomplete" || status == "incomplete":
		r.complete(e.response, stopShort(v.Get("incomplete_details.reason").Str), emit)
	case name == "completed":
		r.complete(e.response, 0, emit)
	default:
		r.fail(&dialect.UpstreamError{Status: http.StatusInternalServerError, Code: "server_error"}, emit)
	}
}

// send emits what is in r.out. The event is in the reader's memory, so that none is made for each.
func (r *eventReader) send(emit neutral.Emit) {
	emit(&r.out)
	r.out = neutral.Event{}
}

func (r *eventReader) start(response []byte, emit neutral.Emit) {
	if r.state != waiting {
		return
	}
	r.state = running
	v := parse(response)
	r.out.Kind = neutral.Begin
	r.out.ID, r.out.Name = strings.Clone(v.Get("id").String()), strings.Clone(v.Get("model").String())
	r.out.Created = v.Get("created_at").Int()
	r.send(emit)
}

func (r *eventReader) fail(failure *dialect.UpstreamError, emit neutral.Emit) {
	r.state = broken
	r.held = nil
	r.out.Kind, r.out.Failure = neutral.Failed, failure
	r.send(emit)
}

// nonsense ends a stream that makes no sense.
func (r *eventReader) nonsense(why string, emit neutral.Emit) {
	r.fail(&dialect.UpstreamError{Status: http.StatusBadGateway, Code: "server_error", Message: why}, emit)
}

// guess is the item that an event without an index is about.
func (r *eventReader) guess() int {
	if r.item != noItem {
		return r.itemAt
	}
	for i := range maxItems {
		if !r.done(i) {
			return i
		}
	}
	return maxItems - 1
}

func (r *eventReader) done(i int) bool { return r.seen[i/64]>>(i%64)&1 != 0 }

func (r *eventReader) mark(i int) { r.seen[i/64] |= 1 << (i % 64) }

// hold puts an item at hand; false = another one is, or this one is done already.
func (r *eventReader) hold(at int, kind itemKind) bool {
	if r.item != noItem {
		return r.itemAt == at && r.item == kind
	}
	if r.done(at) {
		return false
	}
	r.item, r.itemAt, r.partAt, r.part, r.summed = kind, at, 0, 0, false
	return true
}

func (r *eventReader) begin(kind neutral.Kind, emit neutral.Emit) {
	r.part, r.spoke = kind, false
	r.refuse = r.refuse || kind == neutral.Refusal
	r.out.Kind, r.out.Part = neutral.PartBegin, kind
	r.send(emit)
}

// end ends the part at hand, if there is one.
func (r *eventReader) end(sig neutral.Signature, emit neutral.Emit) {
	if r.part == 0 {
		return
	}
	r.part = 0
	r.partAt++
	r.out.Kind, r.out.Signature = neutral.PartEnd, sig
	r.send(emit)
}

func (r *eventReader) say(raw []byte, emit neutral.Emit) {
	if len(raw) == 0 {
		return
	}
	r.spoke = true
	r.out.Kind, r.out.Raw = neutral.Delta, raw
	r.send(emit)
}

// fill says the text of the part at hand, if no delta said it.
func (r *eventReader) fill(raw []byte, emit neutral.Emit) {
	if r.part != 0 && !r.spoke {
		r.say(raw, emit)
	}
}

// delta reads a piece of text, or of a call's arguments.
func (r *eventReader) delta(e *event, item itemKind, kind neutral.Kind, emit neutral.Emit) {
	if item == callItem {
		// A call that nobody named yet comes whole, at its end.
		if r.item == callItem && r.itemAt == e.itemAt {
			r.say(inside(e.delta), emit)
		}
		return
	}
	if r.hold(e.itemAt, item) && r.reach(e.partAt, kind, emit) {
		r.say(inside(e.delta), emit)
	}
}

// reach makes the part at index of the message at hand the one at hand; false = it is behind.
func (r *eventReader) reach(index int, kind neutral.Kind, emit neutral.Emit) bool {
	if index < 0 {
		index = r.partAt
	}
	if index < r.partAt {
		return false
	}
	if r.part != 0 && (index > r.partAt || r.part != kind) {
		r.end(neutral.Signature{}, emit)
	}
	if r.part == 0 {
		r.partAt = index
		r.begin(kind, emit)
	}
	return true
}

func (r *eventReader) partDone(e *event, kind neutral.Kind, raw []byte, emit neutral.Emit) {
	if r.hold(e.itemAt, messageItem) && r.reach(e.partAt, kind, emit) {
		r.fill(raw, emit)
		r.end(neutral.Signature{}, emit)
	}
}

func (r *eventReader) contentDone(e *event, emit neutral.Emit) {
	v := parse(e.part)
	switch v.Get("type").Str {
	case "output_text":
		r.partDone(e, neutral.Text, rawOf(v.Get("text")), emit)
	case "refusal":
		r.partDone(e, neutral.Refusal, rawOf(v.Get("refusal")), emit)
	}
}

// rawOf is the inside of a string as it was written, not to be changed.
func rawOf(v gjson.Result) []byte { return inside(unsafe.Slice(unsafe.StringData(v.Raw), len(v.Raw))) }

// think reads a piece of reasoning, which comes as a summary or in full. Where both come, the first is taken. Several
// summaries are one text with blank lines between.
func (r *eventReader) think(e *event, summary bool, emit neutral.Emit) {
	raw := inside(e.delta)
	if len(raw) == 0 || !r.hold(e.itemAt, reasoningItem) {
		return
	}
	if r.part == 0 {
		r.summed = summary
		r.begin(neutral.Think, emit)
		r.partAt = max(e.partAt, 0)
	}
	if r.summed != summary {
		r.losses.Add(neutral.LossThinking)
		return
	}
	if e.partAt > r.partAt {
		r.partAt = e.partAt
		r.say([]byte(`\n\n`), emit)
	}
	r.say(raw, emit)
}

// added reads that an item begins.
func (r *eventReader) added(e *event, emit neutral.Emit) {
	v := gjson.ParseBytes(e.item)
	switch v.Get("type").Str {
	case "message":
		r.hold(e.itemAt, messageItem)
	case "reasoning":
		r.hold(e.itemAt, reasoningItem)
	case "function_call":
		if name := v.Get("name").String(); name != "" && callID(v) != "" && r.item == noItem && r.hold(e.itemAt, callItem) {
			r.out.ID, r.out.Name = callID(v), name
			r.calls = true
			r.begin(neutral.Call, emit)
		}
	}
}
