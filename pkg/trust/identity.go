package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Role is what a process with a certificate is.
type Role string

// The roles.
const (
	// RoleProxy is a data-plane process.
	RoleProxy Role = "proxy"
	// RoleReplica is a control-plane process.
	RoleReplica Role = "replica"
)

const (
	scheme      = "spiffe"
	trustDomain = "fairway"
)

// ErrIdentity is returned for a URI or a certificate that names no identity of ours.
var ErrIdentity = errors.New("trust: no fairway identity")

// Identity is who a certificate speaks for. Lineage and ID are 1 to 128 letters, digits, "-", "_" and ".", and not "."
// or "..".
type Identity struct {
	// Lineage is the data set it belongs to.
	Lineage string
	Role    Role
	ID      string
}

// String is the URI.
func (i Identity) String() string { return i.URI().String() }

// URI is spiffe://fairway/<lineage>/<role>/<id>. It does not check i; ParseIdentity does.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: trustDomain, Path: "/" + i.Lineage + "/" + string(i.Role) + "/" + i.ID}
}

// ParseIdentity reads what URI made and nothing else: no escapes, no port, no query, no further segments.
func ParseIdentity(u *url.URL) (Identity, error) {
	if u == nil {
		return Identity{}, ErrIdentity
	}
	parts := strings.Split(u.Path, "/")
	if len(parts) != 4 || parts[0] != "" {
		return Identity{}, ErrIdentity
	}
	i := Identity{Lineage: parts[1], Role: Role(parts[2]), ID: parts[3]}
	if i.Role != RoleProxy && i.Role != RoleReplica {
		return Identity{}, ErrIdentity
	}
	if !segment(i.Lineage) || !segment(i.ID) || *u != *i.URI() {
		return Identity{}, ErrIdentity
	}
	return i, nil
}

// IdentityOf reads the identity of a certificate, which must have exactly one URI. It says nothing about whether the
// certificate is to be trusted.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if cert == nil || len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("%w: want exactly one URI in the certificate", ErrIdentity)
	}
	return ParseIdentity(cert.URIs[0])
}

func segment(s string) bool {
	if s == "" || len(s) > 128 || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
