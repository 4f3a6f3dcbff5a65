package snapshot

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unique"

	"fairway/dataplane/internal/limit"
	"fairway/pkg/clientkey"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Key is what a client presents, by its MAC. It is immutable.
//
// What decides whether it is let in comes first: a key is 128 bytes, and these are in the first of its two cache lines.
type Key struct {
	mac clientkey.MAC

	ExpireMS int64 // unix milliseconds from which the key is refused; 0 = never
	Disabled bool
	Strict   bool      // refuse what a conversion would lose
	Debug    bool      // answers say who served
	owned    bool      // TenantID is not empty
	rules    *keyRules // nil = none, as most keys have

	ID       KeyID
	Name     string
	TenantID TenantID // "" = nobody's
	GroupID  GroupID
}

// Owned reports whether the key has a tenant. It looks no further than who lets the key in does anyway.
func (k *Key) Owned() bool { return k.owned }

// keyRules are what a key is bound to.
type keyRules struct {
	ips      []netip.Prefix        // who may use it; empty = everybody
	allowed  modelNames            // none = all
	denied   modelNames            // whatever is allowed
	clients  []string              // beginnings of User-Agent, in lower case; empty = any
	accounts []AccountID           // who may serve it, sorted; nil = all of its group
	names    unique.Handle[string] // of accounts
	limits   *limit.Terms          // nil = none
}

// modelNames is a list of models. Its zero value has none.
type modelNames struct {
	exact    map[string]struct{}
	prefixes []string // by the start of their name
}

func compileModelNames(list []string) modelNames {
	var n modelNames
	for _, m := range list {
		if prefix, ok := strings.CutSuffix(m, "*"); ok {
			n.prefixes = append(n.prefixes, prefix)
			continue
		}
		if n.exact == nil {
			n.exact = make(map[string]struct{}, len(list))
		}
		n.exact[m] = struct{}{}
	}
	return n
}

func (n *modelNames) none() bool { return n.exact == nil && n.prefixes == nil }

func (n *modelNames) has(model string) bool {
	if _, ok := n.exact[model]; ok {
		return true
	}
	for _, p := range n.prefixes {
		if strings.HasPrefix(model, p) {
			return true
		}
	}
	return false
}

// AllowsModel reports whether the key's model rules let model through.
func (k *Key) AllowsModel(model string) bool {
	r := k.rules
	return r == nil || !r.denied.has(model) && (r.allowed.none() || r.allowed.has(model))
}

// AllowsIP reports whether the key may be used from ip. An invalid address passes only where there is no rule.
func (k *Key) AllowsIP(ip netip.Addr) bool {
	return k.rules == nil || k.rules.allowIP(ip)
}

func (r *keyRules) allowIP(ip netip.Addr) bool {
	if len(r.ips) == 0 {
		return true
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(r.ips, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// AllowsClient reports whether the key may be used by a client that calls itself so, in User-Agent. One that does not say
// passes only where there is no rule.
func (k *Key) AllowsClient(userAgent []byte) bool {
	if k.rules == nil || len(k.rules.clients) == 0 {
		return true
	}
	for _, start := range k.rules.clients {
		if startsWith(userAgent, start) {
			return true
		}
	}
	return false
}

// startsWith says whether text begins with lower, whatever the case of its ASCII letters.
func startsWith(text []byte, lower string) bool {
	if len(text) < len(lower) {
		return false
	}
	for i := range len(lower) {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Accounts are those that may serve the key, sorted; nil = all of its group. Callers must not change the list.
func (k *Key) Accounts() []AccountID {
	if k.rules == nil {
		return nil
	}
	return k.rules.accounts
}

// Limits are those of the key alone; nil = none.
func (k *Key) Limits() *limit.Terms {
	if k.rules == nil {
		return nil
	}
	return k.rules.limits
}

func compileKey(id string, version int64, body []byte) (form, error) {
	st := &syncv1.KeyState{}
	if err := unmarshal(body, st); err != nil {
		return nil, err
	}
	k := &Key{
		ID: KeyID(id), Name: st.GetName(), TenantID: TenantID(unique.Make(st.GetTenantId()).Value()),
		GroupID: GroupID(unique.Make(st.GetGroupId()).Value()), Disabled: st.GetDisabled(), Strict: st.GetStrict(),
		Debug: st.GetDebugHeaders(), owned: st.GetTenantId() != "",
	}
	if copy(k.mac[:], st.GetMac()) != len(k.mac) || len(st.GetMac()) != len(k.mac) {
		return nil, fmt.Errorf("mac: has %d bytes, want %d", len(st.GetMac()), len(k.mac))
	}
	if t := st.GetExpireTime(); t != nil {
		if err := t.CheckValid(); err != nil {
			return nil, errors.New("expire_time: not a time")
		}
		// 0 means never here; a key that expired in 1970 has expired.
		if k.ExpireMS = t.AsTime().UnixMilli(); k.ExpireMS == 0 {
			k.ExpireMS = 1
		}
	}
	var err error
	k.rules, err = compileKeyRules(id, version, st)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// compileKeyRules returns nil where there are none.
func compileKeyRules(id string, version int64, st *syncv1.KeyState) (*keyRules, error) {
	limits, err := terms(limit.Key, id, version, st.GetLimits())
	if err != nil {
		return nil, err
	}
	if limits == nil && len(st.GetModels())+len(st.GetDeniedModels())+len(st.GetAllowedIps())+len(st.GetClients())+len(st.GetAccountIds()) == 0 {
		return nil, nil
	}
	r := &keyRules{
		allowed: compileModelNames(st.GetModels()), denied: compileModelNames(st.GetDeniedModels()), limits: limits,
	}
	for _, text := range st.GetAllowedIps() {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("allowed_ips: %q is neither an address nor a CIDR", text)
		}
		r.ips = append(r.ips, p)
	}
	for _, start := range st.GetClients() {
		if start == "" {
			return nil, errors.New("clients: a beginning is empty")
		}
		r.clients = append(r.clients, strings.ToLower(start))
	}
	for _, account := range st.GetAccountIds() {
		if account == "" {
			return nil, errors.New("account_ids: an id is empty")
		}
		r.accounts = append(r.accounts, AccountID(unique.Make(account).Value()))
	}
	if r.accounts != nil {
		slices.Sort(r.accounts)
		r.accounts = slices.Compact(r.accounts)
		r.names = accountNames(r.accounts)
	}
	return r, nil
}

// parsePrefix reads a CIDR or a single address; IPv4 in IPv6 counts as IPv4.
func parsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}
