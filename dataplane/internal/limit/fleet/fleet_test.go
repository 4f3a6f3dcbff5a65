// Package fleet holds the tests of both sides of limits together: proxies' purses against the leader's bank, in one process
// and in simulated time. It has no code of its own.
package fleet

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"fairway/dataplane/internal/limit"
	"fairway/pkg/bank"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// fleet is some proxies and their leader. Messages take one step.
type fleet struct {
	t       *testing.T
	start   time.Time
	now     time.Time
	term    int64
	bank    *bank.Bank
	configs map[bank.Owner][]bank.Limit
	proxies []*proxy
	down    bool // the leader cannot be reached
}

// proxy is one, with its messages under way.
type proxy struct {
	name    string
	purses  *limit.Keeper
	to      []*syncv1.LeaseRequest
	from    []*syncv1.LeaseResponse
	linked  bool
	spooled uint64
}

const step = 2 * time.Millisecond

func newFleet(t *testing.T, proxies int, owner bank.Owner, limits ...bank.Limit) *fleet {
	f := &fleet{t: t, start: time.Date(2026, 1, 2, 3, 4, 20, 0, time.UTC), term: 1, configs: map[bank.Owner][]bank.Limit{owner: limits}}
	f.now = f.start
	f.lead(true)
	for i := range proxies {
		p := &proxy{name: fmt.Sprint("p", i)}
		p.purses = limit.New(limit.Options{
			BootID: p.name, Now: func() time.Time { return f.now },
			Spooled: func() uint64 { return p.spooled }, Acked: func() uint64 { return 0 },
		})
		f.proxies = append(f.proxies, p)
	}
	return f
}

func (f *fleet) moment() bank.Moment {
	return bank.Moment{Mono: f.now.Sub(f.start), Wall: f.now}
}

// lead starts a leader.
func (f *fleet) lead(first bool) {
	f.bank = bank.New(bank.Options{Term: f.term, FirstEver: first})
	for owner, limits := range f.configs {
		f.bank.Configure(owner, limits, f.moment())
	}
}

// pass lets a step of time pass: messages arrive, and new ones are sent.
func (f *fleet) pass() {
	f.now = f.now.Add(step)
	for _, w := range f.bank.Wanted(100, f.moment()) {
		f.bank.Open(w.ID, nil, f.moment())
	}
	for _, p := range f.proxies {
		if f.down {
			if p.linked {
				p.linked, p.to, p.from = false, nil, nil
				p.purses.Lost(f.now)
			}
			continue
		}
		if !p.linked {
			p.linked = true
			p.purses.Connect()
		}
		for _, m := range p.from {
			p.purses.Apply(m, f.now)
		}
		p.from = nil
		for _, r := range p.to {
			m, err := f.bank.Handle(p.name, r, f.moment())
			if err != nil {
				f.t.Fatal(err)
			}
			if m != nil {
				p.from = append(p.from, m)
			}
		}
		p.to = nil
		p.purses.Tick(f.now)
		if !p.purses.Waiting() {
			p.to = p.purses.Ask(f.now)
		}
	}
	for _, n := range f.bank.Tick(f.moment()) {
		for _, p := range f.proxies {
			if p.name == n.Boot && p.linked {
				p.from = append(p.from, n.Response)
			}
		}
	}
}

var key = bank.Owner{Scope: bank.Key, ID: "k"}

// TestBudgetForTen: of a thousand requests with a budget for ten, ten are let in, over one proxy and over eight: never more,
// and in the end never fewer.
func TestBudgetForTen(t *testing.T) {
	for _, proxies := range []int{1, 8} {
		t.Run(fmt.Sprint(proxies), func(t *testing.T) {
			f := newFleet(t, proxies, key, bank.Limit{Kind: bank.Kind{What: bank.Cost, Period: bank.Total}, Amount: 10_000})
			in := 0
			terms := make([]*limit.Terms, proxies)
			for i := range terms {
				terms[i] = limit.NewTerms(limit.Key, "k", limit.Rules{Limits: []limit.Limit{{What: limit.Cost, Amount: 10_000}}})
			}
			try := func(n int) (pending bool) {
				var r limit.Reservation
				p := f.proxies[n]
				refusal := p.purses.Reserve(&r, &limit.Scopes{limit.AtKey: terms[n]}, limit.Estimate{Cost: 1000}, f.now)
				if refusal != nil {
					return refusal.Cause == limit.Pending
				}
				in++
				p.spooled++
				p.purses.Settle(&r, limit.Usage{Cost: 1000}, f.now)
				return false
			}
			// All come at once, and wait for 250 ms at most.
			waiting := 1000
			for range int(250*time.Millisecond/step) + 1 {
				still := 0
				for i := range waiting {
					if try(i % proxies) {
						still++
					}
				}
				waiting = still
				f.pass()
			}
			t.Log("at once:", in)
			// Those that were refused come again, one by one.
			random := rand.New(rand.NewPCG(1, 2))
			for i := range 10_000 {
				f.pass()
				if i%25 == 0 {
					try(random.IntN(proxies))
				}
			}
			if in != 10 {
				t.Errorf("%d were let in, of 1000 with a budget for 10", in)
			}
		})
	}
}

