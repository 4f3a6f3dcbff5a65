package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/accesslog"
	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/limit"
	"fairway/dataplane/internal/report"
	"fairway/pkg/bank"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/operation"
	"fairway/pkg/testkit/fakellm"
)

// TestLimits: so many requests are served and no more, whoever's limit it is; the refusal names the limit, says when to come
// back, and reaches no upstream.
func TestLimits(t *testing.T) {
	const day, total = resourcev1.BudgetWindow_BUDGET_WINDOW_DAY, resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL
	for _, tc := range []struct {
		name    string
		limits  *syncv1.LimitsState
		served  int
		status  int
		code    string
		message string // %s is whose it is
		retry   [2]int // seconds, at least and at most; 0 = no word
		again   bool   // it is worth it without anybody's doing
	}{
		{"requests a minute", &syncv1.LimitsState{Rpm: 3}, 3, 429, "rate_limit_exceeded",
			"the %s's limit of 3 requests per minute is reached", [2]int{1, 60}, true},
		{"tokens a minute", &syncv1.LimitsState{Tpm: 30}, 3, 429, "rate_limit_exceeded",
			"the %s's limit of 30 tokens per minute is reached", [2]int{1, 60}, true},
		{"a budget", &syncv1.LimitsState{Budgets: budgetOf(110, total)}, 3, 429, "insufficient_quota",
			"the %s's limit of $0.00000011 in total is reached", [2]int{}, false},
		{"a budget of a day", &syncv1.LimitsState{Budgets: budgetOf(110, day)}, 3, 429, "insufficient_quota",
			"the %s's limit of $0.00000011 per day is reached", [2]int{12*3600 - 60, 12 * 3600}, false},
		{"tokens of a request", &syncv1.LimitsState{MaxRequestTokens: 5}, 0, 400, "request_limit_exceeded",
			"and the %s allows 5 tokens for one request", [2]int{}, false},
		{"cost of a request", &syncv1.LimitsState{MaxRequestNanoUsd: 20}, 0, 400, "request_limit_exceeded",
			"and the %s allows $0.00000002 for one request", [2]int{}, false},
		{"a budget below one request", &syncv1.LimitsState{Budgets: budgetOf(10, total)}, 0, 400, "request_limit_exceeded",
			"and the %s allows $0.00000001 for one request", [2]int{}, false},
	} {
		for who, name := range map[bank.Owner]string{theKey: "key", theGroup: "group", theTenant: "tenant", theParent: "tenant"} {
			t.Run(tc.name+" of "+who.ID, func(t *testing.T) {
				w := billed(t)
				l := w.lend(patience)
				w.limits(l, map[bank.Owner]*syncv1.LimitsState{who: tc.limits})
				for n := range tc.served {
					if got, body := w.call(t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key); got.StatusCode != 200 {
						t.Fatalf("request %d: %d %s", n+1, got.StatusCode, body)
					}
				}
				for range 2 {
					got, body := w.call(t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key)
					if got.StatusCode != tc.status || !strings.Contains(body, fmt.Sprintf(`"code":%q`, tc.code)) ||
						!strings.Contains(body, fmt.Sprintf(tc.message, name)) {
						t.Errorf("%d %s", got.StatusCode, body)
					}
					retry, _ := strconv.Atoi(got.Header.Get("Retry-After"))
					if retry < tc.retry[0] || retry > tc.retry[1] {
						t.Errorf("Retry-After: %q", got.Header.Get("Retry-After"))
					}
					if again := got.Header.Get("X-Should-Retry") != "false"; again != tc.again {
						t.Errorf("X-Should-Retry: %q", got.Header.Get("X-Should-Retry"))
					}
				}
				if n := len(w.provider.Requests()); n != tc.served {
					t.Errorf("%d requests reached the upstream", n)
				}
				if n := len(w.books.all()); n != tc.served {
					t.Errorf("%d records", n)
				}
			})
		}
	}
}

