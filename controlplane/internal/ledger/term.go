package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	maxKeys      = 100              // totals and balances in one transaction
	commitTime   = 10 * time.Second // one attempt
	maxPause     = 2 * time.Second
	maxBoots     = 4096 // boots remembered; more are forgotten when they have been quiet
	bootQuiet    = time.Hour
	pagesInUse   = 8 // hours whose totals stay in memory
	storeTimeout = 30 * time.Second
)

// term is one leadership: its fence and what it knows of the store. Everything it knows it has read or written under
// this fence, so nobody else can have changed it.
type term struct {
	l       *Ledger
	ctx     context.Context // ends with the leadership; a field because the term is that extent of time
	fence   store.Fence
	reports sync.WaitGroup
	pages   pages

	mu    sync.Mutex
	boots map[string]*boot
}

func newTerm(ctx context.Context, l *Ledger, f store.Fence) *term {
	return &term{
		l: l, ctx: ctx, fence: f, boots: map[string]*boot{},
		pages: pages{byHour: map[int64]*page{}, busy: map[store.UsageKey]bool{}, freed: make(chan struct{})},
	}
}

// over says whether err means that the term has ended.
func (t *term) over(err error) bool {
	if t.ctx.Err() != nil {
		return true
	}
	e, ok := errors.AsType[*fault.Error](err)
	return ok && e.Kind == fault.Stale && e.Code == store.CodeNotLeader
}

// boot is one numbering of records. Its reports go one at a time.
type boot struct {
	turn      chan struct{} // one place
	known     bool
	watermark uint64
	used      time.Time // under term.mu
}

func (t *term) boot(id string) *boot {
	now := t.l.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.boots[id]
	if b == nil {
		if len(t.boots) >= maxBoots {
			for other, o := range t.boots {
				if now.Sub(o.used) > bootQuiet && len(o.turn) == 0 {
					delete(t.boots, other)
				}
			}
		}
		b = &boot{turn: make(chan struct{}, 1)}
		t.boots[id] = b
	}
	b.used = now
	return b
}

// report does the work of Ledger.Report.
func (t *term) report(
	ctx context.Context, bootID string, first uint64, records []*syncv1.UsageRecord,
) (uint64, error) {
	b := t.boot(bootID)
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-t.ctx.Done():
		return 0, t.ctx.Err()
	}
	if err := t.learn(bootID, b); err != nil { //nolint:contextcheck // The read is the term's, see learn.
		return 0, err
	}
	if len(records) == 0 {
		return b.watermark, nil
	}
	if first > b.watermark+1 {
		t.l.metrics.gaps.Inc()
		return b.watermark, fault.New(fault.Invalid,
			"records from %d on do not follow the watermark %d", first, b.watermark).WithCode("usage_gap")
	}
	skip := min(b.watermark+1-first, uint64(len(records)))
	t.l.metrics.duplicates.Add(float64(skip))
	for records = records[skip:]; len(records) > 0; {
		if err := ctx.Err(); err != nil {
			return b.watermark, err
		}
		n, err := t.post(ctx, bootID, b, records)
		if err != nil {
			return b.watermark, err
		}
		records = records[n:]
	}
	return b.watermark, nil
}

// learn reads the boot's watermark unless it is known. The read belongs to the term and not to the caller, because
// others may use what it finds.
func (t *term) learn(bootID string, b *boot) error {
	if b.known {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, storeTimeout)
	defer cancel()
	w, err := t.l.store.Watermark(ctx, bootID)
	if err != nil {
		return err
	}
	b.known, b.watermark = true, w
	return nil
}

// post commits as many of the records, from the first on, as fit in one transaction, and returns how many.
func (t *term) post(ctx context.Context, bootID string, b *boot, records []*syncv1.UsageRecord) (int, error) {
	entries, keys := t.prefix(records)
	if err := t.pages.hold(ctx, t.ctx, keys); err != nil {
		return 0, err
	}
	defer t.pages.free(keys)
	totals, err := t.pages.totals(t.ctx, t.l.store, keys) //nolint:contextcheck // What is read serves the whole term.
	if err != nil {
		return 0, err
	}
	refused := 0
	var accepted []*syncv1.UsageRecord
	changed := map[store.UsageKey]*adminv1.UsageCounters{}
	booked := map[string]amounts{} // by channel
	for i, e := range entries {
		sum, ok := amounts{}, e.sound
		if ok {
			sum, ok = totals[e.key].plus(amountsIn(records[i]))
		}
		if !ok {
			refused++
			continue
		}
		totals[e.key] = sum
		changed[e.key] = nil
		accepted = append(accepted, records[i])
		booked[e.key.Channel], _ = booked[e.key.Channel].plus(amountsIn(records[i])) // no more than the totals, which fit
	}
	for k := range changed {
		changed[k] = totals[k].counters()
	}
	to := b.watermark + uint64(len(entries))
	charges, err := t.charge(ctx, accepted, len(changed))
	if err != nil {
		return 0, err
	}
	err = t.commit(bootID, b, to, changed, charges.Balances()) //nolint:contextcheck // Must not end in the middle, see commit.
	charges.Done(bootID, err == nil)
	if err != nil {
		t.pages.forget(keys)
		b.known = false
		return 0, err
	}
	t.pages.settle(totals)
	t.l.metrics.records.Add(float64(len(entries) - refused))
	for _, r := range accepted {
		t.l.o.tell(r)
	}
	for channel, sum := range booked {
		t.l.metrics.book(channel, sum, t.l.name)
	}
	if refused > 0 {
		t.l.metrics.refused.Add(float64(refused))
		t.l.log.Warn("usage records refused: broken, or a sum would overflow", "boot_id", bootID, "records", refused)
	}
	return len(entries), nil
}

