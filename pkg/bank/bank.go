// Package bank is the leader's engine of limits: it lends shares of every limit to proxies, which spend them without
// asking, and sees to it that what is lent, used and on the books never exceeds the limit.
//
// Everything is credits of a limit in a window. A proxy (a boot of it) holds leases; each is four absolute counters
// (granted, returned, used, booked), so that messages which are lost, repeated or late change nothing twice. What a lease
// may still cost its limit is max(granted - returned, used) - booked; credits are granted only from
// limit - books - the sum of that over all leases. Leases end by silence: a proxy stops spending when the time to live
// has passed since it asked, the bank forgets when that time and a margin have passed since it answered.
//
// A new leader grants nothing for one time to live and a margin, while proxies declare what they hold. In minutes that
// began before, it takes an even share of the limit as used by proxies that declare nothing.
//
// It is pure: times and messages come from the caller. It refuses to store, send or log anything, to know requests or
// prices, and to grant by the clock of a proxy, or twice because a clock was set.
//
// A limit that nobody uses costs what its configuration does, about 150 bytes; the first lease of a limit in a window costs
// about 370 more, each further one 140 (BenchmarkMemory).
package bank

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"
)

// ErrDeposed is returned when a proxy has heard of a later leader.
var ErrDeposed = errors.New("bank: there is a later leader")

// ErrTooMany is returned for a declaration beyond all bounds.
var ErrTooMany = errors.New("bank: too many holdings")

// Spans that nobody has had to change.
const (
	idleAfter  = 10 * time.Minute // without leases, until a balance is forgotten and read anew when it is wanted
	adoptable  = 2 * time.Hour    // how far a new leader's clock may be off, for it to take over the windows of proxies
	sweepEvery = 20_000           // live limits looked at by one Tick
	maxPieces  = 4_000_000        // holdings of one declaration
	// patience is how long a request waits at a proxy for credits, and the hand of others is kept off those that came for it.
	fresh    = 5 * time.Millisecond
	patience = 250 * time.Millisecond
	// all is the keep of a lease of which nothing is called back.
	all = math.MaxInt64
)

// Options of a Bank. The zero value works, for a leader that may have had predecessors.
type Options struct {
	Term      int64         // names the leadership; greater than every one before
	TTL       time.Duration // of rates and slots, without word from a proxy; 0 = 10s
	BookedTTL time.Duration // of limits that are on the books; 0 = 60s
	Margin    time.Duration // on top of both until the bank forgets, for clocks of different speeds; 0 = 2s
	Ahead     time.Duration // before a window begins, in which its credits are granted; 0 = 5s
	FirstEver bool          // nobody led before: grants need not wait
	// Strict refuses all further credits of minutes that began before a new leader may grant, instead of taking an even
	// share of them as used.
	Strict bool
}

// Bank is the leader's. It is not safe for concurrent use.
type Bank struct {
	o     Options
	clock clock
	// Until when, by Mono, only what was declared counts: for limits without books, and for those with.
	hold, holdBooked time.Duration
	adopted          bool // the calendar is the proxies'

	owners   map[Owner][]limit
	sessions map[string]*session
	live     []*book // limits with leases or balances
	cursor   int     // of the sweep in live
	wanted   []*book // whose balances are to be read
	silent   int     // sessions that are; they count as no proxies
}

// limit is a configured limit.
type limit struct {
	kind   Kind
	amount int64
	zone   *time.Location
	book   *book // nil while nobody uses it
}

// New returns a bank without limits.
func New(o Options) *Bank {
	o.TTL = cmp.Or(max(o.TTL, 0), 10*time.Second)
	o.BookedTTL = max(cmp.Or(max(o.BookedTTL, 0), 60*time.Second), o.TTL)
	o.Margin = cmp.Or(max(o.Margin, 0), 2*time.Second)
	o.Ahead = cmp.Or(max(o.Ahead, 0), 5*time.Second)
	return &Bank{o: o, owners: map[Owner][]limit{}, sessions: map[string]*session{}}
}

// tell takes the time from a caller. The first one begins the leadership.
func (b *Bank) tell(now Moment) {
	first := !b.clock.began
	b.clock.tell(now)
	if first {
		b.hold, b.holdBooked = math.MinInt64, math.MinInt64
		if !b.o.FirstEver {
			b.hold = b.clock.mono + b.o.TTL + b.o.Margin
			b.holdBooked = b.clock.mono + b.o.BookedTTL + b.o.Margin
		}
	}
}

// holding tells whether the bank, being new, may not grant credits of this kind yet.
func (b *Bank) holding(k Kind) bool {
	if k.Booked() {
		return b.clock.mono < b.holdBooked
	}
	return b.clock.mono < b.hold
}

// Begin starts the leadership, from which the bank's waiting counts; any other call with a time does as well.
func (b *Bank) Begin(now Moment) { b.tell(now) }

// Configure sets all limits of an owner; none removes them. Invalid ones and second ones of a kind are left out. All
// limits must be configured before the first request is handled, so that no declaration is lost on them. When a limit is
// lowered below what is out, credits are called back.
func (b *Bank) Configure(who Owner, limits []Limit, now Moment) {
	b.tell(now)
	old := b.owners[who]
	set := make([]limit, 0, len(limits))
	for _, l := range limits {
		zone := l.Zone
		if zone == nil {
			zone = time.UTC
		}
		if !l.Valid() || slices.ContainsFunc(set, func(s limit) bool { return s.kind == l.Kind }) {
			continue
		}
		n := limit{kind: l.Kind, amount: max(l.Amount, 0), zone: zone}
		for i := range old {
			if old[i].kind == n.kind {
				n.book, old[i].book = old[i].book, nil
			}
		}
		set = append(set, n)
	}
	for i := range old {
		if old[i].book != nil {
			b.close(old[i].book)
		}
	}
	if len(set) == 0 {
		delete(b.owners, who)
		return
	}
	set = slices.Clip(set)
	b.owners[who] = set
	for i := range set {
		if bk := set[i].book; bk != nil {
			bk.amount, bk.zone = set[i].amount, set[i].zone
			for _, c := range bk.cells {
				if b.left(bk, c) < 0 {
					b.callBack(bk, c, nil)
				}
			}
		}
	}
}

// find returns a configured limit.
func (b *Bank) find(id ID) *limit {
	set := b.owners[id.Owner]
	for i := range set {
		if set[i].kind == id.Kind {
			return &set[i]
		}
	}
	return nil
}

// use returns the book of a limit, made if need be.
func (b *Bank) use(id ID, l *limit) *book {
	if l.book == nil {
		l.book = &book{id: id, amount: l.amount, zone: l.zone, place: len(b.live), opened: !l.kind.Booked()}
		b.live = append(b.live, l.book)
	}
	l.book.touched = b.clock.mono
	return l.book
}

// close forgets a book and its leases.
func (b *Bank) close(bk *book) {
	for _, c := range bk.cells {
		for _, l := range c.leases {
			delete(l.session.leases, c)
		}
	}
	last := b.live[len(b.live)-1]
	b.live[bk.place], last.place = last, bk.place
	b.live = b.live[:len(b.live)-1]
	bk.cells, bk.place = nil, -1
}
