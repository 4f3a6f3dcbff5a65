package ledger

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// Bounds of a query.
const (
	maxHourly = 31 * 24       // hours, when grouped by hour
	maxRange  = 366 * 24      // hours, otherwise
	maxRows   = 100_000       // groups
	lastHour  = 9_999_999_999 // the store's keys have ten digits
)

// Query sums the books over a range of hours, by groups. Any replica can answer. Times as in QueryUsageRequest: the start
// is rounded down to the hour and the end up.
//
// Errors: fault.Invalid for a range that is empty or longer than 366 days (31 grouped by hour), fault.TooLarge for more
// than 100,000 groups or sums beyond 64 bits.
func (l *Ledger) Query(ctx context.Context, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
	q, err := l.newQuery(req)
	if err != nil {
		return nil, err
	}
	if err := l.store.Usage(ctx, q.from, q.to, q.add); err != nil {
		return nil, err
	}
	return q.response(), nil
}

// query is one question being answered.
type query struct {
	l        *Ledger
	from, to int64 // hours, half open
	by       []adminv1.UsageDimension
	wanted   [4]map[string]bool // by kind as in kinds, and models last; nil = all
	names    map[resource]string

	sums  map[store.UsageKey]amounts // by what is grouped by; the rest of the key is empty
	total amounts
}

type resource struct {
	kind model.Kind
	id   string
}

func (l *Ledger) newQuery(req *adminv1.QueryUsageRequest) (*query, error) {
	q := &query{
		l: l, by: req.GetGroupBy(), names: map[resource]string{}, sums: map[store.UsageKey]amounts{},
		wanted: [4]map[string]bool{
			set(req.GetKeys()), set(req.GetChannels()), set(req.GetAccounts()), set(req.GetModels()),
		},
	}
	end := l.now()
	if req.GetEndTime() != nil {
		end = req.GetEndTime().AsTime()
	}
	start := end.Add(-24 * time.Hour)
	if req.GetStartTime() != nil {
		start = req.GetStartTime().AsTime()
	}
	q.from = floorHour(start)
	q.to = floorHour(end.Add(time.Hour - 1))
	if q.from >= q.to {
		return nil, fault.New(fault.Invalid, "start_time must be before end_time").WithParam("start_time")
	}
	limit := int64(maxRange)
	if slices.Contains(q.by, adminv1.UsageDimension_USAGE_DIMENSION_HOUR) {
		limit = maxHourly
	}
	if q.to-q.from > limit {
		return nil, fault.New(fault.Invalid, "the range is longer than %d days", limit/24).WithParam("end_time")
	}
	q.from, q.to = min(max(q.from, 0), lastHour), min(max(q.to, 0), lastHour)
	return q, nil
}

// floorHour returns the hour since 1970 that t lies in.
func floorHour(t time.Time) int64 {
	s := t.Unix()
	h := s / 3600
	if s%3600 < 0 {
		h--
	}
	return h
}

func set(names []string) map[string]bool {
	if len(names) == 0 {
		return nil
	}
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// show returns a resource's name, or its id when it has none any more.
func (q *query) show(kind model.Kind, id string) string {
	r := resource{kind, id}
	name, ok := q.names[r]
	if !ok {
		if name, ok = q.l.name(kind, id); !ok || name == "" {
			name = id
		}
		q.names[r] = name
	}
	return name
}

// add takes one total of the books.
func (q *query) add(k store.UsageKey, c *adminv1.UsageCounters) error {
	if !q.wants(0, model.KindKey, k.Key) || !q.wants(1, model.KindChannel, k.Channel) ||
		!q.wants(2, model.KindAccount, k.Account) || (q.wanted[3] != nil && !q.wanted[3][k.Model]) {
		return nil
	}
	group, a := q.group(k), amountsOf(c)
	sum, known := q.sums[group]
	if !known && len(q.sums) == maxRows {
		return fault.New(fault.TooLarge, "more than %d groups; ask for a shorter range or fewer dimensions", maxRows)
	}
	var ok, okTotal bool
	sum, ok = sum.plus(a)
	q.total, okTotal = q.total.plus(a)
	if !ok || !okTotal {
		return fault.New(fault.TooLarge, "the sums do not fit in 64 bits; ask for a shorter range")
	}
	q.sums[group] = sum
	return nil
}

// wants says whether a resource passes the filter, which holds names and ids.
func (q *query) wants(i int, kind model.Kind, id string) bool {
	w := q.wanted[i]
	return w == nil || w[id] || w[q.show(kind, id)]
}

// group keeps of a key what is grouped by.
func (q *query) group(k store.UsageKey) (g store.UsageKey) {
	for _, d := range q.by {
		switch d {
		case adminv1.UsageDimension_USAGE_DIMENSION_KEY:
			g.Key = k.Key
		case adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL:
			g.Channel = k.Channel
		case adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT:
			g.Account = k.Account
		case adminv1.UsageDimension_USAGE_DIMENSION_MODEL:
			g.Model = k.Model
		case adminv1.UsageDimension_USAGE_DIMENSION_HOUR:
			g.Hour = k.Hour
		}
	}
	return g
}

// response orders the groups by what they are grouped by, in the order asked for.
func (q *query) response() *adminv1.QueryUsageResponse {
	groups := make([]store.UsageKey, 0, len(q.sums))
	for g := range q.sums {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b store.UsageKey) int {
		for _, d := range q.by {
			if c := q.compare(d, a, b); c != 0 {
				return c
			}
		}
		return 0
	})
	res := &adminv1.QueryUsageResponse{Total: q.total.counters()}
	if len(q.by) == 0 {
		return res // the one group is the total
	}
	for _, g := range groups {
		res.Rows = append(res.Rows, q.row(g))
	}
	return res
}

func (q *query) compare(d adminv1.UsageDimension, a, b store.UsageKey) int {
	byName := func(kind model.Kind, a, b string) int {
		return cmp.Or(cmp.Compare(q.show(kind, a), q.show(kind, b)), cmp.Compare(a, b))
	}
	switch d {
	case adminv1.UsageDimension_USAGE_DIMENSION_KEY:
		return byName(model.KindKey, a.Key, b.Key)
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
	row := &adminv1.UsageRow{Counters: q.sums[g].counters()}
	for _, d := range q.by {
		switch d {
		case adminv1.UsageDimension_USAGE_DIMENSION_KEY:
			row.Key = q.show(model.KindKey, g.Key)
		case adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL:
			row.Channel = q.show(model.KindChannel, g.Channel)
		case adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT:
			row.Account = q.show(model.KindAccount, g.Account)
		case adminv1.UsageDimension_USAGE_DIMENSION_MODEL:
			row.Model = g.Model
		case adminv1.UsageDimension_USAGE_DIMENSION_HOUR:
			row.Hour = timestamppb.New(time.Unix(g.Hour*3600, 0))
		}
	}
	return row
}
