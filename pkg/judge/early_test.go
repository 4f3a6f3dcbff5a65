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

// A token that was taken back disables its account; the next one brings it back, and routine renewals change nothing.
func TestTokensThatWereTakenBack(t *testing.T) {
	for _, tc := range []struct {
		reason string
		want   breaker.State
	}{{"credential", breaker.Closed}, {"quota", breaker.Disabled}} {
		accounts := some(1)
		accounts[0].Token = "1"
		l := newLab(t, accounts...)
		l.deltas("p", &syncv1.AccountDelta{AccountId: "a0", Disabled: true, RestReason: tc.reason,
			Faults: []*syncv1.FaultCount{{Reason: tc.reason, Count: 1, Unhealthy: true}}})
		l.tick()
		l.want("a0", breaker.Disabled, tc.reason)
		accounts[0].Token = "2"
		l.Configure(breaker.Defaults(), accounts, l.clock)
		if state := l.accounts["a0"].breaker.State(); state != tc.want {
			t.Errorf("%s, and a new token: %v, want %v", tc.reason, state, tc.want)
		}
	}
}
