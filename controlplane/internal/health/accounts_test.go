package health

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/model"
	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/judge"
)

func nothing(string) *resourcev1.AccountHealth { return nil }

func stateOf(resources ...model.Resource) *model.State {
	var changes []model.Change
	for _, r := range resources {
		changes = append(changes, model.Change{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), New: r})
	}
	return model.Empty("l").Apply(1, changes)
}

func TestRoster(t *testing.T) {
	channel := &resourcev1.Channel{
		Metadata: &resourcev1.Metadata{Id: "id-main", Name: "main"}, Provider: resourcev1.Provider_PROVIDER_ANTHROPIC,
		Models: []string{"m"}, Priority: 3,
	}
	off := proto.CloneOf(channel)
	off.Metadata, off.Disabled, off.Weight, off.Groups = &resourcev1.Metadata{Id: "id-off", Name: "off"}, true, 7, []string{"g"}
	plain, capped, lost, elsewhere := account("plain"), account("capped"), account("lost"), account("elsewhere")
	capped.Weight, capped.Rpm, capped.Organization = 5, 10, "org"
	capped.SessionWindow = &resourcev1.SessionWindow{Length: durationpb.New(5 * time.Hour)}
	lost.Channel, elsewhere.Channel = "nowhere", "off"
	decided := &resourcev1.AccountHealth{State: open}

	var r roster
	got := r.read(stateOf(channel, off, plain, capped, lost, elsewhere), func(id string) *resourcev1.AccountHealth {
		if id == "id-plain" {
			return decided
		}
		return nil
	})
	provider := int32(resourcev1.Provider_PROVIDER_ANTHROPIC)
	want := []judge.Account{
		{
			ID: "id-capped", Name: "capped", Channel: "main", ChannelID: "id-main", Provider: provider, Organization: "org",
			Models: []string{"m"}, Groups: []string{model.DefaultGroup}, Priority: 3, ChannelWeight: 100, Weight: 5,
			Capped: true, Session: 5 * time.Hour,
		},
		{
			ID: "id-elsewhere", Name: "elsewhere", Channel: "off", ChannelID: "id-off", Provider: provider,
			Models: []string{"m"}, Groups: []string{"g"}, Priority: 3, ChannelWeight: 7, Weight: 100, Disabled: true,
		},
		{
			ID: "id-plain", Name: "plain", Channel: "main", ChannelID: "id-main", Provider: provider,
			Models: []string{"m"}, Groups: []string{model.DefaultGroup}, Priority: 3, ChannelWeight: 100, Weight: 100, Verdict: decided,
		},
	}
	for i := range got {
		if got[i].Credential == "" {
			t.Errorf("%s has no credential", got[i].Name)
		}
		got[i].Credential = ""
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b *resourcev1.AccountHealth) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// TestCredential: what makes another credential, and what does not.
func TestCredential(t *testing.T) {
	base := account("a")
	base.Exchange = &resourcev1.Exchange{Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH, ClientId: "c"}
	tests := []struct {
		name    string
		change  func(*resourcev1.Account)
		differs bool
	}{
		{"nothing", func(*resourcev1.Account) {}, false},
		{"weight", func(a *resourcev1.Account) { a.Weight = 7 }, false},
		{"sealed anew", func(a *resourcev1.Account) { a.Secret.Sealed = &resourcev1.SealedValue{Nonce: []byte("n")} }, false},
		{"secret", func(a *resourcev1.Account) { a.Secret.Fingerprint = "other" }, true},
		{"access key", func(a *resourcev1.Account) { a.AccessKeyId = "AKIA" }, true},
		{"client", func(a *resourcev1.Account) { a.Exchange.ClientId = "d" }, true},
		{"parts move", func(a *resourcev1.Account) { a.Exchange.ClientId, a.Exchange.TenantId = "", "c" }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := proto.CloneOf(base)
			tt.change(a)
			if got := credential(a) != credential(base); got != tt.differs {
				t.Errorf("differs = %t, want %t", got, tt.differs)
			}
		})
	}
}

func TestRules(t *testing.T) {
	if d := cmp.Diff(breaker.Defaults(), rules(&resourcev1.Settings{})); d != "" {
		t.Error(d)
	}
	got := rules(&resourcev1.Settings{
		Thresholds: &resourcev1.Thresholds{
			ConsecutiveFailures: 1, MaxErrorRate: 0.5, MinRequests: 2, Window: durationpb.New(3), MaxTtftRatio: 4,
			MaxEjectedPercent: 25, PanicPercent: 75,
		},
		Recovery: &resourcev1.Recovery{
			Open: durationpb.New(5), MaxOpen: durationpb.New(6), SlowStart: durationpb.New(0),
			Check: resourcev1.CheckMode_CHECK_MODE_ANSWER, CheckInterval: durationpb.New(7),
		},
	})
	want := breaker.Rules{
		ConsecutiveFailures: 1, MaxErrorRate: 0.5, MinRequests: 2, Window: 3, MaxTTFTRatio: 4, MaxEjected: 0.25, Panic: 0.75,
		Open: 5, MaxOpen: 6, SlowStart: 0, Check: breaker.CheckAnswer, CheckInterval: 7,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// BenchmarkRoster reads 100,000 accounts of which one has changed.
func BenchmarkRoster(b *testing.B) {
	channel := &resourcev1.Channel{Metadata: &resourcev1.Metadata{Id: "id-main", Name: "main"}, Models: []string{"m"}}
	resources := []model.Resource{channel}
	for i := range 100_000 {
		resources = append(resources, account(fmt.Sprintf("x%06d", i)))
	}
	s := stateOf(resources...)
	var r roster
	r.read(s, nothing)
	changed := s.Apply(2, []model.Change{{Kind: model.KindAccount, ID: "id-x000007", New: account("x000007")}})
	b.ReportAllocs()
	for b.Loop() {
		r.read(changed, nothing)
	}
}
