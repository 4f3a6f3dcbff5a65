// Package publish brings the state to the proxies: it takes the changes that the store sees, builds them, gathers them
// into transactions and streams those over gRPC to every connected proxy. It also answers the other RPCs of the sync
// listener (usage reports, enrolment, the questions of other replicas) and knows which proxy has applied what.
//
// A transaction is written once, into a ring that all subscribers share; a subscriber is a cursor into it and never
// makes another one wait. One that is too far behind, or comes back with a state that the ring does not know, gets the
// buckets that differ; one that holds nothing gets everything.
//
// It refuses to publish before the first load, to take a proxy back to an older revision, to queue anything for a single
// subscriber, and to serve state to a peer without a proxy's certificate. It stores nothing and decides nothing about
// resources.
package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"fairway/controlplane/internal/build"
	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

// Books commits usage.
type Books interface {
	// Report puts records on the books, exactly once by (bootID, sequence), and returns up to which sequence all is on
	// them. An error with the method LeaderSyncAddress() string says that another replica keeps the books, and where;
	// the proxy is told.
	Report(ctx context.Context, bootID string, first uint64, records []*syncv1.UsageRecord) (watermark uint64, err error)
}

// Enroller gives proxies their certificates.
type Enroller interface {
	Enroll(ctx context.Context, token string, csr []byte, hostname string) (*syncv1.Certificate, error)
	Renew(ctx context.Context, id trust.Identity, csr []byte) (*syncv1.Certificate, error)
}

// Options of a Publisher. Lineage, ReplicaID, Books and Enroller are required.
type Options struct {
	// Lineage of the data set; peers with certificates of another are refused.
	Lineage string
	// ReplicaID is this process's, as it is registered.
	ReplicaID string
	Books     Books
	Enroller  Enroller
	// Health answers the health that proxies report; nil = such streams are refused.
	Health Health
	// Lender lends shares of limits; nil = such streams are refused.
	Lender Lender

	// Peers lists the registered replicas, this one among them or not; nil = this is the only one.
	Peers func(ctx context.Context) ([]*adminv1.Replica, error)
	// PeerTLS is for connections to other replicas; required with Peers.
	PeerTLS *tls.Config
	// PeerTimeout bounds one question to another replica; 0 = 2s.
	PeerTimeout time.Duration

	// RingBytes and RingEntries bound what is kept for proxies that lag or resume; 0 = 32 MiB and 8192.
	RingBytes, RingEntries int
	// FullStateBytes bounds full states under way at once, in bytes; one is always admitted. 0 = 256 MiB.
	FullStateBytes int64
	// AdmitTimeout is how long a proxy waits for its full state to be admitted before it is sent away; 0 = 10s.
	AdmitTimeout time.Duration
	// HelloTimeout is how long a stream may take to say Hello; 0 = 10s.
	HelloTimeout time.Duration
	// SendTimeout ends the stream of a proxy that has not taken one message in that time; 0 = 60s.
	SendTimeout time.Duration
	// LookupTimeout bounds the search for a request among the proxies, which answer from memory; 0 = 2s.
	LookupTimeout time.Duration
	// BehindTimeout is how long a proxy that knows a newer revision than this replica waits before it is sent away;
	// 0 = 10s.
	BehindTimeout time.Duration

	// Log; nil = none.
	Log *slog.Logger
	// Registry for metrics; nil = none.
	Registry *prometheus.Registry
}

