package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"google.golang.org/protobuf/testing/protocmp"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// boundKey makes, or changes, a key that is bound to accounts.
func (w *world) boundKey(key string, accounts ...string) string {
	w.t.Helper()
	if key == "" {
		return w.anotherKey(func(k *syncv1.KeyState) { k.AccountIds = accounts })
	}
	state := keyState(key, "g1")
	state.AccountIds = accounts
	w.put(syncv1.Kind_KIND_KEY, "k2", state)
	w.publish()
	return key
}

// asked are the accounts' secrets that the provider has seen since from, in order.
func (w *world) asked(from int) []string {
	var all []string
	for _, r := range w.provider.Requests()[from:] {
		all = append(all, r.Credential)
	}
	return all
}

// TestBoundKeyIsServedByItsAccounts: by no other, whatever their priority, and also when they fail.
func TestBoundKeyIsServedByItsAccounts(t *testing.T) {
	w := trio(t, "gpt-x")
	key := w.boundKey("", "a-b0", "a-c0")
	client := w.client(option.WithAPIKey(key))
	for range 5 {
		if _, err := client.Chat.Completions.New(t.Context(), hello("gpt-x")); err != nil {
			t.Fatal(err)
		}
	}
	w.provider.SetBehaviour(secretB, fakellm.Status(500, "", 0))
	if _, err := client.Chat.Completions.New(t.Context(), hello("gpt-x")); err != nil {
		t.Errorf("it does not move on to the other account: %v", err)
	}
	w.provider.SetBehaviour(secretC, fakellm.Status(500, "", 0))
	var head *http.Response
	_, err := client.Chat.Completions.New(t.Context(), hello("gpt-x"), option.WithResponseInto(&head))
	if e := toldOpenAI(t, err); e.status < 500 {
		t.Errorf("with both down: %+v", e)
	}
	if got := w.asked(0); slices.Contains(got, secretA) {
		t.Errorf("the provider saw %q, and one of them is not the key's", got)
	}
	// What a key is not bound to is said where somebody asks why.
	d := w.known(head.Header.Get("X-Request-Id"))
	want := []*adminv1.DecisionCandidate{
		{Channel: "ch-b", Account: "acc-b0", Priority: 99}, {Channel: "ch-c", Account: "acc-c0", Priority: 98},
		{Channel: "ch-a", Account: "acc-a0", Priority: 100, Excluded: "not bound to the key"},
	}
	few := protocmp.IgnoreFields(&adminv1.DecisionCandidate{}, "share", "cost", "performance", "load", "reliability", "vigor", "in_flight")
	for _, c := range d.GetCandidates() {
		if c.GetChannel() != "ch-a" {
			c.Excluded = ""
		}
	}
	if diff := cmp.Diff(want, d.GetCandidates(), protocmp.Transform(), few); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
	// Nobody else is concerned.
	unbound := w.client()
	if _, err := unbound.Chat.Completions.New(t.Context(), hello("gpt-x")); err != nil {
		t.Error(err)
	}
	if got := w.asked(0); got[len(got)-1] != secretA {
		t.Error("a key that is bound to nothing was not served by the first account")
	}
}

// TestBoundKeyWithoutItsAccounts: nobody else serves it, and it is told so.
func TestBoundKeyWithoutItsAccounts(t *testing.T) {
	w := trio(t, "gpt-x")
	other := w.offer("d", 1, []string{"gpt-y"})
	w.put(syncv1.Kind_KIND_CHANNEL, "c-d", other)
	w.put(syncv1.Kind_KIND_ACCOUNT, "a-d0", &syncv1.AccountState{Name: "acc-d0", ChannelId: "c-d", Secret: secretA})
	w.put(syncv1.Kind_KIND_ACCOUNT, "a-d1", &syncv1.AccountState{Name: "acc-d1", ChannelId: "c-a", Secret: secretA, Disabled: true})
	key := ""
	for name, accounts := range map[string][]string{
		"not there": {"a-gone"}, "disabled": {"a-d1"}, "of another model": {"a-d0"},
	} {
		t.Run(name, func(t *testing.T) {
			key = w.boundKey(key, accounts...)
			client := w.client(option.WithAPIKey(key))
			before := len(w.provider.Requests())
			var head *http.Response
			_, err := client.Chat.Completions.New(t.Context(), hello("gpt-x"), option.WithResponseInto(&head))
			e := toldOpenAI(t, err)
			if e.status != 503 || e.code != "no_account_available" || !strings.Contains(e.message, "bound to") {
				t.Errorf("got %+v, want a 503 that says what is wrong", e)
			}
			if asked := w.asked(before); len(asked) > 0 {
				t.Errorf("the provider saw %q", asked)
			}
			d := w.known(head.Header.Get("X-Request-Id"))
			if n := len(d.GetCandidates()); n != 3 || d.GetCandidates()[0].GetExcluded() != "not bound to the key" {
				t.Errorf("candidates = %v, want three that are not bound to the key", d.GetCandidates())
			}
		})
	}
}

