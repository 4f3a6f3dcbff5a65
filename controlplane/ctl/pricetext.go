package ctl

import (
	"fmt"
	"strings"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/money"
)

// amount is one price of a model, by its name for people.
type amount struct {
	name string
	nano int64
}

// amounts lists all prices that are set, in a fixed order.
func amounts(m *resourcev1.Model) []amount {
	var all []amount
	if p := m.GetPrices(); p != nil {
		all = appendPrices(all, "", p)
	}
	for _, c := range m.GetSchedule() {
		all = appendPrices(all, "from "+c.GetEffectiveTime().AsTime().UTC().Format(time.RFC3339)+" ", c.GetPrices())
	}
	return all
}

func appendPrices(all []amount, prefix string, p *resourcev1.Prices) []amount {
	all = appendRates(all, prefix, &resourcev1.Rates{
		Input: p.GetInput(), CachedInput: p.CachedInput, CacheWrite: p.CacheWrite, CacheWriteLong: p.CacheWriteLong,
		AudioInput: p.AudioInput, Output: p.GetOutput(), Reasoning: p.Reasoning, AudioOutput: p.AudioOutput,
	})
	all = appendOptional(all, prefix+"image", p.Image)
	all = appendOptional(all, prefix+"request", p.Request)
	all = appendTiers(all, prefix, p.GetTiers())
	for _, v := range p.GetVariants() {
		name := prefix + enumName(v.GetVariant().Descriptor(), v.GetVariant().Number()) + " "
		all = appendTiers(appendRates(all, name, v.GetRates()), name, v.GetTiers())
	}
	return all
}

func appendTiers(all []amount, prefix string, tiers []*resourcev1.PriceTier) []amount {
	for _, t := range tiers {
		all = appendRates(all, fmt.Sprintf("%sabove-%d ", prefix, t.GetAboveInputTokens()), t.GetRates())
	}
	return all
}

func appendRates(all []amount, prefix string, r *resourcev1.Rates) []amount {
	if r == nil {
		return all
	}
	all = append(all, amount{prefix + "input", r.GetInput()})
	for _, o := range []struct {
		name string
		nano *int64
	}{{"cache-read", r.CachedInput}, {"cache-write", r.CacheWrite}, {"cache-write-long", r.CacheWriteLong}, {"audio-input", r.AudioInput}} {
		all = appendOptional(all, prefix+o.name, o.nano)
	}
	all = append(all, amount{prefix + "output", r.GetOutput()})
	all = appendOptional(all, prefix+"reasoning", r.Reasoning)
	return appendOptional(all, prefix+"audio-output", r.AudioOutput)
}

func appendOptional(all []amount, name string, nano *int64) []amount {
	if nano == nil {
		return all
	}
	return append(all, amount{name, *nano})
}

// differences says how prices become others: "input $2 -> $3", "image none -> $0.04".
func differences(from, to *resourcev1.Model) []string {
	old := map[string]int64{}
	for _, a := range amounts(from) {
		old[a.name] = a.nano
	}
	var lines []string
	for _, a := range amounts(to) {
		was, had := old[a.name]
		delete(old, a.name)
		switch {
		case !had && from == nil:
			lines = append(lines, a.name+" "+usd(a.nano))
		case !had:
			lines = append(lines, a.name+" none -> "+usd(a.nano))
		case was != a.nano:
			lines = append(lines, a.name+" "+usd(was)+" -> "+usd(a.nano))
		}
	}
	for _, a := range amounts(from) {
		if _, gone := old[a.name]; gone {
			lines = append(lines, a.name+" "+usd(a.nano)+" -> none")
		}
	}
	return lines
}

// usd is an amount in dollars.
func usd(nano int64) string { return money.NanoUSD(nano).String() }

// usdNumber is the same without the sign, for columns that say so.
func usdNumber(nano int64) string { return strings.TrimPrefix(usd(nano), "$") }
