package ctl

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/money"
)

const (
	daily   = resourcev1.BudgetWindow_BUDGET_WINDOW_DAY
	weekly  = resourcev1.BudgetWindow_BUDGET_WINDOW_WEEK
	monthly = resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH
	total   = resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL
	rolling = resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING
)

// budget is one of so many dollars.
func budget(usd float64, w resourcev1.BudgetWindow, minutes uint32) *resourcev1.Budget {
	return &resourcev1.Budget{AmountNanoUsd: int64(math.Round(usd * 1e9)), Window: w, RollingMinutes: minutes}
}

// The flags are the same for all that has limits.
func TestLimitFlags(t *testing.T) {
	tests := []struct {
		name, args string
		want       *resourcev1.Limits
		paths      string
	}{
		{"all", "--rpm 60 --tpm 200_000 --concurrency 4 --max-request-tokens 8000 --max-request-cost 0.5 --time-zone Europe/Berlin --limit-fallback safe",
			&resourcev1.Limits{Rpm: 60, Tpm: 200_000, Concurrency: 4, MaxRequestTokens: 8000, MaxRequestNanoUsd: 5e8, TimeZone: "Europe/Berlin",
				Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_SAFE},
			"limits.rpm,limits.tpm,limits.concurrency,limits.max_request_tokens,limits.max_request_nano_usd,limits.time_zone,limits.fallback"},
		{"one of them", "--tpm 5", &resourcev1.Limits{Tpm: 5}, "limits.tpm"},
		{"none any more", "--rpm 0 --max-request-cost 0", &resourcev1.Limits{}, "limits.rpm,limits.max_request_nano_usd"},
		{"budgets", "--budget 10/day --budget $50.5/week --budget 0.000000001/month --budget 1000000000/total --budget 2/90m",
			&resourcev1.Limits{Budgets: []*resourcev1.Budget{budget(10, daily, 0), budget(50.5, weekly, 0), budget(1e-9, monthly, 0), budget(1e9, total, 0),
				budget(2, rolling, 90)}}, "limits.budgets"},
		{"a window beside", "--budget 10 --budget-window 24h", &resourcev1.Limits{Budgets: []*resourcev1.Budget{budget(10, rolling, 1440)}}, "limits.budgets"},
		{"a window beside one that has one", "--budget 10 --budget 5/day --budget-window month",
			&resourcev1.Limits{Budgets: []*resourcev1.Budget{budget(10, monthly, 0), budget(5, daily, 0)}}, "limits.budgets"},
		{"the shortest and the longest", "--budget 1/5m", &resourcev1.Limits{Budgets: []*resourcev1.Budget{budget(1, rolling, 5)}}, "limits.budgets"},
		{"a leap year", "--budget 1/366d", &resourcev1.Limits{Budgets: []*resourcev1.Budget{budget(1, rolling, 527_040)}}, "limits.budgets"},
		{"other things", "--disabled", nil, "disabled"},
	}
	for _, k := range []kind{keys(), groups(), tenants()} {
		for _, tt := range tests {
			if k.name == "group" && tt.want == nil {
				continue
			}
			t.Run(k.name+" "+tt.name, func(t *testing.T) {
				got, paths, err := given(t, k, strings.Fields(tt.args)...)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.want, got.(limited).GetLimits(), protocmp.Transform()); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				if d := cmp.Diff(tt.paths, strings.Join(paths, ",")); d != "" {
					t.Errorf("paths (-want +got):\n%s", d)
				}
			})
		}
	}
}

