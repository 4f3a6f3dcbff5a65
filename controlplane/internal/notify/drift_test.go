package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"fairway/controlplane/internal/ledger"
	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

// Estimates are told of when enough requests say that they are far off, and not when they are as far off as they may be.
func TestDrift(t *testing.T) {
	for _, tt := range []struct {
		name           string
		requests       int
		reserved, used int64
		want           string // the end of the text; empty = nothing is told
	}{
		{"exact", 300, 10, 10, ""},
		{"as much as may be", 300, 40, 10, ""},
		{"more", 300, 41, 10, "for 100 requests, 4100 tokens were reserved and 1000 were used, a ratio of 4.1"},
		{"as little as may be", 300, 10, 20, ""},
		{"less", 300, 10, 21, "for 100 requests, 1000 tokens were reserved and 2100 were used, a ratio of 0.476"},
		{"too few requests", 99, 1000, 1, ""},
		{"nothing was used", 100, 5, 0, "for 100 requests, 500 tokens were reserved and 0 were used, a ratio of 500"},
		{"one request", 1, math.MaxInt64, 1, ""},
		{"huge reservations", 300, math.MaxInt64 / 200, 1,
			"for 100 requests, 4611686018427387900 tokens were reserved and 100 were used, a ratio of 4.61e+16"},
		{"huge use", 300, 1, math.MaxInt64 / 200, "for 100 requests, 100 tokens were reserved and 4611686018427387900 were used, a ratio of 2.17e-17"},
		{"sums that would wrap", 300, math.MaxInt64, math.MaxInt64, ""},
		{"a sum of what was reserved that would wrap", 300, math.MaxInt64 / 50, 1, ""},
		{"a sum of what was used that would wrap", 300, 1, math.MaxInt64 / 50, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				n, _ := told(t, newMemory(hook("ops", "https://x.example")), r)
				for range tt.requests {
					n.Estimate("m", tt.reserved, tt.used)
				}
				synctest.Wait()
				want := []string(nil)
				if tt.want != "" {
					want = []string{`Estimates of model "m" are far off: ` + tt.want}
				}
				if d := cmp.Diff(want, r.texts("ops")); d != "" {
					t.Errorf("told (-want +got):\n%s", d)
				}
			})
		})
	}
}

// A model is told of once a day, by what it was like on that day; good days are none to tell of.
func TestDriftOncePerDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		n, _ := told(t, newMemory(hook("ops", "https://x.example")), r)
		for _, reserved := range []int64{500, 100, 500, 10} { // a day each
			for range 12 {
				for range 60 {
					n.Estimate("m", reserved, 100)
					n.Estimate("exact", 100, 100)
				}
				synctest.Wait()
				time.Sleep(2 * time.Hour)
			}
		}
		if got := len(r.of("ops")); got != 3 {
			t.Errorf("told %d times on three days of four: %v", got, r.texts("ops"))
		}
		ids := map[string]bool{}
		for _, a := range r.of("ops") {
			ids[a.id] = true
		}
		if len(ids) != 3 {
			t.Errorf("%d ids for 3 events", len(ids))
		}
		// Each half of a hundred requests is on another day.
		time.Sleep(time.Until(time.Now().Truncate(24 * time.Hour).Add(24*time.Hour - time.Minute)))
		for range 2 {
			for range driftRequests / 2 {
				n.Estimate("m", 500, 100)
			}
			synctest.Wait()
			time.Sleep(2 * time.Minute)
		}
		if got := len(r.of("ops")); got != 3 {
			t.Errorf("a hundred requests of two days were told of: %v", r.texts("ops"))
		}
	})
}

// Names of models have a bound, in memory and in what is told, which is not that of models without a price.
func TestDriftIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		n, _ := told(t, newMemory(hook("ops", "https://x.example")), r)
		for i := range 2 * maxModels {
			for range driftRequests {
				n.Estimate(fmt.Sprintf("made-up-%d", i), 500, 100)
			}
			if i%50 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if got := len(n.inbox.estimates); got != maxModels {
			t.Errorf("%d models are kept, want %d", got, maxModels)
		}
		n.Unpriced("m", "id-k")
		synctest.Wait()
		if got := len(r.of("ops")); got != maxModelsTold+1 {
			t.Errorf("told %d times, want %d and of the price", got, maxModelsTold)
		}
	})
}

// Whose requests these were is not known, so a tenant's notifiers do not hear, nor do those that want something else.
func TestDriftConcerns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		only, team, prices := hook("only", "https://x.example"), hook("team", "https://x.example"), hook("prices", "https://x.example")
		only.Events = []resourcev1.NotificationEvent{resourcev1.NotificationEvent_NOTIFICATION_EVENT_ESTIMATE_DRIFT}
		team.Tenant = "team"
		prices.Events = []resourcev1.NotificationEvent{resourcev1.NotificationEvent_NOTIFICATION_EVENT_UNKNOWN_PRICE}
		m, r := newMemory(only, team, prices, &resourcev1.Tenant{Metadata: metadata("team")}), &recorder{}
		n, _ := told(t, m, r)
		for range driftRequests {
			n.Estimate("m\x1b[31m", 500, 100)
		}
		synctest.Wait()
		if len(r.all) != 1 || r.all[0].notifier != "only" || r.all[0].event != "estimate_drift" {
			t.Errorf("told: %+v", r.all)
		}
		if got := r.texts("only"); len(got) != 1 || strings.Contains(got[0], "\x1b") {
			t.Errorf("told: %q", got)
		}
	})
}

