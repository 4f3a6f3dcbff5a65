package ledger

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

const (
	correctTries = 8  // while the books change
	placesShown  = 5  // where a correction could go, in an error
	maxPlaces    = 50 // looked at
)

// Correct adds a correction to the books, or takes from them, for one place: an hour's key, group, channel, account and
// model, or the day of it where hours are not kept any more. Any replica can. It leaves what was reported as it is; the
// sum of both is never below zero. A correction with the id of one that is there already is that one, and counts once.
//
// Errors: fault.Invalid for a correction of nothing, of the future, of what lies too far back, for one that takes more
// than there is, and where more than one place fits; fault.NotFound for a resource that nobody knows; fault.Exists for
// another correction's id; fault.Unavailable.
func (l *Ledger) Correct(ctx context.Context, actor store.Actor, req *adminv1.CorrectUsageRequest) (*adminv1.CorrectUsageResponse, error) {
	c, err := l.newCorrection(actor, req)
	if err != nil {
		return nil, err
	}
	if there, err := l.store.UsageCorrection(ctx, c.hour, c.record.GetId()); err != nil {
		return nil, err
	} else if there != nil {
		return c.again(ctx, there)
	}
	for range correctTries {
		res, err := c.try(ctx)
		if fault.KindOf(err) != fault.Stale {
			if err == nil {
				l.metrics.corrections.Inc()
			}
			return res, err
		}
	}
	return nil, fault.New(fault.Unavailable, "the books kept changing; try again").WithRetryAfter(time.Second)
}

// correction is one being made.
type correction struct {
	l      *Ledger
	actor  store.Actor
	req    *adminv1.CorrectUsageRequest
	hour   int64
	delta  amounts
	fields []string // that it changes
	record *adminv1.UsageCorrection
	filter filter
}

func (l *Ledger) newCorrection(actor store.Actor, req *adminv1.CorrectUsageRequest) (*correction, error) {
	c := &correction{
		l: l, actor: actor, req: req, hour: floorHour(req.GetHour().AsTime()), filter: newFilter(l, asked{req}),
	}
	now := l.o.Now()
	switch {
	case c.hour > floorHour(now):
		return nil, fault.New(fault.Invalid, "hour: is in the future").WithParam("hour")
	case c.hour < firstHour(now.Add(-l.o.DailyFor)):
		return nil, fault.New(fault.Invalid, "hour: is before what the books keep").WithParam("hour")
	}
	d := req.GetDelta()
	c.delta = amountsOf(&adminv1.UsageCounters{
		Requests: d.GetRequests(), Errors: d.GetErrors(), InputTokens: d.GetInputTokens(), CachedTokens: d.GetCachedTokens(),
		OutputTokens: d.GetOutputTokens(), CostNanoUsd: d.GetCostNanoUsd(),
	})
	m := d.ProtoReflect()
	for i := range m.Descriptor().Fields().Len() {
		if f := m.Descriptor().Fields().Get(i); m.Has(f) {
			c.fields = append(c.fields, string(f.Name()))
		}
	}
	if len(c.fields) == 0 {
		return nil, fault.New(fault.Invalid, "delta: changes nothing").WithParam("delta")
	}
	id := req.GetId()
	if id == "" {
		id = ulid.Make().String()
	}
	c.record = &adminv1.UsageCorrection{
		Id: id, Hour: timestamppb.New(hourTime(c.hour)), Model: req.GetModel(), Delta: d, Reason: strings.TrimSpace(req.GetReason()),
	}
	if c.record.Reason == "" {
		return nil, fault.New(fault.Invalid, "reason: say why").WithParam("reason")
	}
	return c, nil
}

// asked is a correction's place in the words of a query.
type asked struct{ *adminv1.CorrectUsageRequest }

