package admin

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// What a viewer reads of the built-in prices is what the service was given, each time anew.
func TestBuiltInPrices(t *testing.T) {
	w := newWorld(t)
	table := &adminv1.GetBuiltInPricesResponse{
		Models:       []*resourcev1.Model{{Metadata: &resourcev1.Metadata{Name: "m"}, Prices: &resourcev1.Prices{Input: 1, Output: 2}}},
		PriceVersion: 1 << 62, AsOf: "2026-03", Digest: "d",
	}
	c := w.as(w.hire("vera", resourcev1.Role_ROLE_VIEWER))
	if none, err := c.models.GetBuiltInPrices(t.Context(), &adminv1.GetBuiltInPricesRequest{}); err != nil || len(none.GetModels()) != 0 {
		t.Errorf("without a table: %v, %v", none, err)
	}
	w.service.prices = proto.CloneOf(table)
	for range 2 {
		got, err := c.models.GetBuiltInPrices(t.Context(), &adminv1.GetBuiltInPricesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(table, got, protocmp.Transform()); d != "" {
			t.Error(d)
		}
	}
}

func TestPricesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	const tooMuch = 1_000_000_000_000_001
	for name, m := range map[string]*resourcev1.Model{
		"negative":               {Prices: &resourcev1.Prices{Input: -1}},
		"absurd":                 {Prices: &resourcev1.Prices{Reasoning: proto.Int64(tooMuch)}},
		"a tier without rates":   {Prices: &resourcev1.Prices{Tiers: []*resourcev1.PriceTier{{AboveInputTokens: 1}}}},
		"a tier of all":          {Prices: &resourcev1.Prices{Tiers: []*resourcev1.PriceTier{{Rates: &resourcev1.Rates{}}}}},
		"an absurd tier":         {Prices: &resourcev1.Prices{Tiers: []*resourcev1.PriceTier{{AboveInputTokens: 1, Rates: &resourcev1.Rates{Input: tooMuch}}}}},
		"a standard variant":     {Prices: &resourcev1.Prices{Variants: []*resourcev1.PriceVariant{{Rates: &resourcev1.Rates{}}}}},
		"an unknown variant":     {Prices: &resourcev1.Prices{Variants: []*resourcev1.PriceVariant{{Variant: 4, Rates: &resourcev1.Rates{}}}}},
		"a time without prices":  {Schedule: []*resourcev1.PriceChange{{EffectiveTime: timestamppb.Now()}}},
		"prices without a time":  {Schedule: []*resourcev1.PriceChange{{Prices: &resourcev1.Prices{}}}},
		"prices of long ago":     {Schedule: []*resourcev1.PriceChange{{EffectiveTime: &timestamppb.Timestamp{}, Prices: &resourcev1.Prices{}}}},
		"two prices at one time": {Schedule: []*resourcev1.PriceChange{{EffectiveTime: &timestamppb.Timestamp{Seconds: 9}, Prices: &resourcev1.Prices{}}, {EffectiveTime: &timestamppb.Timestamp{Seconds: 9}, Prices: &resourcev1.Prices{}}}},
	} {
		m.Metadata = named("m")
		if _, err := c.models.CreateModel(t.Context(), &adminv1.CreateModelRequest{Model: m}); err == nil {
			t.Errorf("%s: was stored", name)
		}
	}
	settings := func(u *resourcev1.UnknownPrice) error {
		_, err := c.settings.UpdateSettings(t.Context(), &adminv1.UpdateSettingsRequest{
			Settings: &resourcev1.Settings{UnknownPrice: u}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"unknown_price"}},
		})
		return err
	}
	if settings(&resourcev1.UnknownPrice{Policy: 3}) == nil {
		t.Error("a default price that is none was stored")
	}
	if err := settings(&resourcev1.UnknownPrice{Policy: 3, DefaultRates: &resourcev1.Rates{Input: 1, Output: 1}}); err != nil {
		t.Errorf("a default price: %v", err)
	}
}
