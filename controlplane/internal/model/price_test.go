package model

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestCheckPrices(t *testing.T) {
	at := func(s int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(s, 0)) }
	tiers := func(above ...int64) []*resourcev1.PriceTier {
		var all []*resourcev1.PriceTier
		for _, n := range above {
			all = append(all, &resourcev1.PriceTier{AboveInputTokens: n, Rates: &resourcev1.Rates{}})
		}
		return all
	}
	variants := func(v ...*resourcev1.PriceVariant) *resourcev1.Prices { return &resourcev1.Prices{Variants: v} }
	for name, tt := range map[string]struct {
		m    *resourcev1.Model
		want string
	}{
		"no price":         {&resourcev1.Model{}, ""},
		"tiers":            {&resourcev1.Model{Prices: &resourcev1.Prices{Tiers: tiers(1, 2)}}, ""},
		"a tier twice":     {&resourcev1.Model{Prices: &resourcev1.Prices{Tiers: tiers(1, 1)}}, "prices: above_input_tokens must grow"},
		"tiers backwards":  {&resourcev1.Model{Prices: &resourcev1.Prices{Tiers: tiers(2, 1)}}, "prices: above_input_tokens must grow"},
		"variants":         {&resourcev1.Model{Prices: variants(&resourcev1.PriceVariant{Variant: 3}, &resourcev1.PriceVariant{Variant: 1})}, ""},
		"a variant twice":  {&resourcev1.Model{Prices: variants(&resourcev1.PriceVariant{Variant: 1}, &resourcev1.PriceVariant{Variant: 1})}, "prices: a variant is listed twice"},
		"a variant's tier": {&resourcev1.Model{Prices: variants(&resourcev1.PriceVariant{Variant: 1, Tiers: tiers(3, 3)})}, "prices: above_input_tokens must grow"},
		"a schedule":       {&resourcev1.Model{Schedule: []*resourcev1.PriceChange{{EffectiveTime: at(1)}, {EffectiveTime: at(2)}}}, ""},
		"a time twice":     {&resourcev1.Model{Schedule: []*resourcev1.PriceChange{{EffectiveTime: at(1)}, {EffectiveTime: at(1)}}}, "schedule: entry 2: effective_time must be later"},
		"times backwards":  {&resourcev1.Model{Schedule: []*resourcev1.PriceChange{{EffectiveTime: at(2)}, {EffectiveTime: at(1)}}}, "schedule: entry 2: effective_time must be later"},
		"no time":          {&resourcev1.Model{Schedule: []*resourcev1.PriceChange{{EffectiveTime: &timestamppb.Timestamp{Nanos: -1}}}}, "schedule: entry 1: effective_time is not a valid time"},
		"a tier to come":   {&resourcev1.Model{Schedule: []*resourcev1.PriceChange{{EffectiveTime: at(1), Prices: &resourcev1.Prices{Tiers: tiers(1, 1)}}}}, "schedule: above_input_tokens must grow"},
	} {
		tt.m.Metadata = &resourcev1.Metadata{Name: "m"}
		err := Check(Empty("l"), tt.m)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
