package publish

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// What an account's exchange gives travels as a change of the account, once, also when both change together; without an
// account it goes nowhere.
func TestCredentialTravelsInItsAccount(t *testing.T) {
	b := newWorkbench(t)
	b.put(&resourcev1.Group{Metadata: &resourcev1.Metadata{Id: "g", Name: model.DefaultGroup}})
	channel := b.newChannel("c")
	a := &resourcev1.Account{
		Metadata: &resourcev1.Metadata{Id: "a", Name: "a"}, Channel: "c",
		Exchange: &resourcev1.Exchange{Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH},
	}
	credential := func(id, token string, of *resourcev1.Account) *resourcev1.Credential {
		return &resourcev1.Credential{
			Metadata: &resourcev1.Metadata{Id: id, Name: id}, Source: model.CredentialSource(of),
			Secret: &resourcev1.SealedValue{Ciphertext: []byte(token)},
		}
	}
	b.put(channel, a)
	it := []ref{{syncv1.Kind_KIND_ACCOUNT, "a"}}
	step := func(what, want string, travelled []ref) {
		t.Helper()
		if d := cmp.Diff(it, travelled, cmp.AllowUnexported(ref{})); d != "" {
			t.Errorf("%s (-want to travel +got):\n%s", what, d)
		}
		var state syncv1.AccountState
		if !b.published(t, syncv1.Kind_KIND_ACCOUNT, "a", &state) || state.GetSecret() != want {
			t.Errorf("%s: proxies get %q, want %q", what, state.GetSecret(), want)
		}
	}
	first := credential("a", "one", a)
	step("the first", "one", b.put(first))
	step("a renewed one", "two", b.put(credential("a", "two", a)))
	changed := clone(a)
	changed.Exchange.Scope = "s"
	step("of something else", "", b.put(changed))
	step("both", "three", b.put(credential("a", "three", changed), clone(changed)))
	if got := b.put(credential("nobody", "x", a)); got != nil {
		t.Errorf("one without an account travels: %v", got)
	}
	r, _ := b.state.Get(model.KindCredential, "a")
	step("none any more", "", b.commit([]model.Resource{r}))
	if d := cmp.Diff(len(b.want(t)), b.p.ring.current().count); d != "" {
		t.Errorf("resources (-want +published):\n%s", d)
	}
	// Built anew, the state is the same.
	b.put(credential("a", "four", changed))
	root := b.p.ring.current().sums.Root()
	b.p.load(b.state)
	if b.p.ring.current().sums.Root() != root {
		t.Error("a state built anew is another")
	}
}
