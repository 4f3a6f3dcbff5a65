package ledger

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// answer ranks the groups, leaves out what top does, fills gaps, and takes the page.
func (q *query) answer() (*adminv1.QueryUsageResponse, error) {
	res := &adminv1.QueryUsageResponse{Total: q.total.counters.counters(), Corrected: q.total.corrected(), ByDay: q.byDay}
	if len(q.by) == 0 {
		return res, nil // the one group is the total
	}
	r := q.ranking()
	groups, rest := r.first(q.sums, int(q.req.GetTop()))
	if len(rest) > 0 {
		var left sum
		for _, g := range rest {
			var ok bool
			if left, ok = left.with(q.sums[g]); !ok {
				return nil, tooMuch()
			}
		}
		res.Rest, res.RestRows = left.counters.counters(), int64(len(rest))
	}
	// Where times themselves are ranked, those that are left out are not times of nothing.
	if q.req.GetFill() && (r.series || len(rest) == 0) {
		var err error
		if groups, err = q.fill(groups); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(groups, r.compare)
	for _, g := range q.cut(groups, res) {
		res.Rows = append(res.Rows, q.row(g))
	}
	return res, nil
}

// ranking is the order of rows. Rows that differ in time alone are one series, and ranked together by what they have in
// sum, unless there is one series only.
type ranking struct {
	q      *query
	order  adminv1.UsageOrder
	series bool
	value  map[store.UsageKey]int64 // of a series or a row; nil = by dimensions alone
}

func (q *query) timed() bool {
	return q.has(adminv1.UsageDimension_USAGE_DIMENSION_HOUR) || q.has(adminv1.UsageDimension_USAGE_DIMENSION_DAY)
}

func (q *query) ranking() *ranking {
	r := &ranking{q: q, order: q.req.GetOrderBy()}
	if r.order == adminv1.UsageOrder_USAGE_ORDER_UNSPECIFIED {
		if q.req.GetTop() == 0 {
			return r
		}
		r.order = adminv1.UsageOrder_USAGE_ORDER_COST
	}
	times := 0
	for _, d := range q.by {
		if d == adminv1.UsageDimension_USAGE_DIMENSION_HOUR || d == adminv1.UsageDimension_USAGE_DIMENSION_DAY {
			times++
		}
	}
	r.series = times > 0 && times < len(q.by)
	r.value = make(map[store.UsageKey]int64, len(q.sums))
	for g, s := range q.sums {
		// The sum of all fits in 64 bits, and none is below zero.
		r.value[r.unit(g)] += s.value(r.order)
	}
	return r
}

// unit is what is ranked: a row, or its series.
func (r *ranking) unit(g store.UsageKey) store.UsageKey {
	if r.series {
		g.Hour = 0
	}
	return g
}

// compare orders two rows: the larger first, then by dimensions as asked for; a series stays together.
func (r *ranking) compare(a, b store.UsageKey) int {
	if r.value == nil {
		return r.q.compare(a, b)
	}
	ua, ub := r.unit(a), r.unit(b)
	return cmp.Or(cmp.Compare(r.value[ub], r.value[ua]), r.q.compare(ua, ub), r.q.compare(a, b))
}

// first parts the rows of the first n rows or series from the rest; n = 0 takes all.
func (r *ranking) first(all sums, n int) (kept, rest []store.UsageKey) {
	kept = make([]store.UsageKey, 0, len(all))
	if n == 0 || n >= len(r.value) {
		for g := range all {
			kept = append(kept, g)
		}
		return kept, nil
	}
	units := make([]store.UsageKey, 0, len(r.value))
	for u := range r.value {
		units = append(units, u)
	}
	slices.SortFunc(units, r.compare)
	in := make(map[store.UsageKey]bool, n)
	for _, u := range units[:n] {
		in[u] = true
	}
	for g := range all {
		if in[r.unit(g)] {
			kept = append(kept, g)
		} else {
			rest = append(rest, g)
		}
	}
	return kept, rest
}

// fill adds, to each series, the hours or days of the range in which it has nothing. Without any usage there is nothing
// to fill, unless time is all that is grouped by.
func (q *query) fill(groups []store.UsageKey) ([]store.UsageKey, error) {
	if !q.timed() {
		return groups, nil
	}
	step, from := int64(hoursOfDay), q.from-q.from%hoursOfDay
	if q.has(adminv1.UsageDimension_USAGE_DIMENSION_HOUR) {
		step, from = 1, q.from
	}
	series, there := map[store.UsageKey]bool{}, make(map[store.UsageKey]bool, len(groups))
	for _, g := range groups {
		there[g] = true
		g.Hour = 0
		series[g] = true
	}
	if len(series) == 0 && !slices.ContainsFunc(q.by, isResource) {
		series[store.UsageKey{}] = true
	}
	if buckets := (q.to - from + step - 1) / step; int64(len(series))*buckets > maxRows {
		return nil, fault.New(fault.TooLarge, "%d series of %d times are more than %d rows; ask for top, or a shorter range",
			len(series), buckets, maxRows).WithParam("fill")
	}
	for s := range series {
		for s.Hour = from; s.Hour < q.to; s.Hour += step {
			if !there[s] {
				groups = append(groups, s)
			}
		}
	}
	return groups, nil
}

// isResource says whether a dimension is no time.
func isResource(d adminv1.UsageDimension) bool {
	return d != adminv1.UsageDimension_USAGE_DIMENSION_HOUR && d != adminv1.UsageDimension_USAGE_DIMENSION_DAY
}

// compare orders two rows by what they are grouped by, in the order asked for.
func (q *query) compare(a, b store.UsageKey) int {
	for _, d := range q.by {
		if c := q.compareBy(d, a, b); c != 0 {
			return c
		}
	}
	return 0
}

func (q *query) compareBy(d adminv1.UsageDimension, a, b store.UsageKey) int {
	byName := func(kind model.Kind, a, b string) int {
		if a == b {
			return 0
		}
		return cmp.Or(cmp.Compare(q.filter.show(kind, a), q.filter.show(kind, b)), cmp.Compare(a, b))
	}
	switch d {
	case adminv1.UsageDimension_USAGE_DIMENSION_KEY:
		return byName(model.KindKey, a.Key, b.Key)
	case adminv1.UsageDimension_USAGE_DIMENSION_GROUP:
		return byName(model.KindGroup, a.Group, b.Group)
	case adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL:
		return byName(model.KindChannel, a.Channel, b.Channel)
	case adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT:
		return byName(model.KindAccount, a.Account, b.Account)
	case adminv1.UsageDimension_USAGE_DIMENSION_MODEL:
		return cmp.Compare(a.Model, b.Model)
	default:
		return cmp.Compare(a.Hour, b.Hour)
	}
}

func (q *query) row(g store.UsageKey) *adminv1.UsageRow {
	s := q.sums[g] // nothing for a row that fills
	row := &adminv1.UsageRow{Counters: s.counters.counters(), Corrected: s.corrected()}
	for _, d := range q.by {
		switch d {
		case adminv1.UsageDimension_USAGE_DIMENSION_KEY:
			row.Key = q.filter.show(model.KindKey, g.Key)
		case adminv1.UsageDimension_USAGE_DIMENSION_GROUP:
			row.Group = q.filter.show(model.KindGroup, g.Group)
		case adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL:
			row.Channel = q.filter.show(model.KindChannel, g.Channel)
		case adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT:
			row.Account = q.filter.show(model.KindAccount, g.Account)
		case adminv1.UsageDimension_USAGE_DIMENSION_MODEL:
			row.Model = g.Model
		case adminv1.UsageDimension_USAGE_DIMENSION_HOUR:
			row.Hour = timestamppb.New(hourTime(g.Hour))
		case adminv1.UsageDimension_USAGE_DIMENSION_DAY:
			row.Day = timestamppb.New(hourTime(g.Hour - g.Hour%hoursOfDay))
		default:
		}
	}
	return row
}
