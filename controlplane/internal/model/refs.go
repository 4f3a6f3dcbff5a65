package model

import (
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Ref points at a resource by kind and name.
type Ref struct {
	Kind Kind
	Name string
}

// References returns what a resource refers to, without duplicates: an account its channel, a channel its groups, a key
// its group. Absent groups count as the default one.
func References(r Resource) []Ref {
	switch r := r.(type) {
	case *resourcev1.Account:
		return []Ref{{KindChannel, r.GetChannel()}}
	case *resourcev1.Channel:
		return channelRefs(r)
	case *resourcev1.Key:
		return []Ref{{KindGroup, groupOf(r)}}
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

func channelRefs(c *resourcev1.Channel) []Ref {
	if len(c.GetGroups()) == 0 {
		return []Ref{{KindGroup, DefaultGroup}}
	}
	refs := make([]Ref, 0, len(c.GetGroups()))
	seen := make(map[string]bool, len(c.GetGroups()))
	for _, name := range c.GetGroups() {
		if !seen[name] {
			seen[name] = true
			refs = append(refs, Ref{KindGroup, name})
		}
	}
	return refs
}

// referrer finds one resource that refers to the given one. Accounts of a channel are found by index; channels and keys
// of a group by a scan, which a deletion of a group can afford.
func (s *State) referrer(ref Ref) (Kind, Resource) {
	switch ref.Kind {
	case KindChannel:
		for a := range s.AccountsOf(ref.Name) {
			return KindAccount, a
		}
	case KindGroup:
		for _, k := range []Kind{KindChannel, KindKey} {
			for r := range s.All(k) {
				for _, other := range References(r) {
					if other == ref {
						return k, r
					}
				}
			}
		}
	}
	return "", nil
}
