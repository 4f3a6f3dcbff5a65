package subscribe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

const (
	// callTimeout bounds Enroll and Renew.
	callTimeout = 10 * time.Second
	// refusalsBeforeEnrolling keeps one odd replica from costing a use of the join token.
	refusalsBeforeEnrolling = 2
	// enrollEvery keeps a proxy that is refused although it has just enrolled from using up its join token.
	enrollEvery = time.Minute
	// renewAgain is the pause after a renewal that failed.
	renewAgain = time.Minute
	// maxTokenFile bounds a join token's file.
	maxTokenFile = 4096
)

// needsEnrollment says whether a join token is called for: no identity, an expired one, or one that is refused.
func (s *Subscriber) needsEnrollment(now time.Time) bool {
	id := s.identity.Load()
	if id == nil {
		return true
	}
	if !s.enrolled.IsZero() && now.Sub(s.enrolled) < enrollEvery {
		return false
	}
	return s.o.JoinTokenFile != "" && (now.After(id.cert.Leaf.NotAfter) || s.refusals >= refusalsBeforeEnrolling)
}

// joinToken reads the token's file as it is now.
func (s *Subscriber) joinToken() (text string, t trust.JoinToken, err error) {
	if s.o.JoinTokenFile == "" {
		return "", t, errors.New("the proxy has no identity and no join token file is configured")
	}
	f, err := os.Open(s.o.JoinTokenFile)
	if err != nil {
		return "", t, fmt.Errorf("read the join token: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return "", t, fmt.Errorf("read the join token: %w", err)
	}
	if t, err = trust.ParseJoinToken(string(raw)); err != nil {
		return "", t, fmt.Errorf("read the join token in %s: %w", s.o.JoinTokenFile, err)
	}
	return t.Encode(), t, nil
}

// enroll exchanges the join token for an identity.
func (s *Subscriber) enroll(ctx context.Context, address string) error {
	text, token, err := s.joinToken()
	if err != nil {
		return err
	}
	conn, err := newConn(address, credentials.NewTLS(trust.PinnedTLS(token.CAFingerprint)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // fails only when it is closed already
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, csr, err := newRequest(s.o.Hostname)
	if err != nil {
		return err
	}
	got, err := syncv1.NewEnrollServiceClient(conn).Enroll(ctx, &syncv1.EnrollRequest{Token: text, Csr: csr, Hostname: s.o.Hostname})
	if err != nil {
		return err
	}
	id, err := accept(key, got.GetCertificate())
	if err != nil {
		return err
	}
	s.enrolled, s.refusals = time.Now(), 0
	s.adopt(id)
	return nil
}

// renew asks for the next certificate over a connection that the present one opened. It runs beside the stream.
func (s *Subscriber) renew(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, csr, err := newRequest(s.o.Hostname)
	if err != nil {
		return err
	}
	got, err := syncv1.NewEnrollServiceClient(conn).Renew(ctx, &syncv1.RenewRequest{Csr: csr})
	if err != nil {
		return err
	}
	id, err := accept(key, got.GetCertificate())
	if err != nil {
		return err
	}
	s.adopt(id)
	return nil
}

// adopt uses an identity from now on. It counts even if it cannot be kept on disk.
func (s *Subscriber) adopt(id *identity) {
	s.identity.Store(id)
	s.log.Info("certificate issued", "identity", id.who.String(), "not_after", id.cert.Leaf.NotAfter)
	if err := id.save(s.o.StateDir); err != nil {
		s.log.Error("identity not saved: it will be lost with this process", "error", err)
	}
}