// The JSON of docs/notifications.md.
func TestDriftEvent(t *testing.T) {
	d := drift{model: "m\n", day: 1, requests: 100, reserved: math.MaxInt64, used: 0}
	body, err := json.Marshal(driftEvent(hook("ops", ""), "1", d, time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	want := `"model":"m?","estimate":{"ratio":9223372036854776000,"requests":100,"reserved_tokens":9223372036854775807,"used_tokens":0}}`
	if !strings.HasSuffix(string(body), want) {
		t.Errorf("event %s, want at its end %s", body, want)
	}
}

// What gets on the books of the leader is what is told of: records that count, once each, and a new leader does not tell
// again what the last one told that day.
func TestDriftOnTheBooks(t *testing.T) {
	endpoint := etcdtest.New(t)
	var clock atomic.Int64 // Unix seconds
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	clock.Store(noon.Unix())
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	type leader struct {
		*replica
		books *ledger.Ledger
	}
	lead := func() leader {
		r := newReplica(t, endpoint)
		r.notify.now = now
		books := ledger.New(r.store, ledger.Options{Now: now, OnUnpriced: r.notify.Unpriced, OnEstimate: r.notify.Estimate})
		r.stop = r.run(func(ctx context.Context) error {
			return r.store.Lead(ctx, "test", "r", func(ctx context.Context, f store.Fence) error {
				g, ctx := errgroup.WithContext(ctx)
				g.Go(func() error { return r.notify.Lead(ctx, f) })
				g.Go(func() error { return books.Lead(ctx, f) })
				return g.Wait()
			})
		})
		return leader{r, books}
	}
	record := func(change ...func(*syncv1.UsageRecord)) *syncv1.UsageRecord {
		r := &syncv1.UsageRecord{
			TimeMs: noon.UnixMilli(), KeyId: "k", ChannelId: "c", AccountId: "a", Model: "m",
			InputTokens: 60, OutputTokens: 40, ReservedTokens: 500,
		}
		for _, c := range change {
			c(r)
		}
		return r
	}
	var last uint64
	report := func(l leader, n int, r *syncv1.UsageRecord) {
		t.Helper()
		all := make([]*syncv1.UsageRecord, n)
		for i := range all {
			all[i] = r
		}
		want := last + uint64(n)
		until(t, "the report", func() bool {
			at, err := l.books.Report(t.Context(), "boot", last+1, all)
			return err == nil && at >= want
		})
		for range 2 { // which is late, and counts no more
			if _, err := l.books.Report(t.Context(), "boot", last+1, all); err != nil {
				t.Error(err)
			}
		}
		last = want
	}
	a := lead()
	a.put(hook("ops", "https://x.example"))
	for _, no := range []func(*syncv1.UsageRecord){
		func(r *syncv1.UsageRecord) { r.Error, r.ReservedTokens = true, 700 },
		func(r *syncv1.UsageRecord) { r.Estimated, r.ReservedTokens = true, 700 },
		func(r *syncv1.UsageRecord) { r.ReservedTokens = 0 },
		func(r *syncv1.UsageRecord) { r.ReservedTokens = math.MinInt64 },
		func(r *syncv1.UsageRecord) { r.KeyId, r.ReservedTokens = "not a key", 700 },
		func(r *syncv1.UsageRecord) { r.InputTokens, r.OutputTokens = math.MaxInt64, math.MaxInt64 },
	} {
		report(a, driftRequests, record(no))
	}
	report(a, driftRequests-1, record())
	report(a, 1, record(func(r *syncv1.UsageRecord) { r.Model, r.ReservedTokens = "other", 700 }))
	until(t, "what is told is told", func() bool {
		a.notify.Unpriced("last", "")
		_, sent := a.notices()
		return sent == 1
	})
	if got := a.sent.of("ops"); len(got) != 1 || got[0].event != eventUnknownPrice {
		t.Fatalf("told: %+v", got)
	}
	report(a, 1, record())
	until(t, "the event", func() bool { _, sent := a.notices(); return sent == 2 })
	want := `Estimates of model "m" are far off: for 100 requests, 50000 tokens were reserved and 10000 were used, a ratio of 5`
	if got := a.sent.texts("ops"); got[1] != want {
		t.Errorf("told %q, want %q", got[1], want)
	}

	a.stop()
	b := lead()
	report(b, 2*driftRequests, record())
	clock.Add(24 * 60 * 60)
	report(b, driftRequests, record())
	until(t, "the event of the next day", func() bool { return len(b.sent.of("ops")) == 1 })
	if first, next := a.sent.of("ops")[1], b.sent.of("ops")[0]; next.event != eventEstimateDrift || next.id == first.id {
		t.Errorf("told %+v and %+v", first, next)
	}
}
