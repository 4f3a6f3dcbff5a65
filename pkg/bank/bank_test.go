package bank

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

var first = Options{Term: 1, FirstEver: true}

// A thousand requests at once, and money for ten of them.
func TestBudgetForTen(t *testing.T) {
	for _, n := range []int{1, 8} {
		t.Run(fmt.Sprintf("%d proxies", n), func(t *testing.T) {
			const price = 7_000_000
			l := newLab(t, first, n, map[ID]int64{spend: 10*price + price/2})
			served, tried := 0, 1000
			for range 30 {
				want(spend, int64(tried/n)*price, price, l.proxies...)
				l.exchange(l.proxies...)
				for _, p := range l.proxies {
					for range tried / n {
						if l.pay(p, spend, price) {
							served++
						}
					}
				}
				l.pass(100 * time.Millisecond)
			}
			if served != 10 {
				t.Errorf("%d were served, want 10", served)
			}
			if v := l.view(spend); v.Booked != 10*price || v.Excess != 0 {
				t.Errorf("%+v", v)
			}
		})
	}
}

// At a limit that everybody would exceed, each minute admits all of it and never more; however the demand is spread.
func TestMinutesAreFull(t *testing.T) {
	shares := map[string][]float64{
		"even":   {1, 1, 1, 1, 1, 1, 1, 1},
		"uneven": {0.9, 0.05, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005},
	}
	for name, share := range shares {
		for _, id := range []ID{rpm, {owner, Kind{What: Tokens, Period: Minute}}} {
			for _, over := range []float64{1.3, 20} {
				t.Run(fmt.Sprintf("%s %d x%g", name, id.What, over), func(t *testing.T) {
					size := int64(1)
					if id.What == Tokens {
						size = 250
					}
					limit := 600 * size
					l := newLab(t, first, 8, map[ID]int64{id: limit})
					total := 0.0
					for _, s := range share {
						total += s
					}
					random := rand.New(rand.NewPCG(1, 2))
					used := map[int64]int64{}
					var firstWindow int64
					for step := range 10 * 600 { // ten minutes, ten times a second
						for i, p := range l.proxies {
							rate := over * 600 / 60 * share[i] / total // requests a second
							// Two seconds of demand, as a proxy would want.
							want(id, int64(math.Ceil(2*rate))*size, size, p)
							n := int(rate / 10)
							if random.Float64() < rate/10-float64(n) {
								n++
							}
							for range n {
								if p.take(id, size, l.mono) {
									used[p.now(id, l.mono).window] += size
								}
							}
							if (step+i)%5 == 0 || held(p, id, l.mono) < size {
								l.exchange(p)
							}
						}
						if step == 0 {
							firstWindow = l.proxies[0].now(id, l.mono).window
						}
						l.pass(100 * time.Millisecond)
					}
					for w, n := range used {
						if n > limit {
							t.Errorf("window %d: %d of %d", w-firstWindow, n, limit)
						}
						if w > firstWindow && w < firstWindow+9 && n < limit*95/100 {
							t.Errorf("window %d: only %d of %d", w-firstWindow, n, limit)
						}
					}
					if len(used) < 9 {
						t.Errorf("%d windows", len(used))
					}
				})
			}
		}
	}
}

// Requests that come in the first instant of a minute find credits there.
func TestBoundaryNeedsNoExchange(t *testing.T) {
	l := newLab(t, first, 2, map[ID]int64{rpm: 100})
	want(rpm, 5, 1, l.proxies...)
	for l.mono < 58*time.Second {
		l.exchange(l.proxies...)
		l.pass(time.Second)
	}
	before := l.proxies[0].now(rpm, l.mono).window
	l.mono = 60 * time.Second
	for _, p := range l.proxies {
		u := p.now(rpm, l.mono)
		if u == nil || u.window != before+1 || !p.take(rpm, 5, l.mono) {
			t.Errorf("%s has %+v", p.boot, u)
		}
	}
}

