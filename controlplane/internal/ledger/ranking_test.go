package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	byGroup = adminv1.UsageDimension_USAGE_DIMENSION_GROUP
	byDay   = adminv1.UsageDimension_USAGE_DIMENSION_DAY
	cost    = adminv1.UsageOrder_USAGE_ORDER_COST
)

// series are books of three models over three days, of which "b" costs most.
func series() (*books, *Ledger) {
	b := newBooks()
	today := firstHour(noon)
	put := func(daysAgo, hour int64, model, group string, requests, nano int64) {
		b.totals[store.UsageKey{Hour: today - daysAgo*hoursOfDay + hour, Key: "k", Group: group, Model: model}] = amounts{0: requests, 5: nano}
	}
	put(0, 3, "a", "g1", 9, 1)
	put(0, 4, "a", "g1", 9, 1)
	put(2, 3, "a", "g2", 9, 1)
	put(1, 3, "b", "g1", 1, 50)
	put(2, 3, "b", "", 1, 60)
	put(0, 5, "c", "g2", 3, 20)
	return b, newLedger(b, 1)
}

// shown are rows in short.
func shown(rows []*adminv1.UsageRow) []string {
	var out []string
	for _, r := range rows {
		parts := []string{r.GetModel() + r.GetGroup()}
		if r.GetDay() != nil {
			parts = append(parts, r.GetDay().AsTime().Format("02"))
		}
		if r.GetHour() != nil {
			parts = append(parts, r.GetHour().AsTime().Format("02T15"))
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %d/%d", strings.Join(parts, " "), r.GetCounters().GetRequests(), r.GetCounters().GetCostNanoUsd())))
	}
	return out
}

func TestRanking(t *testing.T) {
	dims := func(d ...adminv1.UsageDimension) []adminv1.UsageDimension { return d }
	three := timestamppb.New(noon.Add(-3 * day))
	for _, tt := range []struct {
		name string
		req  *adminv1.QueryUsageRequest
		want []string
		rest int64 // rows
	}{
		{"by day", &adminv1.QueryUsageRequest{GroupBy: dims(byDay)}, []string{"19 10/61", "20 1/50", "21 21/22"}, 0},
		{"by cost", &adminv1.QueryUsageRequest{GroupBy: dims(byModel), OrderBy: cost}, []string{"b 2/110", "c 3/20", "a 27/3"}, 0},
		{"by requests", &adminv1.QueryUsageRequest{GroupBy: dims(byModel), OrderBy: adminv1.UsageOrder_USAGE_ORDER_REQUESTS}, []string{"a 27/3", "c 3/20", "b 2/110"}, 0},
		{"top is by cost", &adminv1.QueryUsageRequest{GroupBy: dims(byModel), Top: 1}, []string{"b 2/110"}, 2},
		{"days by cost", &adminv1.QueryUsageRequest{GroupBy: dims(byDay), OrderBy: cost, Top: 2}, []string{"19 10/61", "20 1/50"}, 1},
		{"top counts series", &adminv1.QueryUsageRequest{GroupBy: dims(byDay, byModel), Top: 2}, []string{"b 19 1/60", "b 20 1/50", "c 21 3/20"}, 2},
		{
			"filled", &adminv1.QueryUsageRequest{GroupBy: dims(byModel, byDay), Top: 2, Fill: true},
			[]string{"b 18 0/0", "b 19 1/60", "b 20 1/50", "b 21 0/0", "c 18 0/0", "c 19 0/0", "c 20 0/0", "c 21 3/20"}, 2,
		},
		{"by group, with what has none", &adminv1.QueryUsageRequest{GroupBy: dims(byGroup)}, []string{"1/60", "g1 19/52", "g2 12/21"}, 0},
		{"of a group", &adminv1.QueryUsageRequest{GroupBy: dims(byModel), Groups: []string{"g2"}}, []string{"a 9/1", "c 3/20"}, 0},
		{"day and hour", &adminv1.QueryUsageRequest{GroupBy: dims(byDay, byHour), Models: []string{"c"}}, []string{"21 21T05 3/20"}, 0},
		{
			"hours filled, of nothing", &adminv1.QueryUsageRequest{
				GroupBy: dims(byHour), Models: []string{"x"}, Fill: true, StartTime: timestamppb.New(noon.Add(-2 * time.Hour)),
			},
			[]string{"21T10 0/0", "21T11 0/0"}, 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, l := series()
			if tt.req.StartTime == nil {
				tt.req.StartTime = three
			}
			got, err := l.Query(t.Context(), tt.req)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]string, len(tt.want))
			for i, w := range tt.want {
				want[i] = strings.TrimSpace(w)
			}
			if diff := cmp.Diff(want, shown(got.GetRows())); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if got.GetRestRows() != tt.rest {
				t.Errorf("rest of %d rows, want %d", got.GetRestRows(), tt.rest)
			}
		})
	}
}

