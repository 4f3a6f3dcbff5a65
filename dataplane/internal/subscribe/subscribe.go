// Package subscribe keeps a proxy's state up to date.
//
// It proves to the control plane who the proxy is (a join token buys a certificate, which is renewed well ahead), holds
// one Sync stream to one of its replicas, hands what arrives to the snapshot room and acknowledges it. When a replica
// drains it moves to another before it lets go; when all are away it keeps trying, and the proxy serves from what it
// has, after a restart from the last good state on disk.
//
// It refuses to fail because the control plane is away, to let a broken or stale transaction change anything, and to
// speak to a server that its certificate authority does not vouch for. It decides nothing about requests.
package subscribe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/snapshot"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

// Options say who the proxy is and where its control plane is.
type Options struct {
	// Addresses of the control plane's sync listeners, "host:port" or "unix:/path"; one at least.
	Addresses []string
	// JoinTokenFile holds a join token. It is read anew for each attempt to enroll and may appear late. Empty = the
	// identity in StateDir is all there is.
	JoinTokenFile string
	// StateDir keeps the proxy's identity and its last good state; created with mode 0700.
	StateDir string
	// Version, Hostname and BootID go into Hello. BootID is new with each start of the process.
	Version, Hostname, BootID string
	// Probe tries an account at its upstream and says how that went; nil = this proxy answers no probes.
	Probe func(ctx context.Context, p *syncv1.Probe) *syncv1.ProbeResult
	// Lookup says how a request was decided, by its id; nil = not known here. It must not block. No function = this proxy knows
	// none.
	Lookup func(requestID string) *adminv1.Decision
	// Log takes events; nil = none.
	Log *slog.Logger
	// Registry takes metrics; nil = none.
	Registry prometheus.Registerer
}

// Subscriber feeds one Holder. Run owns its goroutines; all other methods are safe for concurrent use.
type Subscriber struct {
	holder  *snapshot.Holder
	o       Options
	log     *slog.Logger
	metrics *metrics

	identity atomic.Pointer[identity]
	address  atomic.Pointer[string] // of the replica that feeds us; nil = none

	// Owned by Run.
	replica  *snapshot.Replica
	keeper   *snapshot.Keeper
	rotation *rotation
	misfits  int              // transactions in a row that did not fit
	refusals int              // connections in a row on which our identity, or the server's, was refused
	enrolled time.Time        // last; zero once a replica accepted us since
	rejected map[string]int64 // resource -> version that was logged as quarantined
	quiet    quiet
}

// New returns a subscriber that does nothing before Run.
func New(h *snapshot.Holder, o Options) *Subscriber {
	s := &Subscriber{holder: h, o: o, log: o.Log, replica: snapshot.NewReplica(), rejected: make(map[string]int64)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.quiet.log = s.log
	s.rotation = newRotation(o.Addresses)
	s.metrics = newMetrics(o.Registry, h, s.expiry)
	return s
}

// Run restores the last good state and keeps the holder up to date until ctx ends. It fails only for what waiting does
// not mend: no address, or a state directory that cannot be used.
func (s *Subscriber) Run(ctx context.Context) error {
	if len(s.o.Addresses) == 0 {
		return errors.New("subscribe: no address of a control plane")
	}
	if err := os.MkdirAll(s.o.StateDir, 0o700); err != nil {
		return fmt.Errorf("subscribe: create the state directory: %w", err)
	}
	keeper, err := snapshot.OpenKeeper(s.o.StateDir, s.log, snapshot.KeeperOptions{OnSave: s.metrics.saved})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	s.keeper = keeper
	if at, ok := keeper.Load(s.replica); ok {
		s.holder.Restore(s.replica.Snapshot(), at)
		s.noteRejects()
	}
	if id, err := loadIdentity(s.o.StateDir); err == nil {
		s.identity.Store(id)
	} else if !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("identity refused; a join token is needed", "error", err)
	}

	// The keeper outlives the stream, so that it writes what came last.
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { _ = keeper.Run(keeping) }) // reports by itself, never fails
	s.connect(ctx)
	stop()
	done.Wait()
	return nil
}

// Identity is who the proxy is, by its certificate; false before it has one.
func (s *Subscriber) Identity() (trust.Identity, bool) {
	id := s.identity.Load()
	if id == nil {
		return trust.Identity{}, false
	}
	return id.who, true
}

// TLS is for further connections to replicas of the control plane; nil before the proxy has an identity. It follows
// renewals by itself.
func (s *Subscriber) TLS() *tls.Config {
	if s.identity.Load() == nil {
		return nil
	}
	// Any lineage: it is new after a restored backup, while the authority that vouches for the server is the same.
	return trust.ClientTLS(s.certificate, s.authorities, trust.RoleReplica, "")
}

// Address is that of the replica which feeds this proxy now; empty while there is none.
func (s *Subscriber) Address() string {
	if a := s.address.Load(); a != nil {
		return *a
	}
	return ""
}

// connect holds a stream, one after the other, until ctx ends.
func (s *Subscriber) connect(ctx context.Context) {
	var pause pacing
	for {
		address := s.rotation.next()
		began := time.Now()
		err := s.attempt(ctx, address)
		if ctx.Err() != nil {
			return
		}
		s.quiet.warn(address, err)
		if time.Since(began) >= steadyAfter {
			pause = pacing{}
		}
		if !sleep(ctx, max(pause.next(s.rotation.len()), retryDelay(err))) {
			return
		}
	}
}

// attempt connects to one address, enrolling first where that is needed, and follows the stream to its end.
func (s *Subscriber) attempt(ctx context.Context, address string) error {
	var notEnrolled error
	if s.needsEnrollment(time.Now()) {
		if err := s.enroll(ctx, address); err != nil {
			s.metrics.failures.WithLabelValues("enroll").Inc()
			notEnrolled = fmt.Errorf("enroll: %w", err)
			if s.identity.Load() == nil {
				return notEnrolled
			}
			// The certificate that was refused may yet be accepted elsewhere.
		}
	}
	l, err := s.dial(address)
	if err != nil {
		return err
	}
	st, err := s.open(ctx, l)
	if err == nil {
		err = s.follow(ctx, st)
	}
	if isRefusal(err) || l.refused.Load() {
		s.refusals++
	}
	if ctx.Err() == nil {
		s.metrics.failures.WithLabelValues("stream").Inc()
	}
	if notEnrolled != nil {
		return errors.Join(err, notEnrolled)
	}
	return err
}
