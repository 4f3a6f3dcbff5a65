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

	"fairway/controlplane/internal/store"
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
