package limit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/operation"
)

func TestView(t *testing.T) {
	w := newWorld(t)
	both := []Limit{{What: Requests, Over: Minute, Amount: 60}, {What: Tokens, Over: Minute, Amount: 1000}}
	tenant, key := terms(Tenant, "t", Closed, both...), terms(Key, "k", Closed, append(both, Limit{What: Cost, Over: Day, Amount: 5})...)
	s := Scopes{AtTenant: tenant, AtKey: key}
	if got := w.k.View(&s, w.now); got != (View{}) {
		t.Errorf("before anything is known: %+v", got)
	}
	w.open(tenant, key)
	a, b := in(of(tenant, 0, 5), 1, 0, 20*time.Second), in(of(tenant, 1, 100), 1, 0, 20*time.Second)
	c, d := in(of(key, 0, 5), 1, 0, 30*time.Second), in(of(key, 1, 100), 1, 0, 30*time.Second)
	a.Left, b.Left, c.Left, d.Left = 10, 500, 20, 300
	w.lend(a, b, c, d, of(key, 2, 1))
	want := View{Requests: Rate{60, 15, 20 * time.Second}, Tokens: Rate{1000, 400, 30 * time.Second}}
	if diff := cmp.Diff(want, w.k.View(&s, w.now)); diff != "" {
		t.Errorf("the tightest (-want +got):\n%s", diff)
	}
	var r Reservation
	if f := w.reserve(&r, s, Estimate{Tokens: 50, Cost: 1}); f != nil {
		t.Fatalf("%+v", f)
	}
	want = View{Requests: Rate{60, 14, 20 * time.Second}, Tokens: Rate{1000, 350, 30 * time.Second}}
	if diff := cmp.Diff(want, w.k.View(&s, w.now)); diff != "" {
		t.Errorf("after a request (-want +got):\n%s", diff)
	}
}

func TestHeaders(t *testing.T) {
	v := View{Requests: Rate{60, 14, 20 * time.Second}, Tokens: Rate{1000, 350, 61*time.Second + 500*time.Millisecond}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	tests := []struct {
		name string
		d    operation.Dialect
		v    View
		want [][2]string
	}{
		{"openai", operation.OpenAI, v, [][2]string{
			{"x-ratelimit-limit-requests", "60"}, {"x-ratelimit-remaining-requests", "14"}, {"x-ratelimit-reset-requests", "20s"},
			{"x-ratelimit-limit-tokens", "1000"}, {"x-ratelimit-remaining-tokens", "350"}, {"x-ratelimit-reset-tokens", "1m1s"},
		}},
		{"anthropic", operation.Anthropic, v, [][2]string{
			{"anthropic-ratelimit-requests-limit", "60"}, {"anthropic-ratelimit-requests-remaining", "14"},
			{"anthropic-ratelimit-requests-reset", "2026-01-02T03:04:26Z"},
			{"anthropic-ratelimit-tokens-limit", "1000"}, {"anthropic-ratelimit-tokens-remaining", "350"},
			{"anthropic-ratelimit-tokens-reset", "2026-01-02T03:05:07Z"},
		}},
		{"gemini", operation.Gemini, v, nil},
		{"one kind", operation.OpenAI, View{Tokens: Rate{9, -3, 6500 * time.Millisecond}}, [][2]string{
			{"x-ratelimit-limit-tokens", "9"}, {"x-ratelimit-remaining-tokens", "0"}, {"x-ratelimit-reset-tokens", "6.500s"},
		}},
		{"none", operation.OpenAI, View{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got [][2]string
			tt.v.Headers(tt.d, now, make([]byte, 0, 64), func(name string, value []byte) {
				got = append(got, [2]string{name, string(value)})
			})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSpans: what is written is what Go reads, and never less than what is left.
func TestSpans(t *testing.T) {
	for _, d := range []time.Duration{0, 1, time.Millisecond, 999 * time.Millisecond, 999*time.Millisecond + 1, time.Second, 6*time.Second + 20*time.Millisecond,
		59999 * time.Millisecond, time.Minute, 6 * time.Minute, time.Hour, 25*time.Hour + 61*time.Second} {
		got, err := time.ParseDuration(string(appendSpan(nil, d)))
		if err != nil || got < d || got-d > time.Millisecond {
			t.Errorf("%v is written as %s (%v)", d, appendSpan(nil, d), err)
		}
	}
}

func TestRefusalInLogs(t *testing.T) {
	for want, f := range map[string]Refusal{
		"key_requests_minute_spent":   {Cause: Spent, Scope: Key, What: Requests, Over: Minute},
		"group_concurrency_short":     {Cause: Short, Scope: Group, What: Concurrency, Over: Always},
		"tenant_cost_rolling_away":    {Cause: Away, Scope: Tenant, What: Cost, Over: Rolling, Minutes: 90},
		"tenant_cost_month_pending":   {Cause: Pending, Scope: Tenant, What: Cost, Over: Month},
		"key_tokens_too_much":         {Cause: TooMuch, Scope: Key, What: Tokens, Over: Minute},
		"key_cost_spent":              {Cause: Spent, Scope: Key, What: Cost, Over: Always},
		"unknown_unknown_day_unknown": {Cause: 99, Scope: 99, What: 99, Over: Day},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
