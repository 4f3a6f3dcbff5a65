package responses

import (
	"encoding/binary"
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// itemDone reads that an item is done: the one at hand, or one that comes whole.
func (r *eventReader) itemDone(at int, item []byte, emit neutral.Emit) {
	switch {
	case r.done(at):
		return
	case r.item == noItem:
		r.mark(at)
		r.whole(gjson.ParseBytes(item), emit)
		return
	case r.itemAt != at:
		r.mark(at)
		r.wait(item, emit)
		return
	}
	r.finish(gjson.ParseBytes(item), emit)
	r.release(emit)
}

// finish ends the item at hand with what its end says; an item that does not exist says nothing.
func (r *eventReader) finish(item gjson.Result, emit neutral.Emit) {
	switch r.item {
	case messageItem:
		at := -1
		item.Get("content").ForEach(func(_, v gjson.Result) bool {
			at++
			r.losses |= lostOf(v)
			switch v.Get("type").Str {
			case "output_text", "text":
				r.textDone(at, neutral.Text, v.Get("text"), emit)
			case "refusal":
				r.textDone(at, neutral.Refusal, v.Get("refusal"), emit)
			}
			return true
		})
		r.end(neutral.Signature{}, emit)
	case callItem:
		r.fill(rawOf(item.Get("arguments")), emit)
		r.end(neutral.Signature{}, emit)
	case reasoningItem:
		if r.part == 0 {
			r.whole(item, emit)
		} else {
			r.end(reasoningSignature(item), emit)
		}
	}
	r.mark(r.itemAt)
	r.item = noItem
}

func (r *eventReader) textDone(at int, kind neutral.Kind, text gjson.Result, emit neutral.Emit) {
	if r.reach(at, kind, emit) {
		r.fill(rawOf(text), emit)
		r.end(neutral.Signature{}, emit)
	}
}

// whole emits an item of which nothing was read before.
func (r *eventReader) whole(item gjson.Result, emit neutral.Emit) {
	r.losses |= answerParts(item, func(p neutral.Part) {
		r.out.ID, r.out.Name, r.out.Media, r.out.Data = p.ID, p.Name, p.Media, p.Data
		sig := p.Signature
		if p.Kind == neutral.Redacted {
			r.out.Signature, sig = sig, neutral.Signature{}
		}
		r.calls = r.calls || p.Kind == neutral.Call
		r.begin(p.Kind, emit)
		text := p.Text
		if p.Kind == neutral.Call {
			text = p.Args
		}
		r.say(escaped(nil, text), emit)
		r.end(sig, emit)
	})
}

// wait keeps an item until the one at hand is done.
func (r *eventReader) wait(item []byte, emit neutral.Emit) {
	if len(r.held)+len(item) > maxHeld {
		r.nonsense("the upstream mixed items that are too long", emit)
		return
	}
	r.held = binary.LittleEndian.AppendUint32(r.held, uint32(len(item)))
	r.held = append(r.held, item...)
}

// release emits the items that waited.
func (r *eventReader) release(emit neutral.Emit) {
	for held := r.held; len(held) > 0; {
		n := binary.LittleEndian.Uint32(held)
		r.whole(gjson.ParseBytes(held[4:4+n]), emit)
		held = held[4+n:]
	}
	r.held = nil
}

// complete ends the stream, with all that the response holds and no event said. stop 0 = as its output says.
func (r *eventReader) complete(response []byte, stop neutral.Stop, emit neutral.Emit) {
	v := gjson.ParseBytes(response)
	output := v.Get("output")
	if r.item != noItem {
		r.finish(output.Get(strconv.Itoa(r.itemAt)), emit)
	}
	r.release(emit)
	at := -1
	output.ForEach(func(_, item gjson.Result) bool {
		at++
		if at < maxItems && !r.done(at) {
			r.mark(at)
			r.whole(item, emit)
		}
		return true
	})
	if stop == 0 {
		stop = stopOf(r.calls, r.refuse)
	}
	r.out.Kind, r.out.Stop = neutral.Finish, stop
	r.send(emit)
	if usage := v.Get("usage"); usage.IsObject() {
		if tokens, ok := findUsage([]byte(usageKey + ":" + usage.Raw)); ok {
			r.out.Kind, r.out.Tokens = neutral.Usage, tokens
			r.send(emit)
		}
	}
	r.state = over
	r.out.Kind = neutral.End
	r.send(emit)
}
