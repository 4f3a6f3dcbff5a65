package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/report"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// served are the credentials in the order in which the provider saw them.
func (w *world) served() []string {
	var out []string
	for _, r := range w.provider.Requests() {
		out = append(out, r.Credential)
	}
	return out
}

// refuses says why an account is not asked for gpt-x.
func (w *world) refuses(account string) health.Refusal {
	w.t.Helper()
	return w.gateway.health.Refuses(w.candidate(account).Account, "gpt-x", time.Now().UnixMilli())
}

func TestFailover(t *testing.T) {
	for _, tc := range []struct {
		name     string
		fault    fakellm.Behaviour
		stream   bool
		verdict  string
		resting  bool // at once
		held     bool // not even a panic pick may use it
		family   bool // the model's family rests there, the account does not
		failures int32
	}{
		{name: "500", fault: fakellm.Status(500, "", 0), verdict: "server_error", failures: 1},
		{name: "503", fault: fakellm.Status(503, "server_is_overloaded", 0), verdict: "overloaded", family: true, failures: 1},
		{name: "503 without a word", fault: fakellm.Status(503, "", 0), verdict: "overloaded", resting: true, failures: 1},
		{name: "429", fault: fakellm.Status(429, "rate_limit_exceeded", 0), verdict: "rate_limit", resting: true, failures: 1},
		{name: "429 with Retry-After", fault: fakellm.Status(429, "rate_limit_exceeded", 7*time.Second), verdict: "rate_limit", held: true, failures: 1},
		{name: "quota", fault: fakellm.Status(429, "insufficient_quota", 0), verdict: "quota", held: true, failures: 1},
		{name: "credential", fault: fakellm.Status(401, "invalid_api_key", 0), verdict: "credential", held: true, failures: 1},
		{name: "forbidden", fault: fakellm.Status(403, "", 0), verdict: "forbidden", failures: 1},
		{name: "redirect", fault: fakellm.Status(302, "", 0), verdict: "unexpected_status", failures: 1},
		{name: "closed before a byte", fault: fakellm.CloseBeforeBytes(), verdict: "connection", failures: 1},
		{name: "plain response cut", fault: fakellm.TruncatedBody(), verdict: "connection", failures: 1},
		{name: "stream: 500", fault: fakellm.Status(500, "", 0), stream: true, verdict: "server_error", failures: 1},
		{name: "stream: error first", fault: fakellm.ErrorFirstEvent("server_is_overloaded"), stream: true, verdict: "overloaded", family: true, failures: 1},
		{name: "stream: rate limit first", fault: fakellm.ErrorFirstEvent("rate_limit_exceeded"), stream: true, verdict: "rate_limit", resting: true, failures: 1},
		{name: "stream: died before an event", fault: fakellm.DieMidStream(0, fakellm.RST), stream: true, verdict: "connection", failures: 1},
		{name: "stream: ended before an event", fault: fakellm.DieMidStream(0, fakellm.CleanEnd), stream: true, verdict: "connection", failures: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA, secretB)
			w.provider.SetBehaviour(secretA, tc.fault)
			client := w.client()
			if tc.stream {
				stream := client.Chat.Completions.NewStreaming(context.Background(), hello("gpt-x"))
				for stream.Next() {
				}
				if err := stream.Err(); err != nil {
					t.Fatal(err)
				}
			} else if _, err := client.Chat.Completions.New(context.Background(), hello("gpt-x")); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{secretA, secretB}, w.served()); d != "" {
				t.Errorf("attempts (-want +got):\n%s", d)
			}
			want := report.Record{
				KeyID: "k1", ChannelID: "c-b", AccountID: "a-b0", Model: "gpt-x", Input: 3, Output: 6, Unpriced: true,
			}
			if d := cmp.Diff(want, w.record(), ignoreTime); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
			cell, now := w.cell("acc-a0"), time.Now().UnixMilli()
			if got := cell.CooldownUntil.Load() > now; got != tc.resting {
				t.Errorf("cooling = %v, want %v", got, tc.resting)
			}
			if got := cell.HeldUntil.Load() > now; got != tc.held {
				t.Errorf("held = %v, want %v", got, tc.held)
			}
			if got := w.refuses("acc-a0") == health.FamilyResting; got != tc.family {
				t.Errorf("the family rests: %v, want %v", got, tc.family)
			}
			if got := cell.Failures.Load(); got != tc.failures {
				t.Errorf("failures = %d, want %d", got, tc.failures)
			}
			if got := w.cell("acc-b0").Failures.Load(); got != 0 {
				t.Errorf("the good account has %d failures", got)
			}
			w.settled(t)
			w.eventually("the decision is logged", func() bool {
				return strings.Contains(w.log.String(), "verdict="+tc.verdict)
			})
		})
	}
}

