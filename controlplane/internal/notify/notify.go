// Package notify tells notifiers what operators want to hear of: budgets that run out, keys that end, models without a
// price, or whose estimates are far off. The elected leader does it; a test of a notifier can be asked of any replica.
//
// What is to be told is written down before it is sent, under the leader's fence, and again when it was: a new leader
// sends what the last one did not, and nothing twice but what was under way when the leadership ended. The id of an event
// is always the same, so that receivers can tell. Each notifier has a queue and a sender of its own: one that does not
// answer delays nobody else, and costs a bounded number of attempts and bytes.
//
// It refuses to follow redirects, to connect to addresses that are neither public nor allowed, to metadata services even
// then, to send a password without TLS, and to let what clients wrote stand as anything but text.
package notify

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/money"
)

// Store is where notifiers come from, and where the leader remembers what was sent.
type Store interface {
	// State is this replica's copy of the data set; nil before the first load.
	State() *model.State
	// WaitRevision returns when the copy has caught up with the revision.
	WaitRevision(ctx context.Context, revision int64) error
	// PutNotice and DropNotices fail as fault.Stale with code store.CodeNotLeader when the fence has fallen.
	PutNotice(ctx context.Context, f store.Fence, n store.Notice) error
	DropNotices(ctx context.Context, f store.Fence, all []store.Notice) error
	Notices(ctx context.Context, fn func(store.Notice) error) error
}

// Opener opens sealed values. *secret.Keyring does.
type Opener interface {
	Open(v *resourcev1.SealedValue, kind, id, field string) ([]byte, error)
}

// Options of a Notify. The zero value works.
type Options struct {
	// Allow are the ranges that notifiers may be in although they are not public.
	Allow []netip.Prefix
	// TLS towards webhooks and mail servers; nil = the system's roots.
	TLS      *tls.Config
	Now      func() time.Time      // nil = time.Now
	Log      *slog.Logger          // nil = none
	Registry prometheus.Registerer // nil = no metrics
}

const (
	// lookEvery is how often keys are looked through for those that end soon.
	lookEvery = time.Minute
	// sweepEvery is how often what is over is forgotten.
	sweepEvery = time.Hour
	// testTime bounds a test.
	testTime = 20 * time.Second
)

// Notify tells notifiers while it leads. Safe for concurrent use.
type Notify struct {
	store   Store
	sender  sender
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	inbox   *inbox
	leads   atomic.Bool

	// Tests shorten these.
	lookEvery, sweepEvery, firstPause time.Duration
}

// New returns one that does nothing before Lead, but for tests.
func New(s Store, opener Opener, o Options) *Notify {
	n := &Notify{store: s, now: o.Now, log: o.Log, inbox: newInbox(), lookEvery: lookEvery, sweepEvery: sweepEvery, firstPause: firstPause}
	if n.now == nil {
		n.now = time.Now
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.sender = newPost(opener, o, n.now)
	n.metrics = newMetrics(o.Registry, n.log)
	return n
}

// Observe takes note of changes of the data set. It never blocks.
func (n *Notify) Observe(next *model.State, changes []model.Change) {
	for _, c := range changes {
		if c.Kind == model.KindNotifier {
			n.inbox.least.Store(leastPercent(next))
			n.inbox.wakeUp()
			return
		}
	}
}

// BudgetEvent is a budget that came to another whole percent, on the books, in the window that is now.
type BudgetEvent struct {
	Scope        string // key, group or tenant
	ID, Name     string
	Window       string // day, week, month, total or rolling
	WindowNumber int64
	Percent      uint32 // that is reached
	Spent, Limit money.NanoUSD
	Ends         time.Time // of the window; zero = never
}

// Budget hears of a budget on the leader. It never blocks.
func (n *Notify) Budget(e BudgetEvent) { n.inbox.budget(e) }

// Unpriced hears, on the leader, that usage of a model without a price was put on the books. It never blocks.
func (n *Notify) Unpriced(modelName, keyID string) { n.inbox.unpriced(modelName, keyID, n.now()) }

// Estimate hears, on the leader, how many tokens were reserved for a request of a model that was put on the books, and how
// many it used. It never blocks.
func (n *Notify) Estimate(modelName string, reserved, used int64) {
	n.inbox.estimate(modelName, reserved, used, n.now())
}

// Lead tells notifiers what there is to tell, under the fence, until ctx ends. It returns when nothing is being sent any
// more.
func (n *Notify) Lead(ctx context.Context, f store.Fence) error {
	if !n.leads.CompareAndSwap(false, true) {
		return fault.New(fault.Internal, "notifiers are told here already")
	}
	defer n.leads.Store(false)
	defer n.inbox.clear()
	if err := n.store.WaitRevision(ctx, f.Revision()); err != nil {
		return nil // ctx ended
	}
	t := &term{n: n, fence: f, marks: map[string]map[string]mark{}, workers: map[string]*worker{}, models: map[toldOf]int{}}
	defer t.working.Wait()
	if t.load(ctx) {
		t.run(ctx)
	}
	return nil
}

// Test sends the notifier of that name a test, once, and says in a line what came of it: the error's text too is for
// people, and holds no secret.
func (n *Notify) Test(ctx context.Context, name string) (detail string, took time.Duration, err error) {
	state := n.store.State()
	if state == nil {
		return "", 0, fault.New(fault.Unavailable, "the state is not loaded yet")
	}
	r, ok := state.Find(model.KindNotifier, name)
	notifier, is := r.(*resourcev1.Notifier)
	if !ok || !is {
		return "", 0, fault.New(fault.NotFound, "there is no notifier %q", name)
	}
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	start := time.Now()
	detail, err = n.sender.send(ctx, notifier, testEvent(notifier, n.now()))
	return detail, time.Since(start), err
}
