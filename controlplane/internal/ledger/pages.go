package ledger

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// pages are the totals of the hours in use, and the rights to change them.
//
// Whoever commits first holds the keys it changes, so that nobody else computes with what it is about to replace.
// Commits of different keys run side by side.
type pages struct {
	mu    sync.Mutex
	busy  map[store.UsageKey]bool
	freed chan struct{} // closed and replaced when keys are freed
	clock int64
	// byHour never forgets a page, only its rows: two pages of one hour would contradict each other. There are as many
	// as hours in maxAge, and one more for each hour of the term.
	byHour map[int64]*page
}

// page is an hour's totals.
type page struct {
	used int64 // under pages.mu

	mu   sync.Mutex
	rows map[store.UsageKey]amounts // nil = not read
}

// hold waits until nobody holds any of the keys, and takes all of them.
func (p *pages) hold(ctx, term context.Context, keys []store.UsageKey) error {
	for {
		p.mu.Lock()
		if !slices.ContainsFunc(keys, func(k store.UsageKey) bool { return p.busy[k] }) {
			for _, k := range keys {
				p.busy[k] = true
			}
			p.mu.Unlock()
			return nil
		}
		freed := p.freed
		p.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		case <-term.Done():
			return term.Err()
		}
	}
}

// free ends hold.
func (p *pages) free(keys []store.UsageKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		delete(p.busy, k)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}

// page returns an hour's page and notes its use.
func (p *pages) page(hour int64) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	pg := p.byHour[hour]
	if pg == nil {
		pg = &page{}
		p.byHour[hour] = pg
	}
	p.clock++
	pg.used = p.clock
	return pg
}

// totals returns a copy of the keys' totals, reading the hours that are not in memory. The caller holds the keys.
func (p *pages) totals(ctx context.Context, s Store, keys []store.UsageKey) (map[store.UsageKey]amounts, error) {
	totals := make(map[store.UsageKey]amounts, len(keys))
	for _, k := range keys {
		sum, err := p.page(k.Hour).read(ctx, s, k)
		if err != nil {
			return nil, err
		}
		totals[k] = sum
	}
	p.trim()
	return totals, nil
}

// read returns one total. The page is locked while it is read from the store: a total that is settled meanwhile waits
// and then replaces what was read.
func (pg *page) read(ctx context.Context, s Store, k store.UsageKey) (amounts, error) {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	if pg.rows == nil {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		rows := map[store.UsageKey]amounts{}
		err := s.Usage(ctx, k.Hour, k.Hour+1, func(k store.UsageKey, c *adminv1.UsageCounters) error {
			rows[k] = amountsOf(c)
			return nil
		})
		if err != nil {
			return amounts{}, err
		}
		pg.rows = rows
	}
	return pg.rows[k], nil
}

// settle notes totals that are committed.
func (p *pages) settle(totals map[store.UsageKey]amounts) {
	for k, sum := range totals {
		pg := p.page(k.Hour)
		pg.mu.Lock()
		if pg.rows != nil {
			pg.rows[k] = sum
		}
		pg.mu.Unlock()
	}
}

// forget makes the hours of the keys be read again.
func (p *pages) forget(keys []store.UsageKey) {
	for _, k := range keys {
		pg := p.page(k.Hour)
		pg.mu.Lock()
		pg.rows = nil
		pg.mu.Unlock()
	}
}

// outdated makes the hours of the keys be read again, if they were read.
func (p *pages) outdated(keys []store.UsageKey) {
	for _, k := range keys {
		p.mu.Lock()
		pg := p.byHour[k.Hour]
		p.mu.Unlock()
		if pg == nil {
			continue
		}
		pg.mu.Lock()
		pg.rows = nil
		pg.mu.Unlock()
	}
}

// trim takes the hours that were not used for longest out of memory.
func (p *pages) trim() {
	p.mu.Lock()
	var loaded []*page
	for _, pg := range p.byHour {
		if pg.mu.TryLock() {
			if pg.rows != nil {
				loaded = append(loaded, pg)
			}
			pg.mu.Unlock()
		}
	}
	slices.SortFunc(loaded, func(a, b *page) int { return cmp.Compare(b.used, a.used) })
	p.mu.Unlock()
	for _, pg := range loaded[min(pagesInUse, len(loaded)):] {
		pg.mu.Lock()
		pg.rows = nil
		pg.mu.Unlock()
	}
}
