package admin

import (
	"math"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func seconds(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }

// settingsDefaults are those that settings.proto documents.
func settingsDefaults() *resourcev1.Settings {
	return &resourcev1.Settings{
		DefaultStrategy: resourcev1.Strategy_STRATEGY_BALANCED,
		Retry:           &resourcev1.RetryPolicy{MaxAttempts: 3, BudgetPercent: 20, BudgetMin: 3},
		Weights:         &resourcev1.BalanceWeights{Cost: 0.4, Performance: 0.3, Load: 0.2, Reliability: 0.1},
		Thresholds: &resourcev1.Thresholds{
			ConsecutiveFailures: 5, MaxErrorRate: 0.05, MinRequests: 20, Window: seconds(60), MaxTtftRatio: 5,
			MaxEjectedPercent: 50, PanicPercent: 50,
		},
		Recovery: &resourcev1.Recovery{
			Open: seconds(300), MaxOpen: seconds(3600), SlowStart: seconds(60),
			Check: resourcev1.CheckMode_CHECK_MODE_MODELS, CheckInterval: seconds(30),
		},
		Affinity: resourcev1.Affinity_AFFINITY_ON,
	}
}

func sameSettings(want, got *resourcev1.Settings) string {
	return cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&resourcev1.Settings{}, "metadata"))
}

// A change of the settings by paths is checked as the whole that it makes.
func TestSettingsByPath(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	got, err := c.settings.GetSettings(t.Context(), &adminv1.GetSettingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if d := sameSettings(settingsDefaults(), got.GetSettings()); d != "" {
		t.Errorf("of a new data set (-documented +shown):\n%s", d)
	}
	type settings = resourcev1.Settings
	want := settingsDefaults()
	tests := []struct {
		name, mask string
		in         *settings
		refused    string // part of the message; "" = it is taken
		then       func(s *settings)
	}{
		{"one weight alone", "weights.cost", &settings{Weights: &resourcev1.BalanceWeights{Cost: 0.5}}, "must be 1 together", nil},
		{
			"two weights that keep the sum", "weights.cost,weights.load",
			&settings{Weights: &resourcev1.BalanceWeights{Cost: 0.5, Load: 0.1, Reliability: 9}}, "",
			func(s *settings) { s.Weights.Cost, s.Weights.Load = 0.5, 0.1 },
		},
		{"no weight at all", "weights", &settings{Weights: &resourcev1.BalanceWeights{}}, "must be 1 together", nil},
		{"a weight below zero", "weights", &settings{Weights: &resourcev1.BalanceWeights{Cost: 1.5, Load: -0.5}}, "settings.weights.load", nil},
		{"a weight that is no number", "weights.cost", &settings{Weights: &resourcev1.BalanceWeights{Cost: math.NaN()}}, "settings.weights.cost", nil},
		{"an infinite weight", "weights.cost", &settings{Weights: &resourcev1.BalanceWeights{Cost: math.Inf(1)}}, "settings.weights", nil},
		{"the weights back to the default", "weights", &settings{}, "", func(s *settings) { s.Weights = settingsDefaults().GetWeights() }},
		{"an unknown strategy", "default_strategy", &settings{DefaultStrategy: 99}, "settings.default_strategy", nil},
		{
			"a strategy", "default_strategy", &settings{DefaultStrategy: resourcev1.Strategy_STRATEGY_LEAST_USED}, "",
			func(s *settings) { s.DefaultStrategy = resourcev1.Strategy_STRATEGY_LEAST_USED },
		},
		{"an unknown affinity", "affinity", &settings{Affinity: 9}, "settings.affinity", nil},
		{"an unknown check", "recovery.check", &settings{Recovery: &resourcev1.Recovery{Check: 9}}, "settings.recovery.check", nil},
		{"an error rate that is no share", "thresholds.max_error_rate", &settings{Thresholds: &resourcev1.Thresholds{MaxErrorRate: 1.01}}, "max_error_rate", nil},
		{"an error rate that is no number", "thresholds.max_error_rate", &settings{Thresholds: &resourcev1.Thresholds{MaxErrorRate: math.NaN()}}, "max_error_rate", nil},
		{"more than all ejected", "thresholds.max_ejected_percent", &settings{Thresholds: &resourcev1.Thresholds{MaxEjectedPercent: 101}}, "max_ejected_percent", nil},
		{"a window of nothing", "thresholds.window", &settings{Thresholds: &resourcev1.Thresholds{Window: seconds(0)}}, "thresholds.window", nil},
		{
			"a threshold", "thresholds.consecutive_failures,thresholds.window",
			&settings{Thresholds: &resourcev1.Thresholds{ConsecutiveFailures: 2, Window: seconds(30), MinRequests: 999}}, "",
			func(s *settings) { s.Thresholds.ConsecutiveFailures, s.Thresholds.Window = 2, seconds(30) },
		},
		{"a threshold back to its default", "thresholds.consecutive_failures", &settings{}, "", func(s *settings) { s.Thresholds.ConsecutiveFailures = 5 }},
		{
			"no slow start", "recovery.slow_start", &settings{Recovery: &resourcev1.Recovery{SlowStart: seconds(0)}}, "",
			func(s *settings) { s.Recovery.SlowStart = seconds(0) },
		},
		{
			"the default slow start", "recovery.slow_start", &settings{Recovery: &resourcev1.Recovery{}}, "",
			func(s *settings) { s.Recovery.SlowStart = seconds(60) },
		},
		{"rests out of order", "recovery.open", &settings{Recovery: &resourcev1.Recovery{Open: seconds(3601)}}, "shorter than recovery.open", nil},
		{"more samples than requests", "decision_sample_ppm", &settings{DecisionSamplePpm: 1_000_001}, "decision_sample_ppm", nil},
		{"below a value", "weights.cost.x", &settings{}, "goes below", nil},
		{"no such field", "weights.luck", &settings{}, "is not a field", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.settings.UpdateSettings(t.Context(), &adminv1.UpdateSettingsRequest{Settings: tt.in, UpdateMask: mask(strings.Split(tt.mask, ",")...)})
			switch {
			case tt.refused != "":
				if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, tt.refused) {
					t.Errorf("%q does not say %q", m, tt.refused)
				}
			case err != nil:
				t.Fatal(err)
			default:
				tt.then(want)
			}
			got, err := c.settings.GetSettings(t.Context(), &adminv1.GetSettingsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if d := sameSettings(want, got.GetSettings()); d != "" {
				t.Errorf("settings (-want +got):\n%s", d)
			}
		})
	}
}

