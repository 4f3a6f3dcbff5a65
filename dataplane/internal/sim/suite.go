package sim

import (
	"fmt"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Study is a few runs that answer one question.
type Study struct {
	Name, Question string
	Cases          []Case
}

// Case is a run, and what is asked of it.
type Case struct {
	Setup Setup
	Bars  func(*Result) []Bar // nil = nothing is
	Quick bool                // it is part of the tests
}

// Bar is what is asked of a run, and what it came to. Shares are in percent.
type Bar struct {
	What       string
	Got, Limit float64
	Unit       string
	Least      bool // Got must be Limit or more; else or less
}

// Met says whether it is.
func (b Bar) Met() bool {
	if b.Least {
		return b.Got >= b.Limit
	}
	return b.Got <= b.Limit
}

// The fleet's strategies.
func strategies() []resourcev1.Strategy {
	return []resourcev1.Strategy{
		resourcev1.Strategy_STRATEGY_BALANCED, resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM, resourcev1.Strategy_STRATEGY_LEAST_USED,
		resourcev1.Strategy_STRATEGY_LEAST_RECENT, resourcev1.Strategy_STRATEGY_LOWEST_COST,
	}
}

// Suite is all that `make sim` runs.
func Suite() []Study {
	return []Study{
		choosing("choosing", "Accounts of three sizes, weights as sizes", false),
		choosing("choosing-equal", "Accounts of one size", true),
		powers(), fleets(), caps(), failures(), returns(), crowds(), troubles(),
	}
}

func overCapacity(r *Result) []Bar {
	return []Bar{{What: "first attempts over capacity", Got: 100 * r.Over, Limit: 1, Unit: "%"}}
}

// choosing compares the ways to choose.
func choosing(name, question string, even bool) Study {
	s := Study{Name: name, Question: question}
	for _, strategy := range strategies() {
		c := Case{Setup: Setup{Name: "85%", Strategy: strategy, Even: even, Warm: settled, Length: time.Minute}}
		// Turns for all alike are no match for accounts of three sizes.
		if even || strategy != resourcev1.Strategy_STRATEGY_LEAST_RECENT {
			c.Bars = overCapacity
		}
		c.Quick = !even && strategy == resourcev1.Strategy_STRATEGY_BALANCED || even && strategy != resourcev1.Strategy_STRATEGY_LOWEST_COST
		s.Cases = append(s.Cases, c)
	}
	for _, rival := range []Rival{RoundRobin, PlainRandom, ArgMin} {
		s.Cases = append(s.Cases, Case{Setup: Setup{Name: "85%", Rival: rival, Even: even, Warm: settled, Length: time.Minute}})
	}
	return s
}

// prices are those of a fleet in which half of the channels cost half as much.
func prices() []int64 { return []int64{500_000, 1_000_000} }

func powers() Study {
	s := Study{Name: "power", Question: "The power of the score of balanced"}
	for _, k := range []int{1, 2, 4, 8} {
		for _, load := range []float64{0.4, 0.85} {
			name := fmt.Sprintf("k = %d, %.0f%%, half of the channels at half the price", k, 100*load)
			s.Cases = append(s.Cases, Case{Setup: Setup{Name: name, Power: k, Load: load, Prices: prices(), Warm: settled, Length: time.Minute}})
		}
		name := fmt.Sprintf("k = %d, 85%%, speeds far apart", k)
		s.Cases = append(s.Cases, Case{Setup: Setup{Name: name, Power: k, Spread: 0.3, Warm: settled, Length: time.Minute}})
	}
	return s
}

func fleets() Study {
	s := Study{Name: "fleets", Question: "More proxies know less each: balanced at 85%"}
	for _, n := range []int{1, 2, 8, 32, 100} {
		name := fmt.Sprintf("%d proxies", n)
		if n == 1 {
			name = "one proxy"
		}
		s.Cases = append(s.Cases, Case{Setup: Setup{Name: name, Proxies: n, Warm: settled, Length: time.Minute}})
	}
	s.Cases = append(s.Cases, Case{Setup: Setup{
		Name: "200 proxies, 400 accounts", Proxies: 200, Accounts: 400, Channels: 20, Warm: settled, Length: 30 * time.Second,
	}})
	return s
}

func caps() Study {
	s := Study{Name: "capacity", Question: "Accounts that carry little, and caps that Fairway is told: balanced, 8 proxies, 85%"}
	for _, n := range []int{10, 30, 100, 300} {
		for _, told := range []bool{false, true} {
			name := fmt.Sprintf("%d requests at once", n)
			if told {
				name += ", told"
			}
			s.Cases = append(s.Cases, Case{Setup: Setup{Name: name, Capacity: n, Capped: told, Warm: settled, Length: time.Minute}})
		}
		name := fmt.Sprintf("%d requests at once", n)
		s.Cases = append(s.Cases, Case{Setup: Setup{Name: name, Capacity: n, Rival: PlainRandom, Warm: settled, Length: time.Minute}})
	}
	return s
}

// settled is when as many requests end as begin.
const settled = 45 * time.Second

const victim = 15 // an account of the mean size

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// failures has one account fail in one way, at 5 s.
func failures() Study {
	s := Study{Name: "failures", Question: "One of a hundred accounts fails"}
	for _, way := range []struct {
		name   string
		mode   Mode
		breaks bool
		after  int // seconds until it can be known
		bar    bool
		quick  bool
	}{
		{"500 for new requests, streams go on", Errs, false, 2, true, true},
		{"500, streams break", Errs, true, 2, true, false},
		{"no connection, streams break", Unheard, true, 2, true, true},
		{"credential refused", Refused, false, 2, true, true},
		{"429 for all, Retry-After 20 s", Limited, false, 2, true, true},
		{"no first byte within 10 s", Silent, false, 12, true, true},
		{"3 in 10 fail", Flaky, false, 15, false, false},
		{"first byte takes 8 times as long", Sluggish, false, 70, false, false},
	} {
		c := Case{Quick: way.quick, Setup: Setup{
			Name: way.name, Warm: settled, Length: 40 * time.Second, Watch: []int{victim},
			Script: func(w *World) { w.At(seconds(5), func() { w.Set(way.mode, way.breaks, victim) }) },
		}}
		if way.mode == Sluggish {
			c.Setup.Length = 2 * time.Minute
		}
		c.Bars = func(r *Result) []Bar {
			from := 5 + way.after
			b := Bar{What: fmt.Sprintf("share of the account from %d s on", way.after), Got: 100 * r.Share(from, r.length, victim), Limit: 0.1, Unit: "%"}
			if !way.bar {
				b.Limit = 100
			}
			soon := b
			soon.What = fmt.Sprintf("share of the account from %d to %d s", way.after, way.after+10)
			soon.Got = 100 * r.Share(from, from+10, victim)
			return []Bar{soon, b, {What: "failed requests but for broken streams", Got: 100 * (r.Failed - r.Broken), Limit: 0.01, Unit: "%"}}
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}

// returns has an account come back, or come for the first time.
func returns() Study {
	back := Case{Quick: true, Setup: Setup{
		Name: "recovered while it rested", Open: seconds(30), Warm: settled, Length: seconds(200), Watch: []int{victim},
		Script: func(w *World) {
			w.At(seconds(5), func() { w.Set(Errs, false, victim) })
			w.At(seconds(25), func() { w.Set(Well, false, victim) })
		},
	}}
	back.Bars = func(r *Result) []Bar {
		due := int(r.When(5, victim, "half_open"))
		return []Bar{
			{What: "rest over at", Got: float64(due), Limit: 45, Unit: "s"},
			{What: "share of its weight from 90 s later on", Got: 100 * r.Of(due+90, r.length, victim), Limit: 90, Unit: "%", Least: true},
			{What: "likewise", Got: 100 * r.Of(due+90, r.length, victim), Limit: 115, Unit: "%"},
			{What: "failed requests since it is well", Got: 100 * r.FailedIn(25, r.length), Limit: 0.01, Unit: "%"},
		}
	}
	fresh := Case{Quick: true, Setup: Setup{
		Name: "new account", Warm: settled, Length: seconds(160), New: []int{victim},
		Script: func(w *World) { w.At(seconds(5), func() { w.Add(victim) }) },
	}}
	fresh.Bars = func(r *Result) []Bar {
		most := 0.0
		for at := 5; at+10 <= r.length; at++ {
			most = max(most, r.Of(at, at+10, victim))
		}
		return []Bar{
			{What: "share of its weight from 90 s on", Got: 100 * r.Of(95, r.length, victim), Limit: 90, Unit: "%", Least: true},
			{What: "most in any 10 s", Got: 100 * most, Limit: 200, Unit: "%"},
			{What: "failed requests", Got: 100 * r.FailedIn(5, r.length), Limit: 0.01, Unit: "%"},
		}
	}
	again := Case{Setup: Setup{
		Name: "still dead when its rest is over", Open: seconds(30), Warm: settled, Length: seconds(180), Watch: []int{victim},
		Script: func(w *World) {
			w.At(seconds(5), func() { w.Set(Errs, false, victim) })
			w.At(seconds(60), func() { w.Set(Well, false, victim) })
		},
	}}
	again.Bars = func(r *Result) []Bar {
		return []Bar{
			{What: "share of the account from 2 s on until it is well", Got: 100 * r.Share(7, 60, victim), Limit: 0.1, Unit: "%"},
			{What: "failed requests", Got: 100 * r.Failed, Limit: 0.01, Unit: "%"},
		}
	}
	return Study{Name: "returns", Question: "An account comes back, or is new", Cases: []Case{back, again, fresh}}
}

func firstHalf() []int {
	half := make([]int, 50)
	for i := range half {
		half[i] = i
	}
	return half
}

// crowds has much happen at once.
func crowds() Study {
	half := func(name string, m Mode, load float64) Case {
		return Case{Setup: Setup{
			Name: name, Load: load, Open: seconds(30), Warm: settled, Length: seconds(180),
			Script: func(w *World) {
				w.At(seconds(5), func() { w.Set(m, false, firstHalf()...) })
				w.At(seconds(45), func() {
					w.Set(Well, false, firstHalf()...)
					if m == Refused {
						w.Reset(firstHalf()...)
					}
				})
			},
		}, Bars: func(r *Result) []Bar {
			return []Bar{
				{What: "failed requests in the first 10 s", Got: 100 * r.FailedIn(5, 15), Limit: 100, Unit: "%"},
				{What: "failed requests from then on until all are well", Got: 100 * r.FailedIn(15, 45), Limit: 100, Unit: "%"},
				{What: "failed requests afterwards", Got: 100 * r.FailedIn(45, r.length), Limit: 100, Unit: "%"},
				{What: "share of the dead half from 2 s on", Got: 100 * r.Share(7, 45, firstHalf()...), Limit: 100, Unit: "%"},
				{What: "share of its weight 90 s after it is well", Got: 100 * r.Of(135, 180, firstHalf()...), Limit: 90, Unit: "%", Least: true},
			}
		}}
	}
	day := Case{Setup: Setup{
		Name: "a day: load from 30% to 90%", Load: 0.6, Wave: 0.5, Day: seconds(240), Warm: settled, Length: seconds(240),
	}, Bars: overCapacity}
	return Study{Name: "crowds", Question: "Half of the fleet's accounts fail at once; load that comes and goes", Cases: []Case{
		half("half fail with 500, 40% load", Errs, 0.4), half("half have a refused credential until an operator resets them, 40% load", Refused, 0.4),
		half("half fail with 500, 85% load: 41% have nowhere to go", Errs, 0.85), day,
	}}
}

// troubles are of the fleet itself.
func troubles() Study {
	restart := Case{Quick: true, Setup: Setup{
		Name: "a proxy restarts beside a dead account", Warm: settled, Length: seconds(60), Watch: []int{victim},
		Script: func(w *World) {
			w.At(seconds(5), func() { w.Set(Errs, false, victim) })
			w.At(seconds(20), func() { w.Restart(0, seconds(2)) })
		},
	}, Bars: func(r *Result) []Bar {
		return []Bar{
			{What: "share of the dead account after the restart", Got: 100 * r.Share(22, 60, victim), Limit: 0.1, Unit: "%"},
			{What: "failed requests", Got: 100 * r.Failed, Limit: 0.01, Unit: "%"},
			{What: "first attempts over capacity", Got: 100 * r.Over, Limit: 1, Unit: "%"},
		}
	}}
	const second = 25
	leader := Case{Quick: true, Setup: Setup{
		Name: "no leader for 60 s; one account dies, one is well again", Open: seconds(30), Warm: settled, Length: seconds(250),
		Watch: []int{victim, second},
		Script: func(w *World) {
			w.At(seconds(1), func() { w.Set(Errs, false, second) })
			w.At(seconds(10), func() { w.Leaderless(time.Minute) })
			w.At(seconds(15), func() { w.Set(Well, false, second) })
			w.At(seconds(20), func() { w.Set(Errs, false, victim) })
		},
	}, Bars: func(r *Result) []Bar {
		return []Bar{
			{What: "share of the dead account from 2 s on, without a leader", Got: 100 * r.Share(22, 70, victim), Limit: 100, Unit: "%"},
			{What: "share of the dead account with the new leader", Got: 100 * r.Share(75, r.length, victim), Limit: 0.1, Unit: "%"},
			{What: "share of its weight of the one that is well, at last", Got: 100 * r.Of(190, r.length, second), Limit: 90, Unit: "%", Least: true},
			{What: "failed requests", Got: 100 * r.Failed, Limit: 0.01, Unit: "%"},
		}
	}}
	return Study{Name: "troubles", Question: "Proxies and leaders come and go", Cases: []Case{restart, leader}}
}
