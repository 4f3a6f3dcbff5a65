package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Style is how a line looks where there are colours.
type Style int

// The styles.
const (
	Plain Style = iota
	Title
	Bad
	Warn
	Quiet
)

// Line is one of a frame.
type Line struct {
	Text  string
	Style Style
}

// Frame draws the view, at most so wide and so high (0 = as it gets). Live frames say how to quit.
func Frame(v *View, now time.Time, width, height int, live bool) []Line {
	lines := head(v, now, width)
	if v.Health != nil || v.Status != nil {
		lines = append(lines, tables(v, now, width, height, len(lines))...)
	}
	if !live {
		return clip(lines, height)
	}
	if height > 0 {
		lines = clip(lines, max(1, height-1))
		for len(lines) < height-1 {
			lines = append(lines, Line{})
		}
	}
	return append(lines, Line{cut("q quits; (+n) is what the last minute added", width), Quiet})
}

// tables shares what is left of the height: accounts get what they need, proxies a third at least.
func tables(v *View, now time.Time, width, height, above int) []Line {
	list := proxies(v)
	room, proxyRoom := 0, 0 // 0 = no bound
	if height > 0 {
		room = max(2, height-above-5) // without blank lines, titles and the last line
		proxyRoom = max(room-len(v.Health.GetAccounts()), room/3, 1)
	}
	if proxyRoom > 0 && len(list) > proxyRoom {
		// Those that somebody should look at are not the ones that are left out.
		slices.SortStableFunc(list, func(a, b proxy) int { return cmp.Compare(min(1, len(b.note(v))), min(1, len(a.note(v)))) })
	}
	shown := atMost(list, proxyRoom)
	rows := make([][]string, 0, len(shown))
	styles := make([]Style, 0, len(shown))
	for _, p := range shown {
		r := p.row(v)
		rows = append(rows, r)
		styles = append(styles, Plain)
		if r[len(r)-1] != "" { // the note
			styles[len(styles)-1] = Warn
		}
	}
	lines := append([]Line{{}}, table(proxyColumns(), rows, styles, width)...)
	rest := more(len(list)-len(shown), "proxies", width)
	lines = append(lines, rest...)
	if v.Health == nil {
		return lines
	}
	accountRoom := 0
	if room > 0 {
		accountRoom = max(1, room-len(shown)-len(rest))
	}
	return append(append(lines, Line{}), accounts(v, now, width, accountRoom)...)
}

func accounts(v *View, now time.Time, width, room int) []Line {
	list := worstFirst(v.Health.GetAccounts())
	shown := atMost(list, room)
	if len(shown) < len(list) && len(shown) > 1 {
		shown = shown[:len(shown)-1] // for the line that says so
	}
	rows := make([][]string, 0, len(shown))
	styles := make([]Style, 0, len(shown))
	for _, a := range shown {
		rows = append(rows, accountRow(a, v.serverTime(now), now.Sub(v.Fetched)))
		style := Plain
		switch badnessOf(a) {
		case refused, resting:
			style = Bad
		case trying, failing, limited, returning:
			style = Warn
		case switchedOff:
			style = Quiet
		case well:
		}
		styles = append(styles, style)
	}
	return append(table(accountColumns(), rows, styles, width), more(len(list)-len(shown), "accounts", width)...)
}

