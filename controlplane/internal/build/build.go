// Package build turns a stored resource into what proxies hold: defaults filled in, references resolved to ids, secrets
// opened, marshalled once and deterministically, so that any two replicas that see one State build the same bytes.
//
// It is pure: a function of a State and a resource. It refuses to keep anything between two calls, to send anything,
// and to publish kinds that proxies have no use for (operators, notifiers).
package build

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// SettingsID is the id under which the settings are published, whatever id the stored resource has: proxies always hold
// exactly one of them, also when none is stored.
const SettingsID = "settings"

// Builder builds. It is safe for concurrent use when Open is.
type Builder struct {
	// Open returns what is sealed in v. It is called with kind "account" or "credential", the account's id and the field:
	// "secret" or "proxy_secret", of a credential "secret" or "session_token".
	Open func(v *resourcev1.SealedValue, kind, id, field string) (string, error)
	// Pepper is the key of the MACs of all client keys. It travels in the settings.
	Pepper []byte
	// BuiltIn are models whose prices are known without a resource, and BuiltInVersion is what their usage is stamped with.
	// They travel in the settings too: a resource of the same name then wins wherever both have come.
	BuiltIn        []*resourcev1.Model
	BuiltInVersion int64
}

// Ref is a reference by name.
type Ref struct {
	Kind model.Kind
	Name string
}

// UnresolvedError says that a resource was built without references that lead nowhere.
type UnresolvedError struct {
	Refs []Ref
	// Expected: nothing is wrong. A key may name a tenant that is not there, from before tenants were resources; should it
	// ever be, the key is built again.
	Expected bool
}

func (e *UnresolvedError) Error() string {
	var b strings.Builder
	b.WriteString("built without references that do not resolve:")
	for _, r := range e.Refs {
		fmt.Fprintf(&b, " %s %q", r.Kind, r.Name)
	}
	return b.String()
}

// KindOf returns the published kind of a stored one; false for a kind that is not published.
func KindOf(k model.Kind) (syncv1.Kind, bool) {
	switch k {
	case model.KindChannel:
		return syncv1.Kind_KIND_CHANNEL, true
	case model.KindAccount:
		return syncv1.Kind_KIND_ACCOUNT, true
	case model.KindGroup:
		return syncv1.Kind_KIND_GROUP, true
	case model.KindKey:
		return syncv1.Kind_KIND_KEY, true
	case model.KindTenant:
		return syncv1.Kind_KIND_TENANT, true
	case model.KindModel:
		return syncv1.Kind_KIND_MODEL, true
	case model.KindSettings:
		return syncv1.Kind_KIND_SETTINGS, true
	default:
		return syncv1.Kind_KIND_UNSPECIFIED, false
	}
}

// Within returns the kind that carries resources of the kind k to proxies: its own, but for what has no life of its own.
// A credential and a verdict travel inside their account, which has the same id.
func Within(k model.Kind) model.Kind {
	if k == model.KindCredential || k == model.KindVerdict {
		return model.KindAccount
	}
	return k
}

// StoredKind is the reverse of KindOf; "" for a kind that has none.
func StoredKind(k syncv1.Kind) model.Kind {
	for _, m := range model.Kinds() {
		if published, ok := KindOf(m); ok && published == k {
			return m
		}
	}
	return ""
}

// Change builds what c.New (deleted when nil) means to proxies; references are looked up in s, which must be the state
// after the change. It returns false for a kind that is not published.
//
// An *UnresolvedError comes together with a Change, which lacks the named references. With every other error there is
// no Change: the resource cannot be built. One that is disabled is deleted then, without an error: that it serves
// nothing must reach the proxies, however broken it is.
func (b *Builder) Change(s *model.State, c model.Change) (*syncv1.Change, bool, error) {
	kind, ok := KindOf(c.Kind)
	if !ok {
		return nil, false, nil
	}
	if c.Kind == model.KindSettings {
		change, err := b.Settings(s)
		return change, true, err
	}
	if c.New == nil {
		return &syncv1.Change{Kind: kind, Id: c.ID, Deleted: true}, true, nil
	}
	var missing []Ref
	body, err := b.body(s, c.New, &missing)
	if err != nil {
		if disabled(c.New) {
			return &syncv1.Change{Kind: kind, Id: c.ID, Deleted: true}, true, nil
		}
		return nil, true, fmt.Errorf("build %s %s: %w", c.Kind, c.ID, err)
	}
	change, err := marshal(kind, c.ID, version(s, c.New), body)
	if err != nil {
		return nil, true, fmt.Errorf("build %s %s: %w", c.Kind, c.ID, err)
	}
	if len(missing) > 0 {
		other := func(r Ref) bool { return r.Kind != model.KindTenant }
		return change, true, &UnresolvedError{Refs: missing, Expected: c.Kind == model.KindKey && !slices.ContainsFunc(missing, other)}
	}
	return change, true, nil
}

