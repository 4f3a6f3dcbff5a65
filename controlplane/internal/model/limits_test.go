package model

import (
	"testing"

	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestCheckLimits(t *testing.T) {
	const (
		day     = resourcev1.BudgetWindow_BUDGET_WINDOW_DAY
		month   = resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH
		rolling = resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING
	)
	b := func(window resourcev1.BudgetWindow, minutes uint32) *resourcev1.Budget {
		return &resourcev1.Budget{AmountNanoUsd: 1, Window: window, RollingMinutes: minutes}
	}
	budgets := func(all ...*resourcev1.Budget) *resourcev1.Limits { return &resourcev1.Limits{Budgets: all} }
	zone := func(name string) *resourcev1.Limits { return &resourcev1.Limits{TimeZone: name} }
	for _, tt := range []struct {
		name  string
		l     *resourcev1.Limits
		param string // "" = valid
	}{
		{"none", nil, ""},
		{"empty", &resourcev1.Limits{}, ""},
		{"budgets of several windows", budgets(b(day, 0), b(month, 0), b(rolling, 60), b(rolling, 61)), ""},
		{"two of a day", budgets(b(day, 0), b(month, 0), b(day, 0)), "limits.budgets[2].window"},
		{"two of an hour", budgets(b(rolling, 60), b(rolling, 60)), "limits.budgets[1].window"},
		{"UTC", zone("UTC"), ""},
		{"zone", zone("Europe/Berlin"), ""},
		{"zone with a number", zone("Etc/GMT+12"), ""},
		{"each replica's own", zone("Local"), "limits.time_zone"},
		{"unknown", zone("Europe/Nowhere"), "limits.time_zone"},
		{"a directory", zone("Europe"), "limits.time_zone"},
		{"a path", zone("/etc/localtime"), "limits.time_zone"},
		{"a way out", zone("Europe/../UTC"), "limits.time_zone"},
	} {
		f := fault.From(checkLimits(tt.l))
		switch {
		case tt.param == "" && f != nil:
			t.Errorf("%s: %v", tt.name, f)
		case tt.param != "" && (f == nil || f.Kind != fault.Invalid || f.Param != tt.param):
			t.Errorf("%s: %v, want an invalid %s", tt.name, f, tt.param)
		}
	}
}

func TestLimited(t *testing.T) {
	for _, l := range []*resourcev1.Limits{
		nil, {}, {TimeZone: "UTC"}, {Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_OPEN},
	} {
		if Limited(l) {
			t.Errorf("%v limits something", l)
		}
	}
	for _, l := range []*resourcev1.Limits{
		{Rpm: 1}, {Tpm: 1}, {Concurrency: 1}, {Budgets: []*resourcev1.Budget{{}}}, {MaxRequestTokens: 1}, {MaxRequestNanoUsd: 1},
	} {
		if !Limited(l) {
			t.Errorf("%v limits nothing", l)
		}
	}
}
