package lease

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/bank"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// tickEvery is how often the bank looks at the clock.
	tickEvery = 200 * time.Millisecond
	// pause is the first one between attempts at the store, maxPause the longest.
	pause    = 100 * time.Millisecond
	maxPause = 2 * time.Second
	// farewell bounds the last word to the store.
	farewell = 2 * time.Second
	// configureAtOnce is how many owners are configured while nobody leases.
	configureAtOnce = 1000
	// cleanAtOnce is how many owners' balances are written in one transaction.
	cleanAtOnce = 100
)

// term is one leadership. The streams of proxies and the ledger's commits share the bank with the goroutines that run it.
type term struct {
	l     *Leases
	fence store.Fence
	first bool // nothing was out when it began
	inbox *inbox
	clean chan struct{} // one place: somebody is dirty
	over  chan struct{} // closed when the leadership has ended
	turn  chan struct{} // one place: who may change balances in the store

	// state is what the bank is configured from; it changes together with that, under mu.
	state atomic.Pointer[model.State]

	mu      sync.Mutex // guards what follows
	bank    *bank.Bank
	zones   zones
	spent   map[bank.Owner]account
	dirty   map[bank.Owner]struct{} // more is stored of them than counts
	boots   boots
	ended   bool
	deposed chan struct{} // closed when there is a later leader
}

func newTerm(l *Leases, f store.Fence) *term {
	return &term{
		l: l, fence: f, inbox: newInbox(),
		clean: make(chan struct{}, 1), over: make(chan struct{}), turn: make(chan struct{}, 1),
		zones: zones{}, spent: map[bank.Owner]account{}, dirty: map[bank.Owner]struct{}{},
		boots: newBoots(), deposed: make(chan struct{}),
	}
}

// open reads what was spent, says in the store that it will lend, and sets up the bank. It tries until ctx ends; false =
// that has.
func (t *term) open(ctx context.Context) bool {
	if !t.persist(ctx, "read balances", t.load) {
		return false
	}
	begin := func(ctx context.Context) (err error) {
		t.first, err = t.l.store.BeginLending(ctx, t.fence)
		return err
	}
	if !t.persist(ctx, "begin to lend", begin) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bank = bank.New(bank.Options{Term: t.fence.Revision(), FirstEver: t.first})
	now := t.l.o.Clock()
	t.bank.Begin(now)
	t.boots.began = now.Mono
	state := t.l.store.State()
	t.state.Store(state)
	for _, k := range []model.Kind{model.KindTenant, model.KindGroup, model.KindKey} {
		for r := range state.All(k) {
			if !limitless(r) {
				t.configure(resource{k, r.GetMetadata().GetId()})
			}
		}
	}
	stored := t.spent
	t.spent = make(map[bank.Owner]account, len(stored))
	for who, a := range stored {
		kept := a.only(limitsOf(state, who))
		if len(kept) < len(a) || len(a) == 0 {
			t.dirty[who] = struct{}{}
		}
		if r, ok := state.Get(kindOf(who.Scope), who.ID); ok {
			who.ID = r.GetMetadata().GetId() // one string for all
		}
		t.remember(who, kept)
	}
	t.cleanUp()
	return true
}

func (t *term) load(ctx context.Context) error {
	clear(t.spent)
	return t.l.store.Balances(ctx, func(k store.BalanceKey, b *resourcev1.Balances) error {
		t.spent[ownerOf(k)] = accountOf(b)
		return nil
	})
}

