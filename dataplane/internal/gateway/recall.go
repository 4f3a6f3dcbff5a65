package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/operation"
)

// recall remembers how the last requests were decided: of good ones the trail, in memory of a fixed size that is written
// over in place, and of failed ones all there is to say, in a bounded number of bytes. It forgets the oldest first, and
// failures are not washed away by successes.
type recall struct {
	next atomic.Uint64
	good []slot

	mu    sync.Mutex
	bad   []kept // a queue, the oldest first
	bytes int
	most  int
}

// slot holds one trail. Its lock is met by another one only when the whole ring went by in the meantime, or by who looks.
type slot struct {
	mu sync.Mutex
	trace
}

// trace is what is kept of a request that needed no more. It holds no view of an exchange's memory.
type trace struct {
	id       [48]byte
	model    [64]byte // the start of it
	idLen    uint8
	modelLen uint8
	attempts uint8 // of all, also those that are not in steps
	op       operation.Operation
	status   int32
	strategy int32
	outcome  string
	miss     string
	key      string
	group    string
	err      string
	revision int64
	start    time.Time
	took     time.Duration
	steps    [traced]step
}

// traced is how many attempts of a good request are kept.
const traced = 3

// kept is a decision in full.
type kept struct {
	id   string
	body []byte
}

// keptOverhead is about what a kept decision takes beside its bytes.
const keptOverhead = 128

func newRecall(requests int, bytes int) *recall {
	return &recall{good: make([]slot, requests), most: bytes}
}

// trace keeps the trail of a request that has ended.
func (r *recall) trace(x *exchange, outcome string, took time.Duration) {
	s := &r.good[r.next.Add(1)%uint64(len(r.good))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idLen = uint8(copy(s.id[:], x.out.RequestID()))
	s.modelLen = uint8(copy(s.model[:], x.model))
	s.attempts = uint8(min(len(x.trail), 255))
	s.op, s.status, s.outcome, s.miss = x.op, int32(x.status), outcome, x.miss
	s.key, s.group, s.strategy = string(x.key.ID), x.group.Name, x.group.Strategy
	s.err = ""
	switch {
	case x.noRoom.Cause != 0:
		s.err = x.whyFailed()
	case x.refused != nil:
		s.err = x.refused.Code
	}
	s.revision = x.snap.Revision()
	s.start, s.took = x.start, took
	n := copy(s.steps[:], x.trail)
	clear(s.steps[n:])
	for i := range s.steps {
		s.steps[i].with = nil // or its secret would live on for as long as this is remembered
	}
}

// keep keeps a decision in full.
func (r *recall) keep(d *adminv1.Decision) {
	body, err := proto.Marshal(d)
	if err != nil || len(body)+keptOverhead > r.most {
		return // it has a text that is no UTF-8, or is alone too large
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = append(r.bad, kept{id: d.GetRequestId(), body: body})
	r.bytes += len(body) + keptOverhead
	drop := 0
	for ; r.bytes > r.most; drop++ {
		r.bytes -= len(r.bad[drop].body) + keptOverhead
		r.bad[drop] = kept{}
	}
	r.bad = r.bad[drop:]
}

// find returns what is known of a request that has ended; nil = nothing.
func (r *recall) find(id string) *adminv1.Decision {
	r.mu.Lock()
	for i := len(r.bad) - 1; i >= 0; i-- {
		if r.bad[i].id != id {
			continue
		}
		body := r.bad[i].body
		r.mu.Unlock()
		d := new(adminv1.Decision)
		if proto.Unmarshal(body, d) != nil {
			return nil
		}
		return d
	}
	r.mu.Unlock()
	for i := range r.good {
		if t, ok := r.good[i].is(id); ok {
			return t.decision()
		}
	}
	return nil
}

// is returns what the slot holds, if that is the request's.
func (s *slot) is(id string) (trace, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(s.id[:s.idLen]) != id {
		return trace{}, false
	}
	return s.trace, true
}

// Lookup says how a request was decided that is under way here, or ended lately; nil = it is not known.
func (g *Gateway) Lookup(requestID string) *adminv1.Decision {
	if requestID == "" {
		return nil
	}
	d := g.lookupLive(requestID)
	if d == nil {
		d = g.recall.find(requestID)
	}
	if d != nil {
		d.Proxy = g.options.Proxy()
	}
	return d
}

func (g *Gateway) lookupLive(requestID string) *adminv1.Decision {
	now := g.now()
	var found *adminv1.Decision
	g.crowd.each(func(x *exchange) bool {
		found = x.lookAt(requestID, now)
		return found == nil
	})
	return found
}

// lookAt is called from another goroutine than the request's.
func (x *exchange) lookAt(requestID string, now time.Time) *adminv1.Decision {
	x.look.Lock()
	defer x.look.Unlock()
	if !x.open || string(x.out.RequestID()) != requestID {
		return nil
	}
	d := x.outline()
	d.Outcome = outcomeLive
	d.Attempts = appendSteps(nil, x.trail, now)
	return d
}