// head says who leads, how much there is, and what is wrong with what is shown.
func head(v *View, now time.Time, width int) []Line {
	items := []string{"fairway top " + now.UTC().Format(time.DateTime)}
	if h := v.Health; h != nil {
		leader := "leader " + clean(dash(h.GetLeader()))
		if t := h.GetLeadingSince(); t != nil {
			leader += " for " + age(max(0, v.serverTime(now).Sub(t.AsTime())))
		}
		items = append(items, leader)
	}
	if st := v.Status; st != nil {
		items = append(items, fmt.Sprintf("revision %d", st.GetRevision()))
		all, behind := proxies(v), 0
		for _, p := range all {
			if p.behind(st.GetRevision()) > 0 {
				behind++
			}
		}
		n := fmt.Sprintf("proxies %d", len(all))
		if behind > 0 {
			n += fmt.Sprintf(" (%d behind)", behind)
		}
		items = append(items, n, fmt.Sprintf("replicas %d", len(st.GetReplicas())))
		if gone := st.GetUnreachableReplicas(); len(gone) > 0 {
			items = append(items, clean(strings.Join(gone, ", "))+" unreachable")
		}
	} else if v.Health != nil {
		items = append(items, fmt.Sprintf("proxies %d", len(v.Health.GetProxies())))
	}
	var lines []Line
	for _, l := range wrap(items, width) {
		lines = append(lines, Line{l, Title})
	}
	if v.Err != nil {
		lines = append(lines, trouble(v, now, width)...)
	} else if v.Health == nil && v.Status == nil {
		lines = append(lines, Line{cut("asking the control plane", width), Quiet})
	}
	if v.Health != nil {
		for _, l := range wrap(figures(v), width) {
			lines = append(lines, Line{l, Plain})
		}
	}
	return lines
}

// trouble says why there is nothing new, and how old what is shown is.
func trouble(v *View, now time.Time, width int) []Line {
	lines := []Line{{cut(clean(v.Err.Error()), width), Bad}}
	if !v.Fetched.IsZero() && (v.Health != nil || v.Status != nil) && now.Sub(v.Fetched) >= time.Second {
		lines = append(lines, Line{cut(fmt.Sprintf("what follows is %s old; asking again", age(now.Sub(v.Fetched))), width), Warn})
	}
	return lines
}

// figures are the rates and counters of the fleet.
func figures(v *View) []string {
	var requests, failures float64
	var inFlight uint64
	for _, p := range v.Health.GetProxies() {
		requests += p.GetRequestRate()
		failures += p.GetFailureRate()
		inFlight += p.GetInFlight()
	}
	failed := "failed " + rate(failures) + "/s"
	if requests > 0 {
		failed += fmt.Sprintf(" (%.2f%%)", 100*failures/requests)
	}
	t, m := totals(v.Health), v.Minute
	counter := func(name string, n uint64, grown func(*Totals) uint64) string {
		if m == nil {
			return fmt.Sprintf("%s %d", name, n)
		}
		return fmt.Sprintf("%s %d (+%d)", name, n, grown(m))
	}
	return []string{
		"requests " + rate(requests) + "/s", failed, fmt.Sprintf("in flight %d", inFlight),
		counter("503s", t.Unavailable, func(m *Totals) uint64 { return m.Unavailable }),
		counter("retries", t.Retries, func(m *Totals) uint64 { return m.Retries }),
		counter("catch-ups found", t.MissedFound, func(m *Totals) uint64 { return m.MissedFound }),
		counter("final", t.MissedFinal, func(m *Totals) uint64 { return m.MissedFinal }),
		counter("spilled", t.Spilled, func(m *Totals) uint64 { return m.Spilled }),
		counter("panicked", t.Panicked, func(m *Totals) uint64 { return m.Panicked }),
		counter("hedges", t.Hedges, func(m *Totals) uint64 { return m.Hedges }),
		counter("throttled", t.Throttled, func(m *Totals) uint64 { return m.Throttled }),
	}
}

func table(cols []column, rows [][]string, styles []Style, width int) []Line {
	lines := make([]Line, 0, len(rows)+1)
	for i, l := range tabulate(cols, rows, width) {
		if i == 0 {
			lines = append(lines, Line{l, Title})
			continue
		}
		lines = append(lines, Line{l, styles[i-1]})
	}
	return lines
}

func more(n int, what string, width int) []Line {
	if n <= 0 {
		return nil
	}
	return []Line{{cut(fmt.Sprintf("and %d more %s", n, what), width), Quiet}}
}

func atMost[T any](list []T, n int) []T {
	if n > 0 && len(list) > n {
		return list[:n]
	}
	return list
}

func clip(lines []Line, height int) []Line { return atMost(lines, height) }
