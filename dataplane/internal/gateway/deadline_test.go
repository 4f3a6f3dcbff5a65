package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// group changes the group of the key.
func (w *world) group(change func(*syncv1.GroupState)) {
	w.t.Helper()
	g := &syncv1.GroupState{Name: "default", Strategy: 1, PriceRatioPpm: 2_000_000}
	change(g)
	w.put(syncv1.Kind_KIND_GROUP, "g1", g)
	w.publish()
}

// A provider that never answers is left when the group's or the channel's time is over, whichever is shorter; the request
// goes on elsewhere only while its own time lasts.
func TestDeadlines(t *testing.T) {
	const short, long = 500 * time.Millisecond, time.Hour // who answers does so in short
	for _, tc := range []struct {
		name     string
		body     string
		group    func(*syncv1.GroupState)
		channel  func(*syncv1.ChannelState)
		status   string
		attempts int
		failures int32 // of the account that hung
		verdict  string
	}{
		{name: "first byte, of the group", body: plainBody, status: "200", attempts: 2, failures: 1, verdict: "no_first_byte",
			group: func(g *syncv1.GroupState) { g.FirstByteTimeout = durationpb.New(short) }},
		{name: "first byte, of the channel", body: plainBody, status: "200", attempts: 2, failures: 1, verdict: "no_first_byte",
			group:   func(g *syncv1.GroupState) { g.FirstByteTimeout = durationpb.New(long) },
			channel: func(c *syncv1.ChannelState) { c.FirstByteTimeout = durationpb.New(short) }},
		{name: "attempt", body: plainBody, status: "200", attempts: 2, failures: 1, verdict: "no_first_byte",
			channel: func(c *syncv1.ChannelState) { c.TotalTimeout = durationpb.New(short) }},
		{name: "attempt, stream", body: streamBody, status: "200", attempts: 2, failures: 1, verdict: "no_first_byte",
			channel: func(c *syncv1.ChannelState) { c.TotalTimeout = durationpb.New(short) }},
		{name: "request", body: plainBody, status: "504", attempts: 1, failures: 1, verdict: "no_first_byte",
			group: func(g *syncv1.GroupState) { g.TotalTimeout = durationpb.New(short) }},
		{name: "request, stream", body: streamBody, status: "504", attempts: 1, failures: 1, verdict: "no_first_byte",
			group: func(g *syncv1.GroupState) { g.TotalTimeout = durationpb.New(short) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first := w.channel("a", 100, secretA)
			if tc.channel != nil {
				tc.channel(first)
				w.put(syncv1.Kind_KIND_CHANNEL, "c-a", first)
			}
			w.channel("b", 99, secretB)
			w.publish()
			if tc.group != nil {
				w.group(tc.group)
			}
			gate := fakellm.NewGate()
			w.provider.SetBehaviour(secretA, fakellm.Hang(gate))
			answer := w.post("/v1/chat/completions", tc.body)
			if got := status(answer); got != tc.status {
				t.Errorf("status %s, want %s:\n%s\n%s", got, tc.status, answer, w.log.last())
			}
			if tc.status == "504" && !strings.Contains(answer, "upstream_timeout") {
				t.Errorf("the answer is\n%s", answer)
			}
			wait(t, "the hanging request is canceled", gate.Canceled())
			w.settled(t)
			if got := w.served(); len(got) != tc.attempts {
				t.Errorf("%d attempts, want %d", len(got), tc.attempts)
			}
			if n := w.cell("acc-a0").Failures.Load(); n != tc.failures {
				t.Errorf("%d failures, want %d", n, tc.failures)
			}
			if !strings.Contains(w.log.String(), tc.verdict) {
				t.Errorf("no %s in the log:\n%s", tc.verdict, w.log.last())
			}
			if n := len(w.books.all()); n != 1 {
				t.Errorf("%d records", n)
			}
			// The time of one request is not the next one's.
			w.provider.SetBehaviour(secretA, fakellm.Healthy())
			if got := status(w.post("/v1/chat/completions", plainBody)); got != "200" {
				t.Errorf("the next request: %s", got)
			}
		})
	}
}

