package ctl

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

func decided() *adminv1.Decision {
	return &adminv1.Decision{
		RequestId: "req_1", Proxy: "p-1", StartTime: afterNoon(0), Took: durationpb.New(1234 * time.Millisecond), Key: "alice", Group: "default", Model: "m",
		Operation: "chat", Status: 200, Outcome: "served", Strategy: "balanced", Revision: 41, Miss: "found",
		Candidates: []*adminv1.DecisionCandidate{
			{Channel: "c1", Account: "a1", Priority: 10, Share: 0.625, Cost: 1, Performance: 0.5, Load: 0.75, Reliability: 0.9, Vigor: 1, InFlight: 3},
			{Channel: "c2", Account: "a2", Excluded: "open: rate_limit"},
		},
		Attempts: []*adminv1.DecisionAttempt{
			{Channel: "c1", Account: "a1", Picked: "affinity", Verdict: "server_error", Status: 500, Took: durationpb.New(230 * time.Millisecond)},
			{Channel: "c1", Account: "a3", Picked: "chosen", Status: 200, Took: durationpb.New(time.Second)},
		},
		MoreCandidates: 4,
	}
}

const decidedText = `request req_1: served with 200 after 1.23s
key alice, group default, model m, operation chat, strategy balanced
walked by proxy p-1 at 2026-03-01 12:00:00 from revision 41
it waited for state that was missing, and found it

CHANNEL  ACCOUNT  PRIORITY  SHARE  COST  PERFORMANCE  LOAD  RELIABILITY  VIGOR  IN FLIGHT  EXCLUDED
c1       a1       10        62.5%  1.00  0.50         0.75  0.90         1.00   3
c2       a2       0         -      0.00  0.00         0.00  0.00         0.00   0          open: rate_limit
and 4 more

ATTEMPT  CHANNEL  ACCOUNT  PICKED    VERDICT       STATUS  TOOK
1        c1       a1       affinity  server_error  500     230ms
2        c1       a3       chosen    answered      200     1s
`

func TestExplainRequest(t *testing.T) {
	w := newWorld(t)
	w.decision = decided()
	out, _, err := w.run("explain", "--request-id", "req_1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(decidedText, out); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff(&adminv1.ExplainRequest{RequestId: "req_1"}, w.asked[0], protocmp.Transform()); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	out, _, err = w.run("explain", "--request-id", "req_1", "-o", "json")
	var got struct {
		Decision struct {
			RequestID  string `json:"request_id"`
			Took       string
			Candidates []struct{ Excluded string }
			Attempts   []struct{ Picked string }
		}
	}
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || got.Decision.RequestID != "req_1" || got.Decision.Took != "1.234s" ||
		len(got.Decision.Candidates) != 2 || got.Decision.Candidates[1].Excluded == "" || len(got.Decision.Attempts) != 2 {
		t.Errorf("%v, %+v of\n%s", err, got, out)
	}
}

func TestExplainLive(t *testing.T) {
	var b strings.Builder
	decisionText(&b, &adminv1.Decision{RequestId: "r", Outcome: "live", Attempts: []*adminv1.DecisionAttempt{{Channel: "c", Account: "a", Picked: "chosen"}}})
	if !strings.Contains(b.String(), "request r: live, under way") || !strings.Contains(b.String(), "chosen  under way") {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	decisionText(&b, &adminv1.Decision{RequestId: "r", Outcome: "refused", Status: 503, Error: "no account is enabled", Miss: "final"})
	for _, want := range []string{"refused with 503\nbecause no account is enabled\n", "did not find it (final)", "nothing was tried"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestExplainFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--request-id r --key k --model m": "--request-id stands alone",
		"--request-id r --model m":         "--request-id stands alone",
		"--key k":                          "give --key and --model, or --request-id",
		"":                                 "give --key and --model, or --request-id",
		"--request-id r":                   `nobody remembers a request "r" (not_found)`,
		"--key k --model m":                "",
	} {
		w := newWorld(t)
		_, _, err := w.run(append([]string{"explain"}, strings.Fields(args)...)...)
		if got := said(err); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}
