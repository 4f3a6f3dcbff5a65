package build

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func meta(id, name string) *resourcev1.Metadata {
	return &resourcev1.Metadata{Id: id, Name: name, Etag: "7"}
}

func sealed(s string) *resourcev1.Secret {
	return &resourcev1.Secret{Sealed: &resourcev1.SealedValue{Ciphertext: []byte(s)}}
}

// newState holds the given resources besides a group "default" (id g0), a group "vip" (g1) and a channel "main" (c0).
func newState(resources ...model.Resource) *model.State {
	all := append([]model.Resource{
		&resourcev1.Group{Metadata: meta("g0", "default")},
		&resourcev1.Group{Metadata: meta("g1", "vip")},
		&resourcev1.Channel{Metadata: meta("c0", "main"), BaseUrl: "https://api.example.com"},
	}, resources...)
	var changes []model.Change
	for _, r := range all {
		changes = append(changes, model.Change{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), New: r})
	}
	return model.Empty("l").Apply(9, changes)
}

// newBuilder opens a secret to "kind|id|field|ciphertext"; "broken" does not open.
func newBuilder() *Builder {
	return &Builder{Pepper: []byte("pepper"), Open: func(v *resourcev1.SealedValue, kind, id, field string) (string, error) {
		if string(v.GetCiphertext()) == "broken" {
			return "", errors.New("does not open")
		}
		return kind + "|" + id + "|" + field + "|" + string(v.GetCiphertext()), nil
	}}
}

