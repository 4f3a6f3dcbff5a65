package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// account changes an account that channel made, and publishes.
func (w *world) account(name, channel, secret string, change func(*syncv1.AccountState)) {
	w.t.Helper()
	a := &syncv1.AccountState{Name: "acc-" + name, ChannelId: "c-" + channel, Secret: secret, Weight: 100}
	change(a)
	w.put(syncv1.Kind_KIND_ACCOUNT, "a-"+name, a)
	w.publish()
}

// A conversation stays with its account where the group wants that, and moves on at once when that rests.
func TestConversationsStay(t *testing.T) {
	say := func(session string) string {
		return `{"model":"gpt-x","messages":[{"role":"user","content":"` + session + `"}]}`
	}
	for _, tc := range []struct {
		affinity resourcev1.Affinity
		moved    string // the status when the account rests; "" = it does not come to that
	}{
		{resourcev1.Affinity_AFFINITY_OFF, ""},
		{resourcev1.Affinity_AFFINITY_ON, "200"},
		{resourcev1.Affinity_AFFINITY_HARD, "503"},
	} {
		t.Run(tc.affinity.String(), func(t *testing.T) {
			w := newWorld(t)
			w.channel("a", 100, secretA, secretB, secretC)
			w.group(func(g *syncv1.GroupState) { g.Affinity = int32(tc.affinity) })
			served := make(map[string]map[string]bool)
			last := ""
			for range 20 {
				for _, session := range []string{"one", "two", "three", "four", "five", "six"} {
					if got := status(w.post("/v1/chat/completions", say(session))); got != "200" {
						t.Fatal(got)
					}
					all := w.served()
					last = all[len(all)-1]
					if served[session] == nil {
						served[session] = make(map[string]bool)
					}
					served[session][last] = true
				}
			}
			together := make(map[string]bool)
			for session, by := range served {
				if stays := len(by) == 1; stays != (tc.moved != "") {
					t.Errorf("%q was served by %d accounts", session, len(by))
				}
				for secret := range by {
					together[secret] = true
				}
			}
			if len(together) == 1 {
				t.Error("all conversations are at one account")
			}
			if tc.moved == "" {
				return
			}
			name := map[string]string{secretA: "acc-a0", secretB: "acc-a1", secretC: "acc-a2"}[last]
			w.cell(name).Cool(time.Now().Add(time.Hour).UnixMilli())
			if got := status(w.post("/v1/chat/completions", say("six"))); got != tc.moved {
				t.Errorf("when its account rests: %s", got)
			}
		})
	}
}

// An account that rests is tried with one request of a client when the leader permits it; how that went is told, and the
// client does not suffer from it.
func TestPermit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault fakellm.Behaviour
		want  []string
	}{
		{"it is well", fakellm.Healthy(), []string{secretA}},
		{"it is not", fakellm.Status(500, "", 0), []string{secretA, secretB}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA, secretB)
			w.debug()
			w.provider.SetBehaviour(secretA, tc.fault)
			w.cell("acc-a0").Cool(time.Now().Add(time.Hour).UnixMilli())
			if got := status(w.post("/v1/chat/completions", plainBody)); got != "200" {
				t.Fatal(got)
			}
			if d := cmp.Diff([]string{secretB}, w.served()); d != "" {
				t.Fatalf("before the permit (-want +got):\n%s", d)
			}
			now := time.Now()
			w.gateway.health.Tick(now)
			w.gateway.health.Apply(&syncv1.HealthUpdate{Term: "t", Revision: 1, Full: true, Permits: []*syncv1.ProbePermit{
				{Id: "permit-1", AccountId: "a-a0", Ttl: durationpb.New(30 * time.Second)},
			}}, now)
			answer := w.post("/v1/chat/completions", plainBody)
			if status(answer) != "200" {
				t.Errorf("the answer is\n%s", answer)
			}
			if probed := strings.Contains(answer, "X-Fairway-Pick: probe\r\n"); probed != (len(tc.want) == 1) {
				t.Errorf("picked as a probe: %v\n%s", probed, answer)
			}
			if d := cmp.Diff(append([]string{secretB}, tc.want...), w.served()); d != "" {
				t.Errorf("attempts (-want +got):\n%s", d)
			}
			w.settled(t)
			outcomes := w.gateway.health.Report(time.Now()).GetProbes()
			if len(outcomes) != 1 || outcomes[0].GetPermitId() != "permit-1" || outcomes[0].GetOk() != (len(tc.want) == 1) ||
				outcomes[0].GetFailed() != (len(tc.want) == 2) {
				t.Errorf("outcomes: %v", outcomes)
			}
			// It was one permit for one request.
			n := len(w.served())
			if got := status(w.post("/v1/chat/completions", plainBody)); got != "200" {
				t.Error(got)
			}
			if got := w.served()[n:]; len(got) != 1 || got[0] != secretB {
				t.Errorf("the next request was served by %q", got)
			}
		})
	}
}

