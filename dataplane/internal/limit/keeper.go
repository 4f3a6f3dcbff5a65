package limit

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configure a Keeper. The zero value works: without books, nothing that was spent ever counts as booked.
type Options struct {
	// BootID names this process to the leader.
	BootID string
	// Wait is how long a request may wait for an answer that is on its way; 0 = 250ms, negative = not at all.
	Wait time.Duration
	// Spooled is the sequence of the last usage record that was appended, and Acked that of the last one that is on the
	// books. A request's record must be appended before its reservation is settled. nil = there are no books.
	Spooled, Acked func() uint64
	// Registry gets the metrics; nil = none.
	Registry prometheus.Registerer
	// Now is the clock, with a monotonic reading; nil = time.Now.
	Now func() time.Time
}

const (
	defaultWait = 250 * time.Millisecond
	// grace is how long the leader may be out of reach before policies hold: it lets a proxy start, and a stream move.
	grace = int64(500 * time.Millisecond)
	// maxWaiters is how many requests wait for one scope at once; others are refused.
	maxWaiters = 1024
	// calm is how long nobody waits after a wait in vain.
	calm = int64(time.Second)
)

// Keeper keeps the purses. Its methods may be called by any goroutine, but for Ask, Apply and Tick, which belong to the one
// that speaks with the leader.
type Keeper struct {
	o     Options
	epoch time.Time
	meter *meters

	// Read by requests, written in the background.
	rates   atomic.Int64 // credits of short leases may be spent until then: slots, and what is per minute
	books   atomic.Int64 // and those of long leases
	lost    atomic.Int64 // since when the leader cannot be reached; 0 = it can
	proxies atomic.Int64 // that have leases, as the leader said last; 0 = it did not
	asking  atomic.Pointer[wallet]
	wake    chan struct{}

	mu      sync.Mutex
	wallets map[scopeID]*wallet
	purses  map[limitName]*purse
	talk    talk
}

// New makes a Keeper that holds nothing. It does nothing in the background.
func New(o Options) *Keeper {
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{
		o: o, epoch: o.Now(), wake: make(chan struct{}, 1),
		wallets: make(map[scopeID]*wallet), purses: make(map[limitName]*purse),
	}
	k.talk.whole = true
	k.lost.Store(k.reading(k.epoch))
	k.meter = newMeters(k, o.Registry)
	return k
}

// reading is the monotonic clock at a time, in ns; it is above 0.
func (k *Keeper) reading(now time.Time) int64 { return int64(now.Sub(k.epoch)) + 1 }

// until is when credits of a limit may no longer be spent.
func (k *Keeper) until(p *purse) int64 {
	if p.long {
		return k.books.Load()
	}
	return k.rates.Load()
}

// away says whether the leader has been out of reach for so long that policies hold.
func (k *Keeper) away(now int64) bool {
	lost := k.lost.Load()
	return lost != 0 && now-lost >= grace
}

// Wake is sent to when there is something to ask before its time.
func (k *Keeper) Wake() <-chan struct{} { return k.wake }

// Connected says whether the leader answers.
func (k *Keeper) Connected() bool { return k.lost.Load() == 0 }