func TestChange(t *testing.T) {
	seconds := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }
	expire := timestamppb.New(time.Unix(100, 0))
	balanced, sticks := int32(resourcev1.Strategy_STRATEGY_BALANCED), int32(resourcev1.Affinity_AFFINITY_ON)
	defaults := &syncv1.ChannelState{
		Name: "c", Provider: 1, BaseUrl: "https://api.example.com", Models: []string{"m"}, GroupIds: []string{"g0"},
		Weight: 100, PriceRatioPpm: 1_000_000,
		DialTimeout: seconds(10), TlsTimeout: seconds(10), FirstByteTimeout: seconds(300), IdleTimeout: seconds(120),
	}
	tests := []struct {
		name string
		in   model.Resource
		kind syncv1.Kind
		want proto.Message
	}{
		{"channel with defaults", &resourcev1.Channel{
			Metadata: meta("x", "c"), Provider: 1, BaseUrl: "https://api.example.com/v1", Models: []string{"m"},
		}, syncv1.Kind_KIND_CHANNEL, defaults},
		{"channel with everything", &resourcev1.Channel{
			Metadata: meta("x", "c"), Provider: 1, BaseUrl: "http://10.0.0.1:8000/openai", Models: []string{"a", "b"},
			ModelMapping: map[string]string{"a": "z"}, Groups: []string{"vip", "default"}, Priority: -3, Weight: 7,
			Disabled: true, Headers: map[string]string{"X-A": "b"}, PriceRatioPpm: 5,
			Timeouts: &resourcev1.Timeouts{Dial: seconds(1), Tls: seconds(2), FirstByte: seconds(3), Idle: seconds(4)},
		}, syncv1.Kind_KIND_CHANNEL, &syncv1.ChannelState{
			Name: "c", Provider: 1, BaseUrl: "http://10.0.0.1:8000/openai", Models: []string{"a", "b"},
			ModelMapping: map[string]string{"a": "z"}, GroupIds: []string{"g1", "g0"}, Priority: -3, Weight: 7,
			Disabled: true, Headers: map[string]string{"X-A": "b"}, PriceRatioPpm: 5,
			DialTimeout: seconds(1), TlsTimeout: seconds(2), FirstByteTimeout: seconds(3), IdleTimeout: seconds(4),
		}},
		{"channel of another provider", &resourcev1.Channel{
			Metadata: meta("x", "c"), Provider: resourcev1.Provider_PROVIDER_VERTEX, Region: "global", Project: "p", Models: []string{"a"},
			ModelMapping: map[string]string{"a": "b", "b": "c", "d": "d"}, SystemPrompt: "be kind", StatusMapping: map[uint32]uint32{529: 503},
			Parameters:   []*resourcev1.ParameterRule{{Action: 1, Path: "a.b", Value: "1"}, {Action: 2, Path: "c"}},
			HeaderRules:  []*resourcev1.HeaderRule{{Action: 3, Name: "X-A", Value: "b"}},
			StreamFormat: resourcev1.StreamFormat_STREAM_FORMAT_NEVER, TestModel: "a",
		}, syncv1.Kind_KIND_CHANNEL, &syncv1.ChannelState{
			Name: "c", Provider: 6, Region: "global", Project: "p", BaseUrl: "https://aiplatform.googleapis.com", Models: []string{"a"},
			ModelMapping: map[string]string{"a": "c", "b": "c", "d": "d"}, SystemPrompt: "be kind", StatusMapping: map[uint32]uint32{529: 503},
			Parameters:  []*syncv1.ParameterRule{{Action: 1, Path: "a.b", Value: "1"}, {Action: 2, Path: "c"}},
			HeaderRules: []*syncv1.HeaderRule{{Action: 3, Name: "X-A", Value: "b"}}, StreamFormat: 2,
			GroupIds: []string{"g0"}, Weight: 100, PriceRatioPpm: 1_000_000,
			DialTimeout: seconds(10), TlsTimeout: seconds(10), FirstByteTimeout: seconds(300), IdleTimeout: seconds(120),
		}},
		{"channel of a preset", &resourcev1.Channel{
			Metadata: meta("x", "c"), Provider: resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE, Preset: "deepseek",
			Timeouts: &resourcev1.Timeouts{Dial: seconds(1), Tls: seconds(2), FirstByte: seconds(3), Idle: seconds(4)},
		}, syncv1.Kind_KIND_CHANNEL, &syncv1.ChannelState{
			Name: "c", Provider: 7, Preset: "deepseek", BaseUrl: "https://api.deepseek.com", GroupIds: []string{"g0"}, Weight: 100, PriceRatioPpm: 1_000_000,
			DialTimeout: seconds(1), TlsTimeout: seconds(2), FirstByteTimeout: seconds(3), IdleTimeout: seconds(4),
		}},
		{"account with an AWS key", &resourcev1.Account{Metadata: meta("x", "a"), Channel: "main", Secret: sealed("s"), AccessKeyId: "AKIA"},
			syncv1.Kind_KIND_ACCOUNT, &syncv1.AccountState{Name: "a", ChannelId: "c0", Weight: 100, Secret: "account|x|secret|s", AccessKeyId: "AKIA"}},
		{"account before its exchange", &resourcev1.Account{
			Metadata: meta("x", "a"), Channel: "main", Secret: sealed("s"), AccessKeyId: "AKIA", Exchange: &resourcev1.Exchange{Method: 3},
		}, syncv1.Kind_KIND_ACCOUNT, &syncv1.AccountState{Name: "a", ChannelId: "c0", Weight: 100, Exchanged: true}},
		{"strict group", &resourcev1.Group{Metadata: meta("x", "g"), Strict: true}, syncv1.Kind_KIND_GROUP, &syncv1.GroupState{
			Name: "g", Strategy: balanced, Affinity: sticks, PriceRatioPpm: 1_000_000, Strict: true,
		}},
		{"strict key", &resourcev1.Key{Metadata: meta("x", "k"), Strict: true}, syncv1.Kind_KIND_KEY,
			&syncv1.KeyState{Name: "k", GroupId: "g0", Strict: true}},
		{"account", &resourcev1.Account{
			Metadata: meta("x", "a"), Channel: "main", Secret: sealed("s"), ProxyUrl: "http://p:1", ProxySecret: sealed("ps"),
			Organization: "org",
		}, syncv1.Kind_KIND_ACCOUNT, &syncv1.AccountState{
			Name: "a", ChannelId: "c0", Secret: "account|x|secret|s", Weight: 100, ProxyUrl: "http://p:1",
			ProxySecret: "account|x|proxy_secret|ps", Organization: "org",
		}},
		{"account without secrets", &resourcev1.Account{Metadata: meta("x", "a"), Channel: "main", Weight: 3, Disabled: true},
			syncv1.Kind_KIND_ACCOUNT, &syncv1.AccountState{Name: "a", ChannelId: "c0", Weight: 3, Disabled: true}},
		{"group", &resourcev1.Group{Metadata: meta("x", "g")}, syncv1.Kind_KIND_GROUP, &syncv1.GroupState{
			Name: "g", Strategy: balanced, Affinity: sticks, PriceRatioPpm: 1_000_000,
		}},
		{"group with a policy", &resourcev1.Group{
			Metadata: meta("x", "g"), Strategy: resourcev1.Strategy_STRATEGY_LOWEST_COST, Affinity: resourcev1.Affinity_AFFINITY_HARD,
			Hedging: &resourcev1.Hedging{After: seconds(5)}, NoPanic: true,
			Deadlines: &resourcev1.Deadlines{FirstByte: seconds(1), Idle: seconds(2), Total: seconds(3)},
		}, syncv1.Kind_KIND_GROUP, &syncv1.GroupState{
			Name: "g", Strategy: 4, Affinity: 3, PriceRatioPpm: 1_000_000, Hedged: true, HedgeAfter: seconds(5), HedgeMaxExtraPpm: 20_000,
			NoPanic: true, FirstByteTimeout: seconds(1), IdleTimeout: seconds(2), TotalTimeout: seconds(3),
		}},
		{"account with a plan", &resourcev1.Account{
			Metadata: meta("x", "a"), Channel: "main", Concurrency: 1, Rpm: 2, Tpm: 3, Unschedulable: true,
			SessionWindow: &resourcev1.SessionWindow{Length: seconds(60), MaxRequests: 4, MaxTokens: 5},
		}, syncv1.Kind_KIND_ACCOUNT, &syncv1.AccountState{
			Name: "a", ChannelId: "c0", Weight: 100, Concurrency: 1, Rpm: 2, Tpm: 3, Unschedulable: true,
			SessionLength: seconds(60), SessionRequests: 4, SessionTokens: 5,
		}},
		{"key", &resourcev1.Key{
			Metadata: meta("x", "k"), Group: "vip", Disabled: true, ExpireTime: expire, Models: []string{"m*"},
			AllowedIps: []string{"10.0.0.0/8"}, Mac: []byte("mac"),
		}, syncv1.Kind_KIND_KEY, &syncv1.KeyState{
			Name: "k", GroupId: "g1", Disabled: true, ExpireTime: expire, Models: []string{"m*"},
			AllowedIps: []string{"10.0.0.0/8"}, Mac: []byte("mac"),
		}},
		{"key of the default group", &resourcev1.Key{Metadata: meta("x", "k")}, syncv1.Kind_KIND_KEY,
			&syncv1.KeyState{Name: "k", GroupId: "g0"}},
		{"model without price", &resourcev1.Model{Metadata: meta("x", "m")}, syncv1.Kind_KIND_MODEL,
			&syncv1.ModelState{Name: "m"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stored := proto.Clone(tt.in)
			s := newState(tt.in)
			got, ok, err := newBuilder().Change(s, model.Change{Kind: model.KindOf(tt.in), ID: "x", New: tt.in})
			if err != nil || !ok {
				t.Fatalf("change = %v, %v", ok, err)
			}
			if got.GetKind() != tt.kind || got.GetId() != "x" || got.GetVersion() != 7 || got.GetDeleted() {
				t.Errorf("change = %v", got)
			}
			body := tt.want.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(got.GetBody(), body); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, body, protocmp.Transform()); d != "" {
				t.Error(d)
			}
			if !proto.Equal(stored, tt.in) {
				t.Error("building wrote into the stored resource")
			}
		})
	}
}