// persist repeats what the store refuses to do, until it is done or ctx or the leadership ends.
func (t *term) persist(ctx context.Context, what string, do func(ctx context.Context) error) bool {
	for wait := pause; ; wait = min(2*wait, maxPause) {
		err := do(ctx)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case lost(err):
			<-ctx.Done() // it is about to end
			return false
		}
		t.l.log.Warn("the store fails; trying again", "what", what, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
}

// configure gives the bank an owner's limits, and forgets what was spent of budgets that are no more. t.mu is held.
func (t *term) configure(r resource) {
	scope, _ := scopeOf(r.kind)
	who := bank.Owner{Scope: scope, ID: r.id}
	limits := limitsOf(t.state.Load(), who)
	t.bank.Configure(who, bankLimits(limits, t.zones.find(limits.GetTimeZone())), t.l.o.Clock())
	a, ok := t.spent[who]
	if kept := a.only(limits); ok && len(kept) < len(a) {
		t.remember(who, kept)
		t.dirty[who] = struct{}{}
		t.cleanUp()
	}
}

// remember notes what an owner has spent. t.mu is held.
func (t *term) remember(who bank.Owner, a account) {
	if len(a) == 0 {
		delete(t.spent, who)
		return
	}
	t.spent[who] = a
}

// run lends until ctx ends, which is no error, or there is a later leader.
func (t *term) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var cleaning sync.WaitGroup
	cleaning.Go(func() { t.keepClean(ctx) })
	defer cleaning.Wait()
	defer cancel()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.deposed:
			return bank.ErrDeposed
		case <-t.inbox.signal:
			t.observe()
			continue
		case <-tick.C:
			t.tick()
		}
	}
}

// observe takes in what has changed in the data set.
func (t *term) observe() {
	state, changed := t.inbox.take()
	if state == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if state.Revision() < t.state.Load().Revision() {
		return // It was read after that already.
	}
	t.state.Store(state)
	n := 0
	for r := range changed {
		if n++; n%configureAtOnce == 0 {
			t.mu.Unlock() // for those who lease
			t.mu.Lock()
		}
		t.configure(r)
	}
}

// tick lets the bank look at the clock, and passes on what it has to say.
func (t *term) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.l.o.Clock()
	t.openBooks(now)
	t.tell(t.bank.Tick(now))
	t.boots.forget(now)
}

// tell passes on what the bank has to say without being asked. t.mu is held.
func (t *term) tell(notes []bank.Note) {
	for _, n := range notes {
		if !t.boots.tell(n) {
			t.l.metrics.dropped.Inc()
		}
	}
}

// openBooks tells the bank the balances that it wants to know. t.mu is held.
func (t *term) openBooks(now bank.Moment) {
	for _, w := range t.bank.Wanted(math.MaxInt, now) {
		t.bank.Open(w.ID, t.spent[w.Owner].windows(w.Kind), now)
	}
}

// cleanUp wakes keepClean.
func (t *term) cleanUp() {
	select {
	case t.clean <- struct{}{}:
	default:
	}
}

// keepClean removes from the store what does not count any more, until ctx ends.
func (t *term) keepClean(ctx context.Context) {
	for {
		select {
		case <-t.clean:
		case <-ctx.Done():
			return
		}
		for t.cleanSome(ctx) {
		}
	}
}

// cleanSome writes the balances of some owners as they are; false = there are no more. Like any change of balances it is
// in its turn, and certain at its end: a write that happened later would undo what others have added meanwhile.
func (t *term) cleanSome(ctx context.Context) bool {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return false
	}
	docs := map[store.BalanceKey]*resourcev1.Balances{}
	t.mu.Lock()
	for who := range t.dirty {
		if len(docs) == cleanAtOnce {
			break
		}
		docs[keyOf(who)] = t.spent[who].stored()
		delete(t.dirty, who)
	}
	t.mu.Unlock()
	return len(docs) > 0 && t.persist(ctx, "clean up balances", func(ctx context.Context) error {
		return t.l.store.PutBalances(ctx, t.fence, docs)
	})
}

// end ends the streams. If nothing is out any more, it says so to whoever leads next.
func (t *term) end(ctx context.Context) {
	t.mu.Lock()
	t.ended = true
	back := t.boots.back(t.first, t.l.o.Clock())
	t.mu.Unlock()
	close(t.over)
	if !back {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := t.l.store.EndLending(ctx, t.fence); err != nil && !lost(err) {
		t.l.log.Warn("cannot note that all leases came back; the next leader waits for them", "error", err)
	}
}

// depose ends the leadership because there is a later one.
func (t *term) depose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.deposed:
	default:
		close(t.deposed)
	}
}

// nameOf is an owner's name; its id when it has none any more. t.mu is held.
func (t *term) nameOf(who bank.Owner) string {
	if r, ok := t.state.Load().Get(kindOf(who.Scope), who.ID); ok && r.GetMetadata().GetName() != "" {
		return r.GetMetadata().GetName()
	}
	return who.ID
}
