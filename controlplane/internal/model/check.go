package model

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// CodeInUse marks the refusal to delete what others refer to, CodeProtected that of deleting what must exist.
const (
	CodeInUse     = "in_use"
	CodeProtected = "protected"
)

// Check says whether r may be written into s: the rules beyond those in the .proto files. It is the early, readable
// answer; what others change at the same moment is caught by the guards of the write's transaction. The error is a
// *fault.Error of kind Invalid whose Param is the field; Stale with CodeProtected when the last owner would be locked out.
func Check(s *State, r Resource) error {
	if err := checkMetadata(s, r); err != nil {
		return err
	}
	for _, ref := range References(r) {
		if _, ok := s.ByName(ref.Kind, ref.Name); !ok && !kept(s, r, ref) {
			return invalid(refField(r, ref), "there is no %s %q", ref.Kind, ref.Name)
		}
	}
	switch r := r.(type) {
	case *resourcev1.Channel:
		return checkChannel(s, r)
	case *resourcev1.Account:
		return checkAccount(s, r)
	case *resourcev1.Group:
		return checkGroup(r)
	case *resourcev1.Tenant:
		return checkTenant(s, r)
	case *resourcev1.Settings:
		return checkSettings(r)
	case *resourcev1.Key:
		return checkKey(s, r)
	case *resourcev1.Operator:
		return checkOperator(s, r)
	case *resourcev1.Notifier:
		return checkNotifier(r)
	case *resourcev1.Model:
		return checkPrices(r)
	default:
		return nil
	}
}

func invalid(field, format string, args ...any) error {
	return fault.New(fault.Invalid, "%s", field+": "+fmt.Sprintf(format, args...)).WithParam(field)
}

func checkMetadata(s *State, r Resource) error {
	k := KindOf(r)
	name := r.GetMetadata().GetName()
	switch {
	case !k.Valid():
		return invalid("resource", "unknown kind")
	case name == "":
		return invalid("metadata.name", "is required")
	case k == KindSettings && name != SettingsName:
		return invalid("metadata.name", "the only settings are called %q", SettingsName)
	}
	if old, ok := s.Get(k, r.GetMetadata().GetId()); ok && old.GetMetadata().GetName() != name {
		return invalid("metadata.name", "is fixed at creation")
	}
	return nil
}

// refField is the field that a resource refers by.
func refField(r Resource, ref Ref) string {
	switch {
	case ref.Kind == KindAccount:
		return "accounts"
	case KindOf(r) == KindTenant && ref.Kind == KindTenant:
		return "parent"
	case KindOf(r) == KindTenant || KindOf(r) == KindChannel:
		return "groups"
	default:
		return string(ref.Kind)
	}
}

func checkKey(s *State, k *resourcev1.Key) error {
	for _, raw := range k.GetAllowedIps() {
		if _, err := ParsePrefix(raw); err != nil {
			return invalid("allowed_ips", "%q is neither an address nor a CIDR", raw)
		}
	}
	if err := checkPatterns("models", k.GetModels()); err != nil {
		return err
	}
	if err := checkPatterns("denied_models", k.GetDeniedModels()); err != nil {
		return err
	}
	if t := k.GetExpireTime(); t != nil && t.CheckValid() != nil {
		return invalid("expire_time", "is not a valid time")
	}
	if t := forbidding(s, k); t != nil {
		return invalid("group", "tenant %q allows its keys the groups %s only, not %q",
			t.GetMetadata().GetName(), strings.Join(t.GetGroups(), ", "), groupOf(k))
	}
	return checkLimits(k.GetLimits())
}

func checkPatterns(field string, models []string) error {
	for _, m := range models {
		if i := strings.IndexByte(m, '*'); i >= 0 && i != len(m)-1 {
			return invalid(field, "%q: * may only stand at the end", m)
		}
	}
	return nil
}

// ParsePrefix reads "10.0.0.0/8" or a single address. Zones are refused; an address mapped into IPv6 becomes IPv4; bits
// beyond the prefix length are cleared.
func ParsePrefix(raw string) (netip.Prefix, error) {
	if !strings.Contains(raw, "/") {
		ip, err := netip.ParseAddr(raw)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("parse address: %w", err)
		}
		if ip.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("parse address: %q names a zone", raw)
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(raw)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("parse prefix: %w", err)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("parse prefix: %q is wider than the mapped addresses", raw)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func checkOperator(s *State, o *resourcev1.Operator) error {
	if o.GetTenant() != "" && o.GetRole() == resourcev1.Role_ROLE_OWNER {
		return invalid("tenant", "an owner is for everything: leave it empty, or choose another role")
	}
	r, ok := s.Get(KindOperator, o.GetMetadata().GetId())
	if !ok {
		return nil
	}
	if old, ok := r.(*resourcev1.Operator); ok && isOwner(old) && !isOwner(o) && !anotherOwner(s, o.GetMetadata().GetId()) {
		return fault.New(fault.Stale, "operator %q is the last owner that is not disabled", o.GetMetadata().GetName()).
			WithCode(CodeProtected).WithParam("role")
	}
	return nil
}

func isOwner(o *resourcev1.Operator) bool {
	return o.GetRole() == resourcev1.Role_ROLE_OWNER && !o.GetDisabled()
}

// anotherOwner reports whether an owner other than id could still sign in.
func anotherOwner(s *State, id string) bool {
	for r := range s.All(KindOperator) {
		if o, ok := r.(*resourcev1.Operator); ok && isOwner(o) && o.GetMetadata().GetId() != id {
			return true
		}
	}
	return false
}

// CheckDelete says whether a resource may go: nothing may refer to it, the settings, the default group and the last
// owner stay. The error is a *fault.Error: NotFound, or Stale with CodeInUse or CodeProtected.
func CheckDelete(s *State, k Kind, id string) error {
	r, ok := s.Get(k, id)
	if !ok {
		return fault.New(fault.NotFound, "there is no %s %q", k, id)
	}
	name := r.GetMetadata().GetName()
	if Protected(k, name) {
		return fault.New(fault.Stale, "%s %q cannot be deleted", k, name).WithCode(CodeProtected)
	}
	if o, ok := r.(*resourcev1.Operator); ok && isOwner(o) && !anotherOwner(s, id) {
		return fault.New(fault.Stale, "operator %q is the last owner that is not disabled", name).WithCode(CodeProtected)
	}
	if by, other := s.referrer(Ref{k, name}); other != nil {
		return inUse(k, name, by, other)
	}
	return nil
}

// CheckCascade says whether a channel's accounts may all go: a key may be bound to one. The error is that of CheckDelete.
func CheckCascade(s *State, channel string) error {
	going := make(map[string]bool)
	for a := range s.AccountsOf(channel) {
		going[a.GetMetadata().GetName()] = true
	}
	for r := range s.All(KindKey) {
		k, _ := r.(*resourcev1.Key)
		for _, name := range k.GetAccounts() {
			if going[name] {
				return inUse(KindAccount, name, KindKey, r)
			}
		}
	}
	return nil
}

func inUse(k Kind, name string, by Kind, other Resource) error {
	return fault.New(fault.Stale, "%s %q is in use by %s %q", k, name, by, other.GetMetadata().GetName()).WithCode(CodeInUse)
}

// Protected reports whether a resource must exist in every data set.
func Protected(k Kind, name string) bool {
	return k == KindSettings || (k == KindGroup && name == DefaultGroup)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