// Whatever is asked for, rows and rest add up to the total, and pages to the whole.
func TestPagesAddUp(t *testing.T) {
	all := []adminv1.UsageDimension{byKey, byGroup, byModel, byDay, byHour}
	rapid.Check(t, func(rt *rapid.T) {
		b, l := series()
		for i := range rapid.IntRange(0, 20).Draw(rt, "more rows") {
			k := store.UsageKey{
				Hour: firstHour(noon) - rapid.Int64Range(-11, 60).Draw(rt, "hour"), Key: fmt.Sprint("k", i%4),
				Group: rapid.SampledFrom([]string{"", "g1", "g3"}).Draw(rt, "group"), Model: rapid.SampledFrom([]string{"a", "d"}).Draw(rt, "model"),
			}
			b.totals[k] = amounts{rapid.Int64Range(0, 9).Draw(rt, "requests")}
		}
		req := &adminv1.QueryUsageRequest{
			StartTime: timestamppb.New(noon.Add(-4 * day)),
			GroupBy:   rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 5, rapid.ID).Draw(rt, "by"),
			Top:       rapid.Int32Range(0, 6).Draw(rt, "top"), Fill: rapid.Bool().Draw(rt, "fill"),
			OrderBy: adminv1.UsageOrder(rapid.Int32Range(0, 4).Draw(rt, "order")),
		}
		whole, err := l.Query(context.Background(), req)
		if err != nil {
			rt.Fatal(err)
		}
		sum := amountsOf(whole.GetRest())
		for _, r := range whole.GetRows() {
			sum, _ = sum.plus(amountsOf(r.GetCounters()))
		}
		if sum != amountsOf(whole.GetTotal()) {
			rt.Fatalf("rows and rest are %v, the total %v", sum, whole.GetTotal())
		}
		n := int32(len(whole.GetRows()))
		req.PageSize = rapid.Int32Range(n/5+1, n+2).Draw(rt, "page")
		var rows []*adminv1.UsageRow
		for range len(whole.GetRows()) + 2 {
			page, err := l.Query(context.Background(), req)
			if err != nil {
				rt.Fatal(err)
			}
			rows = append(rows, page.GetRows()...)
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				break
			}
			if len(page.GetRows()) != int(req.GetPageSize()) {
				rt.Fatalf("a page of %d, want %d", len(page.GetRows()), req.GetPageSize())
			}
		}
		if diff := cmp.Diff(whole.GetRows(), rows, protocmp.Transform()); diff != "" {
			rt.Fatalf("pages (-whole +pages):\n%s", diff)
		}
	})
}

func TestPageTokens(t *testing.T) {
	b, l := series()
	req := &adminv1.QueryUsageRequest{GroupBy: []adminv1.UsageDimension{byModel}, PageSize: 1, StartTime: timestamppb.New(noon.Add(-3 * day))}
	first, err := l.Query(t.Context(), req)
	if err != nil || first.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", first, err)
	}
	refused := func(name, token string, change func(*adminv1.QueryUsageRequest)) {
		t.Helper()
		other := &adminv1.QueryUsageRequest{GroupBy: req.GetGroupBy(), PageSize: 1, StartTime: req.GetStartTime(), PageToken: token}
		change(other)
		if _, err := l.Query(t.Context(), other); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: error = %v, want Invalid", name, err)
		}
	}
	same := func(*adminv1.QueryUsageRequest) {}
	refused("garbage", "AAAA", same)
	refused("no base64", "!", same)
	refused("another filter", first.GetNextPageToken(), func(r *adminv1.QueryUsageRequest) { r.Models = []string{"a"} })
	refused("another order", first.GetNextPageToken(), func(r *adminv1.QueryUsageRequest) { r.OrderBy = cost })
	refused("another range", first.GetNextPageToken(), func(r *adminv1.QueryUsageRequest) { r.StartTime = timestamppb.New(noon.Add(-2 * day)) })
	b.oldest = 2
	refused("a moment that is not kept", first.GetNextPageToken(), same)
}

