package prices

import (
	"regexp"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// digest is that of the table's number: whoever changes the file gives it the next number, and writes both here. Otherwise
// usage would be stamped alike that cost differently.
const (
	number = 1
	digest = "0287ca69bd0822203c67daed1f38ee65b4042ed5f37b43ef3dd326dd55119f38"
)

func TestBuiltIn(t *testing.T) {
	table, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	if table.Digest != digest || table.Version>>32 != FirstVersion>>32|number {
		t.Errorf("table %x has the digest %s", table.Version, table.Digest)
	}
	if !regexp.MustCompile(`^20[0-9]{2}-[01][0-9]$`).MatchString(table.AsOf) {
		t.Errorf("as of %q", table.AsOf)
	}
	if n := len(table.Models); n < 90 || n > 150 {
		t.Errorf("%d models", n)
	}
	for _, m := range table.Models {
		name := m.GetMetadata().GetName()
		if err := protovalidate.Validate(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p := m.GetPrices()
		plausible(t, name, &resourcev1.Rates{
			Input: p.GetInput(), CachedInput: p.CachedInput, CacheWrite: p.CacheWrite, CacheWriteLong: p.CacheWriteLong,
			AudioInput: p.AudioInput, Output: p.GetOutput(), Reasoning: p.Reasoning, AudioOutput: p.AudioOutput,
		}, strings.Contains(name, "embedding"))
		for _, tier := range p.GetTiers() {
			plausible(t, name+", long", tier.GetRates(), false)
		}
		for _, v := range p.GetVariants() {
			plausible(t, name+", "+v.GetVariant().String(), v.GetRates(), false)
			cheaper := v.GetVariant() != resourcev1.ServiceVariant_SERVICE_VARIANT_PRIORITY
			if (v.GetRates().GetInput() < p.GetInput()) != cheaper || (v.GetRates().GetOutput() < p.GetOutput()) != cheaper {
				t.Errorf("%s: %s against the standard price: %v", name, v.GetVariant(), v.GetRates())
			}
		}
	}
}

// plausible refuses what is nearly always a slip of the pen.
func plausible(t *testing.T, name string, r *resourcev1.Rates, embeds bool) {
	t.Helper()
	const usd = 1_000_000_000
	if r.GetInput() < usd/50 || r.GetInput() > 200*usd || !embeds && (r.GetOutput() < r.GetInput() || r.GetOutput() > 10*r.GetInput()) {
		t.Errorf("%s: %v", name, r)
	}
	if r.CachedInput != nil && (r.GetCachedInput() >= r.GetInput() || r.GetCachedInput()*20 < r.GetInput()) {
		t.Errorf("%s: input from the cache: %v", name, r)
	}
	if r.CacheWrite != nil && (r.GetCacheWrite() < r.GetInput() || r.GetCacheWrite() > 2*r.GetInput()) ||
		r.CacheWriteLong != nil && (r.GetCacheWriteLong() < r.GetInput() || r.GetCacheWriteLong() > 2*r.GetInput()) {
		t.Errorf("%s: input into the cache: %v", name, r)
	}
	if r.AudioInput != nil && r.GetAudioInput() < r.GetInput() || r.AudioOutput != nil && r.GetAudioOutput() < r.GetOutput() {
		t.Errorf("%s: sound: %v", name, r)
	}
}

func TestParse(t *testing.T) {
	table, err := Parse([]byte(`{"version": 7, "as_of": "2026-03", "models": [
		{"names": ["b", "a"], "input": 1, "cached_input": 0, "output": 2, "image": 3, "request": 4, "tiers": [{"above": 5, "input": 6, "output": 7}],
		 "flex": {"input": 8, "output": 9, "reasoning": 10, "tiers": [{"above": 11, "input": 12, "output": 13}]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	prices := func(name string) *resourcev1.Model {
		return &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: name}, Prices: &resourcev1.Prices{
			Input: 1, CachedInput: proto.Int64(0), Output: 2, Image: proto.Int64(3), Request: proto.Int64(4),
			Tiers: []*resourcev1.PriceTier{{AboveInputTokens: 5, Rates: &resourcev1.Rates{Input: 6, Output: 7}}},
			Variants: []*resourcev1.PriceVariant{{
				Variant: resourcev1.ServiceVariant_SERVICE_VARIANT_FLEX, Rates: &resourcev1.Rates{Input: 8, Output: 9, Reasoning: proto.Int64(10)},
				Tiers: []*resourcev1.PriceTier{{AboveInputTokens: 11, Rates: &resourcev1.Rates{Input: 12, Output: 13}}},
			}},
		}}
	}
	if d := cmp.Diff([]*resourcev1.Model{prices("a"), prices("b")}, table.Models, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if table.Version>>32 != FirstVersion>>32|7 || table.Version < 0 {
		t.Errorf("version %x", table.Version)
	}
	for name, bad := range map[string]string{
		"no JSON":          `{`,
		"an unknown field": `{"version": 1, "models": [{"names": ["a"], "inptu": 1}]}`,
		"twice":            `{"version": 1, "models": [{"names": ["a"]}, {"names": ["b", "a"]}]}`,
		"no number":        `{"models": []}`,
	} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