// A data set that was born before the settings knew of health shows the defaults by which it works.
func TestSettingsOfAnOldDataSet(t *testing.T) {
	w := newWorld(t)
	first := w.store.State().Settings()
	old := &resourcev1.Settings{
		Metadata: first.GetMetadata(), DefaultStrategy: resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM,
		Retry: &resourcev1.RetryPolicy{MaxAttempts: 5, BudgetPercent: 20, BudgetMin: 3},
	}
	revision, err := w.store.Commit(t.Context(), store.Write{Puts: []store.Put{{Resource: old, Old: first}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.WaitRevision(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	got, err := w.as(w.owner).settings.GetSettings(t.Context(), &adminv1.GetSettingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := settingsDefaults()
	want.DefaultStrategy, want.Retry.MaxAttempts = resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM, 5
	if d := sameSettings(want, got.GetSettings()); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
	if w.store.State().Settings().GetWeights() != nil {
		t.Error("the shared settings were written to")
	}
}

// What a group or an account says about choosing is checked as the whole that a change makes of it.
func TestPoliciesByPath(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	w.channel("c", &resourcev1.Account{Metadata: named("a")})
	group, account := &resourcev1.Group{}, &resourcev1.Account{}
	deadline := func(d *resourcev1.Deadlines) *resourcev1.Group { return &resourcev1.Group{Deadlines: d} }
	for _, tt := range []struct {
		name, mask string
		g          *resourcev1.Group
		a          *resourcev1.Account
		refused    string
		then       func()
	}{
		{name: "hedged", mask: "hedging", g: &resourcev1.Group{Hedging: &resourcev1.Hedging{}}, then: func() {
			group.Hedging = &resourcev1.Hedging{MaxExtraPpm: 20_000}
		}},
		{name: "hedged early", mask: "hedging.after", g: &resourcev1.Group{Hedging: &resourcev1.Hedging{After: seconds(2)}}, then: func() {
			group.Hedging.After = seconds(2)
		}},
		{name: "hedged at once", mask: "hedging.after", g: &resourcev1.Group{Hedging: &resourcev1.Hedging{After: seconds(0)}}, refused: "group.hedging.after"},
		{name: "hedged too much", mask: "hedging.max_extra_ppm", g: &resourcev1.Group{Hedging: &resourcev1.Hedging{MaxExtraPpm: 200_001}}, refused: "max_extra_ppm"},
		{name: "an end before the second attempt", mask: "deadlines.total", g: deadline(&resourcev1.Deadlines{Total: seconds(1)}), refused: "hedging.after"},
		{name: "an end", mask: "deadlines.total", g: deadline(&resourcev1.Deadlines{Total: seconds(60)}), then: func() {
			group.Deadlines = &resourcev1.Deadlines{Total: seconds(60)}
		}},
		{name: "a first byte after the end", mask: "deadlines.first_byte", g: deadline(&resourcev1.Deadlines{FirstByte: seconds(61)}), refused: "longer than deadlines.total"},
		{name: "not hedged any more", mask: "hedging", g: &resourcev1.Group{}, then: func() { group.Hedging = nil }},
		{name: "a strategy that is none", mask: "strategy", g: &resourcev1.Group{Strategy: 6}, refused: "group.strategy"},
		{name: "affinity", mask: "affinity,no_panic", g: &resourcev1.Group{Affinity: resourcev1.Affinity_AFFINITY_HARD, NoPanic: true}, then: func() {
			group.Affinity, group.NoPanic = resourcev1.Affinity_AFFINITY_HARD, true
		}},
		{name: "affinity that is none", mask: "affinity", g: &resourcev1.Group{Affinity: 4}, refused: "group.affinity"},

		{name: "caps", mask: "concurrency,rpm,tpm,unschedulable", a: &resourcev1.Account{Concurrency: 1, Rpm: 2, Tpm: 3, Unschedulable: true}, then: func() {
			account.Concurrency, account.Rpm, account.Tpm, account.Unschedulable = 1, 2, 3, true
		}},
		{name: "too many at once", mask: "concurrency", a: &resourcev1.Account{Concurrency: 1_000_001}, refused: "account.concurrency"},
		{name: "tokens without a bound", mask: "tpm", a: &resourcev1.Account{Tpm: math.MaxUint64}, refused: "account.tpm"},
		{name: "a window without a length", mask: "session_window.max_requests", refused: "account.session_window.length", a: &resourcev1.Account{
			SessionWindow: &resourcev1.SessionWindow{MaxRequests: 1},
		}},
		{name: "a window of a second", mask: "session_window", refused: "account.session_window.length", a: &resourcev1.Account{
			SessionWindow: &resourcev1.SessionWindow{Length: seconds(1)},
		}},
		{name: "a window", mask: "session_window", a: &resourcev1.Account{
			SessionWindow: &resourcev1.SessionWindow{Length: seconds(18_000), MaxRequests: 5, MaxTokens: 6},
		}, then: func() {
			account.SessionWindow = &resourcev1.SessionWindow{Length: seconds(18_000), MaxRequests: 5, MaxTokens: 6}
		}},
		{name: "a window's cap", mask: "session_window.max_tokens", a: &resourcev1.Account{}, then: func() { account.SessionWindow.MaxTokens = 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			if tt.g != nil {
				tt.g.Metadata = named("default")
				_, err = c.groups.UpdateGroup(t.Context(), &adminv1.UpdateGroupRequest{Group: tt.g, UpdateMask: mask(strings.Split(tt.mask, ",")...)})
			} else {
				tt.a.Metadata = named("a")
				_, err = c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{Account: tt.a, UpdateMask: mask(strings.Split(tt.mask, ",")...)})
			}
			switch {
			case tt.refused != "":
				if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, tt.refused) {
					t.Errorf("%q does not say %q", m, tt.refused)
				}
			case err != nil:
				t.Fatal(err)
			default:
				tt.then()
			}
			g, err := c.groups.GetGroup(t.Context(), &adminv1.GetGroupRequest{Name: "default"})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(group, g.GetGroup(), protocmp.Transform(), protocmp.IgnoreFields(group, "metadata", "description", "price_ratio_ppm")); d != "" {
				t.Errorf("group (-want +got):\n%s", d)
			}
			if d := cmp.Diff(account, w.account("a"), protocmp.Transform(), protocmp.IgnoreFields(account, "metadata", "channel", "weight", "health")); d != "" {
				t.Errorf("account (-want +got):\n%s", d)
			}
		})
	}
}
