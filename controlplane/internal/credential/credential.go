// Package credential exchanges the long-lived credentials of accounts for the short-lived ones that requests carry: a
// Google service account's key file, an Entra application's secret, an AWS role, an OAuth refresh token.
//
// Only the elected leader does it, well ahead of expiry, so that an endpoint is asked once for the whole fleet. What it
// gets is sealed and written under the leader's fence; proxies receive it inside the account. A new leader goes on with
// what is stored. A refresh token that the endpoint replaced is stored before it is used.
//
// It refuses to follow redirects and to connect to addresses that are neither public nor allowed, because long-lived
// credentials go there; to believe tokens that could not stand in a header; and to put anything that was secret, or that
// an endpoint said of it, into a log.
package credential

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/egress"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Store is where accounts come from and credentials go.
type Store interface {
	// State is this replica's copy of the data set; nil before the first load.
	State() *model.State
	// WaitRevision returns when the copy has caught up with the revision.
	WaitRevision(ctx context.Context, revision int64) error
	// Read is linearizable; NotFound when there is none.
	Read(ctx context.Context, k model.Kind, id string) (model.Resource, error)
	// PutCredential and DeleteCredential fail as fault.Stale when the fence has fallen (code store.CodeNotLeader) or the
	// version before is another, and as NotFound when the account is gone.
	PutCredential(ctx context.Context, f store.Fence, c *resourcev1.Credential, before int64) (int64, error)
	DeleteCredential(ctx context.Context, f store.Fence, c *resourcev1.Credential) error
}

// Sealer encrypts a value for one place and opens it there again. *secret.Keyring does.
type Sealer interface {
	Seal(plain []byte, kind, id, field string) (*resourcev1.SealedValue, error)
	Open(v *resourcev1.SealedValue, kind, id, field string) ([]byte, error)
}

// Options of an Exchanger. The zero value works.
type Options struct {
	// Allow are the ranges that token endpoints and the proxies before them may be in although they are not public.
	Allow []netip.Prefix
	// TLS towards token endpoints; nil = the system's roots.
	TLS      *tls.Config
	Now      func() time.Time      // nil = time.Now
	Log      *slog.Logger          // nil = none
	Registry prometheus.Registerer // nil = no metrics
}

const (
	// requestTimeout bounds one request to a token endpoint.
	requestTimeout = 15 * time.Second
	// maxParallel bounds the exchanges under way at once.
	maxParallel = 8
	// lookEvery is how often the clock is looked at, so that one that was set is noticed.
	lookEvery = 30 * time.Second
	// graceTime is how much longer than its term an exchange may take that cannot be made again.
	graceTime = 10 * time.Second
)

// Exchanger exchanges credentials while it leads. Safe for concurrent use.
type Exchanger struct {
	store   Store
	sealer  Sealer
	guard   egress.Guard
	tls     *tls.Config
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	changed chan struct{} // one place: accounts or credentials may have changed
	leads   atomic.Bool

	// Tests shorten these.
	lookEvery, firstPause, settle time.Duration
}

// New returns an exchanger; it does nothing before Lead.
func New(s Store, sealer Sealer, o Options) *Exchanger {
	e := &Exchanger{
		store: s, sealer: sealer, guard: egress.New(o.Allow, "--token-allow-cidr"), tls: o.TLS, now: o.Now, log: o.Log, changed: make(chan struct{}, 1),
		lookEvery: lookEvery, firstPause: 2 * time.Second, settle: graceTime,
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.metrics = newMetrics(o.Registry, e.now, e.log)
	return e
}

// Observe takes note of changes of the data set. It never blocks.
func (e *Exchanger) Observe(changes []model.Change) {
	for _, c := range changes {
		switch c.Kind {
		case model.KindAccount, model.KindChannel, model.KindCredential:
			select {
			case e.changed <- struct{}{}:
			default:
			}
			return
		default:
		}
	}
}

// Lead exchanges what is due, under the fence, until ctx ends. It returns when no exchange is under way any more, which may
// take some seconds longer: what an endpoint gave in place of a refresh token must not be lost.
func (e *Exchanger) Lead(ctx context.Context, f store.Fence) error {
	if !e.leads.CompareAndSwap(false, true) {
		return fault.New(fault.Internal, "credentials are exchanged here already")
	}
	defer e.leads.Store(false)
	// Those who led before have written; their credentials are not to be asked for again.
	if err := e.store.WaitRevision(ctx, f.Revision()); err != nil {
		return nil // ctx ended
	}
	t := &term{
		e: e, fence: f, jobs: map[string]*job{}, began: time.Now(),
		results: make(chan result, maxParallel), slots: make(chan struct{}, maxParallel),
	}
	defer e.metrics.forget()
	return t.run(ctx)
}

// term is one leadership. Its fields are its own goroutine's, but for what exchanges under way use.
type term struct {
	e       *Exchanger
	fence   store.Fence
	began   time.Time
	jobs    map[string]*job // by account id
	working sync.WaitGroup
	results chan result
	slots   chan struct{}
}

func (t *term) run(ctx context.Context) error {
	defer t.working.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.e.changed:
		case r := <-t.results:
			t.settle(r)
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return nil
		}
		t.look(ctx, t.e.store.State())
		timer.Reset(t.start(ctx))
	}
}