func TestNotBuilt(t *testing.T) {
	tests := []struct {
		name       string
		in         model.Resource
		deleted    bool
		unresolved []Ref
	}{
		{"a secret that does not open", &resourcev1.Account{Metadata: meta("x", "a"), Channel: "main", Secret: sealed("broken")}, false, nil},
		{"a proxy secret that does not open", &resourcev1.Account{Metadata: meta("x", "a"), Channel: "main", ProxySecret: sealed("broken")}, false, nil},
		{"a base URL that is none", &resourcev1.Channel{Metadata: meta("x", "c"), BaseUrl: "ftp://x"}, false, nil},
		// However broken it is: that it is disabled gets through.
		{"disabled and broken", &resourcev1.Account{Metadata: meta("x", "a"), Channel: "main", Secret: sealed("broken"), Disabled: true}, true, nil},
		{"channel of an unknown group", &resourcev1.Channel{
			Metadata: meta("x", "c"), BaseUrl: "https://a.example", Groups: []string{"vip", "none"},
		}, false, []Ref{{model.KindGroup, "none"}}},
		{"account of an unknown channel", &resourcev1.Account{Metadata: meta("x", "a"), Channel: "none"}, false, []Ref{{model.KindChannel, "none"}}},
		{"key of an unknown group", &resourcev1.Key{Metadata: meta("x", "k"), Group: "none"}, false, []Ref{{model.KindGroup, "none"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := newBuilder().Change(newState(tt.in), model.Change{Kind: model.KindOf(tt.in), ID: "x", New: tt.in})
			if !ok {
				t.Fatal("not a published kind")
			}
			switch unresolved, partly := errors.AsType[*UnresolvedError](err); {
			case tt.deleted:
				if err != nil || !got.GetDeleted() {
					t.Errorf("change = %v, %v, want a deletion", got, err)
				}
			case tt.unresolved != nil:
				if !partly || got == nil {
					t.Fatalf("change = %v, %v, want one without the references", got, err)
				}
				if d := cmp.Diff(tt.unresolved, unresolved.Refs); d != "" {
					t.Error(d)
				}
			default:
				if err == nil || partly || got != nil {
					t.Errorf("change = %v, %v, want an error", got, err)
				}
			}
		})
	}
}

func TestDeletedAndUnpublished(t *testing.T) {
	b, s := newBuilder(), newState()
	got, ok, err := b.Change(s, model.Change{Kind: model.KindKey, ID: "x"})
	want := &syncv1.Change{Kind: syncv1.Kind_KIND_KEY, Id: "x", Deleted: true}
	if err != nil || !ok || !proto.Equal(got, want) {
		t.Errorf("deleted key = %v, %v, %v", got, ok, err)
	}
	operator := &resourcev1.Operator{Metadata: meta("x", "o")}
	if got, ok, err := b.Change(s, model.Change{Kind: model.KindOperator, ID: "x", New: operator}); got != nil || ok || err != nil {
		t.Errorf("operator = %v, %v, %v, want nothing", got, ok, err)
	}
}

func TestSettings(t *testing.T) {
	b := newBuilder()
	decode := func(c *syncv1.Change, err error) *syncv1.SettingsState {
		t.Helper()
		if err != nil || c.GetId() != SettingsID || c.GetDeleted() {
			t.Fatalf("settings = %v, %v", c, err)
		}
		var s syncv1.SettingsState
		if err := proto.Unmarshal(c.GetBody(), &s); err != nil {
			t.Fatal(err)
		}
		return &s
	}
	seconds := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }
	defaults := &syncv1.SettingsState{
		MaxAttempts: 3, RetryBudgetPercent: 20, RetryBudgetMin: 3, Pepper: []byte("pepper"),
		Balance: &syncv1.BalanceState{Cost: 0.4, Performance: 0.3, Load: 0.2, Reliability: 0.1},
		Breaker: &syncv1.BreakerState{
			ConsecutiveFailures: 5, MaxErrorRate: 0.05, MinRequests: 20, Window: seconds(60), MaxTtftRatio: 5,
			MaxEjectedPercent: 50, PanicPercent: 50, Open: seconds(300), MaxOpen: seconds(3600), SlowStart: seconds(60),
			CheckInterval: seconds(30), Check: int32(resourcev1.CheckMode_CHECK_MODE_MODELS),
		},
	}
	none := newState()
	if d := cmp.Diff(defaults, decode(b.Settings(none)), protocmp.Transform()); d != "" {
		t.Errorf("without stored settings: %s", d)
	}
	stored := &resourcev1.Settings{
		Metadata: meta("ulid", model.SettingsName), DefaultStrategy: resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM,
		Retry: &resourcev1.RetryPolicy{MaxAttempts: 5}, DecisionSamplePpm: 7,
		Weights:    &resourcev1.BalanceWeights{Load: 1},
		Thresholds: &resourcev1.Thresholds{ConsecutiveFailures: 2, MaxEjectedPercent: 10},
		Recovery:   &resourcev1.Recovery{SlowStart: seconds(0), Check: resourcev1.CheckMode_CHECK_MODE_OFF},
	}
	s := newState(stored)
	got, _, err := b.Change(s, model.Change{Kind: model.KindSettings, ID: "ulid", New: stored})
	want := proto.CloneOf(defaults)
	want.MaxAttempts, want.DecisionSamplePpm, want.Balance = 5, 7, &syncv1.BalanceState{Load: 1}
	want.Breaker.ConsecutiveFailures, want.Breaker.MaxEjectedPercent = 2, 10
	// At once is not absent.
	want.Breaker.SlowStart, want.Breaker.Check = seconds(0), int32(resourcev1.CheckMode_CHECK_MODE_OFF)
	if d := cmp.Diff(want, decode(got, err), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if got.GetVersion() != 7 {
		t.Errorf("version = %d, want 7", got.GetVersion())
	}
	// Deleted: back to the defaults, never gone.
	got, _, err = b.Change(none, model.Change{Kind: model.KindSettings, ID: "ulid", Old: stored})
	if d := cmp.Diff(defaults, decode(got, err), protocmp.Transform()); d != "" {
		t.Errorf("after the deletion: %s", d)
	}
}

// An exchanged credential travels inside its account, with the version of whichever changed last; one that was exchanged
// from something else does not.
func TestExchanged(t *testing.T) {
	a := &resourcev1.Account{
		Metadata: meta("x", "a"), Channel: "main", Secret: sealed("long-lived"), Exchange: &resourcev1.Exchange{Method: 3, Role: "r"}, AccessKeyId: "AKIA",
	}
	expire := timestamppb.New(time.Unix(100, 0))
	credential := func(etag string, source []byte) *resourcev1.Credential {
		return &resourcev1.Credential{
			Metadata: &resourcev1.Metadata{Id: "x", Name: "x", Etag: etag}, Source: source, Secret: sealed("s").GetSealed(), SessionToken: sealed("t").GetSealed(),
			RefreshToken: sealed("broken").GetSealed(), AccessKeyId: "ASIA", ExpireTime: expire, Project: "p",
		}
	}
	full := &syncv1.AccountState{
		Name: "a", ChannelId: "c0", Weight: 100, Exchanged: true, Secret: "credential|x|secret|s", SessionToken: "credential|x|session_token|t",
		AccessKeyId: "ASIA", SecretExpireTime: expire, Project: "p",
	}
	bare := &syncv1.AccountState{Name: "a", ChannelId: "c0", Weight: 100, Exchanged: true}
	changed := proto.CloneOf(a)
	changed.Exchange.Role = "other"
	for name, tt := range map[string]struct {
		a       *resourcev1.Account
		c       *resourcev1.Credential
		want    *syncv1.AccountState
		version int64
	}{
		"newer than the account": {a, credential("8", model.CredentialSource(a)), full, 8},
		"older than the account": {a, credential("6", model.CredentialSource(a)), full, 7},
		"from something else":    {changed, credential("8", model.CredentialSource(a)), bare, 7},
		"from nowhere":           {a, credential("8", nil), bare, 7},
	} {
		got, _, err := newBuilder().Change(newState(tt.a, tt.c), model.Change{Kind: model.KindAccount, ID: "x", New: tt.a})
		if err != nil {
			t.Fatal(err)
		}
		var body syncv1.AccountState
		if err := proto.Unmarshal(got.GetBody(), &body); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, &body, protocmp.Transform()); d != "" || got.GetVersion() != tt.version {
			t.Errorf("%s: version %d, want %d (-want +got):\n%s", name, got.GetVersion(), tt.version, d)
		}
		if bytes.Contains(got.GetBody(), []byte("long-lived")) {
			t.Errorf("%s: proxies get what is exchanged", name)
		}
	}
	if got, ok, err := newBuilder().Change(newState(a), model.Change{Kind: model.KindCredential, ID: "x", New: credential("8", nil)}); got != nil || ok || err != nil {
		t.Errorf("a credential by itself = %v, %v, %v, want nothing", got, ok, err)
	}
	if Within(model.KindCredential) != model.KindAccount || Within(model.KindKey) != model.KindKey {
		t.Error("a credential is carried by something else than its account, or a key by another kind")
	}
}

