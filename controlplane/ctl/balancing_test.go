package ctl

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestBalancingFlags(t *testing.T) {
	md := &resourcev1.Metadata{}
	seconds := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }
	tests := []struct {
		name  string
		kind  kind
		args  string
		want  resource
		paths string
	}{
		{"caps", accounts(), "--concurrency 8 --rpm 500 --tpm 200000 --unschedulable",
			&resourcev1.Account{Metadata: md, Concurrency: 8, Rpm: 500, Tpm: 200_000, Unschedulable: true}, "concurrency,rpm,tpm,unschedulable"},
		{"no caps any more", accounts(), "--concurrency 0 --unschedulable=false", &resourcev1.Account{Metadata: md}, "concurrency,unschedulable"},
		{"window", accounts(), "--session-window 5h --session-requests 45 --session-tokens 900000",
			&resourcev1.Account{Metadata: md, SessionWindow: &resourcev1.SessionWindow{Length: seconds(18000), MaxRequests: 45, MaxTokens: 900_000}},
			"session_window.length,session_window.max_requests,session_window.max_tokens"},
		{"one field of a window", accounts(), "--session-requests 45",
			&resourcev1.Account{Metadata: md, SessionWindow: &resourcev1.SessionWindow{MaxRequests: 45}}, "session_window.max_requests"},
		{"no window any more", accounts(), "--session-window 0", &resourcev1.Account{Metadata: md}, "session_window"},
		{"strategy", groups(), "--strategy lowest-cost --affinity hard --no-panic",
			&resourcev1.Group{Metadata: md, Strategy: resourcev1.Strategy_STRATEGY_LOWEST_COST, Affinity: resourcev1.Affinity_AFFINITY_HARD, NoPanic: true},
			"strategy,affinity,no_panic"},
		{"as settings say", groups(), "--strategy default --affinity default", &resourcev1.Group{Metadata: md}, "strategy,affinity"},
		{"hedge", groups(), "--hedge", &resourcev1.Group{Metadata: md, Hedging: &resourcev1.Hedging{}}, "hedging"},
		{"hedge with details", groups(), "--hedge=on --hedge-after 2s --hedge-max-percent 2.5",
			&resourcev1.Group{Metadata: md, Hedging: &resourcev1.Hedging{After: seconds(2), MaxExtraPpm: 25_000}}, "hedging"},
		{"one detail", groups(), "--hedge-after 2s", &resourcev1.Group{Metadata: md, Hedging: &resourcev1.Hedging{After: seconds(2)}}, "hedging.after"},
		{"no hedge", groups(), "--hedge=off", &resourcev1.Group{Metadata: md}, "hedging"},
		{"deadlines", groups(), "--first-byte-timeout 10s --idle-timeout 20s --total-timeout 2m",
			&resourcev1.Group{Metadata: md, Deadlines: &resourcev1.Deadlines{FirstByte: seconds(10), Idle: seconds(20), Total: seconds(120)}},
			"deadlines.first_byte,deadlines.idle,deadlines.total"},
		{"channel", channels(), "--total-timeout 10m", &resourcev1.Channel{Metadata: md, Timeouts: &resourcev1.Timeouts{Total: seconds(600)}}, "timeouts.total"},
		{"key", keys(), "--debug-headers", &resourcev1.Key{Metadata: md, DebugHeaders: true}, "debug_headers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, paths, err := given(t, tt.kind, strings.Fields(tt.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, protocmp.Transform()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.paths, strings.Join(paths, ",")); d != "" {
				t.Errorf("paths (-want +got):\n%s", d)
			}
		})
	}
	for _, tt := range []struct {
		kind       kind
		args, want string
	}{
		{accounts(), "--session-window 0 --session-tokens 5", "--session-window: 0 means no window"},
		{groups(), "--strategy fastest", `--strategy: "fastest" is not one of weighted_random, least_used, least_recent, lowest_cost, balanced`},
		{groups(), "--affinity maybe", `"maybe" is not one of off, on, hard`},
		{groups(), "--hedge=maybe", `"maybe" is not one of on, off`},
		{groups(), "--hedge=off --hedge-after 1s", "off takes neither"},
		{groups(), "--hedge-max-percent 21", "21 is not between 0 and 20"},
		{groups(), "--hedge-max-percent NaN", "NaN is not between 0 and 20"},
	} {
		if _, _, err := given(t, tt.kind, strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.args, err, tt.want)
		}
	}
}