// What cannot be meant is refused before anything is sent.
func TestLimitFlagsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"--rpm -1":                                  "--rpm: -1 is not between 0 and 1000000000000",
		"--rpm 2M":                                  "invalid syntax",
		"--concurrency 1000000001":                  "--concurrency: 1000000001 is not between 0 and 1000000000",
		"--tpm 9223372036854775808":                 "value out of range",
		"--max-request-cost -1":                     `--max-request-cost: "-1" is not an amount in USD with at most nine decimals, such as 2.50`,
		"--max-request-cost 0.0000000001":           "at most nine decimals",
		"--max-request-cost 1e3":                    "is not an amount in USD",
		"--max-request-cost 1000000000.1":           "is not an amount in USD",
		"--budget 10":                               `--budget: "10" says nothing of its window: want 10/day, 10/month, 10/24h`,
		"--budget /day":                             `"" is not an amount in USD`,
		"--budget -5/day":                           `"-5" is not an amount in USD`,
		"--budget 5/":                               `"5/" says nothing of its window`,
		"--budget 5/fortnight":                      `--budget: "fortnight" is not a window: day, week, month, total, or such as 90m, 24h or 30d`,
		"--budget 5/rolling":                        `"rolling" is not a window`,
		"--budget 5/h":                              `"h" is not a window`,
		"--budget 5/-5h":                            `"-5h" is not a window`,
		"--budget 5/1.5h":                           `"1.5h" is not a window`,
		"--budget 5/99999999999999999999d":          "is not a window",
		"--budget 5/4m":                             "a window of 4m is not between 5m and 366d",
		"--budget 5/4294967295d":                    "a window of 4294967295d is not between 5m and 366d",
		"--budget 5/day/day":                        `"day/day" is not a window`,
		"--budget 5/day --budget 6/day":             `--budget: "6/day": there is one for that window already`,
		"--budget 5/24h --budget 6/7d":              `"6/7d": there is one for that window already`,
		"--budget 5/day --budget-window month":      "each names its window, so --budget-window is for none",
		"--budget-window month":                     "--budget-window goes with --budget",
		"--budget 0/day":                            "--budget: 0/day removes a budget, and there is none yet; to refuse all requests, use --disabled",
		"--time-zone Mars/Base":                     `--time-zone: "Mars/Base" is not a time zone, such as Europe/Berlin or UTC`,
		"--time-zone Local":                         `"Local" is not a time zone`,
		"--time-zone ../../etc/passwd":              "is not a time zone",
		"--time-zone=":                              `"" is not a time zone`,
		"--limit-fallback maybe":                    `--limit-fallback: "maybe" is not one of closed, safe, open`,
		"--tenant=":                                 `--tenant: an empty name; give "none" to name none`,
		"--accounts=":                               `--accounts: empty; give '*' for all`,
		"--clients=":                                `--clients: empty; give '*' for all`,
		"--deny-models=":                            `--deny-models: empty; give none for no such models`,
		"--models=":                                 `--allow-models: empty; give '*' for all`,
		"--expires-in 30s":                          `--expires-in: "30s" is not a duration between 1m and ten years, such as 12h or 30d`,
		"--expires-in 2099-01-01":                   "is not a duration between",
		"--expires-in -3d":                          "is not a duration between",
		"--expires-in 4000d":                        "is not a duration between",
		"--expires-in 3d --expires never":           "--expires-in: give it or --expires, not both",
		"--expires-after-first-use 0":               "--expires-after-first-use: \"0\" is not a duration between",
		"--expires-after-first-use 65535d":          "is not a duration between",
		"--expires-after-first-use 99999999999999d": "is not a duration between",
	} {
		w := newWorld(t)
		_, _, err := w.run(append([]string{"key", "create", "k"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error = %v, want one with %q", args, err, want)
		}
		if len(w.asked) > 0 {
			t.Errorf("%q was sent", args)
		}
	}
}

// An update names what changes, and puts budgets in the place of those that are there.
func TestUpdateOfBudgets(t *testing.T) {
	stored := func() []*resourcev1.Budget {
		return []*resourcev1.Budget{budget(10, daily, 0), budget(100, monthly, 0), budget(5, rolling, 1440)}
	}
	tests := []struct {
		name, args string
		races      int
		want       []*resourcev1.Budget
		etags      string // of what was sent
		err        string
	}{
		{"another amount", "--budget 20/day", 0, []*resourcev1.Budget{budget(20, daily, 0), budget(100, monthly, 0), budget(5, rolling, 1440)}, "7", ""},
		{"one more", "--budget 50/week", 0, []*resourcev1.Budget{budget(10, daily, 0), budget(50, weekly, 0), budget(100, monthly, 0), budget(5, rolling, 1440)}, "7", ""},
		{"one less", "--budget 0/day", 0, []*resourcev1.Budget{budget(100, monthly, 0), budget(5, rolling, 1440)}, "7", ""},
		{"none left", "--budget 0/day --budget 0/month --budget 0/24h", 0, nil, "7", ""},
		{"one that is not there", "--budget 0/week", 0, stored(), "7", ""},
		{"another length", "--budget 5/30d", 0, []*resourcev1.Budget{budget(10, daily, 0), budget(100, monthly, 0), budget(5, rolling, 43200)}, "7", ""},
		{"not that length", "--budget 0/30d", 0, nil, "", "--budget: 0/30d: the budget there is for 24h"},
		{"somebody was ahead", "--budget 0/day", 2, []*resourcev1.Budget{budget(100, monthly, 0), budget(5, rolling, 1440)}, "7 70 700", ""},
		{"somebody is always ahead", "--budget 0/day", 9, nil, "7 70 700", "the etag is 7000 (failed_precondition)"},
		{"guarded", "--budget 0/day --etag 7", 0, []*resourcev1.Budget{budget(100, monthly, 0), budget(5, rolling, 1440)}, "7", ""},
		{"guarded, and somebody was ahead", "--budget 0/day --etag 7", 1, nil, "7", "the etag is 70 (failed_precondition)"},
		{"too late", "--budget 0/day --etag 6", 0, nil, "", "key k was changed: its etag is 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.races = tt.races
			w.key = &resourcev1.Key{Metadata: &resourcev1.Metadata{Name: "k", Etag: "7"}, Limits: &resourcev1.Limits{Rpm: 60, Budgets: stored()}}
			_, _, err := w.run(append([]string{"key", "update", "k"}, strings.Fields(tt.args)...)...)
			if got := said(err); got != tt.err {
				t.Errorf("error = %q, want %q", got, tt.err)
			}
			var etags []string
			for _, m := range w.asked {
				req := m.(*adminv1.UpdateKeyRequest)
				etags = append(etags, req.GetKey().GetMetadata().GetEtag())
				if d := cmp.Diff([]string{"limits.budgets"}, req.GetUpdateMask().GetPaths()); d != "" {
					t.Errorf("mask (-want +got):\n%s", d)
				}
				if d := cmp.Diff(tt.want, req.GetKey().GetLimits().GetBudgets(), protocmp.Transform()); d != "" && tt.err == "" {
					t.Errorf("budgets (-want +got):\n%s", d)
				}
			}
			if got := strings.Join(etags, " "); got != tt.etags {
				t.Errorf("sent with etags %q, want %q", got, tt.etags)
			}
		})
	}
}

