package gateway

import (
	"encoding/json"
	"hash/maphash"
	"strings"
	"sync"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/snapshot"
)

// What models think comes with signatures that their providers want back in the next turn, and only Gemini's dialect has a
// place for all of them that every client carries. So the thoughts before a tool call are remembered by the call's id, and put back
// when a conversation comes again without them. What is forgotten is a loss that the next turn names; no request fails of
// it here.
const (
	mostThoughts     = 32 << 20 // bytes of all that is remembered
	mostThoughtsEach = 64 << 10 // bytes of one answer's thoughts
)

// thoughtID is a tool call of a key. Hashes may collide among what is remembered at once with a chance of 1 in 2^40 or so;
// a wrong thought is refused by its provider.
type thoughtID uint64

// thought is what came before a call, and the call's own signature.
type thought struct {
	before    []neutral.Part
	signature neutral.Signature
	size      int
}

// memory keeps thoughts until newer ones need the room. The zero value is ready.
type memory struct {
	mu    sync.Mutex
	seed  maphash.Seed
	byID  map[thoughtID]thought
	order []thoughtID // oldest first
	bytes int
}

func (m *memory) id(key snapshot.KeyID, call string) thoughtID {
	var h maphash.Hash
	h.SetSeed(m.seed)
	_, _ = h.WriteString(string(key))
	_ = h.WriteByte(0)
	_, _ = h.WriteString(call)
	return thoughtID(h.Sum64())
}

// put remembers a thought.
func (m *memory) put(key snapshot.KeyID, call string, t thought) {
	t.size = len(t.signature.Value) + 64
	for i := range t.before {
		t.size += len(t.before[i].Text) + len(t.before[i].Signature.Value)
	}
	if t.size > mostThoughtsEach || len(t.before) == 0 && t.signature.Value == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID == nil {
		m.byID, m.seed = make(map[thoughtID]thought), maphash.MakeSeed()
	}
	id := m.id(key, call)
	if old, ok := m.byID[id]; ok {
		m.bytes -= old.size
	} else {
		m.order = append(m.order, id)
	}
	m.byID[id] = t
	m.bytes += t.size
	for m.bytes > mostThoughts {
		oldest := m.order[0]
		m.order = m.order[1:]
		m.bytes -= m.byID[oldest].size
		delete(m.byID, oldest)
	}
}

func (m *memory) get(key snapshot.KeyID, call string) (thought, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID == nil {
		return thought{}, false
	}
	t, ok := m.byID[m.id(key, call)]
	return t, ok
}

// restore puts remembered thoughts back into a conversation that lacks them.
func (m *memory) restore(key snapshot.KeyID, r *neutral.Request) {
	for i := range r.Turns {
		turn := &r.Turns[i]
		if turn.Role != neutral.Assistant {
			continue
		}
		var before []neutral.Part
		thinks, first := false, true
		for j := range turn.Parts {
			p := &turn.Parts[j]
			switch p.Kind {
			case neutral.Think, neutral.Redacted:
				thinks = thinks || p.Signature.Value != ""
			case neutral.Call:
				t, ok := m.get(key, p.ID)
				if ok && p.Signature.Value == "" {
					p.Signature = t.signature
				}
				if ok && first {
					before = t.before
				}
				first = false
			default:
			}
		}
		if !thinks && len(before) > 0 {
			rest := turn.Parts[:0:0]
			for _, p := range turn.Parts {
				if p.Kind != neutral.Think { // the same without its signature
					rest = append(rest, p)
				}
			}
			turn.Parts = append(append([]neutral.Part(nil), before...), rest...)
		}
	}
}

// keepResponse remembers the thoughts of a plain answer.
func (m *memory) keepResponse(key snapshot.KeyID, r *neutral.Response) {
	var before []neutral.Part
	for i := range r.Parts {
		switch p := &r.Parts[i]; p.Kind {
		case neutral.Think, neutral.Redacted:
			if p.Signature.Value != "" {
				before = append(before, neutral.Part{Kind: p.Kind, Text: strings.Clone(p.Text), Signature: owned(p.Signature)})
			}
		case neutral.Call:
			m.put(key, p.ID, thought{before: before, signature: owned(p.Signature)})
		default:
		}
	}
}

// owned is a signature that does not end with what it was read from.
func owned(s neutral.Signature) neutral.Signature {
	s.Value = strings.Clone(s.Value)
	return s
}

// study watches a stream for thoughts and the calls that follow them.
type study struct {
	part   neutral.Kind
	call   string
	text   []byte // of the part under way, escaped
	before []neutral.Part
	size   int
	calls  []studied
}

type studied struct {
	id        string
	signature neutral.Signature
}

func (s *study) note(e *neutral.Event) {
	switch e.Kind {
	case neutral.PartBegin:
		s.part, s.call, s.text = e.Part, strings.Clone(e.ID), s.text[:0]
		if e.Part == neutral.Redacted {
			s.add(neutral.Part{Kind: neutral.Redacted, Signature: owned(e.Signature)})
		}
	case neutral.Delta:
		if s.part == neutral.Think && s.size+len(s.text)+len(e.Raw) <= mostThoughtsEach {
			s.text = append(s.text, e.Raw...)
		}
	case neutral.PartEnd:
		switch s.part {
		case neutral.Think:
			var text string
			if e.Signature.Value != "" && json.Unmarshal(append(append([]byte{'"'}, s.text...), '"'), &text) == nil {
				s.add(neutral.Part{Kind: neutral.Think, Text: text, Signature: owned(e.Signature)})
			}
			s.text = nil
		case neutral.Call:
			s.calls = append(s.calls, studied{id: s.call, signature: owned(e.Signature)})
		default:
		}
		s.part = 0
	default:
	}
}

func (s *study) add(p neutral.Part) {
	s.size += len(p.Text) + len(p.Signature.Value)
	if s.size <= mostThoughtsEach {
		s.before = append(s.before, p)
	}
}

// keep remembers what a stream's study found.
func (m *memory) keep(key snapshot.KeyID, s *study) {
	if s.size > mostThoughtsEach {
		return
	}
	for _, c := range s.calls {
		m.put(key, c.id, thought{before: s.before, signature: c.signature})
	}
}
