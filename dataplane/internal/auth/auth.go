// Package auth tells who calls.
//
// Caller turns a bearer token into the key that it belongs to, or into the one error that the client sees. It decides
// from one snapshot, allocates nothing and fails closed: whatever it does not know is refused. It does not parse headers,
// does not look at models or limits, and never logs or returns what was presented.
package auth

import (
	"net/netip"
	"unsafe"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/clientkey"
	"fairway/pkg/fault"
)

// The dialect codes of refusals.
const (
	CodeInvalid  = "invalid_api_key"
	CodeDisabled = "api_key_disabled"
	CodeExpired  = "api_key_expired"
	CodeIP       = "ip_not_allowed"
	CodeTenant   = "tenant_not_found"
	CodeNotReady = "not_ready"
)

// Authenticator finds callers. It is immutable and safe for concurrent use; the errors that it returns are shared and
// must not be changed.
type Authenticator struct {
	missing, malformed, unknown, disabled, expired, address, closed, stray, notReady *fault.Error
}

// New returns an authenticator.
func New() *Authenticator {
	return &Authenticator{
		missing:   fault.New(fault.Unauthenticated, "no API key was given; send it as \"Authorization: Bearer <key>\"").WithCode(CodeInvalid),
		malformed: fault.New(fault.Unauthenticated, "the API key is malformed").WithCode(CodeInvalid),
		unknown:   fault.New(fault.Unauthenticated, "the API key is not known").WithCode(CodeInvalid),
		disabled:  fault.New(fault.Unauthenticated, "the API key is disabled").WithCode(CodeDisabled),
		expired:   fault.New(fault.Unauthenticated, "the API key has expired").WithCode(CodeExpired),
		address:   fault.New(fault.Denied, "the API key may not be used from this address").WithCode(CodeIP),
		closed:    fault.New(fault.Unauthenticated, "the tenant of the API key is disabled").WithCode(CodeDisabled),
		stray:     fault.New(fault.Unavailable, "the tenant of the API key is not known to this proxy").WithCode(CodeTenant),
		notReady:  fault.New(fault.Unavailable, "the proxy has no state to serve from yet").WithCode(CodeNotReady),
	}
}

// Caller finds the key that bearer (the raw token, without "Bearer ") belongs to, at the time nowMS (unix ms). The error
// is Unauthenticated for a key that is absent, malformed, unknown, disabled (or its tenant, or what that is a part of) or
// expired (told apart by its code), Denied for a caller's address that the key does not allow, and Unavailable before the first
// state and while the key's tenant is unknown.
func (a *Authenticator) Caller(s *snapshot.Snapshot, bearer []byte, ip netip.Addr, nowMS int64) (*snapshot.Key, *fault.Error) {
	if len(bearer) == 0 {
		return nil, a.missing
	}
	if len(bearer) != clientkey.Len {
		return nil, a.malformed
	}
	// Whoever is known has a right checksum. It only tells apart, among the unknown, those that a change on its way may still
	// bring from those that none can.
	hasher := s.Hasher()
	if hasher != nil {
		if key, ok := s.Key(hasher.Sum(bearer)); ok {
			return a.judge(s, key, ip, nowMS)
		}
	}
	// A view, not a copy: Valid does not keep it, and nobody changes bearer meanwhile.
	switch valid := clientkey.Valid(unsafe.String(unsafe.SliceData(bearer), len(bearer))); {
	case !valid:
		return nil, a.malformed
	case hasher == nil:
		return nil, a.notReady
	}
	return nil, a.unknown
}

// judge says whether a key may be used now, from this address.
func (a *Authenticator) judge(s *snapshot.Snapshot, key *snapshot.Key, ip netip.Addr, nowMS int64) (*snapshot.Key, *fault.Error) {
	switch {
	case key.Disabled:
		return nil, a.disabled
	case key.ExpireMS != 0 && nowMS >= key.ExpireMS:
		return nil, a.expired
	case !key.AllowsIP(ip):
		return nil, a.address
	case key.Owned():
		if err := a.owner(s, key.TenantID); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// levels is how deep tenants nest: one, and what it is a part of.
const levels = 2

// owner says whether a tenant's keys may be used.
func (a *Authenticator) owner(s *snapshot.Snapshot, id snapshot.TenantID) *fault.Error {
	for range levels {
		t, ok := s.Tenant(id)
		switch {
		case !ok:
			return a.stray
		case t.Disabled:
			return a.closed
		case t.ParentID == "":
			return nil
		}
		id = t.ParentID
	}
	return nil
}

// Unknown reports whether err says that the key, or its tenant, may exist on the control plane though it is not known here yet:
// a case for the catch-up on a miss.
func (a *Authenticator) Unknown(err *fault.Error) bool {
	return err == a.unknown || err == a.notReady || err == a.stray
}
