package ledger

import (
	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/money"
)

// sums are by what is grouped by; the rest of the key is empty.
type sums map[store.UsageKey]sum

// sum is what rows of the books add up to. The counters include what was corrected.
type sum struct {
	counters amounts
	fixed    *fixed // nil = nothing was corrected, as almost always
}

type fixed struct {
	corrections int64
	counters    amounts
}

// plus returns the sum with a row in it, or false if any part overflows.
func (s sum) plus(r store.UsageRow) (sum, bool) {
	other := sum{counters: amountsOf(r.Counters)}
	if r.Correction {
		other.fixed = &fixed{corrections: r.Corrections, counters: other.counters}
	}
	return s.with(other)
}

// with adds two sums up. Neither changes.
func (s sum) with(o sum) (sum, bool) {
	var ok bool
	if s.counters, ok = s.counters.plus(o.counters); !ok || o.fixed == nil {
		return s, ok
	}
	both := *o.fixed
	if s.fixed != nil {
		if both.counters, ok = both.counters.plus(s.fixed.counters); !ok {
			return s, false
		}
		n, err := money.Add(both.corrections, s.fixed.corrections)
		if err != nil {
			return s, false
		}
		both.corrections = n
	}
	s.fixed = &both
	return s, true
}

// corrected is the part that was corrected; nil where nothing was.
func (s sum) corrected() *adminv1.UsageCorrected {
	if s.fixed == nil {
		return nil
	}
	return &adminv1.UsageCorrected{Corrections: s.fixed.corrections, Counters: s.fixed.counters.counters()}
}

// value is what order ranks by.
func (s sum) value(o adminv1.UsageOrder) int64 {
	c := s.counters.counters()
	switch o {
	case adminv1.UsageOrder_USAGE_ORDER_COST:
		return c.GetCostNanoUsd()
	case adminv1.UsageOrder_USAGE_ORDER_TOKENS:
		return c.GetInputTokens() + c.GetOutputTokens()
	case adminv1.UsageOrder_USAGE_ORDER_REQUESTS:
		return c.GetRequests()
	case adminv1.UsageOrder_USAGE_ORDER_ERRORS:
		return c.GetErrors()
	default:
		return 0
	}
}

// filter says which places count, by names or ids.
type filter struct {
	l      *Ledger
	names  map[resource]string // found so far
	kinds  []wanted
	models map[string]bool // nil = all
}

type resource struct {
	kind model.Kind
	id   string
}

// wanted are the names and ids of one kind.
type wanted struct {
	kind  model.Kind
	names map[string]bool
	of    func(store.UsageKey) string
}

// request is what both a query and a correction say of the places that they mean.
type request interface {
	GetKeys() []string
	GetGroups() []string
	GetChannels() []string
	GetAccounts() []string
	GetModels() []string
}

func newFilter(l *Ledger, req request) filter {
	f := filter{l: l, names: map[resource]string{}, models: set(req.GetModels())}
	for _, w := range []wanted{
		{model.KindKey, set(req.GetKeys()), func(k store.UsageKey) string { return k.Key }},
		{model.KindGroup, set(req.GetGroups()), func(k store.UsageKey) string { return k.Group }},
		{model.KindChannel, set(req.GetChannels()), func(k store.UsageKey) string { return k.Channel }},
		{model.KindAccount, set(req.GetAccounts()), func(k store.UsageKey) string { return k.Account }},
	} {
		if w.names != nil {
			f.kinds = append(f.kinds, w)
		}
	}
	return f
}

func set(names []string) map[string]bool {
	if len(names) == 0 {
		return nil
	}
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

func (f filter) wants(k store.UsageKey) bool {
	for _, w := range f.kinds {
		id := w.of(k)
		if id == "" || !w.names[id] && !w.names[f.show(w.kind, id)] {
			return false
		}
	}
	return f.models == nil || f.models[k.Model]
}

// show returns a resource's name, or its id when it has none any more. Nothing stays nothing.
func (f filter) show(kind model.Kind, id string) string {
	if id == "" {
		return ""
	}
	r := resource{kind, id}
	name, ok := f.names[r]
	if !ok {
		name = f.l.name(kind, id)
		f.names[r] = name
	}
	return name
}