// version is that of all that a published resource is made of.
func version(s *model.State, r model.Resource) int64 {
	v := model.Version(r)
	if a, ok := r.(*resourcev1.Account); ok {
		if c := model.CredentialOf(s, a); c != nil {
			v = max(v, model.Version(c))
		}
		if d := model.VerdictOf(s, a); d != nil {
			v = max(v, model.Version(d))
		}
	}
	return v
}

// Settings builds the one settings resource, from defaults (version 0) while none is stored.
func (b *Builder) Settings(s *model.State) (*syncv1.Change, error) {
	stored := s.Settings()
	settings := withDefaults(stored)
	retry, weights, thresholds, recovery := settings.GetRetry(), settings.GetWeights(), settings.GetThresholds(), settings.GetRecovery()
	return marshal(syncv1.Kind_KIND_SETTINGS, SettingsID, model.Version(stored), &syncv1.SettingsState{
		MaxAttempts:        retry.GetMaxAttempts(),
		RetryBudgetPercent: retry.GetBudgetPercent(),
		RetryBudgetMin:     retry.GetBudgetMin(),
		Pepper:             b.Pepper,
		Balance: &syncv1.BalanceState{
			Cost: weights.GetCost(), Performance: weights.GetPerformance(), Load: weights.GetLoad(), Reliability: weights.GetReliability(),
		},
		Breaker: &syncv1.BreakerState{
			ConsecutiveFailures: thresholds.GetConsecutiveFailures(), MaxErrorRate: thresholds.GetMaxErrorRate(),
			MinRequests: thresholds.GetMinRequests(), Window: thresholds.GetWindow(), MaxTtftRatio: thresholds.GetMaxTtftRatio(),
			MaxEjectedPercent: thresholds.GetMaxEjectedPercent(), PanicPercent: thresholds.GetPanicPercent(),
			Open: recovery.GetOpen(), MaxOpen: recovery.GetMaxOpen(), SlowStart: recovery.GetSlowStart(),
			CheckInterval: recovery.GetCheckInterval(), Check: int32(recovery.GetCheck()),
		},
		DecisionSamplePpm: settings.GetDecisionSamplePpm(),
		BuiltInModels:     b.builtIn(),
		UnknownPrice:      int32(settings.GetUnknownPrice().GetPolicy()),
		DefaultPrice:      defaultPrice(settings),
	})
}

// Affected returns the kinds whose resources must be built again after a change of the kind k, although they did not
// change themselves.
func Affected(k model.Kind) []model.Kind {
	if k == model.KindSettings {
		return []model.Kind{model.KindGroup} // the default strategy
	}
	return nil
}

func (b *Builder) body(s *model.State, r model.Resource, missing *[]Ref) (proto.Message, error) {
	switch r := r.(type) {
	case *resourcev1.Channel:
		return b.channel(s, withDefaults(r), missing)
	case *resourcev1.Account:
		return b.account(s, withDefaults(r), missing)
	case *resourcev1.Group:
		return group(s, withDefaults(r)), nil
	case *resourcev1.Key:
		return key(s, r, missing), nil
	case *resourcev1.Tenant:
		return tenant(s, r, missing), nil
	case *resourcev1.Model:
		return price(r), nil
	default:
		return nil, errors.New("not a published resource")
	}
}

func disabled(r model.Resource) bool {
	d, ok := r.(interface{ GetDisabled() bool })
	return ok && d.GetDisabled()
}

func marshal(kind syncv1.Kind, id string, version int64, body proto.Message) (*syncv1.Change, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		return nil, err
	}
	return &syncv1.Change{Kind: kind, Id: id, Version: version, Body: raw}, nil
}

// withDefaults returns a copy of r with its documented defaults filled in; resources of a State are shared.
func withDefaults[R model.Resource](r R) R {
	filled, ok := proto.Clone(r).(R)
	if !ok {
		return r // cannot be: a clone has its original's type
	}
	model.Defaults(filled)
	return filled
}
