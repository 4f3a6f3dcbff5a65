package model

import (
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// checkPrices refuses prices of which two would hold for one request.
func checkPrices(m *resourcev1.Model) error {
	if err := checkPriceList("prices", m.GetPrices()); err != nil {
		return err
	}
	var before time.Time
	for i, c := range m.GetSchedule() {
		if c.GetEffectiveTime().CheckValid() != nil {
			return invalid("schedule", "entry %d: effective_time is not a valid time", i+1)
		}
		at := c.GetEffectiveTime().AsTime()
		if i > 0 && !at.After(before) {
			return invalid("schedule", "entry %d: effective_time must be later than that of the entry before", i+1)
		}
		before = at
		if err := checkPriceList("schedule", c.GetPrices()); err != nil {
			return err
		}
	}
	return nil
}

func checkPriceList(field string, p *resourcev1.Prices) error {
	if err := checkTiers(field, p.GetTiers()); err != nil {
		return err
	}
	seen := map[resourcev1.ServiceVariant]bool{}
	for _, v := range p.GetVariants() {
		if seen[v.GetVariant()] {
			return invalid(field, "a variant is listed twice")
		}
		seen[v.GetVariant()] = true
		if err := checkTiers(field, v.GetTiers()); err != nil {
			return err
		}
	}
	return nil
}

func checkTiers(field string, tiers []*resourcev1.PriceTier) error {
	for i := 1; i < len(tiers); i++ {
		if tiers[i].GetAboveInputTokens() <= tiers[i-1].GetAboveInputTokens() {
			return invalid(field, "above_input_tokens must grow from tier to tier")
		}
	}
	return nil
}
