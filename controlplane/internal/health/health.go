// Package health decides for the fleet which accounts serve, rest and come back. Proxies report what they see; the
// elected leader puts it together (pkg/judge), stores what it decides under its fence and with an audit record, and tells
// every proxy what it makes of all reports: facts, rests, and who may try an account that comes back.
//
// All but the decisions is soft. It lives in the leader's memory, is lost with it, and comes back with what proxies report
// next; a new leader starts with the stored decisions. What an operator says (a reset, a new credential, a disabled
// account) wins over what was found out.
//
// It refuses to serve proxies where it does not lead, to keep a queue for any of them, to let more than one stream speak
// for a proxy, and to overwrite a verdict that it has not seen. What an account did wrong is the proxies' to say (the fault
// table), and when it rests the judge's.
package health

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/judge"
)

// Store is where accounts come from and decisions go.
type Store interface {
	// State is this replica's copy of the data set; nil before the first load.
	State() *model.State
	// WaitRevision returns when the copy has caught up with the revision.
	WaitRevision(ctx context.Context, revision int64) error
	// CreateMeta stores a value under a name that has none, and returns what is stored.
	CreateMeta(ctx context.Context, name string, value []byte) ([]byte, error)
	// PutVerdict stores a verdict in place of the version before, with its audit record, and returns the new version. It
	// fails as fault.Stale when the fence has fallen (code store.CodeNotLeader) or the version before is another, and as
	// NotFound when the account is gone. Other errors may leave open whether it was stored.
	PutVerdict(ctx context.Context, f store.Fence, v *resourcev1.Verdict, before int64, a store.Actor) (int64, error)
}

// Options of a Health. The zero value works for a single replica.
type Options struct {
	// ReplicaID is this process's, as it is registered; views name it.
	ReplicaID string
	// Leader returns the sync address of the replica that leads; nil = never known.
	Leader   func(ctx context.Context) (address string, ok bool)
	Now      func() time.Time      // nil = time.Now
	Log      *slog.Logger          // nil = none
	Registry prometheus.Registerer // nil = no metrics
}

const (
	// tickEvery is how often the judge looks at the clock.
	tickEvery = 250 * time.Millisecond
	// hurryAfter is how soon it looks again when a report cannot wait.
	hurryAfter = 25 * time.Millisecond
	// configureEvery is how often, at most, all accounts are read again.
	configureEvery = time.Second
	// viewAge is how old a view may be that is shown again.
	viewAge = 500 * time.Millisecond
)

// firstTerm is the name under which the first leadership of a data set leaves its mark.
const firstTerm = "health/first-term"

// Health keeps the fleet's health while it leads. Safe for concurrent use.
type Health struct {
	store   Store
	replica string
	leader  func(ctx context.Context) (string, bool)
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics

	// Tests with a clock of their own shorten these.
	tickEvery, hurryAfter, configureEvery, reportEvery, viewAge time.Duration

	mu     sync.Mutex
	begins *term // told of changes; nil while another replica leads
	term   *term // begins, once it can serve
}

// New returns a Health; it answers NotLeaderError before Lead.
func New(st Store, o Options) *Health {
	h := &Health{
		store: st, replica: o.ReplicaID, leader: o.Leader, now: o.Now, log: o.Log,
		tickEvery: tickEvery, hurryAfter: hurryAfter, configureEvery: configureEvery, reportEvery: reportEvery, viewAge: viewAge,
	}
	if h.leader == nil {
		h.leader = func(context.Context) (string, bool) { return "", false }
	}
	if h.now == nil {
		h.now = time.Now
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.metrics = newMetrics(h, o.Registry)
	return h
}

// Observe takes note of changes of the data set. It never blocks. The calls must be in the order of the states.
func (h *Health) Observe(next *model.State, changes []model.Change) {
	h.mu.Lock()
	t := h.begins
	h.mu.Unlock()
	if t != nil {
		t.inbox.put(next, changes)
	}
}

// Lead makes this the Health that decides, under the fence, until ctx ends. Then all streams end with a NotLeaderError,
// and it returns when nothing is being written any more.
func (h *Health) Lead(ctx context.Context, f store.Fence) error {
	// Whoever led before has decided; that must be known first.
	if h.store.WaitRevision(ctx, f.Revision()) != nil {
		return nil //nolint:nilerr // It fails when ctx has ended, and only then.
	}
	name := strconv.FormatInt(f.Revision(), 10)
	t := newTerm(h, f, judge.Options{
		Term: name, Leader: h.replica, Now: h.now(), FirstEver: h.firstEver(ctx, name), Seed: rand.Uint64(),
	})
	h.mu.Lock()
	if h.begins != nil {
		h.mu.Unlock()
		return fault.New(fault.Internal, "health is decided here already")
	}
	h.begins = t // from here on it hears of every change, so that none is missed between this copy and the next
	h.mu.Unlock()
	t.begin(h.store.State())
	h.mu.Lock()
	h.term = t
	h.mu.Unlock()
	h.log.Info("health leads", "term", name, "first_ever", t.firstEver, "verdicts", len(t.verdicts))

	t.run(ctx)

	h.mu.Lock()
	h.begins, h.term = nil, nil
	h.mu.Unlock()
	t.end()
	h.log.Info("health leads no more", "term", name)
	return nil
}

// firstEver says whether nobody has led in this data set before, and so no proxy can hold a permit. The first term leaves
// a mark for good. When in doubt the answer is no, which costs the first probes half a minute.
func (h *Health) firstEver(ctx context.Context, term string) bool {
	mark := h.replica + "/" + term
	stored, err := h.store.CreateMeta(ctx, firstTerm, []byte(mark))
	if err != nil {
		h.log.Warn("cannot tell whether anybody led before; waiting for permits that may be out", "error", err)
		return false
	}
	return string(stored) == mark
}

func (h *Health) current() *term {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.term
}

// View returns what the leader knows, half a second old at most. It is shared and must not be written to. Where another
// replica leads it fails with a NotLeaderError.
func (h *Health) View(ctx context.Context) (*adminv1.FleetHealth, error) {
	t := h.current()
	if t == nil {
		return nil, h.notLeader(ctx)
	}
	return t.view(), nil
}

// NotLeaderError is the error of a replica that does not lead.
type NotLeaderError = store.NotLeaderError

func (h *Health) notLeader(ctx context.Context) error {
	address, _ := h.leader(ctx)
	return &NotLeaderError{Address: address}
}
