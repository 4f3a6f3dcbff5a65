// Package store keeps the control plane's data in etcd, and is the only importer of etcd.
//
// It writes every change of resources in one transaction together with its guards, its indexes and its audit records;
// it holds a copy of all resources in memory (model.State) and follows the data set's changes; it elects leaders, fences
// what they write, and keeps the books of usage.
//
// It refuses to overwrite what it has not seen (every update and deletion names a version), to leave a reference
// dangling, to guess the outcome of a write whose answer was lost, to publish a state that came from a failed or
// implausible read, to put a value into a log or an error, and to work on a data set of a newer schema. It does not
// judge resources (model does) and knows no callers (admin does).
package store

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/controlplane/internal/model"
	"fairway/pkg/secret"
)

// Config says which etcd and how to reach it.
type Config struct {
	// Endpoints as host:port, http://…, https://… or unix://…
	Endpoints []string
	// TLS for https and bare endpoints; nil = as the files below say.
	TLS *tls.Config
	// CAFile, CertFile and KeyFile hold PEM; all empty = no TLS. Cert and key go together and are read again for each
	// connection, so that they can be renewed in place.
	CAFile, CertFile, KeyFile string
	// Username and Password for etcd's own authentication; empty = none.
	Username string
	Password secret.String
	// DialTimeout bounds one attempt at the first connection; 0 = 5s.
	DialTimeout time.Duration
	// LeaseTTL is how long a silent leader or replica counts as alive, in whole seconds; 0 = 10s.
	LeaseTTL time.Duration
	// Alone says that no other process can be using this etcd, because it is embedded and its directory locked: leaderships
	// and registrations that Open finds are of the dead, and are removed.
	Alone bool
}

const (
	defaultDialTimeout = 5 * time.Second
	defaultLeaseTTL    = 10 * time.Second
	// attemptTimeout bounds one try of a request; then another endpoint gets its chance.
	attemptTimeout = 5 * time.Second
	// callTimeout bounds a call whose context has no deadline.
	callTimeout = 20 * time.Second
	// readBackTimeout bounds the last look at a write whose caller's time is over.
	readBackTimeout = 2 * time.Second
)

// Store is a client of one data set. Its methods may run concurrently; Run may run once at a time.
type Store struct {
	client   *clientv3.Client
	log      *slog.Logger
	now      func() time.Time
	leaseTTL time.Duration
	// probeEvery is how often the majority is asked for lineage and revision.
	probeEvery time.Duration

	ids     sync.Mutex
	entropy io.Reader // guarded by ids

	lineage atomic.Pointer[string]
	state   atomic.Pointer[model.State]
	running atomic.Bool
	reached atomic.Int64  // when a majority last answered Run, Unix milliseconds
	poke    chan struct{} // asks Run for the newest revision

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed when state is replaced
}

// Open connects and makes sure that the data set has a lineage; a new one is born with its settings and default group.
// It keeps trying until etcd answers or ctx ends, so that planes may start in any order; what cannot get better by
// waiting (credentials, a newer schema, malformed configuration) is an error at once.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Store, error) {
	ec, err := clientConfig(cfg, log)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	ttl := cfg.LeaseTTL
	if ttl <= 0 {
		ttl = defaultLeaseTTL
	}
	s := &Store{
		log:        log,
		now:        time.Now,
		leaseTTL:   max(ttl.Round(time.Second), time.Second),
		probeEvery: defaultProbeEvery,
		entropy:    ulid.Monotonic(rand.Reader, 0),
		poke:       make(chan struct{}, 1),
		changed:    make(chan struct{}),
	}
	if err := s.connect(ctx, ec); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if cfg.Alone {
		if err := s.forgetOthers(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("open store: %w", err), s.Close())
		}
	}
	return s, nil
}

// forgetOthers removes what processes that were killed left behind: leaderships and registrations that would stand until
// their leases run out. Whoever led can write no more, because its fence is gone with the key.
func (s *Store) forgetOthers(ctx context.Context) error {
	_, err := s.client.Txn(ctx).Then(
		clientv3.OpDelete(leaderPrefix, clientv3.WithPrefix()),
		clientv3.OpDelete(replicaPrefix, clientv3.WithPrefix()),
	).Commit()
	if err != nil {
		return fmt.Errorf("forget replicas that are gone: %w", err)
	}
	return nil
}

// Close ends the connections. Let Run, Lead and Register end first.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Lineage is the id of the data set. It changes when a backup was restored.
func (s *Store) Lineage() string { return *s.lineage.Load() }

// State is this replica's copy of all resources; nil before the first load.
func (s *Store) State() *model.State { return s.state.Load() }

// Reached says when a majority of etcd last answered Run, which asks every ten seconds; zero before the first answer.
func (s *Store) Reached() time.Time {
	if ms := s.reached.Load(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// WaitLoaded returns when State is there.
func (s *Store) WaitLoaded(ctx context.Context) error { return s.WaitRevision(ctx, 0) }

// WaitRevision returns when State reflects a revision of this lineage. The error is that of ctx.
func (s *Store) WaitRevision(ctx context.Context, revision int64) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if st := s.State(); st != nil && st.Revision() >= revision {
			return nil
		}
		select {
		case s.poke <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d: %w", revision, ctx.Err())
		}
	}
}

// publish makes next the current state and wakes those who wait for it.
func (s *Store) publish(next *model.State) {
	lineage := next.Lineage()
	s.lineage.Store(&lineage)
	s.state.Store(next)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// newID returns a ULID that is greater than those before it within one millisecond.
func (s *Store) newID(now time.Time) (ulid.ULID, error) {
	s.ids.Lock()
	defer s.ids.Unlock()
	id, err := ulid.New(ulid.Timestamp(now), s.entropy)
	if errors.Is(err, ulid.ErrMonotonicOverflow) {
		id, err = ulid.New(ulid.Timestamp(now), rand.Reader)
	}
	if err != nil {
		return id, fmt.Errorf("make id: %w", err)
	}
	return id, nil
}

// bounded gives a context without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callTimeout)
}
