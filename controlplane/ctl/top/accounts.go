package top

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func accountColumns() []column {
	return []column{
		{title: "channel", fill: true, drop: 1}, {title: "account", fill: true}, {title: "state"}, {title: "reason", fill: true, drop: 2}, {title: "until", right: true},
		{title: "in flight", right: true, drop: 5}, {title: "req/s", right: true}, {title: "ok", right: true, drop: 4}, {title: "failed", right: true},
		{title: "ttft p50", right: true, drop: 7}, {title: "ttft p95", right: true, drop: 3}, {title: "headroom", right: true, drop: 6},
		{title: "slow start", right: true, drop: 8}, {title: "note", fill: true, drop: 9},
	}
}

// badness orders accounts, the worst first.
type badness int

const (
	refused badness = iota // its credential, most likely: it never comes back by itself
	resting
	trying
	failing
	limited
	returning
	well
	switchedOff // somebody wants it so
)

func badnessOf(a *adminv1.AccountHealthView) badness {
	h := a.GetHealth()
	switch h.GetState() {
	case resourcev1.HealthState_HEALTH_STATE_DISABLED:
		if h.GetReason() == "operator" {
			return switchedOff
		}
		return refused
	case resourcev1.HealthState_HEALTH_STATE_OPEN:
		return resting
	case resourcev1.HealthState_HEALTH_STATE_HALF_OPEN:
		return trying
	}
	switch {
	case a.GetFailed() > 0:
		return failing
	case len(a.GetRestingFamilies()) > 0, a.Headroom != nil && a.GetHeadroom() < 0.2:
		return limited
	case a.GetSlowStart() > 0:
		return returning
	}
	return well
}

func failureShare(a *adminv1.AccountHealthView) float64 {
	return float64(a.GetFailed()) / max(1, float64(a.GetOk()+a.GetFailed()))
}

// worstFirst sorts a copy: by badness, then by failures, then the busiest, then by name.
func worstFirst(list []*adminv1.AccountHealthView) []*adminv1.AccountHealthView {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *adminv1.AccountHealthView) int {
		return cmp.Or(
			cmp.Compare(badnessOf(a), badnessOf(b)),
			cmp.Compare(failureShare(b), failureShare(a)),
			cmp.Compare(b.GetRequestRate(), a.GetRequestRate()),
			strings.Compare(a.GetChannel(), b.GetChannel()),
			strings.Compare(a.GetName(), b.GetName()),
		)
	})
	return list
}

// accountRow takes the leader's time, and how long ago it said what it said.
func accountRow(a *adminv1.AccountHealthView, now time.Time, elapsed time.Duration) []string {
	h := a.GetHealth()
	until := "-"
	if t := h.GetUntil(); t != nil && h.GetState() == resourcev1.HealthState_HEALTH_STATE_OPEN {
		until = countdown(t.AsTime().Sub(now))
	}
	headroom, slow := "-", "-"
	if a.Headroom != nil {
		headroom = percent(a.GetHeadroom())
	}
	if a.GetSlowStart() > 0 {
		slow = percent(a.GetSlowStart())
	}
	return []string{
		clean(a.GetChannel()), clean(a.GetName()), stateName(h.GetState()), clean(dash(h.GetReason())), until,
		count(a.GetInFlight()), rate(a.GetRequestRate()), count(a.GetOk()), count(a.GetFailed()),
		milliseconds(a.GetTtftP50()), milliseconds(a.GetTtftP95()), headroom, slow, clean(accountNote(a, elapsed)),
	}
}

// accountNote says what failed, and which families rest.
func accountNote(a *adminv1.AccountHealthView, elapsed time.Duration) string {
	var notes []string
	for _, family := range slices.Sorted(maps.Keys(a.GetRestingFamilies())) {
		notes = append(notes, fmt.Sprintf("%s rests %s", family, countdown(a.GetRestingFamilies()[family].AsDuration()-elapsed)))
	}
	faults := slices.Collect(maps.Keys(a.GetFaults()))
	slices.SortFunc(faults, func(x, y string) int {
		return cmp.Or(cmp.Compare(a.GetFaults()[y], a.GetFaults()[x]), strings.Compare(x, y))
	})
	for _, f := range faults {
		notes = append(notes, fmt.Sprintf("%s %d", f, a.GetFaults()[f]))
	}
	return strings.Join(notes, ", ")
}

func stateName(s resourcev1.HealthState) string {
	switch s {
	case resourcev1.HealthState_HEALTH_STATE_OPEN:
		return "open"
	case resourcev1.HealthState_HEALTH_STATE_HALF_OPEN:
		return "half_open"
	case resourcev1.HealthState_HEALTH_STATE_DISABLED:
		return "disabled"
	default:
		return "closed"
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

func rate(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

func percent(f float64) string { return strconv.FormatFloat(f*100, 'f', 0, 64) + "%" }

func milliseconds(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return strconv.FormatInt(d.AsDuration().Round(time.Millisecond).Milliseconds(), 10) + "ms"
}

// countdown is a span to the second.
func countdown(d time.Duration) string {
	if d <= 0 {
		return "now"
	}
	return age(d + time.Second - 1)
}

// age is a span to the second, or to the minute where it is long.
func age(d time.Duration) string {
	if d < time.Minute {
		return d.Truncate(time.Second).String()
	}
	if d < time.Hour {
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	if d < 48*time.Hour {
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
