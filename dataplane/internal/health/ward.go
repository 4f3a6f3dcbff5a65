package health

import (
	"sync"
	"sync/atomic"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/breaker"
)

// ward is what is kept of one account beside its cell. It hangs on the cell, and ends with it.
type ward struct {
	keeper *Keeper
	id     snapshot.AccountID
	cell   *snapshot.Cell

	account atomic.Pointer[snapshot.Account] // its newest form that background work saw
	bad     atomic.Int32                     // failures in a row that speak against its health
	crowded atomic.Int32                     // rests of families since an answer
	flow    atomic.Pointer[flow]             // nil = nothing was tried yet
	trouble atomic.Pointer[trouble]          // nil = its breaker is closed, and has been for long
	rest    atomic.Pointer[rest]             // the last that began here; nil = none
	plan    atomic.Pointer[plan]             // nil = its plan has no caps

	// What its provider's headers said last.
	room      atomic.Uint32 // bits of the share that is left, plus one; 0 = never said
	roomReset atomic.Int64  // unix ms
	roomHeard atomic.Int64  // unix ms

	reported atomic.Bool // it is on the stack of those with something to report
	next     *ward       // on that stack
	nextNew  *ward       // on the stack of new ones

	// The keeper's lock guards these.
	facts    *facts
	told     sent
	window   window
	toldRest *rest
}

// flow is what an account's attempts come to; all of it only grows, but for what says otherwise.
type flow struct {
	ok         atomic.Uint64
	tokens     atomic.Uint64
	answers    atomic.Uint64 // that tokens are of
	durations  atomic.Uint64 // ms
	ended      atomic.Uint64 // attempts that durations are of
	ratioSum   atomic.Uint64 // in 1/ratioUnit
	ratioCount atomic.Uint64
	ratio      atomic.Uint64 // a moving average; bits of a float64
	faults     atomic.Pointer[faults]
	ttft       [buckets]atomic.Uint32 // since the report before
}

// sent is how far the last report had counted.
type sent struct {
	ok, tokens, durations, ended, ratioSum, ratioCount uint64
	inFlight                                           int32
	faults                                             *[2 * maxReasons]uint32
}

// rest is one that began here.
type rest struct {
	until        int64 // unix ms
	reason       string
	ordered      bool // by the provider
	disabled     bool // until somebody acts
	organization bool // with all of its organisation
}

// ward is what hangs on an account's cell. The first call for a cell allocates.
func (k *Keeper) ward(a *snapshot.Account) *ward {
	if w, ok := a.Cell.Side.Load().(*ward); ok {
		return w
	}
	w := &ward{keeper: k, id: a.ID, cell: a.Cell}
	w.account.Store(a)
	if capped(&a.Caps) {
		w.plan.Store(&plan{})
	}
	if !a.Cell.Side.CompareAndSwap(nil, w) {
		return a.Cell.Side.Load().(*ward) // nobody else stores there
	}
	for {
		w.nextNew = k.fresh.Load()
		if k.fresh.CompareAndSwap(w.nextNew, w) {
			return w
		}
	}
}

// touch has the ward reported.
func (w *ward) touch() {
	if w.reported.Load() || !w.reported.CompareAndSwap(false, true) {
		return
	}
	for {
		w.next = w.keeper.dirty.Load()
		if w.keeper.dirty.CompareAndSwap(w.next, w) {
			return
		}
	}
}

func (w *ward) traffic() *flow {
	if f := w.flow.Load(); f != nil {
		return f
	}
	w.flow.CompareAndSwap(nil, &flow{})
	return w.flow.Load()
}

// capped is the state of the account's plan.
func (w *ward) capped() *plan {
	if p := w.plan.Load(); p != nil {
		return p
	}
	w.plan.CompareAndSwap(nil, &plan{})
	return w.plan.Load()
}

// resting says whether a rest is still what the cell goes by: an operator, or a verdict, may have ended it.
func (w *ward) resting(r *rest, nowMS int64) bool {
	return r != nil && r.until > nowMS && w.cell.ReadyAt() >= r.until
}

// forget ends what is held against the account here: its verdict, or its form, is another.
func (w *ward) forget() {
	w.bad.Store(0)
	w.crowded.Store(0)
	w.trouble.Store(nil)
	w.rest.Store(nil)
}

// maxReasons bounds the reasons that faults are counted by.
const maxReasons = 32

// faults are counts by reason; the reasons' places are the keeper's. The second half is of those that speak against the
// account's health: one reason may be of both kinds.
type faults struct{ n [2 * maxReasons]atomic.Uint32 }

// reasons give each reason of the fault table its place; the last is for those that have none.
type reasons struct {
	place map[string]int
	names []string
}

func newReasons(names []string) reasons {
	r := reasons{place: make(map[string]int), names: names[:min(len(names), maxReasons-1)]}
	for i, name := range r.names {
		r.place[name] = i
	}
	r.names = append(r.names[:len(r.names):len(r.names)], "other")
	return r
}

func (r *reasons) of(name string) int {
	if i, ok := r.place[name]; ok {
		return i
	}
	return len(r.names) - 1
}

func (f *flow) fault(place int, unhealthy bool) {
	all := f.faults.Load()
	if all == nil {
		f.faults.CompareAndSwap(nil, &faults{})
		all = f.faults.Load()
	}
	if unhealthy {
		place += maxReasons
	}
	all.n[place].Add(1)
}

// unhealthy counts the faults that speak against the account's health.
func (f *flow) unhealthy() uint64 {
	all := f.faults.Load()
	if all == nil {
		return 0
	}
	total := uint64(0)
	for i := maxReasons; i < 2*maxReasons; i++ {
		total += uint64(all.n[i].Load())
	}
	return total
}

// trouble is the breaker of an account that opened it here. Only failures, and answers while it lasts, take its lock.
type trouble struct {
	mu sync.Mutex
	b  breaker.Breaker
}
