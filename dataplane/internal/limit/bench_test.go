package limit

import (
	"testing"

	"fairway/pkg/money"
	"fairway/pkg/operation"
)

// rich is a world with so much lent at so many places, from the inside, that no request lacks any.
func rich(t testing.TB, n int) (*world, *Scopes) {
	w := newWorld(t)
	var s Scopes
	for out := range Place(n) {
		s[AtKey-out] = termsAt(AtKey-out, Limit{What: Requests, Over: Minute, Amount: 1 << 50}, Limit{What: Tokens, Over: Minute, Amount: 1 << 50},
			Limit{What: Concurrency, Amount: 1 << 50}, Limit{What: Cost, Over: Month, Amount: 1 << 50})
		w.open(s[AtKey-out])
	}
	w.ask()
	w.answer()
	for out := range Place(n) {
		k := s[AtKey-out]
		w.push(of(k, 0, 1<<50), of(k, 1, 1<<50), of(k, 2, 1<<50), of(k, 3, 1<<50))
	}
	return w, &s
}

func TestNothingIsAllocated(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	w, s := rich(t, int(places))
	poor := *s
	poor[AtKey] = terms(Key, "poor", Closed, Limit{What: Requests, Over: Minute, Amount: 5})
	w.open(poor[AtKey])
	e := NewEstimator()
	e.Learn("m", 100, money.Tokens{Input: 25, Output: 10})
	var r Reservation
	scratch := make([]byte, 0, 64)
	n := 0
	for name, do := range map[string]func(){
		"no limits": func() { w.k.Reserve(&r, &Scopes{}, Estimate{}, w.now) },
		"let in": func() {
			if w.k.Reserve(&r, s, Estimate{Tokens: 100, Cost: 100}, w.now) != nil {
				t.Fatal("refused")
			}
			w.k.Settle(&r, Usage{Tokens: 50, Cost: 50}, w.now)
		},
		"refused": func() {
			if w.k.Reserve(&r, &poor, Estimate{Tokens: 100, Cost: 100}, w.now) == nil {
				t.Fatal("let in")
			}
		},
		"estimate": func() { e.Estimate(&Request{Model: "m", TextBytes: 5, Prices: money.Prices{Input: 1e9}, Ratio: 5}) },
		"learn":    func() { e.Learn("m", 100, money.Tokens{Input: 25, Output: 10}) },
		"headers": func() {
			v := w.k.View(s, w.now)
			v.Headers(operation.Anthropic, w.now, scratch, func(string, []byte) { n++ })
		},
	} {
		if got := testing.AllocsPerRun(100, do); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func BenchmarkReserveAndSettle(b *testing.B) {
	for _, tt := range []struct {
		name   string
		places int
	}{{"none", 0}, {"one", 1}, {"three", 3}, {"four", 4}} {
		b.Run(tt.name, func(b *testing.B) {
			w, s := rich(b, tt.places)
			var r Reservation
			b.ReportAllocs()
			for b.Loop() {
				if f := w.k.Reserve(&r, s, Estimate{Tokens: 100, Cost: 100}, w.now); f != nil {
					b.Fatalf("%+v", f)
				}
				w.k.Settle(&r, Usage{Tokens: 50, Cost: 50}, w.now)
			}
		})
	}
}

func BenchmarkEstimate(b *testing.B) {
	e := NewEstimator()
	for range 100 {
		e.Learn("m", 100, money.Tokens{Input: 25, Output: 10})
	}
	q := &Request{Model: "m", TextBytes: 1000, MaxTokens: 1000, Prices: money.Prices{Input: 1e9, Output: 1e9}}
	b.ReportAllocs()
	for b.Loop() {
		e.Estimate(q)
	}
}
