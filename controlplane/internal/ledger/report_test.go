package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func mustReport(t testing.TB, l *Ledger, boot string, first uint64, rs []*syncv1.UsageRecord, want uint64) {
	t.Helper()
	got, err := l.Report(context.Background(), boot, first, rs)
	if err != nil || got != want {
		t.Fatalf("Report(%s, %d, %d records) = %d, %v; want %d", boot, first, len(rs), got, err, want)
	}
}

func TestReportOnceWhateverComes(t *testing.T) {
	b, l := leader(t)
	rs := records(50)
	mustReport(t, l, "boot", 1, nil, 0)
	mustReport(t, l, "boot", 1, rs[:20], 20)
	mustReport(t, l, "boot", 1, rs[:20], 20)  // again
	mustReport(t, l, "boot", 5, rs[4:10], 20) // old
	mustReport(t, l, "boot", 11, rs[10:30], 30)
	mustReport(t, l, "boot", 31, rs[30:], 50)
	mustReport(t, l, "boot", 1, nil, 50)
	if diff := cmp.Diff(expected(rs), b.sum()); diff != "" {
		t.Errorf("books (-want +got):\n%s", diff)
	}
	if got := testutil.ToFloat64(l.metrics.duplicates); got != 20+6+10 {
		t.Errorf("duplicates = %v, want 36", got)
	}
}

func TestReportRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		boot  string
		first uint64
		n     int
		code  string
	}{
		{"gap", "boot", 2, 1, "usage_gap"},
		{"sequence 0", "boot", 0, 1, ""},
		{"no boot", "", 1, 1, ""},
		{"boot with a slash", "a/b", 1, 1, ""},
		{"boot too long", fmt.Sprintf("%065d", 0), 1, 1, ""},
		{"sequence wraps", "boot", math.MaxUint64, 2, ""},
		{"too many", "boot", 1, maxBatch + 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, l := leader(t)
			_, err := l.Report(context.Background(), tt.boot, tt.first, records(tt.n))
			if fault.KindOf(err) != fault.Invalid || fault.From(err).Code != tt.code {
				t.Errorf("error = %v, want Invalid with code %q", err, tt.code)
			}
			if b.commits != 0 {
				t.Error("something was committed")
			}
		})
	}
}

func TestReportSplitsAtKeysOfATransaction(t *testing.T) {
	b, l := leader(t)
	rs := make([]*syncv1.UsageRecord, 1050)
	for i := range rs {
		rs[i] = record(0)
		rs[i].KeyId = fmt.Sprintf("key%d", i/3)
	}
	mustReport(t, l, "boot", 1, rs, 1050)
	if b.largest != maxKeys || b.commits != 4 {
		t.Errorf("%d commits, the largest of %d keys; want 4 of at most %d", b.commits, b.largest, maxKeys)
	}
	if diff := cmp.Diff(expected(rs), b.sum()); diff != "" {
		t.Errorf("books (-want +got):\n%s", diff)
	}
}

// A record that would wrap a sum is left out whole; what comes before and after it counts.
func TestReportOverflow(t *testing.T) {
	b, l := leader(t)
	big, huge, small := record(0), record(0), record(0)
	big.CostNanoUsd, huge.CostNanoUsd, small.CostNanoUsd = math.MaxInt64-10, 11, 10
	mustReport(t, l, "boot", 1, []*syncv1.UsageRecord{big, huge, small}, 3)
	mustReport(t, l, "boot", 4, []*syncv1.UsageRecord{huge}, 4)
	if diff := cmp.Diff(expected([]*syncv1.UsageRecord{big, small}), b.sum()); diff != "" {
		t.Errorf("books (-want +got):\n%s", diff)
	}
	if got := testutil.ToFloat64(l.metrics.refused); got != 2 {
		t.Errorf("refused = %v, want 2", got)
	}
}