// TestTightestLimitIsNamed: of limits that nest, the tightest holds, and it is named.
func TestTightestLimitIsNamed(t *testing.T) {
	for tight, name := range map[bank.Owner]string{theKey: "key", theGroup: "group", theTenant: "tenant", theParent: "tenant"} {
		t.Run(tight.ID, func(t *testing.T) {
			w := billed(t)
			l := w.lend(patience)
			all := make(map[bank.Owner]*syncv1.LimitsState)
			for i, who := range []bank.Owner{theKey, theGroup, theTenant, theParent} {
				all[who] = &syncv1.LimitsState{Rpm: int64(10 + i), Tpm: 10_000, Concurrency: 10,
					Budgets: budgetOf(1e9, resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL)}
			}
			all[tight].Rpm = 2
			w.limits(l, all)
			for want := range 3 {
				got, body := w.call(t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key)
				if ok := got.StatusCode == 200; ok != (want < 2) {
					t.Fatalf("request %d: %d %s", want+1, got.StatusCode, body)
				}
				if want == 2 && !strings.Contains(body, "the "+name+"'s limit of 2 requests per minute") {
					t.Error(body)
				}
				if left := got.Header.Get("X-Ratelimit-Remaining-Requests"); left != strconv.Itoa(max(1-want, 0)) ||
					got.Header.Get("X-Ratelimit-Limit-Requests") != "2" {
					t.Errorf("%s requests are left of %s", left, got.Header.Get("X-Ratelimit-Limit-Requests"))
				}
			}
			// What the tightest refused, the others have not counted.
			l.exchange()
			w.eventually("the leader knows", func() bool {
				for who := range all {
					if v := l.view(who, requestsAMinute); v.Spent != 2 {
						return false
					}
				}
				return true
			})
		})
	}
}

// TestNobodyIsAsked: requests that find credits say nothing to anybody. The leader does not listen, and a wait would last.
func TestNobodyIsAsked(t *testing.T) {
	w := billed(t)
	l := w.lend(patience)
	all := make(map[bank.Owner]*syncv1.LimitsState)
	for _, who := range []bank.Owner{theKey, theGroup, theTenant, theParent} {
		all[who] = &syncv1.LimitsState{Rpm: 1e6, Tpm: 1e9, Concurrency: 1000, Budgets: budgetOf(1e9, resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL)}
	}
	w.limits(l, all)
	if got, body := w.call(t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, body)
	}
	l.stop()
	l.generous = true
	l.keeper.Connect()
	l.exchange()
	before := l.heard()
	const requests = 200
	for n := range requests {
		body := []string{cheapBody, cheapStream}[n%2]
		if got, body := w.call(t, "POST", "/v1/chat/completions", body, "Authorization: Bearer "+w.key); got.StatusCode != 200 {
			t.Fatalf("request %d: %d %s", n+1, got.StatusCode, body)
		}
	}
	if n := l.heard() - before; n != 0 {
		t.Errorf("%d messages for %d requests", n, requests)
	}
	// Then, one message says it all.
	l.keeper.Connect()
	l.exchange()
	if n := l.heard() - before; n != 1 {
		t.Errorf("%d messages afterwards", n)
	}
	if v := l.view(theParent, requestsAMinute); v.Spent != requests+1 {
		t.Errorf("%d requests are spent, want %d", v.Spent, requests+1)
	}
	if v := l.view(theKey, tokensAMinute); v.Spent != 9*(requests+1) {
		t.Errorf("%d tokens are spent, want %d", v.Spent, 9*(requests+1))
	}
	if v := l.view(theTenant, costInAll); v.Spent != 30*(requests+1) || v.Booked != 0 {
		t.Errorf("the budget stands at %+v", v)
	}
	if v := l.view(theGroup, slots); v.Spent != 0 {
		t.Errorf("%d slots are in use", v.Spent)
	}
	// What is on the books is not spent twice.
	l.commit()
	l.keeper.Connect()
	l.exchange()
	if v := l.view(theTenant, costInAll); v.Booked != 30*(requests+1) || v.Spent != 0 {
		t.Errorf("with books, the budget stands at %+v", v)
	}
}