func TestSlots(t *testing.T) {
	l := newLab(t, first, 3, map[ID]int64{slots: 10})
	a, b, c := l.proxies[0], l.proxies[1], l.proxies[2]
	want(slots, 100, 1, a)
	for range 6 {
		l.exchange(a)
	}
	if got := held(a, slots, l.mono); got != 10 {
		t.Fatalf("the one that asks alone holds %d of 10", got)
	}
	// Others come: what is idle is called back, what is in use is not.
	for range 4 {
		a.take(slots, 1, l.mono)
	}
	want(slots, 3, 1, b, c)
	for range 6 {
		l.exchange(b, a, c)
	}
	if held(b, slots, l.mono) == 0 || held(c, slots, l.mono) == 0 {
		t.Errorf("b holds %d, c %d", held(b, slots, l.mono), held(c, slots, l.mono))
	}
	if u := a.now(slots, l.mono); u.used != 4 || u.held()+u.used+held(b, slots, l.mono)+held(c, slots, l.mono) > 10 {
		t.Errorf("a has %+v", u)
	}
	// It dies. Its slots come back after its time, and at once when its end is known.
	l.Gone(b.boot, l.now())
	if v := l.view(slots); v.Proxies != 2 {
		t.Errorf("after b went: %+v", v)
	}
	l.mono += 11 * time.Second
	l.exchange(c)
	if v := l.view(slots); v.Spent != 4 {
		t.Errorf("within the margin: %+v", v)
	}
	l.pass(2 * time.Second)
	if v := l.view(slots); v.Spent != 0 {
		t.Errorf("after it: %+v", v)
	}
}

// What is out shrinks with what is left, so that the last credits go round.
func TestLastCredits(t *testing.T) {
	l := newLab(t, first, 8, map[ID]int64{spend: 1000})
	want(spend, 500, 1, l.proxies...)
	l.exchange(l.proxies...)
	l.exchange(l.proxies...)
	most := int64(0)
	for _, p := range l.proxies {
		most = max(most, held(p, spend, l.mono))
	}
	if most > 500 {
		t.Errorf("one holds %d of 1000", most)
	}
	// All but one use nothing any more, and give back only what they are asked for; the last one gets all of it.
	spent := int64(0)
	for range 60 {
		for _, p := range l.proxies[1:] {
			want(spend, held(p, spend, l.mono), 1, p)
		}
		for l.pay(l.proxies[0], spend, 1) {
			spent++
		}
		l.exchange(l.proxies...)
		l.pass(100 * time.Millisecond)
	}
	if spent != 1000 {
		t.Errorf("the one that asks spent %d of 1000", spent)
	}
}

// Several that hold less than a request costs give way to one that can use it.
func TestUselessRemains(t *testing.T) {
	l := newLab(t, first, 4, map[ID]int64{spend: 100})
	want(spend, 25, 5, l.proxies...)
	for range 3 {
		l.exchange(l.proxies...)
	}
	want(spend, 60, 60, l.proxies...)
	served := 0
	for range 20 {
		l.pass(100 * time.Millisecond)
		l.exchange(l.proxies...)
		for _, p := range l.proxies {
			if l.pay(p, spend, 60) {
				served++
			}
		}
	}
	if served != 1 {
		t.Errorf("%d requests for 60 were served of 100", served)
	}
}

func TestLoweredLimit(t *testing.T) {
	l := newLab(t, first, 2, map[ID]int64{spend: 1000})
	want(spend, 400, 10, l.proxies...)
	l.exchange(l.proxies...)
	l.exchange(l.proxies...)
	l.pay(l.proxies[0], spend, 100)
	l.limit(map[ID]int64{spend: 150})
	if v := l.view(spend); v.Left != 0 || v.Excess == 0 {
		t.Errorf("lowered: %+v", v)
	}
	l.pass(0)
	for range 3 {
		l.exchange(l.proxies...)
	}
	v := l.view(spend)
	if v.Excess != 0 || v.Held > 50 || v.Booked != 100 {
		t.Errorf("called back: %+v", v)
	}
	l.limit(map[ID]int64{spend: 2000})
	for range 3 {
		l.exchange(l.proxies...)
	}
	if v := l.view(spend); v.Held != 800 {
		t.Errorf("raised: %+v", v)
	}
	l.Configure(owner, nil, l.now())
	l.exchange(l.proxies[0])
	if got := l.proxies[0].states[spend]; got != syncv1.GrantState_GRANT_STATE_UNKNOWN {
		t.Errorf("removed: %v", got)
	}
	if st := l.Stats(); st.Owners != 0 || st.Live != 0 || st.Leases != 0 {
		t.Errorf("removed: %+v", st)
	}
}