// A verdict travels inside its account, as it is, with the version of whichever changed last.
func TestJudged(t *testing.T) {
	a := &resourcev1.Account{Metadata: meta("x", "a"), Channel: "main"}
	at := timestamppb.New(time.Unix(100, 0))
	verdict := func(etag string) *resourcev1.Verdict {
		return &resourcev1.Verdict{Metadata: &resourcev1.Metadata{Id: "x", Name: "x", Etag: etag}, Health: &resourcev1.AccountHealth{
			State: resourcev1.HealthState_HEALTH_STATE_OPEN, Reason: "rate_limit", Until: at, Since: at, Opens: 3, Ordered: true,
		}}
	}
	want := &syncv1.AccountState{Name: "a", ChannelId: "c0", Weight: 100, Verdict: &syncv1.VerdictState{
		State: 2, Reason: "rate_limit", Until: at, Since: at, Opens: 3, Ordered: true,
	}}
	for etag, version := range map[string]int64{"8": 8, "6": 7} {
		got, _, err := newBuilder().Change(newState(a, verdict(etag)), model.Change{Kind: model.KindAccount, ID: "x", New: a})
		if err != nil {
			t.Fatal(err)
		}
		var body syncv1.AccountState
		if err := proto.Unmarshal(got.GetBody(), &body); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, &body, protocmp.Transform()); d != "" || got.GetVersion() != version {
			t.Errorf("verdict %s: version %d, want %d (-want +got):\n%s", etag, got.GetVersion(), version, d)
		}
	}
	if got, ok, err := newBuilder().Change(newState(a), model.Change{Kind: model.KindVerdict, ID: "x", New: verdict("8")}); got != nil || ok || err != nil {
		t.Errorf("a verdict by itself = %v, %v, %v, want nothing", got, ok, err)
	}
	if Within(model.KindVerdict) != model.KindAccount {
		t.Error("a verdict is carried by something else than its account")
	}
}

