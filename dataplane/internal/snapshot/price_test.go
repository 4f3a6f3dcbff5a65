package snapshot

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/money"
)

func unix(ms int64) *timestamppb.Timestamp {
	return &timestamppb.Timestamp{Seconds: ms / 1000, Nanos: int32(ms%1000) * 1_000_000}
}

func TestPriceOf(t *testing.T) {
	st := &syncv1.ModelState{Name: "m", Prices: []*syncv1.PriceState{
		// Out of order on purpose.
		{Input: 9, EffectiveTime: unix(2000), Variant: 2},
		{Input: 8, EffectiveTime: unix(2000)},
		{Input: 1},
		{Input: 3, AboveInputTokens: 200},
		{Input: 2, AboveInputTokens: 100},
		{Input: 4, Variant: 2},
		{Input: 5, Variant: 2, AboveInputTokens: 150},
		{Input: 6, Variant: 3},
	}}
	m, err := newModel(7, st)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		now   int64
		v     Variant
		input int64
		want  money.NanoUSD
		of    Variant
		above int64
	}{
		"standard":              {0, 0, 0, 1, 0, 0},
		"at the edge of a tier": {0, 0, 100, 1, 0, 0},
		"beyond it":             {0, 0, 101, 2, 0, 100},
		"beyond two":            {0, 0, 201, 3, 0, 200},
		"a variant":             {0, 2, 150, 4, 2, 0},
		"its own tier":          {0, 2, 151, 5, 2, 150},
		"a variant that has no tiers is as long as it likes": {0, 3, 500, 6, 3, 0},
		"a variant without prices":                           {0, 1, 101, 2, 0, 100},
		"just before the new prices":                         {1999, 2, 0, 4, 2, 0},
		"at the new prices":                                  {2000, 2, 0, 9, 2, 0},
		"a tier that is no more":                             {2000, 0, 500, 8, 0, 0},
		"a variant that is no more":                          {2000, 3, 0, 8, 0, 0},
	} {
		got, ok := m.Price(tt.now, tt.v, tt.input)
		if !ok || got.Prices.Input != tt.want || got.Variant != tt.of || got.Above != tt.above {
			t.Errorf("%s: %+v, %v; want %d", name, got, ok, tt.want)
		}
	}
	if m.PriceVersion != 7 || !m.Priced || m.Prices.Input != 1 || !m.Varied() || m.ByImage() {
		t.Errorf("%+v", m)
	}
	if n := testing.AllocsPerRun(100, func() { m.Price(2000, 2, 500) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestPriceToCome(t *testing.T) {
	m, err := newModel(7, &syncv1.ModelState{Name: "m", Prices: []*syncv1.PriceState{{Input: 1, EffectiveTime: unix(2000)}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Price(1999, 0, 0); ok {
		t.Error("a price that does not hold yet was found")
	}
	if _, ok := m.Price(2000, 0, 0); !ok {
		t.Error("a price that holds was not found")
	}
	if none, err := newModel(7, &syncv1.ModelState{Name: "m"}); err != nil || none.Priced || none.PriceVersion != 0 {
		t.Errorf("%+v, %v", none, err)
	}
}

// Whatever the cases: of those that hold, none is passed over for a less fitting one.
func TestPriceIsTheBestCase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := &syncv1.ModelState{Name: "m"}
		type key struct {
			from, above int64
			variant     int32
		}
		cases := map[key]int64{}
		for i, from := range []int64{0, 10, 20} {
			if i > 0 && rapid.Bool().Draw(t, "no period") {
				continue
			}
			for v := range int32(4) {
				if v > 0 && rapid.Bool().Draw(t, "no variant") {
					continue
				}
				for _, above := range []int64{0, 5, 9} {
					if above > 0 && rapid.Bool().Draw(t, "no tier") {
						continue
					}
					price := int64(len(cases) + 1)
					cases[key{from, above, v}] = price
					p := &syncv1.PriceState{Input: price, Variant: v, AboveInputTokens: above}
					if from > 0 {
						p.EffectiveTime = unix(from)
					}
					st.Prices = append(st.Prices, p)
				}
			}
		}
		st.Prices = rapid.Permutation(st.Prices).Draw(t, "order")
		m, err := newModel(1, st)
		if err != nil {
			t.Fatal(err)
		}
		now, v, input := rapid.Int64Range(0, 25).Draw(t, "now"), rapid.Int32Range(0, 3).Draw(t, "variant"), rapid.Int64Range(0, 12).Draw(t, "input")
		// The latest period that has begun; in it the variant if it is there, else the standard one; of that the highest tier passed.
		var period int64
		for k := range cases {
			if k.from <= now {
				period = max(period, k.from)
			}
		}
		if _, ok := cases[key{period, 0, v}]; !ok {
			v = 0
		}
		want := cases[key{period, 0, v}]
		for _, above := range []int64{5, 9} {
			if price, ok := cases[key{period, above, v}]; ok && input > above {
				want = price
			}
		}
		if got, ok := m.Price(now, Variant(v), input); !ok || int64(got.Prices.Input) != want {
			t.Fatalf("%v, %v; want %d", got.Prices, ok, want)
		}
	})
}

// A control plane that knows three prices says those, and the others follow them.
func TestPricesOfAnOlderControlPlane(t *testing.T) {
	m, err := newModel(7, &syncv1.ModelState{Name: "m", Priced: true, Input: 10, CachedInput: 5, Output: 20})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := m.Price(0, 2, 1e9)
	want := money.Prices{Input: 10, CachedInput: 5, CacheWrite: 10, CacheWriteLong: 10, AudioInput: 10, Output: 20, Reasoning: 20, AudioOutput: 20}
	if !ok || *got.Prices != want {
		t.Errorf("%+v, %v", got.Prices, ok)
	}
}

func TestPricesThatAreNone(t *testing.T) {
	bad := &syncv1.PriceState{Reasoning: -1}
	for name, m := range map[string]*syncv1.ModelState{
		"no name":             {Prices: []*syncv1.PriceState{{}}},
		"negative":            {Name: "m", Prices: []*syncv1.PriceState{bad}},
		"negative length":     {Name: "m", Prices: []*syncv1.PriceState{{AboveInputTokens: -1}}},
		"negative, as of old": {Name: "m", Priced: true, CachedInput: -1},
	} {
		if _, err := newModel(1, m); err == nil {
			t.Errorf("%s was compiled", name)
		}
		if _, err := compileSettingsPrices(1, &syncv1.SettingsState{BuiltInModels: []*syncv1.ModelState{m}}); err == nil {
			t.Errorf("%s was compiled into the table", name)
		}
	}
	if _, err := compileSettingsPrices(1, &syncv1.SettingsState{DefaultPrice: bad}); err == nil {
		t.Error("a negative default was compiled")
	}
}

// What settings say of prices comes and goes with them.
func TestSettingsPrices(t *testing.T) {
	r := NewReplica()
	s := newSource("L1")
	s.apply(put(t, settingsKind, "settings", 5, &syncv1.SettingsState{
		Pepper: []byte("p"), UnknownPrice: 2, DefaultPrice: &syncv1.PriceState{Input: 3},
		BuiltInModels: []*syncv1.ModelState{{Name: "m", PriceVersion: 1 << 62, Prices: []*syncv1.PriceState{{Input: 1}}}},
	}))
	receive(t, r, s.full())
	snap := r.Snapshot()
	if m, ok := snap.Model("m"); !ok || m.PriceVersion != 1<<62 {
		t.Errorf("built-in: %+v, %v", m, ok)
	}
	if u := snap.UnknownPrice(); !u.Refuse || u.Default == nil || u.Default.Input != 3 || u.Version != 5 {
		t.Errorf("unknown: %+v", u)
	}
	c := put(t, modelKind, "x", 6, &syncv1.ModelState{Name: "m"})
	s.apply(c)
	receive(t, r, s.delta(s.revision-1, c))
	if m, _ := r.Snapshot().Model("m"); m.Priced {
		t.Error("the resource does not win")
	}
	d := []*syncv1.Change{gone(settingsKind, "settings"), gone(modelKind, "x")}
	s.apply(d...)
	receive(t, r, s.delta(s.revision-1, d...))
	if _, ok := r.Snapshot().Model("m"); ok || r.Snapshot().UnknownPrice().Refuse {
		t.Error("prices outlived their settings")
	}
}
