package build

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestPrices(t *testing.T) {
	n := proto.Int64
	early, late := timestamppb.New(time.Unix(100, 0)), timestamppb.New(time.Unix(200, 0))
	flat := &syncv1.PriceState{
		Input: 10, CachedInput: 10, CacheWrite: 10, CacheWriteLong: 10, AudioInput: 10, Output: 30, Reasoning: 30, AudioOutput: 30,
	}
	with := func(change func(p *syncv1.PriceState)) *syncv1.PriceState {
		p := proto.CloneOf(flat)
		change(p)
		return p
	}
	rates := func(in, out int64) *resourcev1.Rates { return &resourcev1.Rates{Input: in, Output: out} }
	for name, tt := range map[string]struct {
		in   *resourcev1.Model
		want *syncv1.ModelState
	}{
		"nothing": {&resourcev1.Model{}, &syncv1.ModelState{}},
		"two prices": {&resourcev1.Model{Prices: &resourcev1.Prices{Input: 10, Output: 30}},
			&syncv1.ModelState{Priced: true, Input: 10, CachedInput: 10, Output: 30, Prices: []*syncv1.PriceState{flat}}},
		"all prices": {&resourcev1.Model{Prices: &resourcev1.Prices{
			Input: 1, CachedInput: n(2), CacheWrite: n(3), CacheWriteLong: n(4), AudioInput: n(5), Output: 6, Reasoning: n(7), AudioOutput: n(8),
			Image: n(9), Request: n(10),
		}}, &syncv1.ModelState{Priced: true, Input: 1, CachedInput: 2, Output: 6, Prices: []*syncv1.PriceState{{
			Input: 1, CachedInput: 2, CacheWrite: 3, CacheWriteLong: 4, AudioInput: 5, Output: 6, Reasoning: 7, AudioOutput: 8, Image: 9, Request: 10,
		}}}},
		// Nothing is a price, and not the absence of one.
		"free from the cache": {&resourcev1.Model{Prices: &resourcev1.Prices{Input: 10, CachedInput: n(0), CacheWrite: n(0), Output: 30, Reasoning: n(0)}},
			&syncv1.ModelState{Priced: true, Input: 10, Output: 30, Prices: []*syncv1.PriceState{
				with(func(p *syncv1.PriceState) { p.CachedInput, p.CacheWrite, p.CacheWriteLong, p.Reasoning = 0, 0, 0, 0 }),
			}}},
		"the long write follows the short one": {&resourcev1.Model{Prices: &resourcev1.Prices{Input: 10, CacheWrite: n(12), Output: 30}},
			&syncv1.ModelState{Priced: true, Input: 10, CachedInput: 10, Output: 30, Prices: []*syncv1.PriceState{
				with(func(p *syncv1.PriceState) { p.CacheWrite, p.CacheWriteLong = 12, 12 }),
			}}},
		"tiers and variants, each by itself": {&resourcev1.Model{Prices: &resourcev1.Prices{
			Input: 1, CachedInput: n(0), Output: 1, Request: n(5),
			Tiers: []*resourcev1.PriceTier{{AboveInputTokens: 9, Rates: rates(3, 3)}, {AboveInputTokens: 8, Rates: rates(2, 2)}},
			Variants: []*resourcev1.PriceVariant{
				{Variant: 3, Rates: rates(6, 6)},
				{Variant: 2, Rates: rates(4, 4), Tiers: []*resourcev1.PriceTier{{AboveInputTokens: 8, Rates: rates(5, 5)}}},
			},
		}}, &syncv1.ModelState{Priced: true, Input: 1, Output: 1, Prices: []*syncv1.PriceState{
			one(1, func(p *syncv1.PriceState) { p.CachedInput, p.Request = 0, 5 }),
			one(2, func(p *syncv1.PriceState) { p.AboveInputTokens, p.Request = 8, 5 }),
			one(3, func(p *syncv1.PriceState) { p.AboveInputTokens, p.Request = 9, 5 }),
			one(4, func(p *syncv1.PriceState) { p.Variant, p.Request = 2, 5 }),
			one(5, func(p *syncv1.PriceState) { p.Variant, p.AboveInputTokens, p.Request = 2, 8, 5 }),
			one(6, func(p *syncv1.PriceState) { p.Variant, p.Request = 3, 5 }),
		}}},
		"later prices": {&resourcev1.Model{Schedule: []*resourcev1.PriceChange{
			{EffectiveTime: late, Prices: &resourcev1.Prices{Input: 2, Output: 2}}, {EffectiveTime: early, Prices: &resourcev1.Prices{Input: 1, Output: 1}},
		}}, &syncv1.ModelState{Prices: []*syncv1.PriceState{
			one(1, func(p *syncv1.PriceState) { p.EffectiveTime = early }), one(2, func(p *syncv1.PriceState) { p.EffectiveTime = late }),
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.in.Metadata, tt.want.Name = meta("x", "m"), "m"
			stored := proto.CloneOf(tt.in)
			got, ok, err := newBuilder().Change(newState(tt.in), model.Change{Kind: model.KindModel, ID: "x", New: tt.in})
			if err != nil || !ok {
				t.Fatalf("%v, %v", ok, err)
			}
			var state syncv1.ModelState
			if err := proto.Unmarshal(got.GetBody(), &state); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, &state, protocmp.Transform()); d != "" {
				t.Error(d)
			}
			if !proto.Equal(stored, tt.in) {
				t.Error("building wrote into the stored resource")
			}
		})
	}
}

