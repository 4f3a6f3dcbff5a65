package sim

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestBars: what the fleet is asked for. Time is virtual and chance is seeded, so that a bar that is met is always met.
func TestBars(t *testing.T) {
	if raced {
		t.Skip("a world is one goroutine's: the race detector has nothing to see here, and is slow; make test runs it without")
	}
	for _, study := range Suite() {
		for _, c := range study.Cases {
			if !c.Quick {
				continue
			}
			t.Run(study.Name+"/"+c.Setup.Name+"/"+strategyName(c.Setup.Strategy), func(t *testing.T) {
				o := c.Run()
				if o.Requests < 10_000 {
					t.Errorf("only %d requests came", o.Requests)
				}
				for _, b := range o.Bars {
					if !b.Met {
						t.Errorf("%s: %v%s, want %v (at least: %v)", b.What, b.Got, b.Unit, b.Limit, b.Least)
					}
				}
			})
		}
	}
}

// TestRunsRepeat: a seed is a world.
func TestRunsRepeat(t *testing.T) {
	s := Setup{Proxies: 3, Accounts: 12, Channels: 3, Capacity: 20, Warm: seconds(10), Length: seconds(20), Script: func(w *World) {
		w.At(seconds(2), func() { w.Set(Errs, true, 5) })
	}}
	one, again := Run(s), Run(s)
	if diff := cmp.Diff(one, again, cmpopts.IgnoreUnexported(Result{})); diff != "" {
		t.Error(diff)
	}
	s.Seed = 2
	if cmp.Equal(one.Requests, Run(s).Requests) {
		t.Error("another seed is the same world")
	}
}
