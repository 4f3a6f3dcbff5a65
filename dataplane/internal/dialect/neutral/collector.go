package neutral

import (
	"encoding/json"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

// maxCollected is how many bytes of text and data a Collector takes.
const maxCollected = 64 << 20

// Collector makes a plain response of a stream's events, which keeps nothing of theirs. It is an EventWriter that writes
// nothing. The zero value is ready.
type Collector struct {
	response Response
	raw      []byte // of the part under way, escaped
	open     bool
	size     int
	spoilt   bool // too large, or text that is no JSON string
	ended    bool
}

var _ EventWriter = (*Collector)(nil)

// Append takes an event.
func (c *Collector) Append(dst []byte, e *Event) []byte {
	r := &c.response
	switch e.Kind {
	case Begin:
		r.ID, r.Model, r.Created = strings.Clone(e.ID), strings.Clone(e.Name), e.Created
	case PartBegin:
		c.end(Signature{})
		c.open = true
		c.size += len(e.Data)
		r.Parts = append(r.Parts, Part{
			Kind: e.Part, ID: strings.Clone(e.ID), Name: strings.Clone(e.Name), Media: strings.Clone(e.Media),
			Data: strings.Clone(e.Data), Signature: e.Signature.clone(),
		})
	case Delta:
		if c.size += len(e.Raw); c.size > maxCollected {
			c.spoilt = true
			return dst
		}
		c.raw = append(c.raw, e.Raw...)
	case PartEnd:
		c.end(e.Signature)
	case Finish:
		r.Stop, r.Sequence = e.Stop, strings.Clone(e.Sequence)
	case Usage:
		r.Usage, r.Counted = e.Tokens, true
	case End:
		c.end(Signature{})
		c.ended = true
	case Failed:
	}
	return dst
}

// end ends the part under way.
func (c *Collector) end(s Signature) {
	if !c.open {
		return
	}
	c.open = false
	p := &c.response.Parts[len(c.response.Parts)-1]
	if s.Value != "" {
		p.Signature = s.clone()
	}
	text, ok := Unescape(c.raw)
	c.raw = c.raw[:0]
	if !ok {
		c.spoilt = true
		return
	}
	if p.Kind == Call {
		p.Args = text
	} else {
		p.Text = text
	}
}

// Losses implements EventWriter.
func (c *Collector) Losses() Losses { return 0 }

// Response returns what was collected; false: the stream has not ended, or was too much.
func (c *Collector) Response() (*Response, bool) { return &c.response, c.ended && !c.spoilt }

// Unescape decodes the inside of a JSON string, as Event.Raw has it.
func Unescape(raw []byte) (string, bool) {
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(quoted, '"')
	quoted = append(quoted, raw...)
	quoted = append(quoted, '"')
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err == nil
}

// Replay emits a plain response as the events of a stream.
func Replay(r *Response, emit Emit) {
	emit(&Event{Kind: Begin, ID: r.ID, Name: r.Model, Created: r.Created})
	for i := range r.Parts {
		p := &r.Parts[i]
		begin := Event{Kind: PartBegin, Part: p.Kind, ID: p.ID, Name: p.Name, Media: p.Media, Data: p.Data}
		if p.Kind == Redacted {
			begin.Signature = p.Signature
		}
		emit(&begin)
		text := p.Text
		if p.Kind == Call {
			text = p.Args
		}
		if text != "" {
			emit(&Event{Kind: Delta, Raw: dialect.AppendEscaped(nil, text)})
		}
		end := Event{Kind: PartEnd}
		if p.Kind != Redacted {
			end.Signature = p.Signature
		}
		emit(&end)
	}
	emit(&Event{Kind: Finish, Stop: r.Stop, Sequence: r.Sequence})
	if r.Counted || r.Usage != (money.Tokens{}) {
		emit(&Event{Kind: Usage, Tokens: r.Usage})
	}
	emit(&Event{Kind: End})
}
