package sim

import (
	"time"

	"fairway/pkg/breaker"
)

// tally counts what happens.
type tally struct {
	world     *World
	measuring bool

	// Since the measuring began, but for what is said of each second.
	counts
	before  counts // at that time
	seconds []second
	tries   [][]uint32 // by account and second since the world began
	events  []Event

	samples int
	peaks   float64 // of the samples, the sum of the highest utilisation over the mean one
	carried []float64
}

type counts struct {
	requests, failed, broken, attempts, retries, rejected, first, firstOver, panicked, dropped uint64
	price                                                                                      float64
	answers                                                                                    uint64
	ttft                                                                                       time.Duration
}

// second is what happened in one.
type second struct {
	requests, failed, attempts, over uint32
}

// Event is a decision about a watched account.
type Event struct {
	At      float64 // seconds since the measuring began
	Account int
	State   string
	Reason  string
}

func (t *tally) begin(w *World) {
	t.world = w
	n := int((w.setup.Warm+w.setup.Length)/time.Second) + 2
	t.seconds = make([]second, n)
	t.tries = make([][]uint32, len(w.accounts))
	for i := range t.tries {
		t.tries[i] = make([]uint32, n)
	}
	t.carried = make([]float64, len(w.accounts))
}

func (t *tally) second() *second { return &t.seconds[t.world.now/time.Second] }

func (t *tally) attempt(r *request, u *upstream) {
	t.attempts++
	s := t.second()
	s.attempts++
	t.tries[u.index][t.world.now/time.Second]++
	t.price += float64(t.world.priceOf(u)) / 1e6
	if r.attempts != 1 {
		return
	}
	t.first++
	if u.full() {
		t.firstOver++
		s.over++
	}
}

func (t *tally) arrived() {
	t.requests++
	t.second().requests++
}

// fail counts a request that has no whole answer; broken says that it had a part.
func (t *tally) fail(broken bool) {
	t.failed++
	if broken {
		t.broken++
	}
	t.second().failed++
}

// sample looks at how busy accounts are.
func (t *tally) sample() {
	if t.samples == 0 {
		t.before = t.counts
	}
	t.samples++
	var most, sum float64
	n := 0
	for i, u := range t.world.accounts {
		use := float64(u.under) / float64(u.capacity)
		t.carried[i] += use
		if !u.there || u.mode != Well {
			continue
		}
		most = max(most, use)
		sum += use
		n++
	}
	if sum > 0 {
		t.peaks += most / (sum / float64(n))
	}
}

func (t *tally) decided(u *upstream, s breaker.State, reason string) {
	t.events = append(t.events, Event{
		At: (t.world.now - t.world.setup.Warm).Seconds(), Account: u.index, State: s.String(), Reason: reason,
	})
}