// A proxy that knows no more than the verdict keeps to what a provider ordered, also in a panic.
func TestPanicKeepsToOrders(t *testing.T) {
	for name, ordered := range map[string]bool{"it failed too often": false, "its provider ordered it": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.channel("a", 100)
			w.account("a0", "a", secretA, func(a *syncv1.AccountState) {
				a.Verdict = &syncv1.VerdictState{State: int32(breaker.Open), Until: timestamppb.New(time.Now().Add(time.Hour)), Ordered: ordered}
			})
			answer := w.post("/v1/chat/completions", plainBody)
			if asked := len(w.served()) > 0; asked == ordered || (status(answer) == "200") == ordered {
				t.Errorf("the provider was asked: %v\n%s", asked, answer)
			}
		})
	}
}

// What an account's plan allows is not exceeded, and the decision says so.
func TestPlanCaps(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA, secretB)
	w.account("a0", "a", secretA, func(a *syncv1.AccountState) {
		a.SessionLength, a.SessionRequests = durationpb.New(time.Hour), 3
	})
	for range 5 {
		if got := status(w.post("/v1/chat/completions", plainBody)); got != "200" {
			t.Fatal(got)
		}
		w.settled(t)
	}
	if d := cmp.Diff([]string{secretA, secretA, secretA, secretB, secretB}, w.served()); d != "" {
		t.Errorf("attempts (-want +got):\n%s", d)
	}
	w.provider.SetBehaviour(secretB, fakellm.Status(401, "invalid_api_key", 0))
	answer := w.post("/v1/chat/completions", plainBody)
	d := w.known(requestIDOf(t, answer))
	if d.GetOutcome() != outcomeFailed || len(d.GetCandidates()) != 2 || d.GetCandidates()[0].GetExcluded() != "session" {
		t.Errorf("%v\n%s", d, answer)
	}
	answer = w.post("/v1/chat/completions", plainBody)
	if status(answer) != "503" || !strings.Contains(answer, "limits of its accounts are used up") {
		t.Errorf("when nobody is left:\n%s", answer)
	}
}

// What a provider's headers say is left of an account's limits is heard.
func TestRateLimitHeaders(t *testing.T) {
	w := newWorld(t)
	const body = `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12}}`
	base, _ := rawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-RateLimit-Limit-Requests: 100\r\n"+
		"X-RateLimit-Remaining-Requests: 0\r\nX-RateLimit-Reset-Requests: 1h\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n\r\n"+body)
	ch := w.channel("a", 100, secretA)
	ch.BaseUrl = base
	w.put(syncv1.Kind_KIND_CHANNEL, "c-a", ch)
	w.tiers()
	if got := status(w.post("/v1/chat/completions", plainBody)); got != "200" {
		t.Fatal(got)
	}
	if held := w.cell("acc-a0").HeldUntil.Load(); held < time.Now().Add(50*time.Minute).UnixMilli() {
		t.Errorf("it is not held: %d", held)
	}
}

// A model that all of a provider's accounts are short of is asked of another provider first.
func TestElsewhereFirst(t *testing.T) {
	for _, others := range []bool{true, false} {
		t.Run(fmt.Sprint("another provider ", others), func(t *testing.T) {
			w := newWorld(t)
			const model = "claude-sonnet-4-5"
			w.offer("a", resourcev1.Provider_PROVIDER_ANTHROPIC, []string{model}, secretA)
			b := w.offer("b", resourcev1.Provider_PROVIDER_ANTHROPIC, []string{model}, secretB)
			b.Priority = 99
			w.put(syncv1.Kind_KIND_CHANNEL, "c-b", b)
			if others {
				c := w.offer("c", resourcev1.Provider_PROVIDER_OPENAI, []string{model}, secretC)
				c.Priority = 98
				w.put(syncv1.Kind_KIND_CHANNEL, "c-c", c)
			}
			w.publish()
			w.provider.SetBehaviour(secretA, fakellm.Status(529, "overloaded_error", 0))
			answer := w.post("/v1/messages", `{"model":"`+model+`","max_tokens":10,"messages":[{"role":"user","content":"x"}]}`)
			if status(answer) != "200" {
				t.Errorf("the answer is\n%s", answer)
			}
			want := []string{secretA, secretB}
			if others {
				want[1] = secretC
			}
			if d := cmp.Diff(want, w.served()); d != "" {
				t.Errorf("attempts (-want +got):\n%s", d)
			}
		})
	}
}

// What the fleet's leader is told of times to the first byte knows the tokens that had to be read for them.
func TestLatencyIsReported(t *testing.T) {
	for _, body := range []string{plainBody, streamBody} {
		w := newWorld(t)
		w.tiers(secretA)
		if got := status(w.post("/v1/chat/completions", body)); got != "200" {
			t.Fatal(got)
		}
		w.settled(t)
		r := w.gateway.health.Report(time.Now())
		if l := r.GetLatencies(); len(l) != 1 || l[0].GetN() != 1 || l[0].GetX() <= 0 || l[0].GetModel() != "gpt-x" {
			t.Errorf("latencies: %v", l)
		}
		if a := r.GetAccounts(); len(a) != 1 || a[0].GetOk() != 1 || a[0].GetTokens() == 0 || a[0].GetDurationCount() != 1 || a[0].GetInFlight() != 0 {
			t.Errorf("accounts: %v", a)
		}
		s := r.GetStats()
		if s.GetRequests() != 1 || s.GetAttempts() != 1 || s.GetInFlight() != 0 || s.GetOutputTokens() == 0 || s.GetFailures() != 0 {
			t.Errorf("stats: %v", s)
		}
	}
}
