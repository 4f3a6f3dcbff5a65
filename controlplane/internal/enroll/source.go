package enroll

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"fairway/pkg/trust"
)

// Source is a replica's own certificate, for serving proxies and for asking other replicas. It is safe for concurrent
// use.
type Source struct {
	authority *Authority
	id        trust.Identity

	mu      sync.Mutex
	current *tls.Certificate
	renewAt time.Time
}

// Source returns the certificate source of the replica with the id.
func (a *Authority) Source(replicaID string) (*Source, error) {
	s := &Source{
		authority: a,
		id:        trust.Identity{Lineage: a.lineage, Role: trust.RoleReplica, ID: replicaID},
	}
	if _, err := s.Certificate(); err != nil {
		return nil, err
	}
	return s, nil
}

// Certificate returns a certificate that is good for two thirds of ReplicaLife at least, with the authority's own after
// it. A new one is made when the old one has lived a third of its time; as that is looked at with each connection, no
// clock jump and no suspended host makes it too late.
func (s *Source) Certificate() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.now()
	if s.current != nil && now.Before(s.renewAt) && now.After(s.current.Leaf.NotBefore) {
		return s.current, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("replica certificate: %w", err)
	}
	leaf, err := s.authority.issue(key.Public(), s.id, ReplicaLife, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	s.current = &tls.Certificate{
		Certificate: [][]byte{leaf.Raw, s.authority.cert.Raw},
		PrivateKey:  key,
		Leaf:        leaf,
	}
	s.renewAt = now.Add(ReplicaLife / 3)
	return s.current, nil
}