// A proxy is killed with records that nobody saw: the limit is exceeded by no more than the view had said.
func TestLateRecords(t *testing.T) {
	l := newLab(t, first, 2, map[ID]int64{spend: 1000})
	a, b := l.proxies[0], l.proxies[1]
	want(spend, 300, 10, a)
	l.exchange(a, b)
	a.take(spend, 200, l.mono) // and dies
	want(spend, 1000, 10, b)
	for l.mono < 61*time.Second {
		l.exchange(b)
		l.pass(time.Second)
		for l.pay(b, spend, 10) {
		}
	}
	if v := l.view(spend); v.Booked != 700 || v.Late != 0 {
		t.Errorf("before its time: %+v", v)
	}
	for range 10 {
		l.exchange(b)
		l.pass(time.Second)
		for l.pay(b, spend, 10) {
		}
	}
	if v := l.view(spend); v.Booked != 1000 || v.Late != 300 {
		t.Errorf("after its time: %+v", v)
	}
	l.Settled(a.boot, spend, l.clock.steady, 200, l.now())
	if v := l.view(spend); v.Booked != 1200 || v.Excess != 200 || v.Late != 100 {
		t.Errorf("its records came: %+v", v)
	}
}

// Requests that turn out dearer than estimated are paid from what comes next.
func TestDebt(t *testing.T) {
	l := newLab(t, first, 1, map[ID]int64{spend: 1000})
	p := l.proxies[0]
	want(spend, 100, 10, p)
	l.exchange(p)
	u := p.now(spend, l.mono)
	u.used += 350 // it held 100
	l.exchange(p)
	if v := l.view(spend); v.Spent != 350 || v.Left != 1000-350-100 || u.held() != 100 {
		t.Errorf("%+v, and it holds %d", v, u.held())
	}
	u.used += 5000
	l.exchange(p)
	if v := l.view(spend); v.Left != 0 || v.Excess != 4350 || u.held() > 0 {
		t.Errorf("%+v, and it holds %d", v, u.held())
	}
	// A new leader that may not grant yet counts what was spent without credits as well.
	u.used += 50
	l.Bank = New(Options{Term: 2})
	l.limit(map[ID]int64{spend: 10_000})
	l.exchange(p)
	if v := l.view(spend); v.Spent != 5400 || v.Left != 4600 {
		t.Errorf("declared: %+v", v)
	}
}

// Slices of a rolling window come back one by one, and no hour has more than the limit.
func TestRolling(t *testing.T) {
	id := ID{owner, Kind{What: Cost, Period: Rolling, Minutes: 60}}
	l := newLab(t, first, 2, map[ID]int64{id: 600})
	want(id, 20, 10, l.proxies...)
	var spent []time.Duration
	for l.mono < 4*time.Hour {
		l.exchange(l.proxies...)
		for _, p := range l.proxies {
			for l.pay(p, id, 10) {
				spent = append(spent, l.mono)
			}
		}
		l.pass(5 * time.Second)
	}
	for i := range spent {
		if i >= 60 && spent[i]-spent[i-60] <= time.Hour {
			t.Fatalf("61 payments from %v to %v", spent[i-60], spent[i])
		}
	}
	if len(spent) < 60*3 {
		t.Errorf("%d payments in four hours of 60", len(spent))
	}
}