// Two replicas that see one state publish the same bytes, whatever order their maps have.
func TestDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z]{1,8}`)
		c := &resourcev1.Channel{
			Metadata: meta("x", "c"), BaseUrl: "https://a.example",
			ModelMapping: rapid.MapOf(text, text).Draw(t, "mapping"), Headers: rapid.MapOf(text, text).Draw(t, "headers"),
		}
		b, change := newBuilder(), model.Change{Kind: model.KindChannel, ID: "x", New: c}
		first, _, err := b.Change(newState(c), change)
		if err != nil {
			t.Fatal(err)
		}
		other := proto.CloneOf(c)
		second, _, err := b.Change(newState(other), model.Change{Kind: model.KindChannel, ID: "x", New: other})
		if err != nil || !bytes.Equal(first.GetBody(), second.GetBody()) {
			t.Fatalf("two builds differ (%v)", err)
		}
	})
}

func TestKinds(t *testing.T) {
	for _, k := range model.Kinds() {
		published, ok := KindOf(k)
		if ok != (k != model.KindOperator && k != model.KindNotifier && k != model.KindCredential && k != model.KindVerdict) {
			t.Errorf("%s is published: %v", k, ok)
		}
		if ok && StoredKind(published) != k {
			t.Errorf("%s comes back as %s", k, StoredKind(published))
		}
	}
	if got := StoredKind(syncv1.Kind_KIND_UNSPECIFIED); got != "" {
		t.Errorf("unspecified is %q", got)
	}
}

func BenchmarkKey(b *testing.B) {
	key := &resourcev1.Key{Metadata: meta("01ARZ3NDEKTSV4RRFFQ69G5FAV", "k"), Group: "vip", Mac: make([]byte, 32)}
	builder, s := newBuilder(), newState(key)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := builder.Change(s, model.Change{Kind: model.KindKey, ID: key.GetMetadata().GetId(), New: key}); err != nil {
			b.Fatal(err)
		}
	}
}
