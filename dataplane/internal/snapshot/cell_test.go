package snapshot

import (
	"math"
	"testing"
	"unsafe"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestCellsFillTwoCacheLines(t *testing.T) {
	if got := unsafe.Sizeof(Cell{}); got != 128 {
		t.Errorf("a Cell has %d bytes, want 128", got)
	}
	if got := unsafe.Sizeof(GroupCell{}); got != 128 {
		t.Errorf("a GroupCell has %d bytes, want 128", got)
	}
}

// TestDrawsShareLines: neither a lane nor a seat lies across two lines.
func TestDrawsShareLines(t *testing.T) {
	if got := unsafe.Sizeof(lane{}); got != 32 {
		t.Errorf("a lane has %d bytes, want 32", got)
	}
	if got := unsafe.Sizeof(seat{}); got != 16 {
		t.Errorf("a seat has %d bytes, want 16", got)
	}
}

func TestCellNeverShortens(t *testing.T) {
	var c Cell
	c.Cool(10)
	c.Cool(5)
	c.Hold(7)
	c.Hold(3)
	if c.CooldownUntil.Load() != 10 || c.HeldUntil.Load() != 7 || c.ReadyAt() != 10 {
		t.Errorf("cooldown %d, held %d, ready %d; want 10, 7, 10", c.CooldownUntil.Load(), c.HeldUntil.Load(), c.ReadyAt())
	}
}

// TestVerdictsKeepToWhatProvidersAskedFor: only an account that is well again is forgiven a rest that its provider ordered.
func TestVerdictsKeepToWhatProvidersAskedFor(t *testing.T) {
	tests := []struct {
		name string
		held int64
		next *Verdict
		want int64
	}{
		{"open", 70, &Verdict{State: breaker.Open, UntilMS: 50}, 70},
		{"open as ordered", 0, &Verdict{State: breaker.Open, UntilMS: 50, Ordered: true}, 50},
		{"open as ordered, and its provider asked for more", 70, &Verdict{State: breaker.Open, UntilMS: 50, Ordered: true}, 70},
		{"as ordered, after disabled", math.MaxInt64, &Verdict{State: breaker.Open, UntilMS: 50, Ordered: true}, 50},
		{"half open", 70, &Verdict{State: breaker.HalfOpen}, 70},
		{"disabled", 70, &Verdict{State: breaker.Disabled}, math.MaxInt64},
		{"no more disabled", math.MaxInt64, &Verdict{State: breaker.Open, UntilMS: 50}, 0},
		{"closed", 70, &Verdict{State: breaker.Closed}, 0},
		{"none", math.MaxInt64, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c Cell
			c.Hold(tt.held)
			c.judge(tt.next)
			if got := c.HeldUntil.Load(); got != tt.want {
				t.Errorf("held until %d, want %d", got, tt.want)
			}
		})
	}
}

func cellOf(t *testing.T, s *Snapshot, channel ChannelID, id AccountID) *Cell {
	t.Helper()
	u, ok := s.units.get(channel)
	if !ok {
		return nil
	}
	for _, a := range u.accounts {
		if a.ID == id {
			return a.Cell
		}
	}
	return nil
}

func TestCellsLiveAsLongAsTheyShould(t *testing.T) {
	account := func(version int64, st *syncv1.AccountState) *syncv1.Change {
		return put(t, accountKind, "a1", version, st)
	}
	channel := func(st *syncv1.ChannelState) *syncv1.Change { return put(t, channelKind, "c1", 9, st) }
	tests := []struct {
		name   string
		change *syncv1.Change
		same   bool // the cell
		cooled bool // still
	}{
		{"another resource", put(t, groupKind, "g2", 2, &syncv1.GroupState{Name: "x"}), true, true},
		{"its weight", account(2, &syncv1.AccountState{Name: "a1", ChannelId: "c1", Secret: "s1", Weight: 7}), true, false},
		{"its credential", account(2, &syncv1.AccountState{Name: "a1", ChannelId: "c1", Secret: "new"}), false, false},
		{"its channel's models", channel(&syncv1.ChannelState{Provider: 1, Name: "one", BaseUrl: "https://api.example.com/v1x", Models: []string{"m9"}, GroupIds: []string{"g1"}}), true, true},
		{"its channel's address", channel(&syncv1.ChannelState{Provider: 1, Name: "one", BaseUrl: "https://other.example.com", GroupIds: []string{"g1"}}), false, false},
		{"its channel goes", gone(channelKind, "c1"), true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := small(t)
			r := NewReplica()
			receive(t, r, src.full())
			before := cellOf(t, r.Snapshot(), "c1", "a1")
			before.Cool(1000)
			before.InFlight.Add(1)
			base := src.revision
			src.apply(tt.change)
			receive(t, r, src.delta(base, tt.change))
			after := cellOf(t, r.Snapshot(), "c1", "a1")
			if (after == before) != tt.same {
				t.Errorf("same cell = %v, want %v", after == before, tt.same)
			}
			if got := after.CooldownUntil.Load() != 0; got != tt.cooled {
				t.Errorf("cooling = %v, want %v", got, tt.cooled)
			}
			if tt.same && after.InFlight.Load() != 1 {
				t.Error("the count of requests in flight is lost")
			}
		})
	}
}

func TestCellsEndWithTheirAccount(t *testing.T) {
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	before := cellOf(t, r.Snapshot(), "c1", "a1")
	back := src.items[ref{accountKind, "a1"}]
	for _, c := range []*syncv1.Change{gone(accountKind, "a1"), back} {
		base := src.revision
		src.apply(c)
		receive(t, r, src.delta(base, c))
	}
	if after := cellOf(t, r.Snapshot(), "c1", "a1"); after == nil || after == before {
		t.Error("an account that was deleted and came back has its old cell, or none")
	}
	if got := len(r.linker.cells); got != 3 {
		t.Errorf("%d cells for 3 accounts", got)
	}
}
