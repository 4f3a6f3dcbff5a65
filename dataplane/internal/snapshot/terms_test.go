package snapshot

import (
	"reflect"
	"strings"
	"testing"

	"fairway/dataplane/internal/limit"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestTerms(t *testing.T) {
	budgets := func(list ...*syncv1.BudgetState) *syncv1.LimitsState { return &syncv1.LimitsState{Budgets: list} }
	day := &syncv1.BudgetState{AmountNanoUsd: 5, Window: 1}
	tests := []struct {
		name string
		st   *syncv1.LimitsState
		want *limit.Rules // nil = no terms
		err  string
	}{
		{"absent", nil, nil, ""},
		{"empty", &syncv1.LimitsState{Fallback: 1}, nil, ""},
		{"rates", &syncv1.LimitsState{Rpm: 60, Tpm: 1000, Concurrency: 4}, &limit.Rules{Limits: []limit.Limit{
			{What: limit.Requests, Over: limit.Minute, Amount: 60}, {What: limit.Tokens, Over: limit.Minute, Amount: 1000},
			{What: limit.Concurrency, Amount: 4},
		}}, ""},
		{"maxima alone", &syncv1.LimitsState{MaxRequestTokens: 10, MaxRequestNanoUsd: 20}, &limit.Rules{MaxTokens: 10, MaxCost: 20}, ""},
		{"budgets", budgets(day, &syncv1.BudgetState{AmountNanoUsd: 6, Window: 2}, &syncv1.BudgetState{AmountNanoUsd: 7, Window: 3},
			&syncv1.BudgetState{AmountNanoUsd: 8, Window: 4}, &syncv1.BudgetState{AmountNanoUsd: 9, Window: 5, RollingMinutes: 90}),
			&limit.Rules{Limits: []limit.Limit{
				{What: limit.Cost, Over: limit.Day, Amount: 5}, {What: limit.Cost, Over: limit.Week, Amount: 6},
				{What: limit.Cost, Over: limit.Month, Amount: 7}, {What: limit.Cost, Over: limit.Always, Amount: 8},
				{What: limit.Cost, Over: limit.Rolling, Minutes: 90, Amount: 9},
			}}, ""},
		{"closed", &syncv1.LimitsState{Rpm: 1, Fallback: 1}, &limit.Rules{Limits: []limit.Limit{{Over: limit.Minute, Amount: 1}}}, ""},
		{"safe", &syncv1.LimitsState{Rpm: 1, Fallback: 2}, &limit.Rules{Limits: []limit.Limit{{Over: limit.Minute, Amount: 1}}, Away: limit.Safe}, ""},
		{"open", &syncv1.LimitsState{Rpm: 1, Fallback: 3}, &limit.Rules{Limits: []limit.Limit{{Over: limit.Minute, Amount: 1}}, Away: limit.Open}, ""},

		{"negative rate", &syncv1.LimitsState{Rpm: -1}, nil, "an amount is negative"},
		{"negative tokens", &syncv1.LimitsState{Tpm: -1}, nil, "an amount is negative"},
		{"negative concurrency", &syncv1.LimitsState{Concurrency: -1}, nil, "an amount is negative"},
		{"negative maximum", &syncv1.LimitsState{MaxRequestTokens: -1}, nil, "an amount is negative"},
		{"negative cost of one", &syncv1.LimitsState{MaxRequestNanoUsd: -1}, nil, "an amount is negative"},
		{"budget of nothing", budgets(&syncv1.BudgetState{Window: 1}), nil, "not positive"},
		{"negative budget", budgets(&syncv1.BudgetState{AmountNanoUsd: -5, Window: 1}), nil, "not positive"},
		{"budget without a window", budgets(&syncv1.BudgetState{AmountNanoUsd: 5}), nil, "unknown window"},
		{"window from the future", budgets(&syncv1.BudgetState{AmountNanoUsd: 5, Window: 6}), nil, "unknown window"},
		{"rolling without a length", budgets(&syncv1.BudgetState{AmountNanoUsd: 5, Window: 5}), nil, "no length"},
		{"more budgets than there are windows", budgets(day, day, day, day, day, day), nil, "6 budgets"},
		{"fallback from the future", &syncv1.LimitsState{Rpm: 1, Fallback: 4}, nil, "unknown fallback"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := terms(limit.Group, "g", 7, tt.st)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error = %v, want %q", err, tt.err)
			}
			var want *limit.Terms
			if tt.want != nil {
				tt.want.Version = 7
				want = limit.NewTerms(limit.Group, "g", *tt.want)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("terms = %+v, want %+v", got, want)
			}
		})
	}
}

// TestBadLimitsAreQuarantined: a resource whose limits make no sense is as it was, and one that is new is not there: it never
// serves without them.
func TestBadLimitsAreQuarantined(t *testing.T) {
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	want := dump(r.Snapshot())
	bad := &syncv1.LimitsState{Rpm: -1}
	known, fresh := keyState(2), keyState(9)
	known.Limits, fresh.Limits = bad, bad
	changes := []*syncv1.Change{
		put(t, tenantKind, "t1", 50, &syncv1.TenantState{Name: "spoilt", Limits: bad}),
		put(t, tenantKind, "t9", 50, &syncv1.TenantState{Name: "new", Limits: bad}),
		put(t, tenantKind, "t8", 50, &syncv1.TenantState{Name: "loop", ParentId: "t8"}),
		put(t, groupKind, "g1", 50, &syncv1.GroupState{Name: "spoilt", Limits: bad}),
		put(t, keyKind, "k2", 50, known),
		put(t, keyKind, "k9", 50, fresh),
	}
	base := src.revision
	src.apply(changes...)
	receive(t, r, src.delta(base, changes...))
	if got := len(r.Ack().GetRejects()); got != len(changes) {
		t.Errorf("%d rejects, want %d: %v", got, len(changes), r.Ack().GetRejects())
	}
	_, got, _ := strings.Cut(dump(r.Snapshot()), "\n") // the first line has the revision
	if _, want, _ = strings.Cut(want, "\n"); got != want {
		t.Errorf("snapshot is\n%s\nwant\n%s", got, want)
	}
	if _, ok := r.Snapshot().Key(macOf(9)); ok {
		t.Error("a key without the limits that it should have is let in")
	}
}

// TestTermsLiveOn: what is not changed keeps its terms, and with them what was lent to it here.
func TestTermsLiveOn(t *testing.T) {
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	all := func() [3]*limit.Terms {
		s := r.Snapshot()
		g, _ := s.Group("g1")
		x, _ := s.Tenant("t0")
		k, _ := s.Key(macOf(2))
		return [3]*limit.Terms{g.Limits, x.Limits, k.Limits()}
	}
	before := all()
	if before[0] == nil || before[1] == nil || before[2] == nil {
		t.Fatalf("terms = %v, want some of each", before)
	}
	// A channel of the group, and another key.
	changes := []*syncv1.Change{
		put(t, channelKind, "c2", 60, &syncv1.ChannelState{Provider: 1, BaseUrl: "http://h", Models: []string{"m1", "m5"}, GroupIds: []string{"g1"}}),
		put(t, keyKind, "k1", 60, keyState(1)),
	}
	base := src.revision
	src.apply(changes...)
	receive(t, r, src.delta(base, changes...))
	if after := all(); after != before {
		t.Errorf("terms = %p, want %p", after, before)
	}
	receive(t, r, src.full())
	if after := all(); after != before {
		t.Error("a full state of what is known made new terms")
	}
}