// TestSDKsKnowRefusals: the official clients read a refusal as their own service's, before a stream as well.
func TestSDKsKnowRefusals(t *testing.T) {
	kinds := map[string]string{"chat": "rate_limit_error", "responses": "rate_limit_error", "messages": "rate_limit_error", "generate": "RESOURCE_EXHAUSTED"}
	day := resourcev1.BudgetWindow_BUDGET_WINDOW_DAY
	for _, c := range catchers() {
		for name, limits := range map[string]*syncv1.LimitsState{"rate": {Rpm: 1}, "budget": {Budgets: budgetOf(3000, day)}} {
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, stream %v", c.name, name, stream), func(t *testing.T) {
					w := newWorld(t)
					w.put(syncv1.Kind_KIND_MODEL, "m1", &syncv1.ModelState{Name: "gpt-x", Prices: []*syncv1.PriceState{{Request: 1000}}})
					w.tiers(secretA)
					w.limits(w.lend(patience), map[bank.Owner]*syncv1.LimitsState{theKey: limits})
					if _, err := c.ask(t.Context(), t, w, "gpt-x", stream, func() {}); err != nil {
						t.Fatal(err)
					}
					_, err := c.ask(t.Context(), t, w, "gpt-x", stream, func() {})
					if err == nil {
						t.Fatal("let in")
					}
					want := told{status: 429, kind: kinds[c.name]}
					openAI := c.name == "chat" || c.name == "responses"
					switch {
					case openAI && name == "budget":
						want.kind, want.code = "insufficient_quota", "insufficient_quota"
					case openAI:
						want.code = "rate_limit_exceeded"
					}
					got := c.told(t, err)
					if !strings.Contains(got.message, "the key's limit of ") {
						t.Errorf("message: %s", got.message)
					}
					if got.message = ""; got != want {
						t.Errorf("got %+v, want %+v", got, want)
					}
				})
			}
		}
	}
}

