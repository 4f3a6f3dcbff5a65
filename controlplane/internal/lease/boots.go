package lease

import (
	"time"

	"fairway/pkg/bank"
	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// forgetAfter is how long a boot without a stream is known: longer than anything that it was lent.
	forgetAfter = 2 * time.Minute
	// maxBoots is how many boots one proxy has at most: one, and those that crashed lately.
	maxBoots = 100
	// maxUnfinished is how many holdings all boots together may have said in declarations that are not complete.
	maxUnfinished = 2_000_000
)

// boots are the processes that hold leases, or did lately. The term's mutex guards them.
type boots struct {
	began      time.Duration // when the leadership began, by the bank's clock
	byID       map[string]*boot
	count      map[string]int // by proxy
	unfinished int
	// minute is when something was lent by the minute, or given back, last.
	minute time.Time
}

// boot is one process of a proxy.
type boot struct {
	proxy      string // who speaks for it
	stream     *stream
	heard      time.Duration
	left       bool // it said that it ends, and was heard
	unfinished int
}

func newBoots() boots { return boots{byID: map[string]*boot{}, count: map[string]int{}} }

// join makes a stream the one of a boot. The first proxy that speaks for a boot is the only one that may. It returns the
// boots that have ended for certain: a proxy is one process, so of a new one those before it that are not connected.
func (b *boots) join(s *stream, id string, now bank.Moment) (ended []string, err error) {
	known := b.byID[id]
	switch {
	case known == nil && b.count[s.proxy] >= maxBoots:
		return nil, fault.New(fault.Exhausted, "this proxy was started %d times of late", maxBoots).WithRetryAfter(forgetAfter)
	case known == nil:
		for other, o := range b.byID {
			if o.proxy == s.proxy && o.stream == nil {
				ended = append(ended, other)
			}
		}
		known = &boot{proxy: s.proxy}
		b.byID[id] = known
		b.count[s.proxy]++
	case known.proxy != s.proxy:
		return nil, fault.New(fault.Denied, "another proxy speaks for this boot")
	}
	if known.stream != nil {
		close(known.stream.replaced)
	}
	known.stream, known.heard = s, now.Mono
	s.id, s.boot = id, known
	return ended, nil
}

// leave ends a stream; its boot may come back with another one.
func (b *boots) leave(s *stream, now bank.Moment) {
	if s.boot != nil && s.boot.stream == s {
		s.boot.stream, s.boot.heard = nil, now.Mono
	}
}

// hear notes a request before it is handled.
func (b *boots) hear(o *boot, r *syncv1.LeaseRequest, now bank.Moment) error {
	o.heard = now.Mono
	more := 0
	if r.GetMore() {
		more = o.unfinished + len(r.GetHoldings())
	}
	if r.GetFull() {
		more = min(more, len(r.GetHoldings())) // what was said before is void
	}
	if b.unfinished-o.unfinished+more > maxUnfinished {
		return fault.New(fault.Exhausted, "too many leases are declared at once").WithRetryAfter(time.Second)
	}
	b.unfinished, o.unfinished = b.unfinished-o.unfinished+more, more
	for _, h := range r.GetHoldings() {
		if h.GetLimit().GetPeriod() == syncv1.LimitPeriod_LIMIT_PERIOD_MINUTE {
			b.minute = now.Wall
			break
		}
	}
	return nil
}

// tell gives a note to its boot's stream; false = there is none, or it is slow.
func (b *boots) tell(n bank.Note) bool {
	o := b.byID[n.Boot]
	return o != nil && o.stream != nil && o.stream.offer(n.Response)
}

// forget drops boots that hold nothing any more.
func (b *boots) forget(now bank.Moment) {
	for id, o := range b.byID {
		if o.stream == nil && now.Mono-o.heard > forgetAfter {
			b.unfinished -= o.unfinished
			delete(b.byID, id)
			if b.count[o.proxy]--; b.count[o.proxy] == 0 {
				delete(b.count, o.proxy)
			}
		}
	}
}

// back says whether it is certain that nothing is out any more: neither of this leadership nor, unless nothing was when it
// began, of those before, and that nothing was used of a minute that lasts.
func (b *boots) back(first bool, now bank.Moment) bool {
	if !first && now.Mono-b.began <= forgetAfter {
		return false
	}
	for _, o := range b.byID {
		if !o.left {
			return false
		}
	}
	return b.minute.IsZero() || now.Wall.Sub(b.minute) > time.Minute
}

// streams is how many are served.
func (b *boots) streams() int {
	n := 0
	for _, o := range b.byID {
		if o.stream != nil {
			n++
		}
	}
	return n
}
