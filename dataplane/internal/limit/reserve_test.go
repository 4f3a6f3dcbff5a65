package limit

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestNoLimitsCostNothing(t *testing.T) {
	if got := NewTerms(Key, "k", Rules{}); got != nil {
		t.Fatalf("terms without limits: %v", got)
	}
	w := newWorld(t)
	var r Reservation
	if f := w.reserve(&r, Scopes{}, Estimate{Tokens: math.MaxInt64}); f != nil {
		t.Fatal(f)
	}
	if got := r.Tokens(); got != 0 {
		t.Errorf("%d tokens are reserved of nobody's", got)
	}
	w.k.Settle(&r, Usage{Tokens: math.MaxInt64}, w.now)
	if len(w.k.wallets) != 0 {
		t.Error("a wallet for nobody")
	}
}

// TestAllOrNothing: what the inner scopes refuse is given back to the outer ones, whichever refuses.
func TestAllOrNothing(t *testing.T) {
	for refusing, name := range [places]string{"parent", "tenant", "group", "key"} {
		t.Run(name, func(t *testing.T) {
			refusing := Place(refusing)
			w := newWorld(t)
			var s Scopes
			for at := range places {
				s[at] = termsAt(at, Limit{What: Requests, Over: Minute, Amount: 100}, Limit{What: Tokens, Over: Minute, Amount: 10_000},
					Limit{What: Concurrency, Amount: 50}, Limit{What: Cost, Over: Always, Amount: 1e9})
				w.open(s[at])
			}
			var grants []*syncv1.Grant
			for at := range places {
				tokens := int64(500)
				if at == refusing {
					tokens = 99
				}
				grants = append(grants, of(s[at], 0, 10), of(s[at], 1, tokens), of(s[at], 2, 5), of(s[at], 3, 1000))
			}
			w.lend(grants...)
			var r Reservation
			f := w.reserve(&r, s, Estimate{Tokens: 100, Cost: 7})
			if f == nil || f.Scope != scopeAt(refusing) || f.What != Tokens || f.Need != 100 || f.Limit != 10_000 {
				t.Fatalf("refusal: %+v", f)
			}
			w.k.Settle(&r, Usage{Tokens: 1}, w.now) // of nothing
			for at := range places {
				tokens := int64(500)
				if at == refusing {
					tokens = 99
				}
				for i, want := range []int64{10, tokens, 5, 1000} {
					if got := balance(w.purse(s[at], i)); got != want {
						t.Errorf("place %d, limit %d: %d credits are left, want %d", at, i, got, want)
					}
				}
				if n := s[at].wallet.Load().users.Load(); n != 0 {
					t.Errorf("place %d: %d users", at, n)
				}
			}
		})
	}
}

func TestSettleOnce(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 100}, Limit{What: Tokens, Over: Minute, Amount: 1000},
		Limit{What: Concurrency, Amount: 5}, Limit{What: Cost, Over: Day, Amount: 1000})
	w.open(k)
	w.lend(of(k, 0, 10), of(k, 1, 100), of(k, 2, 5), of(k, 3, 50))
	see := func() (out [4]int64) {
		for i := range out {
			out[i] = balance(w.purse(k, i))
		}
		return out
	}
	check := func(what string, want [4]int64) {
		t.Helper()
		if diff := cmp.Diff(want, see()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	var r Reservation
	take := func() {
		t.Helper()
		if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{Tokens: 30, Cost: 20}); f != nil {
			t.Fatalf("refused: %+v", f)
		}
	}
	take()
	check("reserved", [4]int64{9, 70, 4, 30})
	if got := r.Tokens(); got != 30 {
		t.Errorf("%d tokens are reserved, want 30", got)
	}
	w.k.Settle(&r, Usage{Tokens: 10, Cost: 5}, w.now)
	if got := r.Tokens(); got != 0 {
		t.Errorf("%d tokens are reserved once it is settled", got)
	}
	check("cheaper", [4]int64{9, 90, 5, 45})
	w.k.Settle(&r, Usage{}, w.now)
	w.k.Cancel(&r)
	check("settled again", [4]int64{9, 90, 5, 45})
	take()
	w.k.Cancel(&r)
	w.k.Settle(&r, Usage{Tokens: 1000}, w.now)
	check("cancelled", [4]int64{9, 90, 5, 45})
	take()
	w.k.Settle(&r, Usage{Tokens: 200, Cost: 60}, w.now)
	check("dearer", [4]int64{8, -110, 5, -15})
	if f := w.reserve(&r, Scopes{AtKey: k}, Estimate{Tokens: 1}); f == nil || f.What != Tokens || r.Tokens() != 0 {
		t.Errorf("let in while in debt: %+v, with %d tokens", f, r.Tokens())
	}
	// The debt is paid first.
	w.push(of(k, 1, 215), of(k, 3, 70))
	check("paid", [4]int64{8, 5, 5, 5})
	for _, p := range []int{1, 3} {
		c := w.purse(k, p).current.Load()
		if c.granted-c.returned-c.used() != c.balance.Load() {
			t.Errorf("the books of %d do not add up", p)
		}
	}
}