// A stream that goes on when the time is over is cut with an error event; what was delivered is on the books, and the
// account did nothing wrong.
func TestDeadlineCutsStreams(t *testing.T) {
	for _, of := range []string{"group", "channel"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ch := w.channel("a", 100, secretA)
			const total = time.Second // in which the stream begins
			if of == "channel" {
				ch.TotalTimeout = durationpb.New(total)
				w.put(syncv1.Kind_KIND_CHANNEL, "c-a", ch)
				w.publish()
			} else {
				w.group(func(g *syncv1.GroupState) { g.TotalTimeout = durationpb.New(total) })
			}
			gate := fakellm.NewGate()
			w.provider.SetBehaviour(secretA, fakellm.HangMidStream(2, gate))
			body, complete := dechunked(t, w.post("/v1/chat/completions", streamBody))
			if complete || strings.Contains(body, "[DONE]") || !strings.Contains(body, `"code":"upstream_timeout"`) {
				t.Errorf("complete %v:\n%s", complete, body)
			}
			wait(t, "the upstream request is canceled", gate.Canceled())
			if r := w.record(); !r.Error || !r.Estimated {
				t.Errorf("record = %+v", r)
			}
			w.settled(t)
			if n := w.cell("acc-a0").Failures.Load(); n != 0 {
				t.Errorf("the account has %d failures", n)
			}
			if n := testutil.ToFloat64(w.gateway.meters.overdue); n != 1 {
				t.Errorf("deadlines passed: %v", n)
			}
		})
	}
}

func TestOutOfTime(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, tc := range []struct {
		total, used time.Duration
		want        bool
	}{
		{0, 24 * time.Hour, false},
		{time.Minute, 0, false},
		{time.Minute, 58*time.Second + 999*time.Millisecond, false},
		{time.Minute, 59*time.Second + time.Millisecond, true},
		{time.Second, 940 * time.Millisecond, false},
		{time.Second, 960 * time.Millisecond, true},
	} {
		x := &exchange{}
		x.group = &snapshot.Group{Total: tc.total}
		x.start, x.now = start, start.Add(tc.used)
		if got := x.outOfTime(); got != tc.want {
			t.Errorf("%v of %v used: %v", tc.used, tc.total, got)
		}
	}
}

// What no retry mends says so, in every dialect's place for it.
func TestShouldRetry(t *testing.T) {
	for _, tc := range []struct {
		name, path, body string
		fault            fakellm.Behaviour
		want             bool // said to be of no use
	}{
		{"no such model", "/v1/chat/completions", `{"model":"nope"}`, fakellm.Healthy(), true},
		{"no JSON", "/v1/chat/completions", `{`, fakellm.Healthy(), true},
		{"unknown URL", "/v1/nope", `{}`, fakellm.Healthy(), true},
		{"upstream says no", "/v1/chat/completions", plainBody, fakellm.Status(http.StatusBadRequest, "x", 0), true},
		{"upstream knows no such model", "/v1/chat/completions", plainBody, fakellm.Status(http.StatusNotFound, "model_not_found", 0), true},
		{"upstream is busy", "/v1/chat/completions", plainBody, fakellm.Status(http.StatusServiceUnavailable, "", 0), false},
		{"for an hour", "/v1/chat/completions", plainBody, fakellm.Status(http.StatusTooManyRequests, "rate_limit_exceeded", time.Hour), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA)
			w.provider.SetBehaviour(secretA, tc.fault)
			answer := w.post(tc.path, tc.body)
			if got := strings.Contains(answer, "X-Should-Retry: false\r\n"); got != tc.want {
				t.Errorf("x-should-retry: false is there: %v\n%s", got, answer)
			}
		})
	}
}