// TestBoundKeyFindsWhatItsAccountsHold, and does not look, or go on, anywhere else.
func TestBoundKeyFindsWhatItsAccountsHold(t *testing.T) {
	follow := func(id string) responses.ResponseNewParams {
		p := responses.ResponseNewParams{Model: "gpt-x", PreviousResponseID: openai.String(id)}
		p.Input.OfString = openai.String("four")
		return p
	}
	for _, known := range []bool{true, false} {
		t.Run(map[bool]string{true: "owner known", false: "owner unknown"}[known], func(t *testing.T) {
			w := trio(t, "gpt-x")
			key := w.boundKey("", "a-c0")
			client := w.client(option.WithAPIKey(key))
			p := responses.ResponseNewParams{Model: "gpt-x"}
			p.Input.OfString = openai.String("one two three")
			made, err := client.Responses.New(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			forget := func() {
				if !known {
					w.gateway.owners = owners{} // as in another proxy
				}
			}
			var head *http.Response
			tried := func() []string {
				var all []string
				for _, a := range w.known(head.Header.Get("X-Request-Id")).GetAttempts() {
					all = append(all, a.GetAccount())
				}
				return all
			}
			forget()
			_, err = client.Responses.Get(t.Context(), made.ID, responses.ResponseGetParams{}, option.WithResponseInto(&head))
			if got := tried(); err != nil || !slices.Equal(got, []string{"acc-c0"}) {
				t.Errorf("retrieve: %q were asked, %v", got, err)
			}
			forget()
			_, err = client.Responses.New(t.Context(), follow(made.ID), option.WithResponseInto(&head))
			if got := tried(); err != nil || !slices.Equal(got, []string{"acc-c0"}) {
				t.Errorf("follow: %q were asked, %v", got, err)
			}

			// Its account is taken from the key.
			w.boundKey(key, "a-a0", "a-b0")
			forget()
			_, err = client.Responses.Get(t.Context(), made.ID, responses.ResponseGetParams{}, option.WithResponseInto(&head))
			if got := tried(); toldOpenAI(t, err).status != 404 || len(got) != 2 || slices.Contains(got, "acc-c0") {
				t.Errorf("retrieve: %q were asked, %v", got, err)
			}
			forget()
			_, err = client.Responses.New(t.Context(), follow(made.ID), option.WithResponseInto(&head))
			if got := tried(); toldOpenAI(t, err).code != codeNoPrevious || len(got) != 2 || slices.Contains(got, "acc-c0") {
				t.Errorf("follow: %q were asked, %v", got, err)
			}
		})
	}
}

// TestModelsOfKeys: a key's list has what it may use and what its accounts serve, and so has every single model.
func TestModelsOfKeys(t *testing.T) {
	w := newWorld(t)
	w.offer("a", 1, []string{"gpt-x", "gpt-y"}, secretA)
	w.offer("b", 1, []string{"gpt-y", "o-think"}, secretB)
	for name, tc := range map[string]struct {
		change func(*syncv1.KeyState)
		want   []string
	}{
		"free":             {func(*syncv1.KeyState) {}, []string{"gpt-x", "gpt-y", "o-think"}},
		"denied":           {func(k *syncv1.KeyState) { k.DeniedModels = []string{"gpt-*"} }, []string{"o-think"}},
		"allowed, denied":  {func(k *syncv1.KeyState) { k.Models, k.DeniedModels = []string{"gpt-*"}, []string{"gpt-y"} }, []string{"gpt-x"}},
		"bound":            {func(k *syncv1.KeyState) { k.AccountIds = []string{"a-b0"} }, []string{"gpt-y", "o-think"}},
		"bound and denied": {func(k *syncv1.KeyState) { k.AccountIds, k.DeniedModels = []string{"a-b0"}, []string{"o-think"} }, []string{"gpt-y"}},
		"bound to nobody":  {func(k *syncv1.KeyState) { k.AccountIds = []string{"a-gone"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := w.client(option.WithAPIKey(w.anotherKey(tc.change)))
			page, err := client.Models.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range page.Data {
				got = append(got, m.ID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("models (-want +got):\n%s", diff)
			}
			for _, m := range []string{"gpt-x", "gpt-y", "o-think"} {
				if _, err := client.Models.Get(t.Context(), m); (err == nil) != slices.Contains(tc.want, m) {
					t.Errorf("%s: %v", m, err)
				}
			}
		})
	}
}

// TestRecordsHaveScopes: what limits are kept by is on the books with the usage.
func TestRecordsHaveScopes(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	w.put(syncv1.Kind_KIND_TENANT, "t1", &syncv1.TenantState{Name: "team"})
	client := w.client(option.WithAPIKey(w.anotherKey(func(k *syncv1.KeyState) { k.TenantId = "t1" })))
	if _, err := client.Chat.Completions.New(t.Context(), hello("gpt-x")); err != nil {
		t.Fatal(err)
	}
	r := w.record()
	if r.GroupID != "g1" || r.TenantID != "t1" || r.BeginMS == 0 || r.BeginMS > r.TimeMS {
		t.Errorf("record = %+v, want group g1, tenant t1, begun before it ended", r)
	}
}
