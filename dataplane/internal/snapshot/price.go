package snapshot

import (
	"cmp"
	"errors"
	"slices"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/money"
)

// Model is what one model costs. It is immutable.
type Model struct {
	Name         string
	Priced       bool         // false: no price is known, at no time
	Prices       money.Prices // the first standard ones, to compare models by; what a request costs is what Price says
	PriceVersion int64        // version of the resource, or of the built-in table; 0 = unpriced

	cases []priceCase // by time, variant and length
}

// Variant is a way in which a provider serves: a resource.v1.ServiceVariant. 0 = the standard one.
type Variant int32

// priceCase is what one kind of request costs.
type priceCase struct {
	fromMS  int64 // unix ms
	variant Variant
	above   int64 // input tokens that a request has more than
	prices  money.Prices
}

// Rate is what a request costs, and why.
type Rate struct {
	Prices  *money.Prices
	Variant Variant // whose prices these are; the standard one's where the variant has none of its own
	Above   int64   // input tokens beyond which they hold; 0 = for all
}

// Price finds what a request costs that ended at nowMS (unix ms) and took in so many tokens; false = no price is known for
// that time. It does not allocate.
func (m *Model) Price(nowMS int64, v Variant, input int64) (Rate, bool) {
	var standard, own *priceCase
	for i := range m.cases {
		c := &m.cases[i]
		if c.fromMS > nowMS {
			break
		}
		if standard != nil && c.fromMS != standard.fromMS {
			standard, own = nil, nil // a later period began
		}
		switch {
		case c.above > 0 && input <= c.above:
		case c.variant == 0:
			standard = c
		case c.variant == v:
			own = c
		}
	}
	c := cmp.Or(own, standard)
	if c == nil {
		return Rate{}, false
	}
	return Rate{Prices: &c.prices, Variant: c.variant, Above: c.above}, true
}

// Varied says whether it matters to the price in which way a request is served.
func (m *Model) Varied() bool {
	return slices.ContainsFunc(m.cases, func(c priceCase) bool { return c.variant != 0 })
}

// ByImage says whether images are paid for by the piece.
func (m *Model) ByImage() bool {
	return slices.ContainsFunc(m.cases, func(c priceCase) bool { return c.prices.Image != 0 })
}

// UnknownPrice says what becomes of requests for models whose price is not known.
type UnknownPrice struct {
	Refuse  bool
	Default *money.Prices // nil = they cost nothing
	Version int64         // of the settings that say so
}

// settingsPrices is what settings say of prices. It is immutable.
type settingsPrices struct {
	builtIn map[string]*Model
	unknown UnknownPrice
}

// Model finds what a model costs, by the name that clients use: its resource says so, or else the built-in table.
func (s *Snapshot) Model(name string) (*Model, bool) {
	if m, ok := s.models.get(name); ok {
		return m, true
	}
	m, ok := s.prices.builtIn[name]
	return m, ok
}

// UnknownPrice is for models whose price is not known.
func (s *Snapshot) UnknownPrice() *UnknownPrice { return &s.prices.unknown }

func compileModel(version int64, body []byte) (form, error) {
	st := &syncv1.ModelState{}
	if err := unmarshal(body, st); err != nil {
		return nil, err
	}
	return newModel(version, st)
}

func newModel(version int64, st *syncv1.ModelState) (*Model, error) {
	if st.GetName() == "" {
		return nil, errors.New("name: is empty")
	}
	m := &Model{Name: st.GetName()}
	list := st.GetPrices()
	if len(list) == 0 && st.GetPriced() {
		list = []*syncv1.PriceState{older(st)}
	}
	for _, p := range list {
		c := priceCase{fromMS: unixMS(p.GetEffectiveTime()), variant: Variant(p.GetVariant()), above: p.GetAboveInputTokens()}
		var err error
		if c.prices, err = pricesOf(p); err != nil {
			return nil, err
		}
		m.cases = append(m.cases, c)
	}
	if len(m.cases) == 0 {
		return m, nil
	}
	slices.SortStableFunc(m.cases, func(a, b priceCase) int {
		return cmp.Or(cmp.Compare(a.fromMS, b.fromMS), cmp.Compare(a.variant, b.variant), cmp.Compare(a.above, b.above))
	})
	// The standard variant has the lowest number, and its base no length.
	m.Priced, m.Prices = true, m.cases[0].prices
	m.PriceVersion = cmp.Or(st.GetPriceVersion(), version)
	return m, nil
}

// older is the price that a control plane says which knows no more than three.
func older(st *syncv1.ModelState) *syncv1.PriceState {
	in, out := st.GetInput(), st.GetOutput()
	return &syncv1.PriceState{
		Input: in, CachedInput: st.GetCachedInput(), CacheWrite: in, CacheWriteLong: in, AudioInput: in,
		Output: out, Reasoning: out, AudioOutput: out,
	}
}

func pricesOf(p *syncv1.PriceState) (money.Prices, error) {
	m := money.Prices{
		Input: money.NanoUSD(p.GetInput()), CachedInput: money.NanoUSD(p.GetCachedInput()), Output: money.NanoUSD(p.GetOutput()),
		CacheWrite: money.NanoUSD(p.GetCacheWrite()), CacheWriteLong: money.NanoUSD(p.GetCacheWriteLong()),
		Reasoning: money.NanoUSD(p.GetReasoning()), AudioInput: money.NanoUSD(p.GetAudioInput()), AudioOutput: money.NanoUSD(p.GetAudioOutput()),
		Image: money.NanoUSD(p.GetImage()), Request: money.NanoUSD(p.GetRequest()),
	}
	if _, err := money.Cost(money.Use{}, m); err != nil || p.GetAboveInputTokens() < 0 || p.GetVariant() < 0 {
		return m, errors.New("prices: negative")
	}
	return m, nil
}

func compileSettingsPrices(version int64, st *syncv1.SettingsState) (settingsPrices, error) {
	s := settingsPrices{unknown: UnknownPrice{
		Refuse:  resourcev1.UnknownPricePolicy(st.GetUnknownPrice()) == resourcev1.UnknownPricePolicy_UNKNOWN_PRICE_POLICY_REFUSE,
		Version: version,
	}}
	if p := st.GetDefaultPrice(); p != nil {
		prices, err := pricesOf(p)
		if err != nil {
			return s, errors.New("default_price: negative")
		}
		s.unknown.Default = &prices
	}
	if len(st.GetBuiltInModels()) > 0 {
		s.builtIn = make(map[string]*Model, len(st.GetBuiltInModels()))
	}
	for _, m := range st.GetBuiltInModels() {
		compiled, err := newModel(0, m)
		if err != nil {
			return s, errors.New("built_in_models: " + err.Error())
		}
		s.builtIn[compiled.Name] = compiled
	}
	return s, nil
}