func given(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (a asked) GetKeys() []string     { return given(a.GetKey()) }
func (a asked) GetGroups() []string   { return given(a.GetGroup()) }
func (a asked) GetChannels() []string { return given(a.GetChannel()) }
func (a asked) GetAccounts() []string { return given(a.GetAccount()) }
func (a asked) GetModels() []string   { return given(a.GetModel()) }

// site is where a correction can go: what was reported there, and what was corrected before.
type site struct {
	base, sum store.UsageRow
}

// try reads the books and corrects them as they are; fault.Stale when they have changed meanwhile.
func (c *correction) try(ctx context.Context) (*adminv1.CorrectUsageResponse, error) {
	p, err := c.find(ctx)
	if err != nil {
		return nil, err
	}
	sum, ok := amountsOf(p.sum.Counters).plus(c.delta)
	if !ok {
		return nil, tooMuch()
	}
	all, ok := amountsOf(p.base.Counters).plus(sum)
	switch {
	case !ok:
		return nil, tooMuch()
	case all.below():
		return nil, fault.New(fault.Invalid, "delta: takes more than there is on the books").WithParam("delta")
	}
	p.sum.Counters = sum.counters()
	p.sum.Corrections++
	k := p.base.UsageKey
	rec, ok := proto.Clone(c.record).(*adminv1.UsageCorrection)
	if !ok {
		return nil, fault.New(fault.Internal, "internal error")
	}
	rec.Key, rec.Group, rec.Channel, rec.Account = k.Key, k.Group, k.Channel, k.Account
	rec, err = c.l.store.CorrectUsage(ctx, store.UsageFix{
		Actor: c.actor, Record: rec, KeyName: c.filter.show(model.KindKey, k.Key), Fields: c.fields, Base: p.base, Sum: p.sum,
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.CorrectUsageResponse{Correction: c.l.named(rec), Counters: all.counters()}, nil
}

// again answers a correction that was made before.
func (c *correction) again(ctx context.Context, there *adminv1.UsageCorrection) (*adminv1.CorrectUsageResponse, error) {
	k := store.UsageKey{
		Hour: c.hour, Key: there.GetKey(), Group: there.GetGroup(), Channel: there.GetChannel(), Account: there.GetAccount(), Model: there.GetModel(),
	}
	if !c.filter.wants(k) || !proto.Equal(there.GetDelta(), c.record.GetDelta()) {
		return nil, fault.New(fault.Exists, "there is another correction %q", there.GetId()).WithParam("id")
	}
	p, err := c.at(ctx, k)
	if err != nil {
		return nil, err
	}
	all, ok := amountsOf(p.base.Counters).plus(amountsOf(p.sum.Counters))
	if !ok {
		return nil, tooMuch()
	}
	return &adminv1.CorrectUsageResponse{Correction: c.l.named(there), Counters: all.counters()}, nil
}

// at reads a place: of the hour, or of its day when there is nothing of the hour.
func (c *correction) at(ctx context.Context, k store.UsageKey) (site, error) {
	day := k
	day.Hour -= day.Hour % hoursOfDay
	rows, err := c.l.store.UsageRows(ctx, []store.UsageRow{
		{UsageKey: k}, {UsageKey: k, Correction: true}, {UsageKey: day, Day: true}, {UsageKey: day, Day: true, Correction: true},
	})
	if err != nil {
		return site{}, err
	}
	if rows[0].Version == 0 && rows[1].Version == 0 && (rows[2].Version != 0 || rows[3].Version != 0) {
		return site{rows[2], rows[3]}, nil
	}
	return site{rows[0], rows[1]}, nil
}

// find returns the one place that fits: on the books, or a new one.
func (c *correction) find(ctx context.Context) (site, error) {
	fits, err := c.candidates(ctx)
	if err != nil {
		return site{}, err
	}
	switch len(fits) {
	case 0:
		if c.delta.below() {
			return site{}, fault.New(fault.Invalid, "delta: there is no such usage on the books to take from").WithParam("delta")
		}
		k, err := c.fresh()
		if err != nil {
			return site{}, err
		}
		return c.at(ctx, k)
	case 1:
		return c.at(ctx, fits[0])
	}
	var words []string
	for _, k := range fits[:min(placesShown, len(fits))] {
		words = append(words, "channel="+c.filter.show(model.KindChannel, k.Channel)+" account="+c.filter.show(model.KindAccount, k.Account)+
			" group="+c.filter.show(model.KindGroup, k.Group))
	}
	return site{}, fault.New(fault.Invalid, "more than one place on the books fits; say which: %s", strings.Join(words, "; ")).
		WithParam("channel")
}

// candidates are the places on the books that fit, of the hour, or of its day where there are none.
func (c *correction) candidates(ctx context.Context) ([]store.UsageKey, error) {
	found := map[store.UsageKey]bool{}
	collect := func(days bool) func(store.UsageRow) error {
		return func(r store.UsageRow) error {
			k := r.UsageKey
			k.Hour = c.hour
			if r.Day == days && c.filter.wants(k) && len(found) < maxPlaces {
				found[k] = true
			}
			return nil
		}
	}
	if _, err := c.l.store.Books(ctx, store.BooksRange{FromHour: c.hour, ToHour: c.hour + 1, HoursOnly: true}, collect(false)); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		day := c.hour - c.hour%hoursOfDay
		if _, err := c.l.store.Books(ctx, store.BooksRange{FromHour: day, ToHour: day + 1}, collect(true)); err != nil {
			return nil, err
		}
	}
	fits := make([]store.UsageKey, 0, len(found))
	for k := range found {
		fits = append(fits, k)
	}
	slices.SortFunc(fits, func(a, b store.UsageKey) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Key, b.Key))
	})
	return fits, nil
}

