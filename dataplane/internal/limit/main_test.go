package limit

import (
	"strconv"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a keeper, a clock, and a leader that says what the test wants.
type world struct {
	t    testing.TB
	k    *Keeper
	now  time.Time
	term int64
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Now(), term: 1}
	w.k = New(Options{BootID: "me", Now: func() time.Time { return w.now }})
	return w
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

// ask is what the keeper says now, checked against the contract.
func (w *world) ask() []*syncv1.LeaseRequest {
	w.t.Helper()
	asked := w.k.Ask(w.now)
	for _, r := range asked {
		if err := protovalidate.Validate(r); err != nil {
			w.t.Fatalf("a request against the contract: %v", err)
		}
		for _, h := range r.GetHoldings() {
			if h.GetReturned() > h.GetGranted() || h.GetBooked() > h.GetUsed() {
				w.t.Fatalf("a holding that cannot be: %v", h)
			}
		}
	}
	return asked
}

// answer answers the newest request.
func (w *world) answer(grants ...*syncv1.Grant) bool {
	return w.k.Apply(&syncv1.LeaseResponse{
		Term: w.term, Sequence: w.k.talk.sequence, Ttl: durationpb.New(10 * time.Second), BookedTtl: durationpb.New(time.Minute),
		Proxies: 5, Grants: grants,
	}, w.now)
}

// lend asks, and answers with grants.
func (w *world) lend(grants ...*syncv1.Grant) {
	w.t.Helper()
	w.k.talk.whole = true
	w.ask()
	if !w.answer(grants...) {
		w.t.Fatal("the answer was not believed")
	}
}

// push tells grants that nobody asked for.
func (w *world) push(grants ...*syncv1.Grant) {
	w.t.Helper()
	if !w.k.Apply(&syncv1.LeaseResponse{Term: w.term, Sequence: w.k.talk.sequence, Proxies: 5, Grants: grants}, w.now) {
		w.t.Fatal("the leader was not believed")
	}
}

// open opens the purses of terms, as a first request does.
func (w *world) open(terms ...*Terms) {
	for _, t := range terms {
		w.k.enter(t, w.k.reading(w.now)).users.Add(-1)
	}
}

func (w *world) purse(t *Terms, i int) *purse { return (*t.wallet.Load().purses.Load())[i] }

func (w *world) reserve(r *Reservation, s Scopes, e Estimate) *Refusal {
	return w.k.Reserve(r, &s, e, w.now)
}

// of is a grant of a key's limit in window 1, which never ends.
func of(t *Terms, i int, granted int64) *syncv1.Grant {
	l := t.limits[i]
	return &syncv1.Grant{
		Limit: ref(&wallet{scope: t.scope, id: t.id}, newPurse(l)), Window: 1, State: syncv1.GrantState_GRANT_STATE_OPEN,
		Granted: granted, Left: 1000,
	}
}

// in is the grant in another window.
func in(g *syncv1.Grant, window int64, starts, ends time.Duration) *syncv1.Grant {
	g.Window = window
	if starts > 0 {
		g.StartsIn = durationpb.New(starts)
	}
	if ends > 0 {
		g.EndsIn = durationpb.New(ends)
	}
	return g
}

// scopeAt is whose limits stand at a place.
func scopeAt(p Place) Scope { return [places]Scope{Tenant, Tenant, Group, Key}[p] }

// termsAt are terms of a scope of their own at a place.
func termsAt(p Place, limits ...Limit) *Terms {
	return terms(scopeAt(p), strconv.Itoa(int(p)), Closed, limits...)
}

func terms(s Scope, id string, p Policy, limits ...Limit) *Terms {
	return NewTerms(s, id, Rules{Away: p, Limits: limits})
}

func balance(p *purse) int64 { return p.current.Load().balance.Load() }