func TestSequences(t *testing.T) {
	b := New(first)
	b.Configure(owner, []Limit{{Kind: rpm.Kind, Amount: 100}}, Moment{Wall: noon})
	now := Moment{Wall: noon}
	h := func(granted, want int64) *syncv1.Holding {
		return &syncv1.Holding{Limit: rpm.ref(), Granted: granted, Want: want}
	}
	got := func(r *syncv1.LeaseRequest) string {
		a, err := b.Handle("b", r, now)
		switch {
		case err != nil:
			return err.Error()
		case a == nil:
			return "nothing"
		case a.Declare:
			return "declare"
		case len(a.Grants) == 0:
			return "renewed"
		}
		return fmt.Sprint(a.Grants[0].Granted)
	}
	piece := ask("b", 9, true, h(0, 1))
	piece.More = true
	late := ask("b", 12, false)
	late.Term = 2
	steps := []struct {
		name string
		r    *syncv1.LeaseRequest
		want string
	}{
		{"unknown boot", ask("b", 1, false, h(0, 5)), "declare"},
		{"full", ask("b", 2, true, h(0, 5)), "5"},
		{"again", ask("b", 2, true, h(0, 50)), "nothing"},
		{"older", ask("b", 1, true, h(0, 50)), "nothing"},
		{"next", ask("b", 3, false), "renewed"},
		{"gap", ask("b", 5, false, h(5, 50)), "declare"},
		{"filled late", ask("b", 4, false, h(5, 50)), "nothing"},
		{"still to declare", ask("b", 6, false, h(5, 50)), "declare"},
		{"the grant was lost", ask("b", 7, true, h(0, 2)), "2"},
		{"more is wanted", ask("b", 8, false, h(2, 7)), "7"},
		{"first piece", piece, "nothing"},
		{"last piece", ask("b", 10, false, h(0, 3)), "3"},
		{"next", ask("b", 11, false), "renewed"},
		{"of a later leader", late, ErrDeposed.Error()},
	}
	for _, s := range steps {
		if g := got(s.r); g != s.want {
			t.Errorf("%s: %s, want %s", s.name, g, s.want)
		}
	}
	if _, err := b.Handle("b", late, now); !errors.Is(err, ErrDeposed) {
		t.Errorf("%v is not ErrDeposed", err)
	}
}

// The ends of int64: nothing wraps, nothing is below 0.
func TestExtremes(t *testing.T) {
	const most = math.MaxInt64
	amounts := []int64{math.MinInt64, -1, 0, 1, most / 2, most - 1, most}
	for _, limit := range amounts {
		for _, granted := range amounts {
			for _, other := range amounts {
				b := New(first)
				now := Moment{Wall: noon}
				b.Configure(owner, []Limit{{Kind: spend.Kind, Amount: limit}, {Kind: slots.Kind, Amount: limit}}, now)
				b.Open(spend, map[int64]int64{1: other}, now)
				for i, boot := range []string{"a", "b", "a", "b"} {
					a, err := b.Handle(boot, ask(boot, uint64(i+1), true, &syncv1.Holding{
						Limit: spend.ref(), Window: 1, Granted: granted, Returned: other, Used: other, Booked: granted, Want: most, Least: other,
					}, &syncv1.Holding{
						Limit: slots.ref(), Window: 1, Granted: granted, Returned: other / 2, Used: other / 3, Want: most, Least: granted,
					}), now)
					if err != nil {
						t.Fatal(err)
					}
					for _, g := range a.Grants {
						if g.Granted < 0 || g.Left < 0 || g.Granted < max(0, granted) || g.Keep != nil && g.GetKeep() < 0 {
							t.Fatalf("limit %d, granted %d, other %d: %v", limit, granted, other, g)
						}
					}
					b.Settled(boot, spend, noon, other, now)
					b.Tick(now)
				}
				v, _ := b.Outstanding(spend, now)
				if v.Amount < 0 || v.Booked < 0 || v.Held < 0 || v.Spent < 0 || v.Left < 0 || v.Excess < 0 || v.Late < 0 {
					t.Fatalf("limit %d, granted %d, other %d: %+v", limit, granted, other, v)
				}
			}
		}
	}
	// All of it can be lent and spent, and not one more.
	l := newLab(t, first, 3, map[ID]int64{spend: most})
	want(spend, most, 1, l.proxies...)
	var spent uint64
	for range 200 {
		l.exchange(l.proxies...)
		for _, p := range l.proxies {
			if n := held(p, spend, l.mono); n > 0 && l.pay(p, spend, n) {
				spent += uint64(n)
			}
		}
	}
	if spent != most {
		t.Errorf("%d were spent of %d", spent, uint64(most))
	}
}

