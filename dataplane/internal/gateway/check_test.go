package gateway

import (
	"testing"
	"time"

	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

func TestCheck(t *testing.T) {
	const models, answer = int32(breaker.CheckModels), int32(breaker.CheckAnswer)
	for _, tc := range []struct {
		name     string
		provider resourcev1.Provider
		model    string
		check    int32
		fault    fakellm.Behaviour
		reason   string // "" = it is well
		asked    time.Duration
		billed   bool
	}{
		{name: "openai's models", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "gpt-x", check: models},
		{name: "unspecified is models", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "gpt-x"},
		{name: "openai's answer", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "gpt-x", check: answer, billed: true},
		{name: "anthropic's models", provider: resourcev1.Provider_PROVIDER_ANTHROPIC, model: "claude-sonnet-4-5", check: models},
		{name: "gemini's models", provider: resourcev1.Provider_PROVIDER_GEMINI, model: "gemini-3-pro", check: models},
		{name: "bad key", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "gpt-x", check: models, fault: fakellm.Status(401, "invalid_api_key", 0), reason: "credential"},
		{name: "anthropic's bad key", provider: resourcev1.Provider_PROVIDER_ANTHROPIC, model: "claude-sonnet-4-5", check: models, fault: fakellm.Status(401, "authentication_error", 0), reason: "credential"},
		{name: "not yet", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "gpt-x", check: models, fault: fakellm.Status(429, "rate_limit_exceeded", 7*time.Second), reason: "rate_limit", asked: 7 * time.Second},
		{name: "answers with an error", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "gpt-x", check: answer, fault: fakellm.Status(500, "", 0), reason: "server_error"},
		{name: "not reached", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "gpt-x", check: answer, fault: fakellm.CloseBeforeBytes(), reason: "connection"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.offer("a", tc.provider, []string{tc.model}, secretA)
			w.publish()
			w.provider.SetBehaviour(secretA, tc.fault)
			o := w.gateway.Check(t.Context(), &syncv1.ProbePermit{Id: "p", AccountId: "a-a0", Check: tc.check, Model: tc.model})
			reason := ""
			if o.Verdict != nil {
				reason = o.Verdict.Reason
			}
			if reason != tc.reason || o.Asked != tc.asked || o.Gone || o.Candidate == nil || o.Candidate.Account.ID != "a-a0" {
				t.Errorf("reason %q, asked %v: %+v", reason, o.Asked, o)
			}
			if billed := len(w.served()) > 0 && tc.reason == ""; billed != tc.billed {
				t.Errorf("it costs something: %v", billed)
			}
			if n := len(w.books.all()); n != 0 {
				t.Errorf("%d records", n)
			}
		})
	}
	w := newWorld(t)
	if o := w.gateway.Check(t.Context(), &syncv1.ProbePermit{Id: "p", AccountId: "nobody"}); !o.Gone {
		t.Errorf("of an account that is not known: %+v", o)
	}
}
