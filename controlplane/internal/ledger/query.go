package ledger

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// Bounds of a query.
const (
	maxHourly = 31 * 24       // hours, when grouped by hour
	maxRange  = 1100 * 24     // hours, otherwise: a little more than three years
	maxRows   = 100_000       // groups
	maxPage   = 10_000        // rows of one answer
	lastHour  = 9_999_999_999 // the store's keys have ten digits
)

// errTooLong is why a query's context ends at its timeout.
var errTooLong = errors.New("the query takes too long")

// Query sums the books over a range of hours, by groups. Any replica can answer. Times as in QueryUsageRequest: the start
// is rounded down to the hour and the end up. The books stream past: what is kept in memory is a sum for each group, of
// as many queries at once as Options say.
//
// Errors: fault.Invalid for a range that is empty or longer than 1100 days (31 grouped by hour) and for a page token of
// another query, fault.TooLarge for more than 100,000 groups or sums beyond 64 bits, fault.Deadline after
// Options.QueryTimeout. Queries that take longer than Options.SlowQuery are logged.
func (l *Ledger) Query(ctx context.Context, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
	q, err := l.newQuery(req)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, l.o.QueryTimeout, errTooLong)
	defer cancel()
	start := l.o.Now()
	res, err := q.run(bounded)
	if ctx.Err() == nil && errors.Is(context.Cause(bounded), errTooLong) && err != nil {
		err = fault.New(fault.Deadline, "the query took longer than %s; ask for a shorter range", l.o.QueryTimeout).With(err)
	}
	took := l.o.Now().Sub(start)
	l.metrics.queries.Observe(took.Seconds())
	if took > l.o.SlowQuery {
		l.metrics.slow.Inc()
		l.log.LogAttrs(ctx, slog.LevelWarn, "slow usage query", slog.Duration("took", took),
			slog.Time("from", hourTime(q.from)), slog.Time("to", hourTime(q.to)), slog.Any("group_by", dimensionNames(q.by)),
			slog.Int64("rows_read", q.read), slog.Int("groups", len(q.sums)), slog.Bool("failed", err != nil))
	}
	return res, err
}

// query is one question being answered.
type query struct {
	l        *Ledger
	req      *adminv1.QueryUsageRequest
	from, to int64 // hours, half open
	by       []adminv1.UsageDimension
	turn     turn
	filter   filter
	sums     sums
	total    sum
	read     int64 // rows of the books
	byDay    bool  // some were of whole days
}

func (l *Ledger) newQuery(req *adminv1.QueryUsageRequest) (*query, error) {
	q := &query{l: l, req: req, by: req.GetGroupBy(), filter: newFilter(l, req), sums: sums{}}
	end := l.o.Now()
	if req.GetEndTime() != nil {
		end = req.GetEndTime().AsTime()
	}
	start := end.Add(-24 * time.Hour)
	if req.GetStartTime() != nil {
		start = req.GetStartTime().AsTime()
	}
	q.from = floorHour(start)
	q.to = floorHour(end.Add(time.Hour - 1))
	if err := q.turnTo(req.GetPageToken()); err != nil {
		return nil, err
	}
	if q.from >= q.to {
		return nil, fault.New(fault.Invalid, "start_time must be before end_time").WithParam("start_time")
	}
	limit := int64(maxRange)
	if q.has(adminv1.UsageDimension_USAGE_DIMENSION_HOUR) {
		limit = maxHourly
	}
	if q.to-q.from > limit {
		return nil, fault.New(fault.Invalid, "the range is longer than %d days", limit/24).WithParam("end_time")
	}
	q.from, q.to = min(max(q.from, 0), lastHour), min(max(q.to, 0), lastHour)
	return q, nil
}

func (q *query) has(d adminv1.UsageDimension) bool { return slices.Contains(q.by, d) }

// floorHour returns the hour since 1970 that t lies in.
func floorHour(t time.Time) int64 {
	s := t.Unix()
	h := s / 3600
	if s%3600 < 0 {
		h--
	}
	return h
}

func hourTime(hour int64) time.Time { return time.Unix(hour*3600, 0).UTC() }

func dimensionNames(by []adminv1.UsageDimension) []string {
	names := make([]string, len(by))
	for i, d := range by {
		names[i] = d.String()
	}
	return names
}

// run waits for its turn, reads the books and answers.
func (q *query) run(ctx context.Context) (*adminv1.QueryUsageResponse, error) {
	select {
	case q.l.queries <- struct{}{}:
		defer func() { <-q.l.queries }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	revision, err := q.l.store.Books(ctx, store.BooksRange{FromHour: q.from, ToHour: q.to, Revision: q.turn.revision}, q.add)
	if err != nil {
		return nil, err
	}
	q.turn.revision = revision
	return q.answer()
}

// add takes one row of the books.
func (q *query) add(r store.UsageRow) error {
	q.read++
	if !q.filter.wants(r.UsageKey) {
		return nil
	}
	q.byDay = q.byDay || r.Day
	group := q.group(r.UsageKey)
	at, known := q.sums[group]
	if !known && len(q.sums) == maxRows {
		return fault.New(fault.TooLarge, "more than %d groups; ask for a shorter range or fewer dimensions", maxRows)
	}
	var ok, okTotal bool
	at, ok = at.plus(r)
	q.total, okTotal = q.total.plus(r)
	if !ok || !okTotal {
		return tooMuch()
	}
	q.sums[group] = at
	return nil
}

func tooMuch() error {
	return fault.New(fault.TooLarge, "the sums do not fit in 64 bits; ask for a shorter range")
}

// group keeps of a place what is grouped by. A day is its first hour.
func (q *query) group(k store.UsageKey) (g store.UsageKey) {
	for _, d := range q.by {
		switch d {
		case adminv1.UsageDimension_USAGE_DIMENSION_KEY:
			g.Key = k.Key
		case adminv1.UsageDimension_USAGE_DIMENSION_GROUP:
			g.Group = k.Group
		case adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL:
			g.Channel = k.Channel
		case adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT:
			g.Account = k.Account
		case adminv1.UsageDimension_USAGE_DIMENSION_MODEL:
			g.Model = k.Model
		case adminv1.UsageDimension_USAGE_DIMENSION_HOUR:
			g.Hour = k.Hour
		case adminv1.UsageDimension_USAGE_DIMENSION_DAY:
			if !q.has(adminv1.UsageDimension_USAGE_DIMENSION_HOUR) {
				g.Hour = k.Hour - k.Hour%hoursOfDay
			}
		default:
		}
	}
	return g
}
