package limit

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func only(t *testing.T, asked []*syncv1.LeaseRequest) *syncv1.LeaseRequest {
	t.Helper()
	if len(asked) != 1 {
		t.Fatalf("%d requests, want one", len(asked))
	}
	return asked[0]
}

func holding(t *testing.T, r *syncv1.LeaseRequest) *syncv1.Holding {
	t.Helper()
	if len(r.GetHoldings()) != 1 {
		t.Fatalf("holdings: %v", r.GetHoldings())
	}
	return r.GetHoldings()[0]
}

// TestConversation: what is said first, when there is something to say, and what a new leader hears.
func TestConversation(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Tokens, Over: Minute, Amount: 1000})
	r := only(t, w.ask())
	if !r.GetFull() || r.GetSequence() != 1 || len(r.GetHoldings()) != 0 {
		t.Errorf("first: %v", r)
	}
	w.answer()
	if got := w.ask(); got != nil {
		t.Errorf("said %v, with nothing to say", got)
	}
	var v Reservation
	if f := w.reserve(&v, Scopes{AtKey: k}, Estimate{Tokens: 30}); f == nil || f.Cause != Pending {
		t.Fatalf("%+v", f)
	}
	select {
	case <-w.k.Wake():
	default:
		t.Error("nobody was woken")
	}
	r = only(t, w.ask())
	if h := holding(t, r); r.GetFull() || h.GetWindow() != 0 || h.GetWant() < 30 || h.GetLeast() != 30 || h.GetGranted() != 0 {
		t.Errorf("first question: %v", r)
	}
	w.answer(in(of(k, 0, 40), 9, 0, 20*time.Second))
	if f := w.reserve(&v, Scopes{AtKey: k}, Estimate{Tokens: 30}); f != nil {
		t.Fatalf("%+v", f)
	}
	// Less than half of what is wanted is left.
	w.pass(10 * time.Millisecond)
	h := holding(t, only(t, w.ask()))
	if h.GetWindow() != 9 || h.GetGranted() != 40 || h.GetUsed() != 30 || h.GetReturned() != 0 {
		t.Errorf("then: %v", h)
	}
	w.answer(in(of(k, 0, 70), 9, 0, 20*time.Second))

	// It is renewed though nothing happens.
	w.pass(3 * time.Second)
	if r := only(t, w.ask()); r.GetFull() {
		t.Errorf("renewal: %v", r)
	}
	w.answer()

	// A new leader hears everything, and one of an older term is not believed any more.
	w.k.Lost(w.now)
	w.k.Connect()
	r = only(t, w.ask())
	if h := holding(t, r); !r.GetFull() || r.GetTerm() != 1 || h.GetGranted() != 70 || h.GetUsed() != 30 || h.GetEndsIn().AsDuration() <= 0 {
		t.Errorf("to a new leader: %v", r)
	}
	if w.k.Apply(&syncv1.LeaseResponse{Term: 1, Grants: []*syncv1.Grant{in(of(k, 0, 700), 9, 0, time.Second)}}, w.now) {
		t.Error("what was said before the declaration was heard is believed")
	}
	w.term = 2
	w.answer()
	if w.k.Apply(&syncv1.LeaseResponse{
		Term: 1, Sequence: w.k.talk.sequence, Grants: []*syncv1.Grant{in(of(k, 0, 700), 9, 0, time.Second)},
	}, w.now) {
		t.Error("an old leader is believed")
	}
	if got := balance(w.purse(k, 0)); got != 40 {
		t.Errorf("%d credits, want 40", got)
	}
	// The leader missed something.
	w.term = 2
	before := w.k.rates.Load()
	w.pass(3 * time.Second)
	w.ask()
	w.k.Apply(&syncv1.LeaseResponse{Term: 2, Sequence: w.k.talk.sequence, Declare: true, Ttl: durationpb.New(time.Hour)}, w.now)
	if w.k.rates.Load() != before {
		t.Error("a demand to declare has renewed the lease")
	}
	if r = only(t, w.ask()); !r.GetFull() {
		t.Errorf("after declare: %v", r)
	}
}

// TestGrantsAreAbsolute: what comes twice, or late, changes nothing.
func TestGrantsAreAbsolute(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
	w.open(k)
	w.lend(of(k, 0, 40))
	for _, granted := range []int64{40, 50, 40, 45, 50} {
		w.push(of(k, 0, granted))
	}
	if got := balance(w.purse(k, 0)); got != 50 {
		t.Errorf("%d credits, want 50", got)
	}
	unknown := of(terms(Key, "other", Closed, Limit{What: Requests, Over: Minute, Amount: 1}), 0, 5)
	w.push(unknown)
	if len(w.k.purses) != 1 {
		t.Error("a purse for what nobody uses")
	}
}