// A hostile record must not stop those behind it.
func TestReportBrokenRecords(t *testing.T) {
	good := record(1)
	for name, change := range map[string]func(*syncv1.UsageRecord){
		"negative tokens":  func(r *syncv1.UsageRecord) { r.OutputTokens = -1 },
		"negative cost":    func(r *syncv1.UsageRecord) { r.CostNanoUsd = math.MinInt64 },
		"slash in an id":   func(r *syncv1.UsageRecord) { r.KeyId = "a/b" },
		"newline in an id": func(r *syncv1.UsageRecord) { r.AccountId = "a\n" },
		"long id":          func(r *syncv1.UsageRecord) { r.ChannelId = fmt.Sprintf("%065d", 0) },
		"long model":       func(r *syncv1.UsageRecord) { r.Model = fmt.Sprintf("%0257d", 0) },
		"NUL in a model":   func(r *syncv1.UsageRecord) { r.Model = "a\x00b" },
	} {
		t.Run(name, func(t *testing.T) {
			b, l := leader(t)
			bad := record(1)
			change(bad)
			mustReport(t, l, "boot", 1, []*syncv1.UsageRecord{bad, good}, 2)
			mustReport(t, l, "boot", 3, []*syncv1.UsageRecord{bad}, 3)
			if diff := cmp.Diff(expected([]*syncv1.UsageRecord{good}), b.sum()); diff != "" {
				t.Errorf("books (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReportTimes(t *testing.T) {
	for _, tt := range []struct {
		name string
		ms   int64
		want int64
	}{
		{"now", noon.UnixMilli(), hourOf(noon)},
		{"an hour ago", noon.Add(-time.Hour).UnixMilli(), hourOf(noon) - 1},
		{"just before the hour", noon.UnixMilli() - 1, hourOf(noon) - 1},
		{"the future", noon.Add(1000 * time.Hour).UnixMilli(), hourOf(noon)},
		{"the end of time", math.MaxInt64, hourOf(noon)},
		{"1970", 0, hourOf(noon.Add(-maxAge))},
		{"before time", math.MinInt64, hourOf(noon.Add(-maxAge))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, l := leader(t)
			r := record(0)
			r.TimeMs = tt.ms
			mustReport(t, l, "boot", 1, []*syncv1.UsageRecord{r}, 1)
			for k := range b.totals {
				if k.Hour != tt.want {
					t.Errorf("hour = %d, want %d", k.Hour, tt.want)
				}
			}
		})
	}
}

func TestNotLeader(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	check := func(when string) {
		t.Helper()
		_, err := l.Report(context.Background(), "boot", 1, records(1))
		var e interface{ LeaderSyncAddress() string }
		if !errors.As(err, &e) || e.LeaderSyncAddress() != "leader:8082" || fault.KindOf(err) != fault.Stale {
			t.Errorf("%s: error = %v, want NotLeader naming leader:8082", when, err)
		}
	}
	check("before the term")
	stop := lead(t, b, l, 1)
	mustReport(t, l, "boot", 1, records(1), 1)
	b.mu.Lock()
	b.leader = 2 // another replica leads, and this one does not know yet
	b.mu.Unlock()
	_, err := l.Report(context.Background(), "boot", 2, records(1))
	if e := (*NotLeaderError)(nil); !errors.As(err, &e) {
		t.Errorf("under a fallen fence: error = %v, want NotLeader", err)
	}
	stop()
	check("after the term")
	if got := b.sum(); len(got) != 1 {
		t.Errorf("books have %d rows, want what the term committed: 1", len(got))
	}
}

// What became of a commit is found out before anybody adds to what it may have written.
func TestUncertainCommits(t *testing.T) {
	for name, m := range map[string]mishap{"before": lostBefore, "after": lostAfter, "later": happensLater} {
		t.Run(name, func(t *testing.T) {
			b, l := leader(t)
			left := 3
			b.mishaps = func() mishap {
				if left--; left >= 0 {
					return m
				}
				return fine
			}
			first, second := records(30), records(20)
			mustReport(t, l, "a", 1, first, 30)
			mustReport(t, l, "b", 1, second, 20)
			b.mu.Lock()
			for range 10 {
				b.happen()
			}
			b.mu.Unlock()
			mustReport(t, l, "a", 31, records(1), 31)
			if diff := cmp.Diff(expected(first, second, records(1)), b.sum()); diff != "" {
				t.Errorf("books (-want +got):\n%s", diff)
			}
			if got := testutil.ToFloat64(l.metrics.uncertain); got == 0 {
				t.Error("no uncertain commit was counted")
			}
		})
	}
}

// A term that ends while the store is away lets its reports go.
func TestTermEndsWhileStoreIsAway(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	stop := lead(t, b, l, 1)
	tried := make(chan struct{})
	var once sync.Once
	b.mishaps = func() mishap {
		once.Do(func() { close(tried) })
		return lostBefore
	}
	done := make(chan error)
	go func() {
		_, err := l.Report(context.Background(), "boot", 1, records(1))
		done <- err
	}()
	<-tried
	go stop()
	if e := (*NotLeaderError)(nil); !errors.As(<-done, &e) {
		t.Error("Report did not end with NotLeader")
	}
	stop()
}

// The books are read once an hour of usage, not once a report.
func TestTotalsStayInMemory(t *testing.T) {
	b, l := leader(t)
	r := record(0)
	for i := range 20 {
		mustReport(t, l, "boot", uint64(i+1), []*syncv1.UsageRecord{r}, uint64(i+1))
	}
	if b.reads != 1 {
		t.Errorf("%d reads of the books, want 1", b.reads)
	}
}

// A hostile spread over all hours is counted right and does not keep all of them in memory.
func TestManyHours(t *testing.T) {
	b, l := leader(t)
	rs := make([]*syncv1.UsageRecord, 400)
	for i := range rs {
		rs[i] = record(0)
		rs[i].TimeMs = noon.Add(-time.Duration(i%200) * time.Hour).UnixMilli()
	}
	mustReport(t, l, "boot", 1, rs, 400)
	if diff := cmp.Diff(expected(rs), b.sum()); diff != "" {
		t.Errorf("books (-want +got):\n%s", diff)
	}
	loaded := 0
	for _, pg := range l.term.pages.byHour {
		if pg.rows != nil {
			loaded++
		}
	}
	if loaded > pagesInUse {
		t.Errorf("%d hours in memory, want at most %d", loaded, pagesInUse)
	}
}

// Boots report side by side, over one another's keys, through every mishap.
func TestReportConcurrently(t *testing.T) {
	b, l := leader(t)
	rng := rand.New(rand.NewPCG(1, 2))
	b.mishaps = func() mishap { return mishap(max(0, rng.IntN(12)-8)) } // under the books' lock
	const boots, n = 8, 240
	var wg sync.WaitGroup
	var all [][]*syncv1.UsageRecord
	for i := range boots {
		rs := records(n)
		all = append(all, rs)
		wg.Go(func() {
			for at := 0; at < n; at += 30 {
				for range 2 { // twice at once
					wg.Go(func() {
						if _, err := l.Report(context.Background(), fmt.Sprint("boot", i), 1, rs[:at+30]); err != nil {
							t.Errorf("report: %v", err)
						}
					})
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(expected(all...), b.sum()); diff != "" {
		t.Errorf("books (-want +got):\n%s", diff)
	}
}

// Whatever proxies, networks, stores and elections do, each record counts once.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBooks()
		ledgers := []*Ledger{newLedger(b, 0), newLedger(b, 1), newLedger(b, 2)}
		stops := make([]func(), len(ledgers))
		now := 0
		elect := func(id int) {
			for _, s := range stops {
				if s != nil && rapid.Bool().Draw(rt, "the old leader notices") {
					s()
				}
			}
			if stops[id] != nil {
				stops[id]()
			}
			// A new term is a new fence, also for the same replica.
			fresh := len(ledgers)
			ledgers = append(ledgers, newLedger(b, fresh))
			stops = append(stops, lead(t, b, ledgers[fresh], fresh))
			now = fresh
		}
		elect(0)
		boots := map[string][]*syncv1.UsageRecord{
			"a": records(rapid.IntRange(1, 60).Draw(rt, "records of a")),
			"b": records(rapid.IntRange(1, 60).Draw(rt, "records of b")),
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 6).Draw(rt, "step") {
			case 0:
				elect(0)
			case 1:
				b.mu.Lock()
				b.happen()
				b.mu.Unlock()
			default:
				boot := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "boot")
				rs := boots[boot]
				from := rapid.IntRange(0, len(rs)-1).Draw(rt, "from")
				to := rapid.IntRange(from, len(rs)).Draw(rt, "to")
				mishaps := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 4).Draw(rt, "mishaps")
				b.mu.Lock()
				b.mishaps = func() mishap {
					if len(mishaps) == 0 {
						return fine
					}
					m := mishaps[0]
					mishaps = mishaps[1:]
					return mishap(m)
				}
				b.mu.Unlock()
				l := ledgers[rapid.SampledFrom([]int{now, now, now, rapid.IntRange(0, now).Draw(rt, "other")}).Draw(rt, "ledger")]
				_, _ = l.Report(context.Background(), boot, uint64(from+1), rs[from:to])
			}
		}
		b.mu.Lock()
		b.mishaps = nil
		b.mu.Unlock()
		for boot, rs := range boots {
			if w, err := ledgers[now].Report(context.Background(), boot, 1, rs); err != nil || w != uint64(len(rs)) {
				rt.Fatalf("last report of %s = %d, %v; want %d", boot, w, err, len(rs))
			}
		}
		for len(b.late) > 0 {
			b.happen()
		}
		if diff := cmp.Diff(expected(boots["a"], boots["b"]), b.sum()); diff != "" {
			rt.Fatalf("books (-want +got):\n%s", diff)
		}
		for _, s := range stops {
			if s != nil {
				s()
			}
		}
	})
}

var _ Store = (*store.Store)(nil)
