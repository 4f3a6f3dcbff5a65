package judge

import (
	"testing"
	"time"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// A proxy may use a new account, and lose it, before the judge is told that there is one.
func TestReportsOfAccountsToCome(t *testing.T) {
	refused := func() *syncv1.AccountDelta {
		return &syncv1.AccountDelta{
			AccountId: "a1", Disabled: true, RestReason: "quota",
			Faults: []*syncv1.FaultCount{{Reason: "quota", Count: 1, Unhealthy: true}},
		}
	}
	for _, tc := range []struct {
		name string
		wait time.Duration
		gone bool
		want int
	}{
		{"soon", time.Second, false, 1},
		{"much later", time.Minute, false, 0},
		{"the proxy has left", time.Second, true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, some(1)...)
			l.deltas("p", refused())
			if tc.gone {
				l.Gone("p", l.clock)
			}
			l.clock = l.clock.Add(tc.wait)
			l.Configure(breaker.Defaults(), some(2), l.clock)
			l.tick()
			got := 0
			for _, d := range l.kept {
				if d.AccountID == "a1" && d.Health.GetReason() == "quota" {
					got++
				}
			}
			if got != tc.want {
				t.Errorf("%d decisions, want %d: %v", got, tc.want, l.kept)
			}
		})
	}
	l := newLab(t, some(1)...)
	for range 3 {
		for range maxEarly {
			l.deltas("p", refused())
		}
	}
	if len(l.early) > maxEarly {
		t.Errorf("%d reports are kept, want %d at most", len(l.early), maxEarly)
	}
}