// Without budgets nothing is read, and nothing but what was named is sent.
func TestUpdateOfOtherLimits(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.run("key", "update", "k", "--rpm", "0", "--tpm", "9"); err != nil {
		t.Fatal(err)
	}
	got := w.asked[0].(*adminv1.UpdateKeyRequest)
	want := &resourcev1.Key{Metadata: &resourcev1.Metadata{Name: "k"}, Limits: &resourcev1.Limits{Tpm: 9}}
	if d := cmp.Diff(want, got.GetKey(), protocmp.Transform()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"limits.rpm", "limits.tpm"}, got.GetUpdateMask().GetPaths()); d != "" {
		t.Errorf("mask (-want +got):\n%s", d)
	}
}

func TestLimitWords(t *testing.T) {
	for want, l := range map[string]*resourcev1.Limits{
		"-":             nil,
		"60 rpm":        {Rpm: 60, TimeZone: "UTC", Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_CLOSED},
		"fallback open": {Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_OPEN},
		"1 rpm, 2 tpm, 3 at once, $0.000000004/day, $5.5/week, $6/month, $7/total, $8/24h, 9 tokens/request, $10/request, Europe/Berlin, fallback safe": {
			Rpm: 1, Tpm: 2, Concurrency: 3, MaxRequestTokens: 9, MaxRequestNanoUsd: 10e9, TimeZone: "Europe/Berlin",
			Budgets:  []*resourcev1.Budget{budget(4e-9, daily, 0), budget(5.5, weekly, 0), budget(6, monthly, 0), budget(7, total, 0), budget(8, rolling, 1440)},
			Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_SAFE},
	} {
		if got := limitWords(l); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for minutes, want := range map[uint32]string{5: "5m", 60: "1h", 90: "90m", 1440: "24h", 2880: "2d", 527_040: "366d"} {
		if got := rollingName(minutes); got != want {
			t.Errorf("%d minutes are %s, want %s", minutes, got, want)
		}
	}
}

// FuzzBudget: what is read as a budget is one that the contract takes, and the words for it are read as the same.
func FuzzBudget(f *testing.F) {
	for _, text := range []string{"10/day", "$2.5/24h", "0/total", "0.000000001/366d", "1000000000/5m", "-1/day", "1/", "/", "1/day/day", "١/day", "1/4294967295d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readBudgets([]string{text}, "")
		if err != nil {
			return
		}
		b := all[0]
		if b.GetAmountNanoUsd() < 0 || b.GetAmountNanoUsd() > maxAmount || (b.GetWindow() == rolling) != (b.GetRollingMinutes() > 0) ||
			b.GetWindow() == rolling && (b.GetRollingMinutes() < minRolling || b.GetRollingMinutes() > maxRolling) {
			t.Fatalf("%q is read as %v", text, b)
		}
		words := fmt.Sprintf("%s/%s", money.NanoUSD(b.GetAmountNanoUsd()), windowName(b))
		again, err := readBudgets([]string{words}, "")
		if err != nil || !proto.Equal(again[0], b) {
			t.Errorf("%q is read as %v, and %s as %v, %v", text, b, words, again, err)
		}
	})
}
