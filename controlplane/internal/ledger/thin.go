package ledger

import (
	"context"
	"slices"
	"time"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
)

const (
	thinEvery  = time.Hour
	thinMoves  = 20 // places in one transaction; each moves a counter, and its correction if there is one
	thinTries  = 5  // of an hour whose rows change meanwhile
	moveTries  = 60 // of a transaction whose outcome is not known
	hoursOfDay = 24
)

// keepThin thins out what is old, at once and then every hour, until ctx ends.
func (t *term) keepThin(ctx context.Context) {
	tick := time.NewTicker(thinEvery)
	defer tick.Stop()
	for {
		if err := t.thin(ctx); err != nil && ctx.Err() == nil {
			t.l.log.Warn("old usage is not thinned out; trying again later", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// thin adds the hours that are old enough to their days, and forgets the days that are. Each transaction takes hours
// off the books and puts them into their day in one step, and is refused unless both are as they were read. So the books
// are right after each of them: whoever leads next goes on where it ended, and needs no note of that.
func (t *term) thin(ctx context.Context) error {
	now := t.l.o.Now()
	end := firstHour(now.Add(-t.l.o.HourlyFor))
	oldest, ok, err := t.l.store.OldestUsageHour(ctx)
	if err != nil {
		return err
	}
	moved := 0
	for hour := oldest; ok && hour < end; hour++ {
		n, err := t.thinHour(ctx, hour)
		moved += n
		t.l.metrics.moved.Add(float64(n))
		if err != nil {
			return err
		}
	}
	if moved > 0 {
		t.l.log.Info("thinned out usage by hour", "rows", moved, "before", time.Unix(end*3600, 0).UTC())
	}
	return t.l.store.DropUsage(ctx, t.fence, firstHour(now.Add(-t.l.o.DailyFor)))
}

// firstHour is the first hour of the day that t lies in.
func firstHour(t time.Time) int64 {
	h := floorHour(t)
	return max(h-h%hoursOfDay, 0)
}

// thinHour adds an hour's rows to their day and returns how many.
func (t *term) thinHour(ctx context.Context, hour int64) (moved int, err error) {
	for try := 1; ; try++ {
		n, err := t.thinOnce(ctx, hour)
		moved += n
		if err == nil || try == thinTries || fault.KindOf(err) != fault.Stale || t.over(err) {
			return moved, err
		}
	}
}

// thinOnce reads the hour once and moves what it finds.
func (t *term) thinOnce(ctx context.Context, hour int64) (moved int, err error) {
	// Corrections are few, and come first. They go with their counters, so that no sum is below zero in between; one
	// that is made after this makes the move of its counter Stale.
	fixes := map[store.UsageKey]store.UsageRow{}
	var batch []store.UsageRow
	flush := func() error {
		n, err := t.move(ctx, batch)
		moved += n
		batch = batch[:0]
		return err
	}
	places := 0
	_, err = t.l.store.Books(ctx, store.BooksRange{FromHour: hour, ToHour: hour + 1, HoursOnly: true}, func(r store.UsageRow) error {
		if r.Correction {
			fixes[r.UsageKey] = r
			return nil
		}
		batch = append(batch, r)
		if fix, ok := fixes[r.UsageKey]; ok {
			batch = append(batch, fix)
			delete(fixes, r.UsageKey)
		}
		if places++; places%thinMoves != 0 {
			return nil
		}
		return flush()
	})
	if err != nil {
		return moved, err
	}
	for _, fix := range fixes { // of what was never reported
		batch = append(batch, fix)
		if len(batch) >= thinMoves {
			if err := flush(); err != nil {
				return moved, err
			}
		}
	}
	return moved, flush()
}

// move adds rows of one hour to their days, in one transaction.
func (t *term) move(ctx context.Context, rows []store.UsageRow) (int, error) {
	if len(rows) == 0 {
		return 0, nil
	}
	keys, which := make([]store.UsageKey, 0, len(rows)), make([]store.UsageRow, len(rows))
	for i, r := range rows {
		if !r.Correction {
			keys = append(keys, r.UsageKey)
		}
		day := r.UsageKey
		day.Hour -= day.Hour % hoursOfDay
		which[i] = store.UsageRow{UsageKey: day, Day: true, Correction: r.Correction}
	}
	if err := t.pages.hold(ctx, t.ctx, keys); err != nil {
		return 0, err
	}
	defer t.pages.free(keys)
	// Whatever the clock says: what is gone must not be put back from memory.
	defer t.pages.outdated(keys)
	days, err := t.l.store.UsageRows(ctx, which)
	if err != nil {
		return 0, err
	}
	moves, stays := make([]store.UsageMove, 0, len(rows)), map[store.UsageKey]bool{}
	for i, r := range rows {
		to, ok := added(days[i], r)
		if !ok {
			t.l.log.Error("usage stays by hour: its day's sum would not fit in 64 bits", "hour", r.Hour, "key", r.Key, "model", r.Model)
			stays[r.UsageKey] = true
		}
		moves = append(moves, store.UsageMove{From: r, To: to})
	}
	// A counter and its correction stay together, too.
	moves = slices.DeleteFunc(moves, func(m store.UsageMove) bool { return stays[m.From.UsageKey] })
	if err := t.commitMoves(ctx, moves); err != nil {
		return 0, err
	}
	return len(moves), nil
}

// commitMoves does not return before it is certain what became of the moves, or the term ends, after which the fence
// keeps them from happening: one that happened later would take away what was put in its place meanwhile. Stale says
// that they did not happen, or that an attempt before had.
func (t *term) commitMoves(ctx context.Context, moves []store.UsageMove) error {
	pause := t.l.pause
	for attempt := 0; ; attempt++ {
		bounded, cancel := context.WithTimeout(ctx, commitTime)
		err := t.l.store.MoveUsage(bounded, t.fence, moves)
		cancel()
		switch {
		case err == nil, t.over(err), ctx.Err() != nil, fault.KindOf(err) == fault.Stale, attempt == 0 && certain(err), attempt == moveTries:
			return err
		}
		t.l.metrics.uncertain.Inc()
		t.l.log.Warn("thinning out has an unknown outcome; trying again", "attempt", attempt, "error", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// added is a day's row with an hour's in it.
func added(day, hour store.UsageRow) (store.UsageRow, bool) {
	sum, ok := amountsOf(day.Counters).plus(amountsOf(hour.Counters))
	day.Counters = sum.counters()
	day.Corrections += hour.Corrections
	return day, ok
}
