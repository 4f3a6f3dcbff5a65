package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

const (
	// defaultPage is the size of a page that asks for none.
	defaultPage = 100
	// checkEvery is after how many resources a list looks whether its caller is still there.
	checkEvery = 4096
)

// listRequest is what the list requests of all kinds have in common.
type listRequest interface {
	GetPageSize() int32
	GetPageToken() string
	GetFilter() string
	GetOrderBy() string
}

// page is one page of a list.
type page[R model.Resource] struct {
	items    []R
	next     string // token of the next page; empty on the last
	total    int32  // how many match, over all pages
	revision int64
}

// list answers from this replica's copy. A token of a replica that is ahead waits until this one has caught up, so that
// pages never go back in time; a list that goes on after a change shows each resource at most once and skips none that
// was there throughout.
func list[R model.Resource](ctx context.Context, s *Service, kind model.Kind, req listRequest) (page[R], error) {
	o, err := parseOrder(kind, req.GetOrderBy())
	if err != nil {
		return page[R]{}, err
	}
	f, err := s.filters.compile(kind, req.GetFilter())
	if err != nil {
		return page[R]{}, err
	}
	st, err := s.state()
	if err != nil {
		return page[R]{}, err
	}
	id := listOf(kind, req.GetFilter(), o)
	var after *position
	if req.GetPageToken() != "" {
		c, err := parseCursor(req.GetPageToken())
		if err != nil {
			return page[R]{}, err
		}
		if c.list != id {
			return page[R]{}, fault.New(fault.Invalid, "page_token: belongs to another filter or order").WithParam("page_token")
		}
		if c.lineage != st.Lineage() {
			return page[R]{}, fault.New(fault.Invalid, "page_token: belongs to a data set that was replaced; start over").
				WithParam("page_token")
		}
		if st, err = s.caughtUp(ctx, st, c.revision); err != nil {
			return page[R]{}, err
		}
		after = &c.last
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	q := query{kind: kind, filter: f, order: o, after: after, size: size + 1}
	dress := s.dress(ctx, st, kind)
	if dress != nil && computed(req) {
		q.dress = dress
	}
	if sc := scopeFor(ctx); sc.tenant != "" {
		q.dress = sc.shown
		q.sees = func(r model.Resource) bool { return sc.sees(st, r) }
	}
	found, total, err := search(ctx, st, q)
	if err != nil {
		return page[R]{}, err
	}
	out := page[R]{total: int32(min(total, 1<<31-1)), revision: st.Revision()}
	if len(found) > size {
		found = found[:size]
		last := found[size-1]
		out.next = cursor{lineage: st.Lineage(), revision: st.Revision(), list: id, last: last.position}.encode()
	}
	out.items = make([]R, 0, len(found))
	for _, m := range found {
		if dress != nil && q.dress == nil {
			if m.r, err = dress(m.r); err != nil {
				return page[R]{}, err
			}
		}
		r, err := as[R](m.r)
		if err != nil {
			return page[R]{}, err
		}
		out.items = append(out.items, r)
	}
	return out, nil
}

// caughtUp returns the state at or after a revision.
func (s *Service) caughtUp(ctx context.Context, st *model.State, revision int64) (*model.State, error) {
	if st.Revision() >= revision {
		return st, nil
	}
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if err := s.store.WaitRevision(ctx, revision); err != nil {
		return nil, fault.New(fault.Unavailable, "this replica has not caught up with the page before").
			WithRetryAfter(time.Second).With(err)
	}
	return s.state()
}

// computed says whether a list of accounts asks about their health, which no account is stored with. An expression can
// reach a field by its name alone.
func computed(req listRequest) bool {
	return strings.Contains(req.GetFilter(), "health") || strings.HasPrefix(req.GetOrderBy(), "health")
}

// query is one search over a state.
type query struct {
	kind   model.Kind
	filter *filter
	order  order
	after  *position // nil = from the start
	size   int
	// sees says whether a resource is in the caller's scope; nil = all are. What is not is neither filtered nor counted.
	sees func(model.Resource) bool
	// dress makes a resource what is filtered, ordered and shown; nil = it is as it is stored.
	dress func(model.Resource) (model.Resource, error)
}

type match struct {
	position
	r model.Resource
}

// search returns the first matches in order and counts all of them.
func search(ctx context.Context, st *model.State, q query) ([]match, int, error) {
	if q.filter == nil && q.order.text == byName && q.sees == nil {
		return seek(st, q), st.Len(q.kind), nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, filterTime, errFilterTime)
	defer cancel()
	var (
		best  []match
		total int
		seen  int
	)
	by := func(a, b match) int { return q.order.compare(a.position, b.position) }
	for r := range st.All(q.kind) {
		if seen++; seen%checkEvery == 0 && ctx.Err() != nil {
			return nil, 0, tooSlow(ctx)
		}
		if q.sees != nil && !q.sees(r) {
			continue
		}
		if q.dress != nil {
			var err error
			if r, err = q.dress(r); err != nil {
				return nil, 0, err
			}
		}
		ok, err := q.filter.takes(ctx, r)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			continue
		}
		total++
		m := match{position{q.order.key(r), r.GetMetadata().GetId()}, r}
		if q.after != nil && q.order.compare(m.position, *q.after) <= 0 {
			continue
		}
		// Keep twice the page at most: the work stays that of one pass, whatever the number of matches.
		if best = append(best, m); len(best) >= 2*q.size {
			slices.SortFunc(best, by)
			clear(best[q.size:])
			best = best[:q.size]
		}
	}
	slices.SortFunc(best, by)
	return best[:min(len(best), q.size)], total, nil
}

// seek is the search of the plain list: by name, everything. It costs a page, not the state.
func seek(st *model.State, q query) []match {
	start := ""
	if q.after != nil {
		start = q.after.key
	}
	found := make([]match, 0, min(q.size, st.Len(q.kind)))
	for r := range st.AfterName(q.kind, start) {
		if len(found) == q.size {
			break
		}
		found = append(found, match{position{q.order.key(r), r.GetMetadata().GetId()}, r})
	}
	return found
}
