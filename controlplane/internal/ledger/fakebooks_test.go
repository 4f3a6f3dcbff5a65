package ledger

import (
	"cmp"
	"context"
	"slices"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// row returns what lies somewhere; without a version when nothing does.
func (b *books) row(at spot) store.UsageRow {
	if r, ok := b.others[at]; ok {
		return r
	}
	r := store.UsageRow{UsageKey: at.UsageKey, Day: at.day, Correction: at.correction}
	if !at.day && !at.correction {
		if sum, ok := b.totals[at.UsageKey]; ok {
			// Tests put totals without a change; they are there from the start.
			r.Counters, r.Version, r.Created = sum.counters(), max(b.touched[at], 1), max(b.born[at], 1)
		}
	}
	return r
}

func (b *books) putRow(r store.UsageRow) {
	at := spotOf(r)
	if !r.Day && !r.Correction {
		b.put(r.UsageKey, amountsOf(r.Counters))
		return
	}
	before := b.row(at)
	r.Version, r.Created = b.changes, b.changes
	if before.Version != 0 {
		r.Created = before.Created
	}
	b.others[at] = r
}

func (b *books) remove(at spot) {
	delete(b.others, at)
	if !at.day && !at.correction {
		delete(b.totals, at.UsageKey)
		delete(b.born, at)
		delete(b.touched, at)
	}
}

// all are the rows of the books, in the order of a store.
func (b *books) all() []store.UsageRow {
	var rows []store.UsageRow
	for k := range b.totals {
		rows = append(rows, b.row(spot{UsageKey: k}))
	}
	for at := range b.others {
		rows = append(rows, b.row(at))
	}
	rank := func(r store.UsageRow) int {
		n := 0
		if r.Day {
			n += 2
		}
		if !r.Correction {
			n++
		}
		return n
	}
	slices.SortFunc(rows, func(a, c store.UsageRow) int {
		return cmp.Or(cmp.Compare(rank(a), rank(c)), cmp.Compare(a.Hour, c.Hour), cmp.Compare(a.Key, c.Key), cmp.Compare(a.Model, c.Model))
	})
	return rows
}

func (r replica) Books(ctx context.Context, in store.BooksRange, fn func(store.UsageRow) error) (int64, error) {
	r.mu.Lock()
	rows, revision := r.all(), max(r.changes, 1)
	r.mu.Unlock()
	if in.Revision > revision || in.Revision != 0 && in.Revision < r.oldest {
		return 0, fault.New(fault.Invalid, "no such revision")
	}
	for _, row := range rows {
		if row.Hour < in.FromHour || row.Hour >= in.ToHour || row.Day && in.HoursOnly {
			continue
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := fn(row); err != nil {
			return 0, err
		}
	}
	return revision, nil
}

func (r replica) UsageRows(_ context.Context, which []store.UsageRow) ([]store.UsageRow, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []store.UsageRow
	for _, w := range which {
		out = append(out, r.row(spotOf(w)))
	}
	return out, nil
}

func (r replica) OldestUsageHour(context.Context) (int64, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest, ok := int64(0), false
	for _, row := range r.all() {
		if !row.Day && (!ok || row.Hour < oldest) {
			oldest, ok = row.Hour, true
		}
	}
	return oldest, ok, nil
}

func (r replica) MoveUsage(ctx context.Context, _ store.Fence, moves []store.UsageMove) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(moves) > 40 {
		return fault.New(fault.Internal, "%d moves in one transaction", len(moves))
	}
	moves = slices.Clone(moves)
	return r.transact(func() error {
		if r.id != r.leader {
			return fault.New(fault.Stale, "fence").WithCode(store.CodeNotLeader)
		}
		for _, m := range moves {
			if r.row(spotOf(m.From)).Version != m.From.Version || r.row(spotOf(m.To)).Version != m.To.Version {
				return fault.New(fault.Stale, "changed")
			}
			fix := spot{m.From.UsageKey, m.From.Day, true}
			if r.row(fix).Version != 0 && !slices.ContainsFunc(moves, func(m store.UsageMove) bool { return spotOf(m.From) == fix }) {
				return fault.New(fault.Stale, "corrected")
			}
		}
		r.changes++
		r.moves++
		for _, m := range moves {
			r.remove(spotOf(m.From))
			r.putRow(m.To)
		}
		return nil
	})
}

func (r replica) DropUsage(_ context.Context, _ store.Fence, before int64) error {
	r.mu.Lock()
	old := false
	for at := range r.others {
		old = old || at.day && at.Hour < before
	}
	r.mu.Unlock()
	if !old {
		return nil
	}
	return r.transact(func() error {
		if r.id != r.leader {
			return fault.New(fault.Stale, "fence").WithCode(store.CodeNotLeader)
		}
		for at := range r.others {
			if at.day && at.Hour < before {
				r.remove(at)
			}
		}
		return nil
	})
}

func (r replica) CorrectUsage(_ context.Context, fix store.UsageFix) (*adminv1.UsageCorrection, error) {
	err := r.transact(func() error {
		if there := r.records[fix.Record.GetId()]; there != nil {
			if store.SameCorrection(there, fix.Record) {
				return nil
			}
			return fault.New(fault.Exists, "another")
		}
		if r.row(spotOf(fix.Base)).Created != fix.Base.Created || r.row(spotOf(fix.Sum)).Version != fix.Sum.Version {
			return fault.New(fault.Stale, "changed")
		}
		r.changes++
		r.records[fix.Record.GetId()] = fix.Record
		r.putRow(fix.Sum)
		r.audited = append(r.audited, fix)
		return nil
	})
	return fix.Record, err
}

func (r replica) UsageCorrection(_ context.Context, _ int64, id string) (*adminv1.UsageCorrection, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[id], nil
}

func (r replica) UsageCorrections(_ context.Context, from, to int64, _ int, _ string) ([]*adminv1.UsageCorrection, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*adminv1.UsageCorrection
	for _, rec := range r.records {
		if h := floorHour(rec.GetHour().AsTime()); from <= h && h < to {
			out = append(out, rec)
		}
	}
	slices.SortFunc(out, func(a, b *adminv1.UsageCorrection) int { return cmp.Compare(a.GetId(), b.GetId()) })
	return out, "", nil
}