// settled says that nothing is under way any more.
func (w *world) settled(t *testing.T) {
	t.Helper()
	w.eventually("requests end", func() bool { return testutil.ToFloat64(w.gateway.meters.inFlight) == 0 })
	g, _ := w.holder.Current().Group("g1")
	if a, r := g.Cell.Active.Load(), g.Cell.Retries.Load(); a != 0 || r != 0 {
		t.Errorf("group has %d active, %d retries", a, r)
	}
	if n := w.gateway.load.bodies.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are held", n)
	}
	for _, name := range []string{"acc-a0", "acc-b0", "acc-c0"} {
		if _, ok := w.items["KIND_ACCOUNTa-"+strings.TrimPrefix(name, "acc-")]; !ok {
			continue
		}
		if n := w.cell(name).InFlight.Load(); n != 0 {
			t.Errorf("%s has %d in flight", name, n)
		}
	}
}

// eventually waits for what has no event of its own.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	w := newWorld(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	ch := w.channel("a", 100, secretA)
	ch.BaseUrl = "http://" + closed.Addr().String()
	w.put(syncv1.Kind_KIND_CHANNEL, "c-a", ch)
	w.channel("b", 50, secretB)
	w.publish()
	client := w.client()
	for range 3 {
		if _, err := client.Chat.Completions.New(context.Background(), hello("gpt-x")); err != nil {
			t.Fatal(err)
		}
	}
	if w.cell("acc-a0").CooldownUntil.Load() <= time.Now().UnixMilli() {
		t.Error("three failed connections in a row did not cool the account")
	}
}

func TestModelNotFoundExcludesTheChannel(t *testing.T) {
	w := newWorld(t)
	ch := w.channel("a", 100, secretA, secretC)
	w.channel("b", 50, secretB)
	w.publish()
	w.provider.SetBehaviour(secretA, fakellm.Status(404, "model_not_found", 0))
	w.provider.SetBehaviour(secretC, fakellm.Status(404, "model_not_found", 0))
	client := w.client()
	chat := func() {
		t.Helper()
		if _, err := client.Chat.Completions.New(context.Background(), hello("gpt-x")); err != nil {
			t.Fatal(err)
		}
	}
	chat()
	chat()
	if got := w.served(); len(got) != 3 || got[1] != secretB || got[2] != secretB {
		t.Errorf("served by %q: the channel's other account, or the channel again, was asked for a model it does not know", got)
	}
	// An operator's change makes it another channel.
	ch.Weight = 50
	w.provider.SetBehaviour(secretA, fakellm.Healthy())
	w.provider.SetBehaviour(secretC, fakellm.Healthy())
	w.put(syncv1.Kind_KIND_CHANNEL, "c-a", ch)
	w.publish()
	chat()
	if got := w.served(); got[3] == secretB {
		t.Error("a changed channel is still excluded")
	}
}

func TestRetryCapAndNoAccountTwice(t *testing.T) {
	w := newWorld(t)
	w.settings.MaxAttempts = 2
	w.put(syncv1.Kind_KIND_SETTINGS, "settings", w.settings)
	w.tiers(secretA, secretB, secretC)
	for _, s := range []string{secretA, secretB, secretC} {
		w.provider.SetBehaviour(s, fakellm.Status(500, "", 0))
	}
	client := w.client()
	_, err := client.Chat.Completions.New(context.Background(), hello("gpt-x"))
	if e := apiError(t, err); e.StatusCode != http.StatusInternalServerError {
		t.Errorf("status = %d, want the upstream's", e.StatusCode)
	}
	if d := cmp.Diff([]string{secretA, secretB}, w.served()); d != "" {
		t.Errorf("attempts (-want +got):\n%s", d)
	}
	want := report.Record{
		KeyID: "k1", ChannelID: "c-b", AccountID: "a-b0", Model: "gpt-x", Error: true, Unpriced: true,
	}
	if d := cmp.Diff(want, w.record(), ignoreTime); d != "" {
		t.Errorf("record (-want +got):\n%s", d)
	}
	w.settled(t)
}

func TestRetryBudget(t *testing.T) {
	w := newWorld(t)
	w.settings.RetryBudgetMin = 1
	w.put(syncv1.Kind_KIND_SETTINGS, "settings", w.settings)
	w.tiers(secretA, secretB)
	gate := fakellm.NewGate()
	w.provider.SetBehaviour(secretA, fakellm.Status(500, "", 0))
	w.provider.SetBehaviour(secretB, fakellm.Hang(gate))
	first := make(chan error, 1)
	client := w.client()
	go func() {
		_, err := client.Chat.Completions.New(context.Background(), hello("gpt-x"))
		first <- err
	}()
	wait(t, "the first request's second attempt", gate.Entered())
	// One retry is under way, which is the whole budget.
	_, err := client.Chat.Completions.New(context.Background(), hello("gpt-x"))
	if e := apiError(t, err); e.StatusCode != http.StatusInternalServerError {
		t.Errorf("status = %d", e.StatusCode)
	}
	if got := testutil.ToFloat64(w.gateway.meters.budgetSpent); got != 1 {
		t.Errorf("exhausted budgets = %v, want 1", got)
	}
	gate.Open()
	if err := wait(t, "the first request's end", first); err != nil {
		t.Error(err)
	}
	w.settled(t)
}

func TestTerminalAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  fakellm.Behaviour
		status string
		code   string
		has    []string
		hasNot []string
	}{
		{
			name: "client's mistake", fault: fakellm.Status(400, "context_length_exceeded", 0), status: "400",
			code: "context_length_exceeded", has: []string{"X-Should-Retry: false", "X-Upstream-Request-Id: req_fake"},
			hasNot: []string{"Retry-After"},
		},
		{name: "422", fault: fakellm.Status(422, "", 0), status: "422", has: []string{"X-Should-Retry: false"}},
		{name: "early refusal", fault: fakellm.EarlyResponse(), status: "413", code: "request_too_large"},
		{
			name: "rate limit", fault: fakellm.Status(429, "rate_limit_exceeded", 7*time.Second), status: "429",
			code: "rate_limit_exceeded", has: []string{"Retry-After: 7"}, hasNot: []string{"X-Should-Retry"},
		},
		{name: "overload", fault: fakellm.Status(503, "server_is_overloaded", 0), status: "503", has: []string{"Retry-After: "}},
		{
			name: "our credential", fault: fakellm.Status(401, "invalid_api_key", 0), status: "503", code: "upstream_unavailable",
			has: []string{"Retry-After: ", "X-Should-Retry: false"}, hasNot: []string{"Incorrect API key"},
		},
		{name: "our quota", fault: fakellm.Status(429, "insufficient_quota", 0), status: "503", code: "upstream_unavailable"},
		{name: "no answer", fault: fakellm.CloseBeforeBytes(), status: "503", code: "upstream_unavailable", has: []string{"Retry-After: 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA)
			w.provider.SetBehaviour(secretA, tc.fault)
			got := w.post("/v1/chat/completions", `{"model":"gpt-x","messages":[{"role":"user","content":"x"}]}`)
			if status(got) != tc.status {
				t.Errorf("status = %s, want %s", status(got), tc.status)
			}
			for _, want := range append(tc.has, `{"error":{`, "X-Request-Id: req_", `"code":`+map[bool]string{true: "", false: `"` + tc.code + `"`}[tc.code == ""]) {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			for _, not := range tc.hasNot {
				if strings.Contains(got, not) {
					t.Errorf("%q in\n%s", not, got)
				}
			}
			if r := w.record(); !r.Error || r.Input != 0 || r.CostNanoUSD != 0 {
				t.Errorf("record = %+v", r)
			}
			if n := len(w.books.all()); n != 1 {
				t.Errorf("%d records", n)
			}
			w.settled(t)
		})
	}
}

// brokenUpstream is an upstream on raw connections.
func brokenUpstream(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := &http.Server{Handler: answer, ReadHeaderTimeout: time.Minute}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return "http://" + ln.Addr().String()
}

// upstreamOf points channel a at base.
func (w *world) upstreamOf(base string) {
	ch := w.channel("a", 100, secretA)
	ch.BaseUrl = base
	w.put(syncv1.Kind_KIND_CHANNEL, "c-a", ch)
	w.publish()
}

func TestScrubsCredentialsFromErrors(t *testing.T) {
	for _, where := range []string{"status", "body of a 200", "first event", "header", "event mid-stream"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			w.upstreamOf(brokenUpstream(t, func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				body := fmt.Sprintf(`{"error":{"message":"bad key %s","type":"invalid_request_error","code":"x"}}`, secretA)
				switch where {
				case "status":
					rw.WriteHeader(http.StatusBadRequest)
					_, _ = io.WriteString(rw, body)
				case "body of a 200":
					rw.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(rw, body)
				case "first event":
					rw.Header().Set("Content-Type", "text/event-stream")
					_, _ = io.WriteString(rw, "data: "+body+"\n\n")
				case "header":
					rw.Header().Set("Openai-Debug", "key="+secretA)
					_, _ = io.WriteString(rw, `{"choices":[]}`)
				default:
					rw.Header().Set("Content-Type", "text/event-stream")
					_, _ = io.WriteString(rw, "data: {\"choices\":[]}\n\n")
					_ = http.NewResponseController(rw).Flush()
					_, _ = io.WriteString(rw, "data: "+body+"\n\n")
				}
			}))
			stream := strings.Contains(where, "event")
			got := w.post("/v1/chat/completions", fmt.Sprintf(`{"model":"gpt-x","stream":%v,"messages":[]}`, stream))
			if strings.Contains(got, secretA) {
				t.Errorf("the credential came back:\n%s", got)
			}
			if where != "header" && !strings.Contains(got, "bad key "+strings.Repeat("*", len(secretA))) {
				t.Errorf("the error did not come back:\n%s", got)
			}
			w.record()
		})
	}
}
