package sim

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/breaker"
	"fairway/pkg/digest"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/judge"
)

// The one group and the one model.
const (
	groupID   = "g"
	modelName = "m"
)

// state is the data set, as the control plane would send it.
type state struct {
	revision int64
	order    []string
	items    map[string]*syncv1.Change
	sums     digest.Sums
	verdicts map[string]*resourcev1.AccountHealth // by account id
}

func newState() *state {
	return &state{items: map[string]*syncv1.Change{}, verdicts: map[string]*resourcev1.AccountHealth{}}
}

// put stores a resource and returns the change.
func (s *state) put(kind syncv1.Kind, id string, m proto.Message) *syncv1.Change {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("sim: %v", err)) // these messages can always be marshalled
	}
	key := fmt.Sprint(kind, id)
	c := &syncv1.Change{Kind: kind, Id: id, Version: s.revision + 1, Body: body}
	if old := s.items[key]; old != nil {
		s.sums.Remove(int32(old.GetKind()), id, old.GetVersion(), old.GetBody())
	} else {
		s.order = append(s.order, key)
	}
	s.items[key] = c
	s.sums.Add(int32(kind), id, c.GetVersion(), body)
	return c
}

// txn is the transaction of changes that were put.
func (s *state) txn(changes ...*syncv1.Change) *syncv1.Txn {
	s.revision++
	return &syncv1.Txn{
		Lineage: "sim", BaseRevision: s.revision - 1, Revision: s.revision, Changes: changes, Digest: s.sums.Root(), Last: true,
	}
}

// whole is everything, for a proxy that has nothing.
func (s *state) whole() *syncv1.Txn {
	t := &syncv1.Txn{Lineage: "sim", Revision: s.revision, ReplacedBuckets: math.MaxUint64, Digest: s.sums.Root(), Last: true}
	for _, key := range s.order {
		t.Changes = append(t.Changes, s.items[key])
	}
	return t
}

// account is one as it is stored.
func (w *World) account(u *upstream) *syncv1.Change {
	a := &syncv1.AccountState{Name: u.id, ChannelId: w.channelOf(u), Secret: "sk-" + u.id, Weight: uint32(u.capacity)}
	if w.setup.Capped {
		a.Concurrency = uint32(u.capacity)
	}
	if v := w.state.verdicts[u.id]; v != nil {
		a.Verdict = &syncv1.VerdictState{
			State: int32(v.GetState()), Reason: v.GetReason(), Until: v.GetUntil(), Since: v.GetSince(), Opens: v.GetOpens(), Ordered: v.GetOrdered(),
		}
	}
	return w.state.put(syncv1.Kind_KIND_ACCOUNT, u.id, a)
}

func channelID(n int) string { return fmt.Sprintf("channel-%02d", n) }

func (w *World) channelOf(u *upstream) string { return channelID(u.index % w.setup.Channels) }

func (w *World) priceOf(u *upstream) int64 {
	if len(w.setup.Prices) == 0 {
		return 1_000_000
	}
	return w.setup.Prices[u.index%w.setup.Channels%len(w.setup.Prices)]
}

// channel n weighs as much as its accounts that are there.
func (w *World) channel(n int) *syncv1.Change {
	weight, price := 0, int64(1_000_000)
	for _, u := range w.accounts {
		if u.there && u.index%w.setup.Channels == n {
			weight += u.capacity
			price = w.priceOf(u)
		}
	}
	return w.state.put(syncv1.Kind_KIND_CHANNEL, channelID(n), &syncv1.ChannelState{
		Name: channelID(n), Provider: int32(resourcev1.Provider_PROVIDER_OPENAI), BaseUrl: "https://" + channelID(n) + ".example",
		Models: []string{modelName}, GroupIds: []string{groupID}, Weight: uint32(max(weight, 1)), PriceRatioPpm: price,
	})
}

// settings are the defaults, but for the first rest.
func (w *World) settings() *syncv1.Change {
	r := w.rules
	return w.state.put(syncv1.Kind_KIND_SETTINGS, "settings", &syncv1.SettingsState{
		MaxAttempts: 3, RetryBudgetPercent: 20, RetryBudgetMin: 3, Pepper: []byte("pepper"),
		Balance: &syncv1.BalanceState{Cost: 0.4, Performance: 0.3, Load: 0.2, Reliability: 0.1},
		Breaker: &syncv1.BreakerState{
			ConsecutiveFailures: uint32(r.ConsecutiveFailures), MaxErrorRate: r.MaxErrorRate, MinRequests: uint32(r.MinRequests),
			Window: durationpb.New(r.Window), MaxTtftRatio: r.MaxTTFTRatio, MaxEjectedPercent: uint32(100 * r.MaxEjected),
			PanicPercent: uint32(100 * r.Panic), Open: durationpb.New(r.Open), MaxOpen: durationpb.New(r.MaxOpen),
			SlowStart: durationpb.New(r.SlowStart), CheckInterval: durationpb.New(r.CheckInterval), Check: int32(r.Check),
		},
	})
}

// judged are the accounts as the leader knows them.
func (w *World) judged() []judge.Account {
	weights := make([]float64, w.setup.Channels)
	for _, u := range w.accounts {
		if u.there {
			weights[u.index%w.setup.Channels] += float64(u.capacity)
		}
	}
	var all []judge.Account
	for _, u := range w.accounts {
		if !u.there {
			continue
		}
		ch := w.channelOf(u)
		all = append(all, judge.Account{
			ID: u.id, Name: u.id, Channel: ch, ChannelID: ch, Provider: int32(resourcev1.Provider_PROVIDER_OPENAI), Credential: "1",
			Models: []string{modelName}, Groups: []string{groupID}, ChannelWeight: weights[u.index%w.setup.Channels],
			Weight: float64(u.capacity), Capped: w.setup.Capped, Verdict: w.state.verdicts[u.id],
		})
	}
	return all
}

func (s *Setup) rules() breaker.Rules {
	r := breaker.Defaults()
	if s.Open > 0 {
		r.Open = s.Open
	}
	return r
}
