package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

// Two replicas on a real store: boots report to whoever leads while the leadership moves back and forth.
func TestLeadershipMovesOnRealStore(t *testing.T) {
	endpoint := etcdtest.New(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	ledgers := make([]*Ledger, 2)
	resign := make([]chan struct{}, 2)
	var replicas, wg sync.WaitGroup
	ended, end := context.WithCancel(ctx)
	for i := range ledgers {
		s, err := store.Open(ctx, store.Config{Endpoints: []string{endpoint}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ledgers[i] = New(s, Options{Now: func() time.Time { return noon }})
		resign[i] = make(chan struct{}, 1)
		replicas.Go(func() {
			_ = s.Lead(ended, "ledger", fmt.Sprint(i), func(ctx context.Context, f store.Fence) error {
				term, stop := context.WithCancel(ctx)
				defer stop()
				go func() {
					select {
					case <-resign[i]:
						stop()
					case <-term.Done():
					}
				}()
				return ledgers[i].Lead(term, f)
			})
		})
	}
	defer replicas.Wait()
	defer end()

	const boots, n = 4, 200
	var all [][]*syncv1.UsageRecord
	for i := range boots {
		rs := records(n)
		all = append(all, rs)
		wg.Go(func() {
			boot, done := fmt.Sprint("boot", i), uint64(0)
			for at := 0; done < n && ctx.Err() == nil; at++ {
				upTo := min(done+20, n)
				w, err := ledgers[at%2].Report(ctx, boot, 1, rs[:upTo]) // from the start each time
				done = max(done, w)
				if e := (*NotLeaderError)(nil); errors.As(err, &e) {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				if err != nil {
					t.Logf("%s: %v", boot, err)
				}
				if i == 0 {
					select {
					case resign[at%2] <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	wg.Wait()

	got, err := ledgers[0].Query(ctx, &adminv1.QueryUsageRequest{
		GroupBy: []adminv1.UsageDimension{byKey, byChannel, byAccount, byModel},
	})
	if err != nil {
		t.Fatal(err)
	}
	sums := map[store.UsageKey]amounts{}
	for _, row := range got.Rows {
		sums[store.UsageKey{Key: row.Key, Channel: row.Channel, Account: row.Account, Model: row.Model}] = amountsOf(row.Counters)
	}
	// Query ends at noon, and the records of this very hour belong to the next.
	want := map[store.UsageKey]amounts{}
	for _, rs := range all {
		for _, r := range rs {
			if place(r, noon).Hour < hourOf(noon) {
				k := store.UsageKey{Key: r.KeyId, Channel: r.ChannelId, Account: r.AccountId, Model: r.Model}
				want[k], _ = want[k].plus(amountsIn(r))
			}
		}
	}
	if diff := cmp.Diff(want, sums, protocmp.Transform()); diff != "" {
		t.Errorf("books (-want +got):\n%s", diff)
	}
}

// On a real store: thinning out is killed again and again, while others correct what it moves.
func TestThinIsExactOnRealStore(t *testing.T) {
	endpoint := etcdtest.New(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := store.Open(ctx, store.Config{Endpoints: []string{endpoint}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	old := firstHour(noon.Add(-95 * day))
	totals := map[store.UsageKey]*adminv1.UsageCounters{}
	for i := range int64(90) {
		k := store.UsageKey{Hour: old + i%45, Key: fmt.Sprint("k", i%10), Group: "g", Channel: "c", Account: "a", Model: "m/x"}
		totals[k] = &adminv1.UsageCounters{Requests: 3, InputTokens: i}
	}
	l := New(s, Options{Now: func() time.Time { return noon }})
	total := func(when string) *adminv1.UsageCounters {
		t.Helper()
		got, err := l.Query(ctx, &adminv1.QueryUsageRequest{
			StartTime: timestamppb.New(hourTime(old)), EndTime: timestamppb.New(hourTime(old + 48)),
			GroupBy: []adminv1.UsageDimension{byKey, byDay},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got.GetRows() {
			if amountsOf(r.GetCounters()).below() {
				t.Errorf("%s: %v is below zero", when, r)
			}
		}
		return got.GetTotal()
	}
	booked := false
	taken := int64(0)
	for kill := 0; ; kill++ {
		term, stop := context.WithCancel(ctx)
		var thinned error
		if err := s.Lead(term, "ledger", fmt.Sprint(kill), func(ctx context.Context, f store.Fence) error {
			defer stop()
			if !booked {
				booked = true
				if err := s.CommitUsage(ctx, f, "boot", 0, 1, totals, nil); err != nil {
					t.Fatal(err)
				}
			}
			killed, end := context.WithTimeout(ctx, time.Duration(kill)*2*time.Millisecond)
			defer end()
			thinned = newTerm(killed, l, f).thin(killed)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		stop()
		want := &adminv1.UsageCounters{Requests: 270 - taken, InputTokens: 89 * 90 / 2}
		if diff := cmp.Diff(want, total(fmt.Sprint("kill ", kill)), protocmp.Transform()); diff != "" {
			t.Fatalf("after kill %d (-want +got):\n%s", kill, diff)
		}
		if thinned == nil {
			break
		}
		_, err := l.Correct(ctx, ada, fix("k3", "m/x", hourTime(old+3), &adminv1.UsageDelta{Requests: -1}))
		switch {
		case err == nil:
			taken++
		case fault.KindOf(err) != fault.Invalid: // nothing is left of it
			t.Fatal(err)
		}
	}
	if _, ok, err := s.OldestUsageHour(ctx); ok || err != nil {
		t.Errorf("something is left by hour: %t, %v", ok, err)
	}
}