func (o Options) withDefaults() Options {
	for d, value := range map[*time.Duration]time.Duration{
		&o.PeerTimeout: 2 * time.Second, &o.AdmitTimeout: 10 * time.Second, &o.HelloTimeout: 10 * time.Second,
		&o.SendTimeout: time.Minute, &o.BehindTimeout: 10 * time.Second, &o.LookupTimeout: 2 * time.Second,
	} {
		if *d == 0 {
			*d = value
		}
	}
	if o.RingBytes == 0 {
		o.RingBytes = 32 << 20
	}
	if o.RingEntries == 0 {
		o.RingEntries = 8192
	}
	if o.FullStateBytes == 0 {
		o.FullStateBytes = 256 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Publisher publishes. Its methods are safe for concurrent use.
type Publisher struct {
	build    *build.Builder
	o        Options
	log      *slog.Logger
	validate protovalidate.Validator
	metrics  *metrics

	inbox  inbox
	ring   *ring
	fleet  *fleet
	probes probes
	seeks  lookups
	peers  *peers
	stored atomic.Pointer[model.State] // the newest observed, for names
	admits *semaphore.Weighted

	// Only Run touches these.
	missing map[build.Ref]int   // how many published resources lack it
	failed  map[change]struct{} // resources that could not be built
	retried time.Time

	lifecycle sync.Mutex
	grace     time.Duration // for drainFrame; set before draining is closed
	isDrained bool
	isStopped bool
	draining  chan struct{}
	stopped   chan struct{}
	streams   sync.WaitGroup // goroutines of streams
}

// New makes a publisher; nothing happens before Run.
func New(b *build.Builder, o Options) (*Publisher, error) {
	if o.Lineage == "" || o.ReplicaID == "" || o.Books == nil || o.Enroller == nil {
		return nil, errors.New("publish: lineage, replica id, books and enroller are required")
	}
	if o.Peers != nil && o.PeerTLS == nil {
		return nil, errors.New("publish: peers without TLS")
	}
	validate, err := protovalidate.New()
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	p := &Publisher{
		build:    b,
		o:        o,
		log:      o.Log,
		validate: validate,
		inbox:    newInbox(),
		ring:     newRing(o.RingBytes, o.RingEntries),
		fleet:    newFleet(),
		peers:    newPeers(o),
		admits:   semaphore.NewWeighted(o.FullStateBytes),
		missing:  make(map[build.Ref]int),
		failed:   make(map[change]struct{}),
		draining: make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if p.metrics, err = p.newMetrics(o.Registry); err != nil {
		return nil, err
	}
	return p, nil
}

// Observe takes in the state after some changes; the changes may be none. It never blocks. The calls must be in the
// order of the states.
func (p *Publisher) Observe(next *model.State, changes []model.Change) {
	p.stored.Store(next)
	p.inbox.put(next, changes, time.Now())
}

// Run publishes until ctx ends; then it ends all streams and returns nil. It may be called once.
func (p *Publisher) Run(ctx context.Context) error {
	defer p.stop()
	var (
		pend  pending
		last  time.Time // of the last publication
		size  int       // how many changes it had
		timer = time.NewTimer(time.Hour)
	)
	defer timer.Stop()
	for {
		pend.take(p.inbox.take(), p.ring.current() != nil)
		var due <-chan time.Time
		if pend.state != nil {
			wait := pend.wait(time.Now(), last, size, p.awaited(pend.state.Revision()))
			if wait <= 0 {
				size = len(pend.order)
				p.publish(&pend)
				pend = pending{}
				last = time.Now()
				continue
			}
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-p.inbox.signal:
		case <-p.fleet.hurry:
		case <-due:
		case <-ctx.Done():
			return nil
		}
	}
}

// awaited says whether somebody waits for a revision that is not published yet but would be with this one.
func (p *Publisher) awaited(revision int64) bool {
	var published int64
	if s := p.ring.current(); s != nil {
		published = s.revision
	}
	return p.fleet.awaited(published, revision)
}

// stop ends all streams and waits for their goroutines.
func (p *Publisher) stop() {
	p.lifecycle.Lock()
	p.isStopped = true
	close(p.stopped)
	p.lifecycle.Unlock()
	p.streams.Wait()
	p.peers.close()
}

// Drain refuses new streams, asks the connected proxies to go elsewhere and waits until they have or ctx ends. State
// flows meanwhile. The grace that they are told is the time that ctx has left, 10s if it has no deadline.
func (p *Publisher) Drain(ctx context.Context) {
	p.lifecycle.Lock()
	if !p.isDrained {
		p.isDrained = true
		p.grace = 10 * time.Second
		if deadline, ok := ctx.Deadline(); ok {
			p.grace = max(0, time.Until(deadline))
		}
		close(p.draining)
	}
	p.lifecycle.Unlock()
	for {
		changed := p.fleet.changes()
		if p.fleet.size() == 0 {
			return
		}
		select {
		case <-changed:
		case <-p.stopped:
			return
		case <-ctx.Done():
			p.log.Warn("proxies still connected after drain", "streams", p.fleet.size())
			return
		}
	}
}

// enter counts the goroutines of a stream, unless no stream may begin any more.
func (p *Publisher) enter(goroutines int) error {
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.isDrained || p.isStopped {
		return errStopped
	}
	p.streams.Add(goroutines)
	return nil
}

// admit waits for room for one more full state under way. The caller must call release.
func (p *Publisher) admit(ctx context.Context) (release func(), err error) {
	var size int64 = 1
	if s := p.ring.current(); s != nil {
		size = min(max(1, s.size), p.o.FullStateBytes)
	}
	waiting, cancel := context.WithTimeout(ctx, p.o.AdmitTimeout)
	defer cancel()
	if err := p.admits.Acquire(waiting, size); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fault.New(fault.Exhausted, "too many proxies load their state at once").
			WithRetryAfter(jitter(p.o.AdmitTimeout))
	}
	return func() { p.admits.Release(size) }, nil
}
