package build

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// price builds what a model costs: one PriceState for every case, with every absent price filled in, so that proxies have
// nothing to decide but which case it is.
func price(m *resourcev1.Model) *syncv1.ModelState {
	state := &syncv1.ModelState{Name: m.GetMetadata().GetName()}
	if p := m.GetPrices(); p != nil {
		state.Prices = cases(state.Prices, nil, p)
		first := state.Prices[0]
		state.Priced, state.Input, state.CachedInput, state.Output = true, first.GetInput(), first.GetCachedInput(), first.GetOutput()
	}
	schedule := slices.SortedStableFunc(slices.Values(m.GetSchedule()), func(a, b *resourcev1.PriceChange) int {
		return a.GetEffectiveTime().AsTime().Compare(b.GetEffectiveTime().AsTime())
	})
	for _, c := range schedule {
		state.Prices = cases(state.Prices, c.GetEffectiveTime(), c.GetPrices())
	}
	return state
}

// cases appends all cases of the prices that hold from a time on: the standard ones first, each variant's after its own base.
func cases(to []*syncv1.PriceState, from *timestamppb.Timestamp, p *resourcev1.Prices) []*syncv1.PriceState {
	one := func(variant resourcev1.ServiceVariant, above int64, r rated) {
		state := filled(r)
		state.EffectiveTime, state.Variant, state.AboveInputTokens = from, int32(variant), above
		// By the piece there is one price, however a request is served.
		state.Image, state.Request = p.GetImage(), p.GetRequest()
		to = append(to, state)
	}
	all := func(variant resourcev1.ServiceVariant, base rated, tiers []*resourcev1.PriceTier) {
		one(variant, 0, base)
		for _, t := range slices.SortedStableFunc(slices.Values(tiers), func(a, b *resourcev1.PriceTier) int {
			return cmp.Compare(a.GetAboveInputTokens(), b.GetAboveInputTokens())
		}) {
			one(variant, t.GetAboveInputTokens(), t.GetRates())
		}
	}
	all(resourcev1.ServiceVariant_SERVICE_VARIANT_UNSPECIFIED, p, p.GetTiers())
	for _, v := range slices.SortedStableFunc(slices.Values(p.GetVariants()), func(a, b *resourcev1.PriceVariant) int {
		return cmp.Compare(a.GetVariant(), b.GetVariant())
	}) {
		all(v.GetVariant(), v.GetRates(), v.GetTiers())
	}
	return to
}

// rated is what Prices and Rates have in common.
type rated interface {
	GetInput() int64
	GetOutput() int64
	GetCachedInput() int64
	GetCacheWrite() int64
	GetCacheWriteLong() int64
	GetReasoning() int64
	GetAudioInput() int64
	GetAudioOutput() int64
}

// absent says which optional prices of r are.
func absent(r rated) (cached, write, long, reasoning, audioIn, audioOut bool) {
	switch r := r.(type) {
	case *resourcev1.Prices:
		if r == nil {
			break
		}
		return r.CachedInput == nil, r.CacheWrite == nil, r.CacheWriteLong == nil, r.Reasoning == nil, r.AudioInput == nil, r.AudioOutput == nil
	case *resourcev1.Rates:
		if r == nil {
			break
		}
		return r.CachedInput == nil, r.CacheWrite == nil, r.CacheWriteLong == nil, r.Reasoning == nil, r.AudioInput == nil, r.AudioOutput == nil
	}
	return true, true, true, true, true, true
}

// filled puts in what is absent, as model.proto says.
func filled(r rated) *syncv1.PriceState {
	cached, write, long, reasoning, audioIn, audioOut := absent(r)
	or := func(absent bool, price, instead int64) int64 {
		if absent {
			return instead
		}
		return price
	}
	s := &syncv1.PriceState{Input: r.GetInput(), Output: r.GetOutput()}
	s.CachedInput = or(cached, r.GetCachedInput(), s.GetInput())
	s.CacheWrite = or(write, r.GetCacheWrite(), s.GetInput())
	s.CacheWriteLong = or(long, r.GetCacheWriteLong(), s.GetCacheWrite())
	s.Reasoning = or(reasoning, r.GetReasoning(), s.GetOutput())
	s.AudioInput = or(audioIn, r.GetAudioInput(), s.GetInput())
	s.AudioOutput = or(audioOut, r.GetAudioOutput(), s.GetOutput())
	return s
}

// builtIn builds the models that have no resource.
func (b *Builder) builtIn() []*syncv1.ModelState {
	list := make([]*syncv1.ModelState, 0, len(b.BuiltIn))
	for _, m := range b.BuiltIn {
		state := price(m)
		state.PriceVersion = b.BuiltInVersion
		list = append(list, state)
	}
	return list
}

// defaultPrice is what the policy DEFAULT charges; nil under the others, which have no use for the rates.
func defaultPrice(s *resourcev1.Settings) *syncv1.PriceState {
	u := s.GetUnknownPrice()
	if u.GetDefaultRates() == nil || u.GetPolicy() != resourcev1.UnknownPricePolicy_UNKNOWN_PRICE_POLICY_DEFAULT {
		return nil
	}
	return filled(u.GetDefaultRates())
}
