package ctl

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// decisionText tells the story of one request: what it was, who could have served it, and what was tried.
func decisionText(w io.Writer, d *adminv1.Decision) {
	fmt.Fprintf(w, "request %s: %s\n", d.GetRequestId(), decisionOutcome(d))
	if d.GetError() != "" {
		fmt.Fprintf(w, "because %s\n", d.GetError())
	}
	fmt.Fprintf(w, "key %s, group %s, model %s, operation %s, strategy %s\n",
		dash(d.GetKey()), dash(d.GetGroup()), dash(d.GetModel()), dash(d.GetOperation()), dash(d.GetStrategy()))
	fmt.Fprintf(w, "walked by proxy %s at %s from revision %d\n", dash(d.GetProxy()), when(d.GetStartTime()), d.GetRevision())
	switch d.GetMiss() {
	case "":
	case "found":
		fmt.Fprintln(w, "it waited for state that was missing, and found it")
	default:
		fmt.Fprintf(w, "it waited for state that was missing, and did not find it (%s)\n", d.GetMiss())
	}
	if len(d.GetCandidates()) > 0 {
		fmt.Fprintln(w)
		rows := make([][]string, 0, len(d.GetCandidates()))
		for _, c := range d.GetCandidates() {
			rows = append(rows, candidateRow(c))
		}
		grid(w, []string{"channel", "account", "priority", "share", "cost", "performance", "load", "reliability", "vigor", "in flight", "excluded"}, rows)
	}
	if n := d.GetMoreCandidates(); n > 0 {
		fmt.Fprintf(w, "and %d more\n", n)
	}
	fmt.Fprintln(w)
	if len(d.GetAttempts()) == 0 {
		fmt.Fprintln(w, "nothing was tried")
		return
	}
	rows := make([][]string, 0, len(d.GetAttempts()))
	for i, a := range d.GetAttempts() {
		verdict, status := a.GetVerdict(), "-"
		if a.GetStatus() != 0 {
			status = strconv.Itoa(int(a.GetStatus()))
		}
		if verdict == "" {
			verdict = "answered"
			if a.GetTook() == nil && d.GetOutcome() == "live" {
				verdict = "under way"
			}
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), a.GetChannel(), a.GetAccount(), dash(a.GetPicked()), verdict, status, span(a.GetTook())})
	}
	grid(w, []string{"attempt", "channel", "account", "picked", "verdict", "status", "took"}, rows)
}

// decisionOutcome is one phrase: "failed with 503 after 1.2s".
func decisionOutcome(d *adminv1.Decision) string {
	outcome := strings.ReplaceAll(d.GetOutcome(), "_", " ")
	if d.GetOutcome() == "live" {
		return "live, under way"
	}
	if d.GetStatus() != 0 {
		outcome += fmt.Sprintf(" with %d", d.GetStatus())
	}
	if d.GetTook() != nil {
		outcome += " after " + span(d.GetTook())
	}
	return outcome
}

// candidateRow shows all terms, also of who was out: they say who would have come next.
func candidateRow(c *adminv1.DecisionCandidate) []string {
	term := func(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
	share := fmt.Sprintf("%.1f%%", c.GetShare()*100)
	if c.GetExcluded() != "" {
		share = "-"
	}
	return []string{c.GetChannel(), c.GetAccount(), strconv.Itoa(int(c.GetPriority())), share, term(c.GetCost()), term(c.GetPerformance()),
		term(c.GetLoad()), term(c.GetReliability()), term(c.GetVigor()), strconv.FormatUint(uint64(c.GetInFlight()), 10), c.GetExcluded()}
}

// span prints a duration to three digits or so; a dash for none.
func span(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return shortSpan(d.AsDuration())
}

func shortSpan(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
