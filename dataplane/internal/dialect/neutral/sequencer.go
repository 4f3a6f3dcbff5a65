package neutral

import (
	"strings"

	"fairway/dataplane/internal/dialect"
)

// MaxHeld bounds what a Sequencer holds back, in bytes.
const MaxHeld = 1 << 20

// Sequencer puts the parts of a stream that overlap one after the other, as Event promises them. The part that is open for
// the longest streams on as it comes; those that began later wait until it ends. Its zero value is ready; it belongs to
// one stream and one goroutine.
type Sequencer struct {
	parts []sequenced // open or waiting, in the order of their beginnings; the first was emitted as far as it has come
	held  int
	over  bool
}

// sequenced is a part of which the end was not emitted yet.
type sequenced struct {
	part       int
	begin, end Event // what waits
	text       []byte
	ended      bool
}

// Put takes a PartBegin, Delta or PartEnd of a part, which is any number that no other open part has, and emits what is
// its turn. It emits Failed where more than MaxHeld would have to wait, and where a part begins twice or goes on without
// having begun; from then on it emits nothing and returns false. e is not kept.
func (s *Sequencer) Put(part int, e *Event, emit Emit) bool {
	if s.over {
		return false
	}
	i := s.find(part)
	if (e.Kind == PartBegin) != (i < 0) {
		return s.fail("the upstream's stream is out of order", emit)
	}
	if e.Kind == PartBegin {
		s.parts = append(s.parts, sequenced{part: part})
		i = len(s.parts) - 1
	}
	if i == 0 {
		emit(e)
		if e.Kind == PartEnd {
			s.next(emit)
		}
		return true
	}
	p := &s.parts[i]
	switch e.Kind {
	case PartBegin:
		p.begin = e.clone()
		s.held += len(e.ID) + len(e.Name) + len(e.Data) + len(e.Signature.Value)
	case Delta:
		p.text = append(p.text, e.Raw...)
		s.held += len(e.Raw)
	case PartEnd:
		p.end, p.ended = e.clone(), true
		s.held += len(e.Signature.Value)
	}
	if s.held > MaxHeld {
		return s.fail("the upstream's stream has too much open at once", emit)
	}
	return true
}

// Open says whether a part has begun and not ended.
func (s *Sequencer) Open(part int) bool {
	i := s.find(part)
	return i >= 0 && !s.parts[i].ended
}

func (s *Sequencer) find(part int) int {
	for i := range s.parts {
		if s.parts[i].part == part && !s.parts[i].ended {
			return i
		}
	}
	return -1
}

// next drops the first part, which has ended, and emits what the one behind it has so far, and so on.
func (s *Sequencer) next(emit Emit) {
	for {
		n := copy(s.parts, s.parts[1:])
		s.parts[n] = sequenced{}
		s.parts = s.parts[:n]
		if n == 0 {
			s.held = 0
			return
		}
		p := &s.parts[0]
		emit(&p.begin)
		if len(p.text) > 0 {
			emit(&Event{Kind: Delta, Raw: p.text})
		}
		s.held -= len(p.begin.ID) + len(p.begin.Name) + len(p.begin.Data) + len(p.begin.Signature.Value) + len(p.text)
		p.begin, p.text = Event{}, nil
		if !p.ended {
			return
		}
		emit(&p.end)
		s.held -= len(p.end.Signature.Value)
	}
}

func (s *Sequencer) fail(why string, emit Emit) bool {
	s.parts, s.held, s.over = nil, 0, true
	emit(&Event{Kind: Failed, Failure: &dialect.UpstreamError{Status: 502, Message: why}})
	return false
}

// clone is e with strings of its own.
func (e *Event) clone() Event {
	c := *e
	c.ID, c.Name = strings.Clone(e.ID), strings.Clone(e.Name)
	c.Media, c.Data = strings.Clone(e.Media), strings.Clone(e.Data)
	c.Signature = e.Signature.clone()
	c.Raw = nil
	return c
}
