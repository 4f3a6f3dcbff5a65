package ledger

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

const (
	byKey     = adminv1.UsageDimension_USAGE_DIMENSION_KEY
	byChannel = adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL
	byAccount = adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT
	byModel   = adminv1.UsageDimension_USAGE_DIMENSION_MODEL
	byHour    = adminv1.UsageDimension_USAGE_DIMENSION_HOUR
)

func queried(t *testing.T) *Ledger {
	t.Helper()
	b := newBooks()
	put := func(hoursAgo int64, key, channel, account, model string, n int64) {
		b.totals[store.UsageKey{
			Hour: hourOf(noon) - hoursAgo, Key: key, Channel: channel, Account: account, Model: model,
		}] = amounts{n, 0, 10 * n, 0, 0, 0, 0, 0}
	}
	put(0, "k1", "c1", "a1", "m1", 1)
	put(1, "k1", "c1", "a2", "m2", 2)
	put(1, "k2", "c2", "a3", "m1", 4)
	put(23, "k3", "c2", "a3", "m1", 8)
	put(24, "k1", "c1", "a1", "m1", 16)
	l := newLedger(b, 1)
	names := map[resource]string{
		{model.KindKey, "k1"}: "zoe", {model.KindKey, "k2"}: "alice",
		{model.KindChannel, "c1"}: "east", {model.KindChannel, "c2"}: "west", {model.KindAccount, "a1"}: "first",
	}
	l.o.Name = func(k model.Kind, id string) (string, bool) {
		n, ok := names[resource{k, id}]
		return n, ok
	}
	return l
}

func counters(n int64) *adminv1.UsageCounters {
	return &adminv1.UsageCounters{Requests: n, InputTokens: 10 * n}
}

func TestQuery(t *testing.T) {
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }
	dims := func(d ...adminv1.UsageDimension) []adminv1.UsageDimension { return d }
	for _, tt := range []struct {
		name  string
		req   *adminv1.QueryUsageRequest
		want  []*adminv1.UsageRow
		total int64
	}{
		{"the last day is the default, up to now", &adminv1.QueryUsageRequest{}, nil, 2 + 4 + 8 + 16},
		{
			"the end is rounded up, the start down",
			&adminv1.QueryUsageRequest{StartTime: at(-30 * time.Minute), EndTime: at(time.Minute)}, nil, 1 + 2 + 4,
		},
		{"on the hour nothing is rounded", &adminv1.QueryUsageRequest{StartTime: at(-time.Hour), EndTime: at(0)}, nil, 2 + 4},
		{
			"by key: named first, one that is gone by its id",
			&adminv1.QueryUsageRequest{GroupBy: dims(byKey), EndTime: at(time.Hour)},
			[]*adminv1.UsageRow{
				{Key: "alice", Counters: counters(4)}, {Key: "k3", Counters: counters(8)}, {Key: "zoe", Counters: counters(3)},
			},
			15,
		},
		{
			"in the order asked for",
			&adminv1.QueryUsageRequest{GroupBy: dims(byModel, byChannel), EndTime: at(time.Hour)},
			[]*adminv1.UsageRow{
				{Model: "m1", Channel: "east", Counters: counters(1)},
				{Model: "m1", Channel: "west", Counters: counters(12)},
				{Model: "m2", Channel: "east", Counters: counters(2)},
			},
			15,
		},
		{
			"by hour",
			&adminv1.QueryUsageRequest{GroupBy: dims(byHour), StartTime: at(-time.Hour), EndTime: at(time.Minute)},
			[]*adminv1.UsageRow{
				{Hour: at(-time.Hour), Counters: counters(6)}, {Hour: at(0), Counters: counters(1)},
			},
			7,
		},
		{
			"by account",
			&adminv1.QueryUsageRequest{GroupBy: dims(byAccount), EndTime: at(time.Minute), StartTime: at(-time.Hour)},
			[]*adminv1.UsageRow{
				{Account: "a2", Counters: counters(2)}, {Account: "a3", Counters: counters(4)}, {Account: "first", Counters: counters(1)},
			},
			7,
		},
		{"filter by name", &adminv1.QueryUsageRequest{Keys: []string{"zoe"}, EndTime: at(time.Minute)}, nil, 19},
		{"filter by id", &adminv1.QueryUsageRequest{Keys: []string{"k3"}, EndTime: at(time.Minute)}, nil, 8},
		{"filters are one of each", &adminv1.QueryUsageRequest{Channels: []string{"west", "east"}, Models: []string{"m1"}}, nil, 28},
		{"filter of accounts", &adminv1.QueryUsageRequest{Accounts: []string{"first", "a2"}, EndTime: at(time.Minute)}, nil, 19},
		{"nothing", &adminv1.QueryUsageRequest{Keys: []string{"nobody"}, GroupBy: dims(byKey)}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := queried(t).Query(context.Background(), tt.req)
			if err != nil {
				t.Fatal(err)
			}
			want := &adminv1.QueryUsageResponse{Rows: tt.want, Total: counters(tt.total)}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQueryRefuses(t *testing.T) {
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		req  *adminv1.QueryUsageRequest
		kind fault.Kind
	}{
		{"empty range", &adminv1.QueryUsageRequest{StartTime: at(0), EndTime: at(0)}, fault.Invalid},
		{"backwards", &adminv1.QueryUsageRequest{StartTime: at(day), EndTime: at(0)}, fault.Invalid},
		{
			"too long by hour",
			&adminv1.QueryUsageRequest{
				StartTime: at(-31*day - time.Hour), EndTime: at(0), GroupBy: []adminv1.UsageDimension{byHour},
			},
			fault.Invalid,
		},
		{"too long", &adminv1.QueryUsageRequest{StartTime: at(-1101 * day), EndTime: at(0)}, fault.Invalid},
		{"31 days by hour", &adminv1.QueryUsageRequest{
			StartTime: at(-31 * day), EndTime: at(0), GroupBy: []adminv1.UsageDimension{byHour},
		}, 0},
		{"before 1970", &adminv1.QueryUsageRequest{
			StartTime: &timestamppb.Timestamp{Seconds: -7200}, EndTime: &timestamppb.Timestamp{Seconds: 7200},
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := queried(t).Query(context.Background(), tt.req)
			if fault.KindOf(err) != tt.kind {
				t.Errorf("error = %v, want kind %v", err, tt.kind)
			}
		})
	}
}

func TestQueryBounds(t *testing.T) {
	b := newBooks()
	for i := range int64(2) {
		b.totals[store.UsageKey{Hour: hourOf(noon) - 1 - i, Key: "k"}] = amounts{5: math.MaxInt64}
	}
	if _, err := newLedger(b, 1).Query(context.Background(), &adminv1.QueryUsageRequest{}); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("sums beyond 64 bits: error = %v, want TooLarge", err)
	}
	b = newBooks()
	for i := range maxRows + 1 {
		b.totals[store.UsageKey{Hour: hourOf(noon) - 1, Key: fmt.Sprint(i)}] = amounts{1}
	}
	req := &adminv1.QueryUsageRequest{GroupBy: []adminv1.UsageDimension{byKey}}
	if _, err := newLedger(b, 1).Query(context.Background(), req); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("too many groups: error = %v, want TooLarge", err)
	}
}