func TestSettingsSet(t *testing.T) {
	w := newWorld(t)
	out, _, err := w.run(strings.Fields(`settings set --default-strategy least_used --weights cost=40%,performance=0.3,reliability=0.1,load=0.2
		--consecutive-failures 3 --max-error-rate 10% --min-requests 50 --window 2m --max-ttft-ratio 4 --max-ejected-percent 30 --panic-percent 40
		--open 60s --max-open 10m --slow-start 0s --check answer --check-interval 15s --affinity off --decision-sample 0.01
		--max-attempts 4 --retry-budget-percent 10 --retry-budget-min 2`)...)
	if err != nil {
		t.Fatal(err)
	}
	want := &resourcev1.Settings{
		Metadata:        &resourcev1.Metadata{Name: "settings"},
		DefaultStrategy: resourcev1.Strategy_STRATEGY_LEAST_USED,
		Weights:         &resourcev1.BalanceWeights{Cost: 0.4, Performance: 0.3, Load: 0.2, Reliability: 0.1},
		Retry:           &resourcev1.RetryPolicy{MaxAttempts: 4, BudgetPercent: 10, BudgetMin: 2},
		Thresholds: &resourcev1.Thresholds{ConsecutiveFailures: 3, MaxErrorRate: 0.1, MinRequests: 50, Window: durationpb.New(2 * time.Minute),
			MaxTtftRatio: 4, MaxEjectedPercent: 30, PanicPercent: 40},
		Recovery: &resourcev1.Recovery{Open: durationpb.New(time.Minute), MaxOpen: durationpb.New(10 * time.Minute), SlowStart: durationpb.New(0),
			Check: resourcev1.CheckMode_CHECK_MODE_ANSWER, CheckInterval: durationpb.New(15 * time.Second)},
		Affinity: resourcev1.Affinity_AFFINITY_OFF, DecisionSamplePpm: 10_000,
	}
	req := w.asked[0].(*adminv1.UpdateSettingsRequest)
	if d := cmp.Diff(want, req.GetSettings(), protocmp.Transform()); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
	const paths = "default_strategy weights affinity decision_sample_ppm retry.max_attempts retry.budget_percent retry.budget_min " +
		"thresholds.consecutive_failures thresholds.max_error_rate thresholds.min_requests thresholds.window thresholds.max_ttft_ratio " +
		"thresholds.max_ejected_percent thresholds.panic_percent recovery.open recovery.max_open recovery.slow_start recovery.check recovery.check_interval"
	if d := cmp.Diff(paths, strings.Join(req.GetUpdateMask().GetPaths(), " ")); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(out, "settings updated: default_strategy, weights") {
		t.Errorf("output %q", out)
	}
	// By the names that they had before.
	if _, _, err := w.run("settings", "update", "--strategy", "balanced"); err != nil {
		t.Errorf("settings update --strategy: %v", err)
	}
}

func TestSettingsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"--weights cost=1": "--weights: load, performance, reliability missing: give all four",
		"--weights cost=0.4,performance=0.3,load=0.2,reliability=0.2":          "--weights: the four are 1.1 together, not 1",
		"--weights cost=0.4,cost=0.4,performance=0.3,load=0.2,reliability=0.1": "cost is given twice",
		"--weights price=1":           `"price" is not one of cost, load, performance, reliability`,
		"--weights cost=x":            `cost: "x" is not a share`,
		"--weights cost=NaN":          `cost: "NaN" is not a share`,
		"--max-error-rate 5":          `"5" is not a share between 0 and 1, such as 0.05 or 5%`,
		"--decision-sample 101%":      `"101%" is not a share`,
		"--check never":               `--check: "never" is not one of off, models, answer`,
		"--default-strategy fastest":  `--default-strategy: "fastest" is not one of`,
		"":                            "nothing to change",
		"--consecutive-failures five": "invalid syntax",
	} {
		w := newWorld(t)
		_, _, err := w.run(append([]string{"settings", "set"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error = %v, want one with %q", args, err, want)
		}
		if len(w.asked) > 0 {
			t.Errorf("%q was sent", args)
		}
	}
}

func TestSettingsGet(t *testing.T) {
	w := newWorld(t)
	out, _, err := w.run("settings", "get")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"default-strategy +balanced", "weights +cost=0.4,performance=0.3,load=0.2,reliability=0.1", "open +5m0s", "check +models", "decision-sample +0.01"} {
		name, value, _ := strings.Cut(want, " +")
		found := false
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			found = found || len(f) > 1 && f[0] == name && f[1] == value
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	// Every row is named as the flag that changes it.
	set, _, err := w.root(nil, nil).Find([]string{"settings", "set"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range settingsRows(&resourcev1.Settings{}) {
		if set.Flags().Lookup(r[0]) == nil {
			t.Errorf("no flag changes %s", r[0])
		}
	}
}
