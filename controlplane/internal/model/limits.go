package model

import (
	"fmt"
	"slices"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Limited says whether limits limit anything. What is said of how they do (a time zone, a fallback) is no limit.
func Limited(l *resourcev1.Limits) bool {
	return l.GetRpm() > 0 || l.GetTpm() > 0 || l.GetConcurrency() > 0 || len(l.GetBudgets()) > 0 ||
		l.GetMaxRequestTokens() > 0 || l.GetMaxRequestNanoUsd() > 0
}

// checkLimits refuses two budgets for one window, of which the larger would never count, and time zones that are not known.
func checkLimits(l *resourcev1.Limits) error {
	for i, b := range l.GetBudgets() {
		same := func(other *resourcev1.Budget) bool {
			return other.GetWindow() == b.GetWindow() && other.GetRollingMinutes() == b.GetRollingMinutes()
		}
		if slices.ContainsFunc(l.GetBudgets()[:i], same) {
			return invalid(fmt.Sprintf("limits.budgets[%d].window", i), "has a budget already; keep one of the two")
		}
	}
	if name := l.GetTimeZone(); name != "" {
		// Local is each replica's own.
		if _, err := time.LoadLocation(name); err != nil || name == "Local" {
			return invalid("limits.time_zone", "there is no time zone %q; it has a name such as Europe/Berlin", name)
		}
	}
	return nil
}
