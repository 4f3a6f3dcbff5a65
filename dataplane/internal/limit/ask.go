package limit

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// pieces is how many holdings one message carries.
	pieces = 5_000
	// pace is how soon after a question about a scope the next one about it goes, and drought how soon when the leader had
	// nothing left for it, or could not tell.
	pace    = int64(5 * time.Millisecond)
	drought = int64(50 * time.Millisecond)
	// contest is how soon when slots are short: they change hands as requests end.
	contest = int64(20 * time.Millisecond)
	// renewal is which part of the short lease's time passes before it is renewed, whatever there is to say.
	renewal = 4
	// firstRenewal is for when no lease time is known.
	firstRenewal = int64(time.Second)
)

// talk is where the conversation with the leader is. Keeper.mu guards it.
type talk struct {
	term     int64
	sequence uint64
	whole    bool   // the next request is a full one
	full     uint64 // the newest full request
	pending  uint64 // the newest request, while it is not answered
	sent     int64  // when it was made
	ttl      int64  // of short leases
	lapsed   [2]bool
	later    []*wallet // asked about too recently
	scanned  int64     // when all wallets were looked through
}

// Connect begins a new stream: what is said next is everything.
func (k *Keeper) Connect() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.talk.whole, k.talk.pending = true, 0
}

// Lost says that the stream has ended.
func (k *Keeper) Lost(now time.Time) {
	k.lost.CompareAndSwap(0, k.reading(now))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.talk.pending = 0
}

// Waiting says whether a request has not been answered yet: the next goes when it is.
func (k *Keeper) Waiting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.talk.pending != 0
}

// Ask returns what is to be said to the leader now, in order; nothing when there is nothing to say and the leases are fresh.
// Only the last one is answered.
func (k *Keeper) Ask(now time.Time) []*syncv1.LeaseRequest {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.reading(now)
	asking := k.askers(at)
	k.lapse(at)
	full := k.talk.whole
	var holdings []*syncv1.Holding
	if full {
		k.sweep(at)
		for _, w := range k.wallets {
			holdings = k.holdings(holdings, w, at, true)
		}
		k.talk.later = nil
	} else {
		for _, w := range asking {
			holdings = k.holdings(holdings, w, at, false)
		}
	}
	every := k.talk.ttl / renewal
	if every == 0 {
		every = firstRenewal
	}
	if !full && len(holdings) == 0 && at-k.talk.sent < every {
		return nil
	}
	return k.requests(holdings, full, at)
}

// requests puts holdings into messages.
func (k *Keeper) requests(holdings []*syncv1.Holding, full bool, at int64) []*syncv1.LeaseRequest {
	var out []*syncv1.LeaseRequest
	for first := true; first || len(holdings) > 0; first = false {
		n := min(len(holdings), pieces)
		k.talk.sequence++
		out = append(out, &syncv1.LeaseRequest{
			BootId: k.o.BootID, Sequence: k.talk.sequence, Term: k.talk.term, Full: full && first, More: n < len(holdings), Holdings: holdings[:n],
		})
		holdings = holdings[n:]
	}
	k.talk.pending, k.talk.sent = k.talk.sequence, at
	if full {
		k.talk.whole, k.talk.full = false, out[0].GetSequence()
	}
	return out
}

// Leave returns the last request of this process, or nil while requests are under way. Nothing is let in afterwards but by
// policies.
func (k *Keeper) Leave(now time.Time) *syncv1.LeaseRequest {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.reading(now)
	for _, w := range k.wallets {
		if w.users.Load() > 0 {
			return nil
		}
	}
	k.rates.Store(0)
	k.books.Store(0)
	k.lapse(at)
	var holdings []*syncv1.Holding
	for _, w := range k.wallets {
		holdings = k.holdings(holdings, w, at, true)
	}
	if len(holdings) > pieces {
		return nil // it ends with the lease
	}
	last := k.requests(holdings, true, at)[0]
	last.Leaving = true
	return last
}