// load offers requests to random proxies for some minutes, and returns how many were let in by minute of the leader's
// calendar; offered is how many a minute. Each uses tokens and takes so long.
func (f *fleet) load(terms []*limit.Terms, offered int, tokens int64, takes time.Duration, minutes int) (admitted []int, most int) {
	type ending struct {
		at time.Time
		r  *limit.Reservation
		p  *proxy
	}
	var under []ending
	random := rand.New(rand.NewPCG(1, 2))
	first := f.now.Unix() / 60
	admitted = make([]int, minutes+1)
	chance := float64(offered) / float64(time.Minute/step)
	for range int(time.Duration(minutes) * time.Minute / step) {
		f.pass()
		for len(under) > 0 && !under[0].at.After(f.now) {
			under[0].p.purses.Settle(under[0].r, limit.Usage{Tokens: tokens}, f.now)
			under = under[1:]
		}
		for want := chance; want > 0; want-- {
			if random.Float64() >= want {
				continue
			}
			n := random.IntN(len(f.proxies))
			p, r := f.proxies[n], &limit.Reservation{}
			if p.purses.Reserve(r, &limit.Scopes{limit.AtKey: terms[n]}, limit.Estimate{Tokens: tokens}, f.now) == nil {
				admitted[f.now.Unix()/60-first]++
				under = append(under, ending{f.now.Add(takes), r, p})
				most = max(most, len(under))
			}
		}
	}
	return admitted, most
}

// TestRates: over eight proxies, what is let in of a limit per minute is at most the limit and at least 95% of it, in each
// whole minute, with three times as many offered.
func TestRates(t *testing.T) {
	tests := []struct {
		name    string
		what    bank.What
		own     limit.What
		amount  int64
		offered int
		tokens  int64
		full    int // requests that fit
	}{
		{"requests", bank.Requests, limit.Requests, 600, 1800, 0, 600},
		{"few requests", bank.Requests, limit.Requests, 60, 600, 0, 60},
		{"tokens", bank.Tokens, limit.Tokens, 100_000, 1500, 200, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, 8, key, bank.Limit{Kind: bank.Kind{What: tt.what, Period: bank.Minute}, Amount: tt.amount})
			terms := make([]*limit.Terms, 8)
			for i := range terms {
				terms[i] = limit.NewTerms(limit.Key, "k", limit.Rules{Limits: []limit.Limit{{What: tt.own, Over: limit.Minute, Amount: tt.amount}}})
			}
			admitted, _ := f.load(terms, tt.offered, tt.tokens, 300*time.Millisecond, 4)
			t.Log(admitted)
			for i, n := range admitted {
				whole := i > 0 && i < len(admitted)-1
				if n > tt.full || whole && n*100 < tt.full*95 {
					t.Errorf("minute %d: %d were let in, of %d", i, n, tt.full)
				}
			}
		})
	}
}

// TestSlots: over eight proxies never more are under way than the limit says, and at the busiest as many.
func TestSlots(t *testing.T) {
	f := newFleet(t, 8, key, bank.Limit{Kind: bank.Kind{What: bank.Concurrency, Period: bank.None}, Amount: 40})
	terms := make([]*limit.Terms, 8)
	for i := range terms {
		terms[i] = limit.NewTerms(limit.Key, "k", limit.Rules{Limits: []limit.Limit{{What: limit.Concurrency, Amount: 40}}})
	}
	admitted, most := f.load(terms, 40_000, 0, time.Second, 2)
	t.Log(admitted, most)
	if most > 40 || most < 38 {
		t.Errorf("%d at once, of 40", most)
	}
	// 40 at once for a second each are 2,400 a minute.
	if n := admitted[1]; n*100 < 2400*95 {
		t.Errorf("%d in a minute, of 2400", n)
	}
}

// TestLeaderChange: a new leader in the middle of a minute never lets more through than the limit, and the next minutes are
// whole again.
func TestLeaderChange(t *testing.T) {
	f := newFleet(t, 8, key, bank.Limit{Kind: bank.Kind{What: bank.Requests, Period: bank.Minute}, Amount: 600})
	terms := make([]*limit.Terms, 8)
	for i := range terms {
		terms[i] = limit.NewTerms(limit.Key, "k", limit.Rules{Limits: []limit.Limit{{What: limit.Requests, Over: limit.Minute, Amount: 600}}})
	}
	// Minutes are counted from a whole one.
	for f.now.Second() != 30 {
		f.pass()
	}
	sum := func(a, b []int, at int) []int {
		for i, n := range b {
			for len(a) <= at+i {
				a = append(a, 0)
			}
			a[at+i] += n
		}
		return a
	}
	admitted, _ := f.load(terms, 1800, 0, time.Millisecond, 2)
	f.down = true
	for range 500 {
		f.pass()
	}
	f.down = false
	f.term++
	f.lead(false)
	after, _ := f.load(terms, 1800, 0, time.Millisecond, 3)
	all := sum(admitted, after, 2)
	t.Log(all)
	for i, n := range all {
		if n > 600 {
			t.Errorf("minute %d: %d of 600", i, n)
		}
	}
	if n := all[len(all)-2]; n < 570 {
		t.Errorf("after the change: %d of 600", n)
	}
}
