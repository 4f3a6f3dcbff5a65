package model

import (
	"slices"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Ref points at a resource by kind and name.
type Ref struct {
	Kind Kind
	Name string
}

// References returns what a resource refers to, without duplicates: an account its channel, a channel its groups, a
// tenant its parent and its groups, a key its group, its tenant and its accounts, operators and notifiers their tenant.
// Absent groups of channels and keys count as the default one.
func References(r Resource) []Ref {
	switch r := r.(type) {
	case *resourcev1.Account:
		return []Ref{{KindChannel, r.GetChannel()}}
	case *resourcev1.Channel:
		if len(r.GetGroups()) == 0 {
			return []Ref{{KindGroup, DefaultGroup}}
		}
		return refsTo(nil, KindGroup, r.GetGroups()...)
	case *resourcev1.Tenant:
		return refsTo(refsTo(nil, KindTenant, r.GetParent()), KindGroup, r.GetGroups()...)
	case *resourcev1.Key:
		refs := refsTo([]Ref{{KindGroup, groupOf(r)}}, KindTenant, r.GetTenant())
		return refsTo(refs, KindAccount, r.GetAccounts()...)
	case *resourcev1.Operator:
		return refsTo(nil, KindTenant, r.GetTenant())
	case *resourcev1.Notifier:
		return refsTo(nil, KindTenant, r.GetTenant())
	default:
		return nil
	}
}

func groupOf(k *resourcev1.Key) string {
	if k.GetGroup() == "" {
		return DefaultGroup
	}
	return k.GetGroup()
}

// refsTo adds references to the named ones; an empty name names nothing.
func refsTo(refs []Ref, k Kind, names ...string) []Ref {
	for _, name := range names {
		if ref := (Ref{k, name}); name != "" && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// referrer finds one resource that refers to the given one. Accounts of a channel are found by index; everything else by
// a scan, which a deletion can afford.
func (s *State) referrer(ref Ref) (Kind, Resource) {
	if ref.Kind == KindChannel {
		for a := range s.AccountsOf(ref.Name) {
			return KindAccount, a
		}
	}
	for _, k := range referrers(ref.Kind) {
		for r := range s.All(k) {
			if slices.Contains(References(r), ref) {
				return k, r
			}
		}
	}
	return "", nil
}

// referrers lists the kinds that refer to a kind, other than accounts to channels.
func referrers(k Kind) []Kind {
	switch k {
	case KindGroup:
		return []Kind{KindChannel, KindTenant, KindKey}
	case KindTenant:
		return []Kind{KindTenant, KindOperator, KindNotifier, KindKey}
	case KindAccount:
		return []Kind{KindKey}
	default:
		return nil
	}
}