// askers are the wallets on the stack, but for those that were asked about a moment ago.
func (k *Keeper) askers(at int64) []*wallet {
	var out []*wallet
	for w := k.asking.Swap(nil); w != nil; {
		next := w.next
		w.asking.Store(false) // from here on it may be put there again
		if w.users.Load() < 0 {
			w = next
			continue
		}
		gap := pace
		for _, p := range *w.purses.Load() {
			switch {
			case p.what == Concurrency && p.left.Load() == 0:
				gap = max(gap, contest)
			case at < p.dry.Load() || at < p.vague.Load():
				gap = drought
			}
		}
		if w.asked != 0 && at-w.asked < gap {
			k.talk.later = append(k.talk.later, w)
		} else {
			out = append(out, w)
		}
		w = next
	}
	return out
}

// lapse gives up what leases that have ended hold: the leader counts it as returned. All is said anew then.
func (k *Keeper) lapse(at int64) {
	for i, until := range [2]int64{k.rates.Load(), k.books.Load()} {
		if at < until {
			k.talk.lapsed[i] = false
			continue
		}
		for _, p := range k.purses {
			if p.long == (i == 1) {
				for _, c := range p.state.panes {
					c.giveUp(0)
				}
			}
		}
		if !k.talk.lapsed[i] {
			k.talk.lapsed[i], k.talk.whole = true, true
		}
	}
}

// holdings appends what is to be said of a wallet.
func (k *Keeper) holdings(to []*syncv1.Holding, w *wallet, at int64, full bool) []*syncv1.Holding {
	w.asked = at
	for _, p := range *w.purses.Load() {
		to = k.holdingsOf(to, w, p, at, full)
	}
	former := w.former[:0]
	for _, p := range w.former {
		to = k.holdingsOf(to, w, p, at, full)
		if p.state.panes != nil {
			former = append(former, p)
		} else {
			delete(k.purses, name(p.state.ref))
		}
	}
	w.former = former
	return to
}

func (k *Keeper) holdingsOf(to []*syncv1.Holding, w *wallet, p *purse, at int64, full bool) []*syncv1.Holding {
	s := &p.state
	want := p.demand(w, at, k.o.Wait > 0)
	s.want = want
	open := p.live(at)
	least := int64(0)
	if want > 0 {
		least = min(p.least(), want)
	}
	known := false
	for _, c := range s.panes {
		k.book(c)
		ended := at >= c.ends.Load()
		if ended && full {
			continue // only windows that are open are declared
		}
		h := &syncv1.Holding{
			Limit: s.ref, Window: c.number.Load(), Granted: c.granted, Returned: c.returned, Used: c.used(), Booked: c.booked,
		}
		if p.what == Concurrency {
			h.Used = plus(h.Used, max(p.outside(), 0))
		}
		if !ended {
			known = known || c == open
			c.returned += c.surplus(want)
			h.Returned, h.Want, h.Least = c.returned, want, least
		}
		c.told = h.Used
		if full {
			if ends := c.ends.Load(); ends != never {
				h.EndsIn = durationpb.New(time.Duration(ends - at))
			}
		}
		to = append(to, h)
	}
	if !known && want > 0 {
		to = append(to, &syncv1.Holding{Limit: s.ref, Want: want, Least: least})
	}
	if s.former && open.balance.Load() <= 0 {
		s.panes = nil
	}
	return to
}

// surplus takes back what is held far beyond what is wanted, for others.
func (p *pane) surplus(want int64) int64 {
	spare := want
	if p.purse.what == Concurrency {
		spare = 0
	}
	if p.balance.Load() <= plus(want, spare) {
		return 0
	}
	return p.drain(p.balance.Load() - want)
}

// book finds out how much of what was settled is on the books.
func (k *Keeper) book(c *pane) {
	if !c.purse.long || k.o.Spooled == nil || k.o.Acked == nil {
		return
	}
	if c.mark.set && k.o.Acked() >= c.mark.sequence {
		c.booked, c.mark.set = max(c.booked, min(c.mark.settled, c.used())), false
	}
	// The sum is read before the sequence: each request in it has its record at or below that.
	if settled := c.settled.Load(); !c.mark.set && settled > c.booked {
		c.mark = mark{set: true, settled: settled, sequence: k.o.Spooled()}
	}
}