// fresh is a place that the books do not have yet.
func (c *correction) fresh() (store.UsageKey, error) {
	k := store.UsageKey{Hour: c.hour, Model: c.req.GetModel()}
	for _, part := range []struct {
		kind model.Kind
		name string
		id   *string
	}{
		{model.KindKey, c.req.GetKey(), &k.Key}, {model.KindGroup, c.req.GetGroup(), &k.Group},
		{model.KindChannel, c.req.GetChannel(), &k.Channel}, {model.KindAccount, c.req.GetAccount(), &k.Account},
	} {
		if part.name == "" {
			continue
		}
		id, ok := c.l.o.Find(part.kind, part.name)
		if !ok {
			return k, fault.New(fault.NotFound, "there is no %s %q", part.kind, part.name).WithParam(string(part.kind))
		}
		*part.id = id
	}
	if k.Group == "" {
		k.Group, _ = c.l.o.Group(k.Key)
	}
	return k, nil
}

// named shows names in place of ids.
func (l *Ledger) named(rec *adminv1.UsageCorrection) *adminv1.UsageCorrection {
	out, ok := proto.Clone(rec).(*adminv1.UsageCorrection)
	if !ok {
		return rec
	}
	show := func(kind model.Kind, id string) string {
		if id == "" {
			return ""
		}
		return l.name(kind, id)
	}
	out.Key, out.Group = show(model.KindKey, out.GetKey()), show(model.KindGroup, out.GetGroup())
	out.Channel, out.Account = show(model.KindChannel, out.GetChannel()), show(model.KindAccount, out.GetAccount())
	return out
}

// Corrections returns one page of the corrections of a range of hours, absent times as in ListUsageCorrectionsRequest.
func (l *Ledger) Corrections(ctx context.Context, req *adminv1.ListUsageCorrectionsRequest) (*adminv1.ListUsageCorrectionsResponse, error) {
	end := l.o.Now()
	if req.GetEndTime() != nil {
		end = req.GetEndTime().AsTime()
	}
	start := end.Add(-31 * 24 * time.Hour)
	if req.GetStartTime() != nil {
		start = req.GetStartTime().AsTime()
	}
	size := int(req.GetPageSize())
	if size <= 0 {
		size = 100
	}
	page, next, err := l.store.UsageCorrections(ctx, floorHour(start), floorHour(end.Add(time.Hour-1)), min(size, 1000), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	res := &adminv1.ListUsageCorrectionsResponse{NextPageToken: next}
	for _, rec := range page {
		res.Corrections = append(res.Corrections, l.named(rec))
	}
	return res, nil
}
