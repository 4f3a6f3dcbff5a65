package publish

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// What is decided about an account travels as a change of the account, once, and goes with it; without an account it goes
// nowhere.
func TestVerdictTravelsInItsAccount(t *testing.T) {
	b := newWorkbench(t)
	b.put(&resourcev1.Group{Metadata: &resourcev1.Metadata{Id: "g", Name: model.DefaultGroup}})
	channel := b.newChannel("c")
	a := &resourcev1.Account{Metadata: &resourcev1.Metadata{Id: "a", Name: "a"}, Channel: "c"}
	verdict := func(id, reason string) *resourcev1.Verdict {
		return &resourcev1.Verdict{
			Metadata: &resourcev1.Metadata{Id: id, Name: id},
			Health:   &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_OPEN, Reason: reason},
		}
	}
	b.put(channel, a)
	it := []ref{{syncv1.Kind_KIND_ACCOUNT, "a"}}
	for _, reason := range []string{"first", "second"} {
		if d := cmp.Diff(it, b.put(verdict("a", reason)), cmp.AllowUnexported(ref{})); d != "" {
			t.Errorf("the %s (-want to travel +got):\n%s", reason, d)
		}
		var state syncv1.AccountState
		if !b.published(t, syncv1.Kind_KIND_ACCOUNT, "a", &state) || state.GetVerdict().GetReason() != reason {
			t.Errorf("proxies get %v, want the %s", state.GetVerdict(), reason)
		}
	}
	if got := b.put(verdict("nobody", "x")); got != nil {
		t.Errorf("one without an account travels: %v", got)
	}
	// Built anew, the state is the same.
	root := b.p.ring.current().sums.Root()
	b.p.load(b.state)
	if b.p.ring.current().sums.Root() != root {
		t.Error("a state built anew is another")
	}
	r, _ := b.state.Get(model.KindVerdict, "a")
	stored, _ := b.state.Get(model.KindAccount, "a")
	if d := cmp.Diff(it, b.commit([]model.Resource{stored, r}), cmp.AllowUnexported(ref{})); d != "" {
		t.Errorf("both gone (-want to travel +got):\n%s", d)
	}
	if b.published(t, syncv1.Kind_KIND_ACCOUNT, "a", &syncv1.AccountState{}) {
		t.Error("an account that is gone is still published")
	}
}