// TestLeaseEnds: nothing is spent after its end though nobody says so, what was held counts as returned, what requests give
// back later too, and a clock that is set changes nothing.
func TestLeaseEnds(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Tokens, Over: Minute, Amount: 1000}, Limit{What: Cost, Over: Always, Amount: 1000})
	w.open(k)
	w.lend(of(k, 0, 40), of(k, 1, 40))
	var r, late Reservation
	if f := w.reserve(&late, Scopes{AtKey: k}, Estimate{Tokens: 10, Cost: 10}); f != nil {
		t.Fatalf("%+v", f)
	}
	w.pass(9*time.Second + 899*time.Millisecond)
	if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{Tokens: 1, Cost: 1}); f != nil {
		t.Fatalf("refused before the end: %+v", f)
	}
	w.k.Cancel(&r)
	w.pass(2 * time.Millisecond)
	f := w.reserve(&r, Scopes{AtKey: k}, Estimate{Tokens: 1, Cost: 1})
	if f == nil || f.What != Tokens || f.Cause != Pending {
		t.Fatalf("let in after the lease's end: %+v", f)
	}
	w.k.Settle(&late, Usage{Tokens: 4, Cost: 10}, w.now)
	q := only(t, w.ask())
	if !q.GetFull() {
		t.Error("not everything is said after the lease's end")
	}
	for _, h := range q.GetHoldings() {
		tokens := h.GetLimit().GetWhat() == syncv1.LimitWhat_LIMIT_WHAT_TOKENS
		if tokens && (h.GetGranted() != 40 || h.GetUsed() != 4 || h.GetReturned() != 36) {
			t.Errorf("tokens: %v", h)
		}
		if !tokens && h.GetReturned() != 0 && h.GetGranted()-h.GetReturned()-h.GetUsed() < 0 {
			t.Errorf("the long lease has not ended: %v", h)
		}
	}
	w.answer(of(k, 0, 41))
	if got := balance(w.purse(k, 0)); got != 1 {
		t.Errorf("%d tokens, want those that are new", got)
	}
}

func TestCallback(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
	w.open(k)
	w.lend(of(k, 0, 40))
	for range 3 {
		var r Reservation
		if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{}); f != nil {
			t.Fatalf("%+v", f)
		}
	}
	g := of(k, 0, 40)
	g.Keep = proto.Int64(10)
	w.push(g)
	if got := balance(w.purse(k, 0)); got != 10 {
		t.Errorf("%d credits were kept, want 10", got)
	}
	w.pass(10 * time.Millisecond)
	h := holding(t, only(t, w.ask()))
	if h.GetReturned() < 27 || h.GetUsed() != 3 {
		t.Errorf("said: %v", h)
	}
	if u := h.GetGranted() - h.GetReturned() - h.GetUsed(); u != balance(w.purse(k, 0)) {
		t.Errorf("said to hold %d, holds %d", u, balance(w.purse(k, 0)))
	}
}

// TestNextWindow: it is asked for while the limit is in use, its credits wait, and the old one is forgotten when it is over.
func TestNextWindow(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
	w.open(k)
	w.lend(in(of(k, 0, 5), 3, 0, 6*time.Second))
	w.pass(2 * time.Second)
	w.k.wallets[scopeID{Key, "k"}].used.Store(w.k.reading(w.now))
	w.k.Tick(w.now)
	w.ask()
	// The leader may name them in any order.
	w.answer(in(of(k, 0, 7), 4, 4*time.Second, 64*time.Second), in(of(k, 0, 5), 3, 0, 4*time.Second))
	p := w.purse(k, 0)
	if p.current.Load().number.Load() != 3 || p.current.Load().next.Load().number.Load() != 4 {
		t.Fatal("the windows do not follow each other")
	}
	w.pass(4 * time.Second)
	if got := p.live(w.k.reading(w.now)); got.number.Load() != 4 || got.balance.Load() != 7 {
		t.Fatalf("window %d with %d", got.number.Load(), got.balance.Load())
	}
	over := of(k, 0, 5)
	over.Window, over.State = 3, syncv1.GrantState_GRANT_STATE_OVER
	w.ask()
	w.answer(over)
	if len(p.state.panes) != 1 {
		t.Errorf("%d windows are kept", len(p.state.panes))
	}
	// A window that is over lends nothing, though the lease goes on.
	w.k.rates.Store(never)
	w.pass(2 * minute)
	var r Reservation
	if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{}); f == nil {
		t.Fatal("let in by a window that is over, under a lease that is not")
	}
	w.k.rates.Store(0)
	// After a pause it is another window's turn; credits of one that is over are of no use.
	w.pass(minute)
	if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{}); f == nil {
		t.Fatal("let in by a window that is over")
	}
	w.ask()
	w.answer(in(of(k, 0, 2), 7, 0, time.Minute))
	if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{}); f != nil {
		t.Fatalf("%+v", f)
	}

	other := terms(Key, "other", Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
	w.open(other)
	w.lend(in(of(other, 0, 7), 4, time.Second, time.Minute), in(of(other, 0, 5), 3, 0, time.Second))
	if p := w.purse(other, 0); p.current.Load().number.Load() != 3 || balance(p) != 5 {
		t.Error("a first answer that names the next window first")
	}
}