func TestLeaving(t *testing.T) {
	l := newLab(t, first, 1, map[ID]int64{rpm: 100, slots: 5, spend: 1000})
	p := l.proxies[0]
	for _, id := range p.limits {
		want(id, 5, 1, p)
	}
	l.exchange(p)
	p.take(rpm, 2, l.mono)
	p.take(spend, 3, l.mono)
	for _, id := range p.limits {
		want(id, 0, 1, p)
	}
	r := p.request(l.mono, false)
	r.Leaving = true
	if _, err := l.Handle(p.boot, r, l.now()); err != nil {
		t.Fatal(err)
	}
	got := map[ID]int64{rpm: l.view(rpm).Left, slots: l.view(slots).Left, spend: l.view(spend).Left}
	if diff := cmp.Diff(map[ID]int64{rpm: 98, slots: 5, spend: 997}, got); diff != "" {
		t.Errorf("left (-want +got)\n%s", diff)
	}
	l.Settled(p.boot, spend, l.clock.steady, 3, l.now())
	if v := l.view(spend); v.Left != 997 || v.Spent+v.Booked != 6 && v.Spent+v.Booked != 3 {
		t.Errorf("its records came: %+v", v)
	}
}

// What nobody uses any more is forgotten, and read again when it is.
func TestIdle(t *testing.T) {
	l := newLab(t, first, 1, map[ID]int64{spend: 1000, rpm: 10})
	p := l.proxies[0]
	want(spend, 5, 1, p)
	want(rpm, 5, 1, p)
	l.exchange(p)
	l.pay(p, spend, 5)
	p.take(rpm, 1, l.mono)
	want(spend, 0, 1, p)
	want(rpm, 0, 1, p)
	l.exchange(p)
	for range 3 {
		l.pass(time.Minute)
		l.exchange(p)
	}
	l.pass(30 * time.Minute)
	l.pass(time.Second)
	if st := l.Stats(); st.Live != 0 || st.Leases != 0 || st.Proxies != 0 {
		t.Errorf("%+v", st)
	}
	want(spend, 2000, 1, p)
	l.exchange(p)
	l.exchange(p)
	if got := held(p, spend, l.mono); got != 995 {
		t.Errorf("it holds %d", got)
	}
}

// A declaration that does not name a grant gives it back: it was lost on the way, and must not come late any more.
func TestLostGrant(t *testing.T) {
	l := newLab(t, first, 1, map[ID]int64{spend: 1000, slots: 5})
	p := l.proxies[0]
	want(spend, 600, 1, p)
	want(slots, 5, 1, p)
	l.open()
	for range 2 { // The second one has the balance.
		if _, err := l.Handle(p.boot, p.request(l.mono, false), l.now()); err != nil {
			t.Fatal(err)
		}
		l.open()
	}
	if v := l.view(slots); v.Held != 5 {
		t.Errorf("before: %+v", v)
	}
	want(spend, 0, 1, p)
	want(slots, 0, 1, p)
	if _, err := l.Handle(p.boot, p.request(l.mono, true), l.now()); err != nil {
		t.Fatal(err)
	}
	if b, s := l.view(spend), l.view(slots); b.Left != 1000 || s.Left != 5 {
		t.Errorf("after: %+v, %+v", b, s)
	}
}

