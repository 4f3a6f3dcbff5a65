package model

import (
	"slices"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// TenantsOf returns the tenant of that name and then the one that it is a part of, as far as they are there. A key may
// name a tenant that is not: before tenants were resources, that was any text.
func TenantsOf(s *State, name string) []*resourcev1.Tenant {
	var tenants []*resourcev1.Tenant
	for range 2 {
		r, ok := s.ByName(KindTenant, name)
		if !ok {
			break
		}
		t, ok := r.(*resourcev1.Tenant)
		if !ok {
			break
		}
		tenants, name = append(tenants, t), t.GetParent()
	}
	return tenants
}

// Within says whether the tenant of that name is another one, or a part of it. Nobody's (empty) is in none.
func Within(s *State, name, of string) bool {
	if name == "" || of == "" {
		return false
	}
	if name == of {
		return true
	}
	tenants := TenantsOf(s, name)
	return len(tenants) > 0 && tenants[0].GetParent() == of
}

// kept says whether a key refers to a tenant that is not there only because it always did.
func kept(s *State, r Resource, ref Ref) bool {
	if ref.Kind != KindTenant || KindOf(r) != KindKey {
		return false
	}
	old, ok := s.Get(KindKey, r.GetMetadata().GetId())
	return ok && slices.Contains(References(old), ref)
}

// forbidding returns the tenant that does not allow a key its group: its own, or the one that this is a part of.
func forbidding(s *State, k *resourcev1.Key) *resourcev1.Tenant {
	for _, t := range TenantsOf(s, k.GetTenant()) {
		if len(t.GetGroups()) > 0 && !slices.Contains(t.GetGroups(), groupOf(k)) {
			return t
		}
	}
	return nil
}

// checkTenant sees to it that tenants have two levels at most, and that a tenant takes no group away that a key of it, or
// of a part of it, is in. Two writes at the same moment may get past both: nobody looks further up than two levels, and a
// key that is in a group already stays there.
func checkTenant(s *State, t *resourcev1.Tenant) error {
	name := t.GetMetadata().GetName()
	if t.GetParent() != "" {
		if t.GetParent() == name {
			return invalid("parent", "is the tenant itself")
		}
		if above := TenantsOf(s, t.GetParent()); len(above) > 1 {
			return invalid("parent", "%q is itself a part of %q; name that one, there are two levels only",
				t.GetParent(), above[1].GetMetadata().GetName())
		}
		for r := range s.All(KindTenant) {
			if part, ok := r.(*resourcev1.Tenant); ok && part.GetParent() == name {
				return invalid("parent", "tenant %q is a part of this one, and there are two levels only; leave it empty",
					part.GetMetadata().GetName())
			}
		}
	}
	if err := checkTenantGroups(s, t); err != nil {
		return err
	}
	return checkLimits(t.GetLimits())
}

// checkTenantGroups looks through all keys, but only when somebody says anew what groups they may name.
func checkTenantGroups(s *State, t *resourcev1.Tenant) error {
	name := t.GetMetadata().GetName()
	if allowsSame(s, t) {
		return nil
	}
	next := s.Apply(s.Revision(), []Change{{Kind: KindTenant, ID: t.GetMetadata().GetId(), New: t}})
	if !slices.ContainsFunc(TenantsOf(next, name), func(t *resourcev1.Tenant) bool { return len(t.GetGroups()) > 0 }) {
		return nil
	}
	for r := range next.All(KindKey) {
		k, ok := r.(*resourcev1.Key)
		if !ok || !belongs(next, k, name) {
			continue
		}
		by := forbidding(next, k)
		if by == nil {
			continue
		}
		field := "groups"
		if by.GetMetadata().GetName() != name {
			field = "parent"
		}
		return invalid(field, "key %q is in the group %q, which tenant %q would not allow: move or delete the key first",
			k.GetMetadata().GetName(), groupOf(k), by.GetMetadata().GetName())
	}
	return nil
}

// allowsSame says whether a tenant allows what it did before.
func allowsSame(s *State, t *resourcev1.Tenant) bool {
	r, _ := s.ByName(KindTenant, t.GetMetadata().GetName())
	old, ok := r.(*resourcev1.Tenant)
	return ok && old.GetParent() == t.GetParent() && slices.Equal(old.GetGroups(), t.GetGroups())
}

// belongs says whether a key belongs to a tenant, or to a part of it.
func belongs(s *State, k *resourcev1.Key, tenant string) bool {
	return slices.ContainsFunc(TenantsOf(s, k.GetTenant()), func(t *resourcev1.Tenant) bool {
		return t.GetMetadata().GetName() == tenant
	})
}