// entry is a record's place on the books; sound is false for one that gets none.
type entry struct {
	key   store.UsageKey
	sound bool
}

// charge begins to charge budgets with records that change so many totals.
func (t *term) charge(ctx context.Context, records []*syncv1.UsageRecord, totals int) (Charges, error) {
	charges, err := t.l.o.Budgets.Charge(ctx, records)
	if err != nil {
		return nil, err
	}
	if totals+len(charges.Balances()) > maxKeys {
		charges.Done("", false)
		return nil, fault.New(fault.Unavailable, "budgets were set meanwhile; report again")
	}
	return charges, nil
}

// prefix places records until the next would need more keys than a transaction holds, those of the balances that it
// changes included. The keys are distinct.
func (t *term) prefix(records []*syncv1.UsageRecord) (entries []entry, keys []store.UsageKey) {
	now := t.l.o.Now()
	seen, owing := map[store.UsageKey]bool{}, map[store.BalanceKey]bool{}
	for _, r := range records {
		if !sound(r) {
			entries = append(entries, entry{})
			continue
		}
		k := place(r, now)
		if k.Group == "" {
			if id, ok := t.l.o.Group(k.Key); ok && groupID(id) {
				k.Group = id
			}
		}
		more := 0
		if !seen[k] {
			more++
		}
		owners := t.l.o.Budgets.Owners(r)
		for _, o := range owners {
			if !owing[o] {
				more++
			}
		}
		if len(keys)+len(owing)+more > maxKeys {
			break
		}
		if !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
		for _, o := range owners {
			owing[o] = true
		}
		entries = append(entries, entry{key: k, sound: true})
	}
	return entries, keys
}

// commit moves the watermark and puts the totals, and does not return before it is certain what became of it: a commit
// whose outcome is unknown might still happen, and would then undo what others have added meanwhile. So the very same
// commit is tried again until it succeeds, or is refused because it had succeeded before, or the term ends, after which
// the fence keeps it from ever happening.
func (t *term) commit(
	bootID string, b *boot, to uint64,
	totals map[store.UsageKey]*adminv1.UsageCounters, balances map[store.BalanceKey]*resourcev1.Balances,
) error {
	pause, from := t.l.pause, b.watermark
	for attempt := 0; ; attempt++ {
		err := t.attempt(bootID, from, to, totals, balances)
		switch {
		case err == nil:
			b.watermark = to
			return nil
		case t.over(err):
			return err
		case fault.KindOf(err) == fault.Stale:
			if err, sure := t.judge(bootID, b, to, attempt, err); sure {
				return err
			}
		case attempt == 0 && certain(err):
			return err
		}
		t.l.metrics.uncertain.Inc()
		t.l.log.Warn("usage commit has an unknown outcome; trying again", "boot_id", bootID, "attempt", attempt, "error", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
}

func (t *term) attempt(
	bootID string, from, to uint64,
	totals map[store.UsageKey]*adminv1.UsageCounters, balances map[store.BalanceKey]*resourcev1.Balances,
) error {
	ctx, cancel := context.WithTimeout(t.ctx, commitTime)
	defer cancel()
	return t.l.store.CommitUsage(ctx, t.fence, bootID, from, to, totals, balances)
}

// judge finds out why the watermark is not where the commit expected it: because an attempt before had succeeded, or
// because what we knew was wrong. It is not sure when the watermark cannot be read.
func (t *term) judge(bootID string, b *boot, to uint64, attempt int, stale error) (err error, sure bool) {
	b.known = false
	if attempt > 0 {
		if err := t.learn(bootID, b); err != nil {
			return err, t.over(err)
		}
		if b.watermark == to {
			return nil, true
		}
	}
	return fault.New(fault.Unavailable, "the books have moved; report again").With(stale), true
}

// certain says that an error proves that nothing was written.
func certain(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge, fault.Denied:
		return true
	}
	return false
}