// What is out of the next slice is out of reach for this one, of which it will be a part of the same hour.
func TestRollingAhead(t *testing.T) {
	id := ID{owner, Kind{What: Cost, Period: Rolling, Minutes: 60}}
	l := newLab(t, first, 2, map[ID]int64{id: 100})
	a, b := l.proxies[0], l.proxies[1]
	l.pass(5*time.Minute - 3*time.Second)
	want(id, 20, 1, a)
	l.exchange(a, a) // 20 of this slice, and 20 of the next
	want(id, 1000, 1, b)
	for range 10 {
		l.exchange(b)
	}
	var out int64
	for _, p := range l.proxies {
		for _, u := range p.purses {
			out += u.held()
		}
	}
	if out != 100 {
		t.Errorf("%d are out of 100", out)
	}
}

// What is left for one request goes to one proxy, however many want it and have a part of it.
func TestLastRequest(t *testing.T) {
	for _, alone := range []bool{false, true} {
		l := newLab(t, first, 8, map[ID]int64{spend: 1000})
		want(spend, 125, 125, l.proxies...)
		l.exchange(l.proxies...)
		l.pass(time.Second)
		for _, p := range l.proxies {
			if held(p, spend, l.mono) != 125 {
				t.Fatalf("%s holds %d", p.boot, held(p, spend, l.mono))
			}
		}
		want(spend, 5000, 1000, l.proxies...)
		for range 3 {
			for _, p := range l.proxies {
				l.exchange(p)
				if alone {
					l.pass(10 * time.Millisecond)
				}
			}
		}
		served := 0
		for _, p := range l.proxies {
			if l.pay(p, spend, 1000) {
				served++
			}
		}
		if served != 1 {
			t.Errorf("%d were served in three exchanges, want 1", served)
		}
	}
}

// A proxy that has all slots in use, and would use each that comes back, gives them up to one that has none, until both
// have the same.
func TestSlotsInUse(t *testing.T) {
	l := newLab(t, first, 2, map[ID]int64{slots: 10})
	a, b := l.proxies[0], l.proxies[1]
	want(slots, 100, 1, a)
	for range 12 {
		l.exchange(a)
		for a.take(slots, 1, l.mono) {
		}
	}
	if used := a.now(slots, l.mono).used; used != 10 {
		t.Fatalf("a uses %d of 10", used)
	}
	want(slots, 100, 1, b)
	for range 30 {
		l.pass(20 * time.Millisecond)
		l.exchange(b, a)
		a.now(slots, l.mono).used-- // one ends, and another begins if it may
		a.take(slots, 1, l.mono)
		for b.take(slots, 1, l.mono) {
		}
		x, y := a.now(slots, l.mono), b.now(slots, l.mono)
		if x.used+y.used > 10 {
			t.Fatalf("%d and %d are in use, of 10", x.used, y.used)
		}
	}
	if x, y := a.now(slots, l.mono).used, b.now(slots, l.mono).used; x > 6 || y < 4 {
		t.Errorf("a uses %d and b %d", x, y)
	}
}

// Slots that a proxy uses beyond its credits, which a policy let in while the leader was away, are counted; and it gets no
// others on top before they have ended.
func TestSlotsBeyond(t *testing.T) {
	b := New(first)
	now := Moment{Wall: noon}
	b.Configure(owner, []Limit{{Kind: slots.Kind, Amount: 10}}, now)
	for i, step := range []struct{ used, granted, left int64 }{{5, 2, 5}, {3, 2, 7}, {2, 6, 4}, {0, 6, 4}} {
		h := &syncv1.Holding{Limit: slots.ref(), Window: 1, Granted: 2, Used: step.used, Want: 4, Least: 1}
		if i > 2 {
			h.Granted = 6
		}
		a, err := b.Handle("b", ask("b", uint64(i+1), i == 0, h), now)
		if err != nil {
			t.Fatal(err)
		}
		if g := a.GetGrants()[0]; g.GetGranted() != step.granted || g.GetLeft() != step.left {
			t.Errorf("%d in use: %v", step.used, g)
		}
	}
}