// one is a price of n for everything.
func one(n int64, change func(p *syncv1.PriceState)) *syncv1.PriceState {
	p := &syncv1.PriceState{Input: n, CachedInput: n, CacheWrite: n, CacheWriteLong: n, AudioInput: n, Output: n, Reasoning: n, AudioOutput: n}
	change(p)
	return p
}

func TestPricesInSettings(t *testing.T) {
	b := newBuilder()
	b.BuiltIn = []*resourcev1.Model{{Metadata: &resourcev1.Metadata{Name: "m"}, Prices: &resourcev1.Prices{Input: 1, Output: 1}}}
	b.BuiltInVersion = 1 << 62
	table := []*syncv1.ModelState{{
		Name: "m", Priced: true, Input: 1, CachedInput: 1, Output: 1, PriceVersion: 1 << 62, Prices: []*syncv1.PriceState{one(1, func(*syncv1.PriceState) {})},
	}}
	rates := &resourcev1.Rates{Input: 3, Output: 3}
	for name, tt := range map[string]struct {
		in      *resourcev1.UnknownPrice
		policy  int32
		charged *syncv1.PriceState
	}{
		"nothing":                    {nil, 0, nil},
		"free":                       {&resourcev1.UnknownPrice{Policy: 1, DefaultRates: rates}, 1, nil},
		"refuse":                     {&resourcev1.UnknownPrice{Policy: 2, DefaultRates: rates}, 2, nil},
		"default":                    {&resourcev1.UnknownPrice{Policy: 3, DefaultRates: rates}, 3, one(3, func(*syncv1.PriceState) {})},
		"default, but nothing known": {&resourcev1.UnknownPrice{Policy: 3}, 3, nil},
	} {
		got, err := b.Settings(newState(&resourcev1.Settings{Metadata: meta("s", model.SettingsName), UnknownPrice: tt.in}))
		if err != nil {
			t.Fatal(err)
		}
		var s syncv1.SettingsState
		if err := proto.Unmarshal(got.GetBody(), &s); err != nil {
			t.Fatal(err)
		}
		want := &syncv1.SettingsState{BuiltInModels: table, UnknownPrice: tt.policy, DefaultPrice: tt.charged}
		have := &syncv1.SettingsState{BuiltInModels: s.GetBuiltInModels(), UnknownPrice: s.GetUnknownPrice(), DefaultPrice: s.GetDefaultPrice()}
		if d := cmp.Diff(want, have, protocmp.Transform()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