// TestRateHeaders: answers say where the client's own limits stand, in its dialect, in place of what the upstream says of its
// account's; without such limits the upstream's pass.
func TestRateHeaders(t *testing.T) {
	answer := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-RateLimit-Remaining-Requests: 77\r\nanthropic-ratelimit-tokens-limit: 88\r\n" +
		"Content-Length: %d\r\n\r\n%s"
	body := chatAnswer("default", 10)
	said := func(h http.Header) map[string]string {
		all := make(map[string]string)
		for name := range h {
			if lower := strings.ToLower(name); strings.Contains(lower, "ratelimit") && !strings.Contains(lower, "reset") {
				all[lower] = strings.Join(h[name], ",")
			}
		}
		return all
	}
	for _, tc := range []struct {
		name, target, body string
		limits             *syncv1.LimitsState
		want               map[string]string
		resets             []string
	}{
		{"none", "/v1/chat/completions", cheapBody, &syncv1.LimitsState{Concurrency: 5, MaxRequestTokens: 1000},
			map[string]string{"x-ratelimit-remaining-requests": "77", "anthropic-ratelimit-tokens-limit": "88"}, nil},
		{"OpenAI's", "/v1/chat/completions", cheapBody, &syncv1.LimitsState{Rpm: 5, Tpm: 1000},
			map[string]string{"x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "4",
				"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "988"},
			[]string{"X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens"}},
		{"Anthropic's", "/v1/messages", cheapBody, &syncv1.LimitsState{Rpm: 5},
			map[string]string{"anthropic-ratelimit-requests-limit": "5", "anthropic-ratelimit-requests-remaining": "4"},
			[]string{"Anthropic-Ratelimit-Requests-Reset"}},
		{"Gemini's", "/v1beta/models/gpt-x:generateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, &syncv1.LimitsState{Rpm: 5},
			map[string]string{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			base, _ := rawUpstream(t, fmt.Sprintf(answer, len(body), body))
			w.upstreamOf(base)
			w.limits(w.lend(patience), map[bank.Owner]*syncv1.LimitsState{theKey: tc.limits})
			got, text := w.call(t, "POST", tc.target, tc.body, "Authorization: Bearer "+w.key)
			if got.StatusCode != 200 {
				t.Fatalf("%d %s", got.StatusCode, text)
			}
			if d := cmp.Diff(tc.want, said(got.Header)); d != "" {
				t.Errorf("headers (-want +got):\n%s", d)
			}
			for _, name := range tc.resets {
				if got.Header.Get(name) == "" {
					t.Errorf("no %s", name)
				}
			}
		})
	}
}

// TestRefusalIsExplained: who asks what became of a request that a limit refused hears which one it was; so does the log.
func TestRefusalIsExplained(t *testing.T) {
	w := billed(t)
	var out lockedBuffer
	access, err := accesslog.New(accesslog.Options{File: "-", Sample: 1, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- access.Run(ctx) }()
	w.gateway.access = access
	w.limits(w.lend(patience), map[bank.Owner]*syncv1.LimitsState{theTenant: {Budgets: budgetOf(60, resourcev1.BudgetWindow_BUDGET_WINDOW_DAY)}})
	var got *http.Response
	for range 2 {
		got, _ = w.call(t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key)
	}
	if got.StatusCode != 429 {
		t.Fatalf("%d", got.StatusCode)
	}
	var d *adminv1.Decision
	w.eventually("the decision is made", func() bool {
		d = w.gateway.Lookup(got.Header.Get("X-Request-Id"))
		return d.GetOutcome() != outcomeLive
	})
	if want := "insufficient_quota: the tenant's limit of $0.00000006 per day is reached"; d.GetError() != want || d.GetOutcome() != outcomeRefused ||
		len(d.GetAttempts()) != 0 {
		t.Errorf("explained: %v", d)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"tenant_cost_day_spent"`) {
		t.Errorf("logged: %s", out.String())
	}
	w.gateway.access = nil
}

// TestFailuresCost: what the upstreams made nothing of was a request, and no tokens; what never reached one was nothing.
func TestFailuresCost(t *testing.T) {
	all := func() map[bank.Owner]*syncv1.LimitsState {
		return map[bank.Owner]*syncv1.LimitsState{theKey: {Rpm: 100, Tpm: 100_000, Concurrency: 10,
			Budgets: budgetOf(1e9, resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL)}}
	}
	for _, tc := range []struct {
		name     string
		target   string
		body     string
		prepare  func(*world)
		requests int64
		tokens   int64
		cost     int64
	}{
		{"served", "/v1/chat/completions", cheapBody, nil, 1, 9, 30},
		{"a stream", "/v1/chat/completions", cheapStream, nil, 1, 9, 30},
		{"failed everywhere", "/v1/chat/completions", cheapBody,
			func(w *world) { w.provider.SetBehaviour(secretA, fakellm.Status(500, "", 0)) }, 1, 0, 0},
		{"refused by the upstream", "/v1/chat/completions", cheapBody,
			func(w *world) { w.provider.SetBehaviour(secretA, fakellm.Status(400, "bad", 0)) }, 1, 0, 0},
		{"not billed", "/v1/moderations", `{"model":"gpt-x","input":"x"}`, nil, 1, 0, 0},
		{"nobody is there", "/v1/chat/completions", cheapBody,
			func(w *world) { w.cell("acc-a0").HeldUntil.Store(time.Now().Add(time.Hour).UnixMilli()) }, 0, 0, 0},
		{"the books panic", "/v1/chat/completions", cheapBody, func(w *world) { w.gateway.sink = panickySink{} }, 1, 0, 0},
		{"no such model", "/v1/chat/completions", strings.Replace(cheapBody, "gpt-x", "no-such", 1), nil, 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := billed(t)
			l := w.lend(patience)
			w.limits(l, all())
			if tc.prepare != nil {
				tc.prepare(w)
			}
			w.call(t, "POST", tc.target, tc.body, "Authorization: Bearer "+w.key)
			w.quiet()
			l.stop()
			l.keeper.Connect()
			l.exchange()
			for kind, want := range map[bank.Kind]int64{requestsAMinute: tc.requests, tokensAMinute: tc.tokens, costInAll: tc.cost, slots: 0} {
				if v := l.view(theKey, kind); v.Spent != want {
					t.Errorf("%+v: %d is spent, want %d", kind, v.Spent, want)
				}
			}
		})
	}
}

// TestRecordsSayWhatWasReserved: the books hear what a request's limits were asked for, if it stands under any.
func TestRecordsSayWhatWasReserved(t *testing.T) {
	for name, tc := range map[string]struct {
		limits *syncv1.LimitsState
		want   int64
	}{
		"no limits":           {nil, 0},
		"requests":            {&syncv1.LimitsState{Rpm: 100}, 12},
		"tokens":              {&syncv1.LimitsState{Tpm: 1000}, 12},
		"a budget":            {&syncv1.LimitsState{Budgets: budgetOf(1e9, resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL)}, 12},
		"tokens of a request": {&syncv1.LimitsState{MaxRequestTokens: 100}, 12},
	} {
		t.Run(name, func(t *testing.T) {
			w := billed(t)
			l := w.lend(patience)
			if tc.limits != nil {
				w.limits(l, map[bank.Owner]*syncv1.LimitsState{theParent: tc.limits})
			}
			w.call(t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key)
			w.quiet()
			var got []int64
			for _, r := range w.books.all() {
				got = append(got, r.Reserved)
			}
			if d := cmp.Diff([]int64{tc.want}, got); d != "" {
				t.Errorf("reserved (-want +got):\n%s", d)
			}
		})
	}
}

type panickySink struct{}

func (panickySink) Append(*report.Record) error { panic("books") }

// TestExpectations: what requests are estimated at.
func TestExpectations(t *testing.T) {
	w := newWorld(t)
	dear := w.channel("b", 50, secretB)
	dear.PriceRatioPpm = 3_000_000
	w.put(syncv1.Kind_KIND_CHANNEL, "c-b", dear)
	w.put(syncv1.Kind_KIND_MODEL, "m1", &syncv1.ModelState{Name: "gpt-x", Priced: true, Input: 4_000_000, Output: 1_000_000,
		Prices: []*syncv1.PriceState{{Input: 4_000_000, Output: 1_000_000}, {Input: 8_000_000, Output: 2_000_000, AboveInputTokens: 1000}}})
	w.put(syncv1.Kind_KIND_MODEL, "m2", &syncv1.ModelState{Name: "gpt-y", Prices: []*syncv1.PriceState{{Image: 500}}})
	w.tiers(secretA)
	snap := w.holder.Current()
	group, _ := snap.Group("g1")
	for _, tc := range []struct {
		name  string
		op    operation.Operation
		model string
		peek  dialect.Peek
		want  limit.Estimate
	}{
		{"chat", operation.Chat, "gpt-x", dialect.Peek{TextBytes: 40, Asks: dialect.Asks{MaxTokens: 5}}, limit.Estimate{Tokens: 15, Cost: 6 * (40 + 5)}},
		{"a long one", operation.Chat, "gpt-x", dialect.Peek{TextBytes: 8000, Asks: dialect.Asks{MaxTokens: 5}},
			limit.Estimate{Tokens: 2005, Cost: 6 * (16_000 + 10)}},
		{"three answers", operation.Chat, "gpt-x", dialect.Peek{TextBytes: 40, Asks: dialect.Asks{MaxTokens: 5, Answers: 3}},
			limit.Estimate{Tokens: 25, Cost: 6 * (40 + 15)}},
		{"embeddings", operation.Embeddings, "gpt-x", dialect.Peek{TextBytes: 40}, limit.Estimate{Tokens: 10, Cost: 6 * 40}},
		{"images by the piece", operation.Images, "gpt-y", dialect.Peek{TextBytes: 40, Asks: dialect.Asks{Answers: 2}},
			limit.Estimate{Tokens: 10, Cost: 6 * 1000}},
		{"images by tokens", operation.Images, "gpt-x", dialect.Peek{TextBytes: 40}, limit.Estimate{Tokens: 1034, Cost: 6 * (40 + 1024)}},
		{"a count", operation.CountTokens, "gpt-x", dialect.Peek{TextBytes: 40}, limit.Estimate{}},
		{"a batch", operation.Batches, "gpt-x", dialect.Peek{TextBytes: 40}, limit.Estimate{}},
		{"what nobody has priced", operation.Chat, "embed-x", dialect.Peek{TextBytes: 40, Asks: dialect.Asks{MaxTokens: 5}}, limit.Estimate{Tokens: 15}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := &exchange{g: w.gateway}
			x.snap, x.group, x.op, x.model, x.peek, x.now = snap, group, tc.op, tc.model, tc.peek, time.Now()
			x.pool, _ = snap.Pool(group, tc.model)
			if got := x.expectation(); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