func FuzzPageToken(f *testing.F) {
	f.Add("")
	f.Add("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	_, l := series()
	req := &adminv1.QueryUsageRequest{GroupBy: []adminv1.UsageDimension{byModel}, PageSize: 1}
	if res, err := l.Query(context.Background(), req); err == nil {
		f.Add(res.GetNextPageToken())
	}
	f.Fuzz(func(t *testing.T, token string) {
		q := &query{l: l, req: req, by: req.GetGroupBy()}
		if q.turnTo(token) != nil || token == "" {
			return
		}
		if again := q.token(q.turn.skip); again != token {
			t.Errorf("%q became %q", token, again)
		}
	})
}

// Days that are kept as a whole are there once, whatever the range is cut into, and the answer says so.
func TestQueryOfWholeDays(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	old := firstHour(noon.Add(-100 * day))
	b.putRow(store.UsageRow{UsageKey: store.UsageKey{Hour: old, Key: "k", Model: "m"}, Day: true, Counters: &adminv1.UsageCounters{Requests: 24}})
	b.totals[store.UsageKey{Hour: old + 24, Key: "k", Model: "m"}] = amounts{1}
	sum := int64(0)
	for h := old - 5; h < old+30; h += 5 {
		res, err := l.Query(t.Context(), &adminv1.QueryUsageRequest{StartTime: timestamppb.New(hourTime(h)), EndTime: timestamppb.New(hourTime(h + 5))})
		if err != nil {
			t.Fatal(err)
		}
		if has := res.GetTotal().GetRequests() == 24; has != res.GetByDay() {
			t.Errorf("from %d: by_day %t with %v", h-old, res.GetByDay(), res.GetTotal())
		}
		sum += res.GetTotal().GetRequests()
	}
	if sum != 25 {
		t.Errorf("%d requests in all parts, want 25", sum)
	}
}

// slowStore takes its time to read.
type slowStore struct {
	Store
	takes time.Duration
}

func (s slowStore) Books(ctx context.Context, r store.BooksRange, fn func(store.UsageRow) error) (int64, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return s.Store.Books(ctx, r, fn)
}

func TestSlowQueriesAreLoggedAndEnd(t *testing.T) {
	for _, tt := range []struct {
		name       string
		takes      time.Duration
		kind       fault.Kind
		slow, logs int
	}{
		{"quick", time.Second, 0, 0, 0},
		{"slow", time.Second + time.Millisecond, 0, 1, 1},
		{"too slow", time.Minute, fault.Deadline, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				b := newBooks()
				l := New(slowStore{replica{b, 1}, tt.takes}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
				_, err := l.Query(t.Context(), &adminv1.QueryUsageRequest{})
				if fault.KindOf(err) != tt.kind {
					t.Errorf("error = %v, want kind %v", err, tt.kind)
				}
				if got := strings.Count(log.String(), "slow usage query"); got != tt.logs || testutil.ToFloat64(l.metrics.slow) != float64(tt.slow) {
					t.Errorf("log %q, %v slow", log.String(), testutil.ToFloat64(l.metrics.slow))
				}
			})
		})
	}
}

func TestQueriesAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(slowStore{replica{newBooks(), 1}, 3 * time.Second}, Options{MaxQueries: 2})
		start := time.Now()
		done := make(chan time.Duration, 6)
		for range 6 {
			go func() {
				if _, err := l.Query(t.Context(), &adminv1.QueryUsageRequest{}); err != nil {
					t.Errorf("query: %v", err)
				}
				done <- time.Since(start)
			}()
		}
		rounds := map[time.Duration]int{}
		for range 6 {
			rounds[<-done]++
		}
		if diff := cmp.Diff(map[time.Duration]int{3 * time.Second: 2, 6 * time.Second: 2, 9 * time.Second: 2}, rounds); diff != "" {
			t.Errorf("answers at (-want +got):\n%s", diff)
		}
	})
}

// Groups are what the record says, else what the leader knows; series are by channel, with a bound.
func TestGroupsAndSeriesOfReports(t *testing.T) {
	b := newBooks()
	registry := prometheus.NewRegistry()
	l := New(replica{b, 1}, Options{
		Now: func() time.Time { return noon }, Registry: registry,
		Group: func(key string) (string, bool) { return "of-" + key, key != "key9" },
		Name:  func(k model.Kind, id string) (string, bool) { return "name-" + id, k == model.KindChannel },
	})
	lead(t, b, l, 1)
	told, known, unknown, hostile := record(0), record(1), record(2), record(3)
	told.GroupId, told.KeyId, known.KeyId, unknown.KeyId = "mine", "key1", "key2", "key9"
	hostile.KeyId = "key@group"
	mustReport(t, l, "boot", 1, []*syncv1.UsageRecord{told, known, unknown, hostile}, 4)
	got := map[string]string{}
	for k := range b.totals {
		got[k.Key] = k.Group
	}
	if diff := cmp.Diff(map[string]string{"key1": "mine", "key2": "of-key2", "key9": ""}, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	rs := make([]*syncv1.UsageRecord, 300)
	for i := range rs {
		rs[i] = record(0)
		rs[i].ChannelId, rs[i].InputTokens, rs[i].CostNanoUsd = fmt.Sprintf("c%03d", i), 10, 3
	}
	mustReport(t, l, "boot", 5, rs, 304)
	if n := testutil.CollectAndCount(l.metrics.cost); n != maxChannelLabels+1 {
		t.Errorf("%d series, want %d", n, maxChannelLabels+1)
	}
	others := 300 - (maxChannelLabels - 2) // two channels of the first records have series
	if v := testutil.ToFloat64(l.metrics.tokens.WithLabelValues("input", otherChannels)); v != float64(10*others) {
		t.Errorf("others have %v input tokens, want %d", v, 10*others)
	}
	if v := testutil.ToFloat64(l.metrics.cost.WithLabelValues("name-c000")); v != 3 {
		t.Errorf("c000 costs %v, want 3", v)
	}
}