func TestWindowsTurn(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 100}, Limit{What: Tokens, Over: Minute, Amount: 100},
		Limit{What: Cost, Over: Day, Amount: 100})
	w.open(k)
	w.lend(in(of(k, 0, 2), 7, 0, 10*time.Second), in(of(k, 1, 50), 7, 0, 10*time.Second), in(of(k, 2, 50), 3, 0, 10*time.Second))
	w.push(in(of(k, 0, 4), 8, 8*time.Second, 68*time.Second), in(of(k, 1, 60), 8, 8*time.Second, 68*time.Second),
		in(of(k, 2, 70), 4, 8*time.Second, 24*time.Hour))
	w.pass(time.Second)
	var early, late, more Reservation
	if f := w.reserve(&early, Scopes{AtKey: k}, Estimate{Tokens: 20, Cost: 20}); f != nil {
		t.Fatalf("%+v", f)
	}
	if f := w.reserve(&late, Scopes{AtKey: k}, Estimate{Tokens: 20, Cost: 20}); f != nil {
		t.Fatalf("%+v", f)
	}
	if f := w.reserve(&more, Scopes{AtKey: k}, Estimate{Tokens: 1}); f == nil || f.What != Requests {
		t.Fatalf("credits of the next window were spent: %+v", f)
	}
	old := [3]*pane{}
	for i := range old {
		old[i] = w.purse(k, i).current.Load()
	}
	w.pass(8 * time.Second)
	if f := w.reserve(&more, Scopes{AtKey: k}, Estimate{Tokens: 1, Cost: 1}); f != nil {
		t.Fatalf("the new window is not open: %+v", f)
	}
	got := func() (out [3]int64) {
		for i := range out {
			out[i] = balance(w.purse(k, i))
		}
		return out
	}
	if diff := cmp.Diff([3]int64{3, 59, 69}, got()); diff != "" {
		t.Errorf("after the turn:\n%s", diff)
	}
	// Tokens that were not used are of no use any more; costs stay in the day in which the request began.
	w.k.Settle(&early, Usage{Tokens: 5, Cost: 5}, w.now)
	if diff := cmp.Diff([3]int64{3, 59, 69}, got()); diff != "" {
		t.Errorf("cheaper after the turn:\n%s", diff)
	}
	w.k.Settle(&late, Usage{Tokens: 25, Cost: 25}, w.now)
	if diff := cmp.Diff([3]int64{3, 54, 69}, got()); diff != "" {
		t.Errorf("dearer after the turn:\n%s", diff)
	}
	if n := old[2].balance.Load(); n != 50-5-25 || old[2].settled.Load() != 30 {
		t.Errorf("yesterday has %d left and %d settled, want 20 and 30", n, old[2].settled.Load())
	}
}