// TestBooks: what was settled is booked when the records that were there by then are.
func TestBooks(t *testing.T) {
	w := newWorld(t)
	var spooled, acked uint64
	w.k.o.Spooled, w.k.o.Acked = func() uint64 { return spooled }, func() uint64 { return acked }
	k := terms(Key, "k", Closed, Limit{What: Cost, Over: Always, Amount: 1000})
	w.open(k)
	w.lend(of(k, 0, 100))
	use := func(cost int64) {
		t.Helper()
		var r Reservation
		if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{Cost: 30}); f != nil {
			t.Fatalf("%+v", f)
		}
		spooled++
		w.k.Settle(&r, Usage{Cost: cost}, w.now)
	}
	said := func() *syncv1.Holding {
		t.Helper()
		w.pass(time.Second)
		w.k.Tick(w.now)
		h := holding(t, only(t, w.ask()))
		w.answer()
		return h
	}
	use(20)
	if h := said(); h.GetBooked() != 0 || h.GetUsed() != 20 {
		t.Errorf("before: %v", h)
	}
	use(25)
	acked = 1
	if h := said(); h.GetBooked() != 20 || h.GetUsed() != 45 {
		t.Errorf("the first is booked: %v", h)
	}
	acked = 2
	if h := said(); h.GetBooked() != 45 {
		t.Errorf("both are: %v", h)
	}
}

// TestRest: scopes at rest are dropped with a declaration that does not name them, and come back as new.
func TestRest(t *testing.T) {
	w := newWorld(t)
	all := make([]*Terms, sweepAt)
	for i := range all {
		all[i] = terms(Key, fmt.Sprint(i), Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
		w.open(all[i])
	}
	w.lend(in(of(all[0], 0, 5), 1, 0, time.Minute))
	var r Reservation
	if f := w.reserve(&r, Scopes{AtKey: all[0]}, Estimate{}); f != nil {
		t.Fatalf("%+v", f)
	}
	w.k.Cancel(&r)
	w.k.enter(all[1], w.k.reading(w.now)) // one that is under way
	// The lease is kept up, so that nothing else is a reason to say everything.
	for range 61 {
		w.pass(2 * time.Second)
		if q := w.ask(); len(q) > 0 {
			if q[0].GetFull() {
				t.Fatal("everything is said for no reason")
			}
			w.answer()
		}
	}
	more := terms(Key, "more", Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
	w.open(more)
	w.ask()
	w.answer()
	w.k.Tick(w.now)
	if q := w.ask(); len(q) > 0 && q[0].GetFull() {
		t.Fatal("everything is said for less than are worth it")
	}
	w.answer()
	for i := range 10 {
		w.open(terms(Key, fmt.Sprint("x", i), Closed, Limit{What: Requests, Over: Minute, Amount: 1000}))
	}
	for range 31 {
		w.pass(2 * time.Second)
		w.ask()
		w.answer()
	}
	w.k.Tick(w.now)
	q := only(t, w.ask())
	if !q.GetFull() || len(w.k.wallets) != 1 || len(w.k.purses) != 1 {
		t.Errorf("%d wallets and %d purses are left, full = %v", len(w.k.wallets), len(w.k.purses), q.GetFull())
	}
	w.answer()
	old := all[0].wallet.Load()
	if f := w.reserve(&r, Scopes{AtKey: all[0]}, Estimate{}); f == nil || all[0].wallet.Load() == old {
		t.Error("the old wallet is used")
	}
	w.ask()
	w.answer(of(all[0], 0, 1))
	if f := w.reserve(&r, Scopes{AtKey: all[0]}, Estimate{}); f != nil {
		t.Errorf("%+v", f)
	}
}

func TestPieces(t *testing.T) {
	w := newWorld(t)
	for i := range pieces + 3 {
		k := terms(Key, fmt.Sprint(i), Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
		w.open(k)
	}
	asked := w.ask()
	if len(asked) != 2 || !asked[0].GetMore() || asked[1].GetMore() || asked[1].GetFull() || asked[1].GetSequence() != asked[0].GetSequence()+1 {
		t.Errorf("%d requests", len(asked))
	}
	if n := len(asked[0].GetHoldings()) + len(asked[1].GetHoldings()); n != pieces+3 {
		t.Errorf("%d holdings", n)
	}
}

func TestLeave(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 1000})
	w.open(k)
	w.lend(of(k, 0, 40))
	var r Reservation
	if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{}); f != nil {
		t.Fatalf("%+v", f)
	}
	if w.k.Leave(w.now) != nil {
		t.Error("left with a request under way")
	}
	w.k.Settle(&r, Usage{}, w.now)
	last := w.k.Leave(w.now)
	if h := holding(t, last); !last.GetLeaving() || h.GetReturned() != 39 || h.GetUsed() != 1 {
		t.Errorf("last words: %v", last)
	}
	if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{}); f == nil {
		t.Error("let in after it left")
	}
}