func TestRefusals(t *testing.T) {
	minute := Limit{What: Requests, Over: Minute, Amount: 60}
	tests := []struct {
		name      string
		limit     Limit
		rules     Rules
		grant     func(*world, *Terms)
		e         Estimate
		cause     Cause
		retry     time.Duration
		kind      fault.Kind
		code, say string
		terminal  bool
		last      bool // it has waited
	}{
		{name: "spent", limit: minute, grant: func(w *world, k *Terms) {
			g := in(of(k, 0, 0), 1, 0, 40*time.Second)
			g.Left = 0
			w.lend(g)
		}, cause: Spent, retry: 40 * time.Second, kind: fault.Exhausted, code: "rate_limit_exceeded", say: "the key's limit of 60 requests per minute is reached"},
		{name: "budget", limit: Limit{What: Cost, Over: Always, Amount: 5e9}, grant: func(w *world, k *Terms) {
			g := of(k, 0, 0)
			g.Left = 0
			w.lend(g)
		}, e: Estimate{Cost: 1}, cause: Spent, kind: fault.Exhausted, code: "insufficient_quota", say: "the key's limit of $5 in total is reached", terminal: true},
		{name: "nothing allowed", limit: Limit{What: Requests, Over: Minute}, cause: Spent, kind: fault.Exhausted, code: "rate_limit_exceeded",
			say: "the key's limit of 0 requests per minute is reached", terminal: true},
		{name: "on its way", limit: minute, cause: Pending, retry: time.Second, kind: fault.Exhausted, code: "rate_limit_exceeded",
			say: "the key's limit of 60 requests per minute is shared out at the moment"},
		{name: "away", limit: minute, grant: func(w *world, _ *Terms) { w.pass(time.Second) }, cause: Away, retry: time.Second,
			kind: fault.Unavailable, code: "limits_unavailable", say: "the key's limit of 60 requests per minute cannot be checked at the moment"},
		{name: "larger than the limit", limit: Limit{What: Tokens, Over: Minute, Amount: 10}, e: Estimate{Tokens: 11}, cause: TooMuch,
			kind: fault.Invalid, code: "request_limit_exceeded", say: "the request is estimated at 11 tokens, and the key allows 10 tokens for one request", terminal: true},
		{name: "tokens of one request", limit: minute, rules: Rules{MaxTokens: 10}, e: Estimate{Tokens: 11}, cause: TooMuch,
			kind: fault.Invalid, code: "request_limit_exceeded", say: "the request is estimated at 11 tokens", terminal: true},
		{name: "cost of one request", limit: minute, rules: Rules{MaxCost: 10}, e: Estimate{Cost: math.MaxInt64}, cause: TooMuch,
			kind: fault.Invalid, code: "request_limit_exceeded", say: "for one request", terminal: true},
		{name: "slots", limit: Limit{What: Concurrency, Amount: 3}, grant: func(w *world, k *Terms) {
			g := of(k, 0, 0)
			g.Left = 0
			w.lend(g)
		}, last: true, cause: Spent, retry: time.Second, kind: fault.Exhausted, code: "rate_limit_exceeded", say: "3 requests at once is reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.rules.Limits = []Limit{tt.limit}
			k := NewTerms(Key, "k", tt.rules)
			w.open(k)
			if tt.grant != nil {
				tt.grant(w, k)
			}
			var r Reservation
			f := w.k.reserve(&r, &Scopes{AtKey: k}, tt.e, w.k.reading(w.now), tt.last)
			if f == nil {
				t.Fatal("let in")
			}
			e := f.Fault()
			if f.Cause != tt.cause || f.Retry != tt.retry || f.Terminal() != tt.terminal || e.Kind != tt.kind || e.Code != tt.code {
				t.Errorf("got %+v, %+v", f, e)
			}
			if !strings.Contains(e.Message, tt.say) {
				t.Errorf("message %q, want %q", e.Message, tt.say)
			}
			if tt.terminal != (e.RetryAfter == 0) {
				t.Errorf("retry after %v", e.RetryAfter)
			}
		})
	}
}

// TestTightest: of several limits that refuse, the one that is spent the longest is named.
func TestTightest(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 60}, Limit{What: Cost, Over: Day, Amount: 100})
	g := terms(Tenant, "t", Closed, Limit{What: Requests, Over: Minute, Amount: 60})
	w.open(k, g)
	none := func(g ...*Terms) {
		for _, t := range g {
			for i, l := range t.limits {
				ends := 30 * time.Second
				if l.What == Cost {
					ends = time.Hour
				}
				grant := in(of(t, i, 0), 1, 0, ends)
				grant.Left = 0
				w.lend(grant)
			}
		}
	}
	none(g, k)
	var r Reservation
	f := w.reserve(&r, Scopes{AtTenant: g, AtKey: k}, Estimate{Cost: 1})
	if f == nil || f.Scope != Key || f.What != Cost || f.Retry != time.Hour {
		t.Errorf("named: %+v", f)
	}
}

// TestNewTerms: a changed amount keeps what is held, a limit that is gone gives back what it held, and a request of an older
// snapshot does not bring it back.
func TestNewTerms(t *testing.T) {
	w := newWorld(t)
	rules := Rules{Version: 1, Limits: []Limit{{What: Requests, Over: Minute, Amount: 60}, {What: Tokens, Over: Minute, Amount: 100}}}
	first, stale := NewTerms(Key, "k", rules), NewTerms(Key, "k", rules)
	w.open(first)
	w.lend(of(first, 0, 5), of(first, 1, 50))
	second := NewTerms(Key, "k", Rules{Version: 2, Limits: []Limit{{What: Requests, Over: Minute, Amount: 30}}})
	w.open(second)
	w.open(stale)
	purses := *second.wallet.Load().purses.Load()
	if len(purses) != 1 || balance(purses[0]) != 5 || purses[0].amount.Load() != 30 {
		t.Fatalf("purses: %v", purses)
	}
	w.pass(time.Second)
	asked := w.ask()
	found := false
	for _, h := range asked[0].GetHoldings() {
		if h.GetLimit().GetWhat() == ref(&wallet{}, &purse{what: Tokens}).GetWhat() {
			found = true
			if h.GetReturned() != 50 || h.GetWant() != 0 {
				t.Errorf("of the limit that is gone: %v", h)
			}
		}
	}
	if !found || len(w.k.purses) != 1 {
		t.Errorf("the limit that is gone was not returned: %v; %d purses", asked, len(w.k.purses))
	}
}
