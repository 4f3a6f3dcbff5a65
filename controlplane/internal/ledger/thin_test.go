package ledger

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const day = 24 * time.Hour

// termOf is a leadership whose jobs the test calls itself.
func termOf(b *books, l *Ledger, id int) *term {
	b.mu.Lock()
	b.leader = id
	b.mu.Unlock()
	return newTerm(context.Background(), l, store.Fence{})
}

// byDay adds everything up by day and place, corrections included, whatever form it is kept in.
func (b *books) byDay() map[store.UsageKey]amounts {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[store.UsageKey]amounts{}
	for _, r := range b.all() {
		k := r.UsageKey
		k.Hour -= k.Hour % hoursOfDay
		sum, ok := out[k].plus(amountsOf(r.Counters))
		if !ok {
			panic("the test's own sum overflows")
		}
		out[k] = sum
	}
	return out
}

func TestThin(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	old, young := hourOf(noon.Add(-91*day)), hourOf(noon.Add(-90*day))
	old -= old % hoursOfDay
	edge := young - young%hoursOfDay // the first hour of the first day that stays
	for h := range int64(hoursOfDay) {
		for i := range 40 {
			b.totals[store.UsageKey{Hour: old + h, Key: fmt.Sprint("k", i), Group: "g", Model: "m/x"}] = amounts{h, 1, int64(i)}
		}
	}
	b.totals[store.UsageKey{Hour: edge, Key: "k0", Model: "m/x"}] = amounts{5}
	b.totals[store.UsageKey{Hour: edge - 1, Key: "alone", Model: "m/x"}] = amounts{7}
	want := b.byDay()
	if err := termOf(b, l, 1).thin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.byDay()); diff != "" {
		t.Errorf("sums have changed (-want +got):\n%s", diff)
	}
	for k := range b.totals {
		if k.Hour < edge {
			t.Errorf("hour %d is still there", k.Hour)
		}
	}
	if got := b.row(spot{store.UsageKey{Hour: old, Key: "k3", Group: "g", Model: "m/x"}, true, false}); amountsOf(got.Counters) != (amounts{276, 24, 72}) {
		t.Errorf("the day has %v", got.Counters)
	}
	if got := b.row(spot{UsageKey: store.UsageKey{Hour: edge, Key: "k0", Model: "m/x"}}); got.Version == 0 {
		t.Error("an hour that is young enough was thinned out")
	}
	if got := testutil.ToFloat64(l.metrics.moved); got != 24*40+1 {
		t.Errorf("%v rows were counted, want %d", got, 24*40+1)
	}
	moves := b.moves
	if err := termOf(b, l, 1).thin(t.Context()); err != nil || b.moves != moves {
		t.Errorf("a second time: %v, %d more transactions", err, b.moves-moves)
	}
}

func TestThinForgetsOldDays(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	l.o.DailyFor = 200 * day
	at := func(ago time.Duration) int64 { return firstHour(noon.Add(-ago)) }
	for _, ago := range []time.Duration{201 * day, 200 * day, 199 * day} {
		for _, fix := range []bool{false, true} {
			b.putRow(store.UsageRow{
				UsageKey: store.UsageKey{Hour: at(ago), Key: "k"}, Day: true, Correction: fix, Counters: &adminv1.UsageCounters{Requests: 1},
			})
		}
	}
	b.totals[store.UsageKey{Hour: at(300 * day), Key: "late"}] = amounts{1} // by hour still, and thinned out first
	if err := termOf(b, l, 1).thin(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := map[int64]int{}
	for _, r := range b.all() {
		left[r.Hour]++
	}
	if diff := cmp.Diff(map[int64]int{at(200 * day): 2, at(199 * day): 2}, left); diff != "" {
		t.Errorf("rows by day (-want +got):\n%s", diff)
	}
}

// A sum that would wrap stays by hour; it stops nothing else.
func TestThinOverflow(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	old := firstHour(noon.Add(-100 * day))
	for h := range int64(2) {
		b.totals[store.UsageKey{Hour: old + h, Key: "huge"}] = amounts{5: math.MaxInt64 - 1}
		b.totals[store.UsageKey{Hour: old + h, Key: "small"}] = amounts{1}
	}
	b.totals[store.UsageKey{Hour: old + 30, Key: "later"}] = amounts{1}
	if err := termOf(b, l, 1).thin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.totals) != 1 || b.totals[store.UsageKey{Hour: old + 1, Key: "huge"}] != (amounts{5: math.MaxInt64 - 1}) {
		t.Errorf("by hour: %v", b.totals)
	}
}

// Whatever the clock does: what a term has thinned out, it does not put back from memory, and late usage counts once.
func TestThinThenReportAfterTheClockWentBack(t *testing.T) {
	b := newBooks()
	now := noon
	l := New(replica{b, 1}, Options{Now: func() time.Time { return now }})
	tm := termOf(b, l, 1)
	l.term = tm
	r := record(0)
	r.TimeMs = now.UnixMilli()
	for i := range uint64(3) {
		if _, err := l.Report(t.Context(), "boot", i+1, []*syncv1.UsageRecord{r}); err != nil {
			t.Fatal(err)
		}
	}
	now = noon.Add(200 * day)
	if err := tm.thin(t.Context()); err != nil || len(b.totals) != 0 {
		t.Fatalf("%v, by hour %v", err, b.totals)
	}
	now = noon
	if _, err := l.Report(t.Context(), "boot", 4, []*syncv1.UsageRecord{r}); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, sum := range b.byDay() {
		total += sum.counters().GetRequests()
	}
	if total != 4 {
		t.Errorf("%d requests on the books, want 4", total)
	}
}

// A counter that was taken from goes together with what was taken, so that no kill in between shows less than nothing.
func TestThinMovesACorrectionWithItsCounter(t *testing.T) {
	for kill := range 4 {
		b := newBooks()
		old := firstHour(noon.Add(-100 * day))
		for i := range 60 {
			b.totals[store.UsageKey{Hour: old, Key: fmt.Sprintf("k%02d", i)}] = amounts{4}
		}
		b.changes = 1
		for i := range 60 {
			b.putRow(store.UsageRow{
				UsageKey: store.UsageKey{Hour: old, Key: fmt.Sprintf("k%02d", i)}, Correction: true, Corrections: 1,
				Counters: &adminv1.UsageCounters{Requests: -4},
			})
		}
		ctx, cancel := context.WithCancel(context.Background())
		left := kill
		b.mishaps = func() mishap {
			if left--; left < 0 {
				cancel()
			}
			return fine
		}
		_ = termOf(b, newLedger(b, 1), 1).thin(ctx)
		cancel()
		for at, sum := range b.places() {
			if sum.below() {
				t.Fatalf("killed after %d transactions: %v is below zero: %v", kill+1, at, sum)
			}
		}
	}
}

// meddled is a store where something happens right before each move.
type meddled struct {
	replica
	meddle func()
}

func (s meddled) MoveUsage(ctx context.Context, f store.Fence, moves []store.UsageMove) error {
	s.meddle()
	return s.replica.MoveUsage(ctx, f, moves)
}

// A counter that is corrected after it was read takes the correction with it, whether its move happens at once or late.
// Left behind, the correction shows an hour below zero, and what it took could be taken from the day once more.
func TestThinLeavesNoCorrectionBehind(t *testing.T) {
	old := firstHour(noon.Add(-100 * day))
	k := store.UsageKey{Hour: old, Key: "k", Model: "m"}
	take := func(b *books, hour, n int64) error {
		_, err := newLedger(b, 1).Correct(context.Background(), ada, fix("k", "m", hourTime(hour), &adminv1.UsageDelta{Requests: -n}))
		return err
	}
	for _, tt := range []struct {
		name string
		thin func(t *testing.T, b *books)
	}{
		{"at once", func(t *testing.T, b *books) {
			l := newLedger(b, 1)
			corrected := false
			l.store = meddled{replica{b, 1}, func() {
				if corrected {
					return
				}
				corrected = true
				if err := take(b, old, 3); err != nil {
					t.Error(err)
				}
			}}
			if err := termOf(b, l, 1).thin(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{"late", func(t *testing.T, b *books) {
			ctx, kill := context.WithCancel(t.Context())
			b.mishaps = func() mishap {
				kill()
				return happensLater
			}
			_ = termOf(b, newLedger(b, 1), 1).thin(ctx)
			b.mishaps = nil
			late := b.late
			b.late = nil
			if err := take(b, old, 3); err != nil || len(late) != 1 {
				t.Fatalf("%v, %d transactions are late", err, len(late))
			}
			late[0]()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			b.totals[k] = amounts{4}
			tt.thin(t, b)
			for at, sum := range b.places() {
				if sum.below() {
					t.Errorf("%v is below zero: %v", at, sum)
				}
			}
			if err := take(b, old+5, 2); fault.KindOf(err) != fault.Invalid {
				t.Errorf("more than there is: error = %v, want Invalid", err)
			}
			if err := termOf(b, newLedger(b, 1), 1).thin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[spot]amounts{{k, true, false}: {1}}, b.places(), cmp.AllowUnexported(spot{})); diff != "" {
				t.Errorf("in the end (-want +got):\n%s", diff)
			}
		})
	}
}

// Of a counter and its correction neither goes where the other cannot.
func TestThinOverflowKeepsACorrectionWithItsCounter(t *testing.T) {
	old := firstHour(noon.Add(-100 * day))
	huge := amounts{5: math.MaxInt64 - 1}
	for _, tt := range []struct {
		name      string
		base, fix amounts
	}{
		{"the counter does not fit", amounts{4, 5: math.MaxInt64 - 1}, amounts{-4}},
		{"the correction does not fit", amounts{4}, amounts{-4, 5: math.MaxInt64 - 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			b.changes = 1
			k := store.UsageKey{Hour: old, Key: "k"}
			for _, correction := range []bool{false, true} {
				b.putRow(store.UsageRow{UsageKey: k, Day: true, Correction: correction, Counters: huge.counters()})
			}
			b.totals[k] = tt.base
			b.putRow(store.UsageRow{UsageKey: k, Correction: true, Corrections: 1, Counters: tt.fix.counters()})
			b.totals[store.UsageKey{Hour: old + 1, Key: "later"}] = amounts{1}
			if err := termOf(b, newLedger(b, 1), 1).thin(t.Context()); err != nil {
				t.Fatal(err)
			}
			base, fix := b.row(spot{UsageKey: k}), b.row(spot{k, false, true})
			if amountsOf(base.Counters) != tt.base || amountsOf(fix.Counters) != tt.fix {
				t.Errorf("by hour: %v and of it %v", base, fix)
			}
			if len(b.totals) != 1 {
				t.Errorf("by hour: %v", b.totals)
			}
		})
	}
}

// places adds up what is kept for each hour and day: what was reported, and what was corrected of it.
func (b *books) places() map[spot]amounts {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[spot]amounts{}
	for _, r := range b.all() {
		at := spot{UsageKey: r.UsageKey, day: r.Day}
		out[at], _ = out[at].plus(amountsOf(r.Counters))
	}
	return out
}

// Killed anywhere, by whatever mishap, led by whoever: every sum stays what it is, and never is anything below zero.
func TestThinIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBooks()
		places := []store.UsageKey{
			{Key: "a", Group: "g", Channel: "c", Model: "m"}, {Key: "a", Channel: "c", Model: "m"}, {Key: "b", Channel: "c", Model: "n/x"},
		}
		begin := firstHour(noon.Add(-95 * day))
		hours := rapid.Int64Range(0, 80)
		for range rapid.IntRange(1, 120).Draw(rt, "rows") {
			k := rapid.SampledFrom(places).Draw(rt, "place")
			k.Hour = begin + hours.Draw(rt, "hour")
			b.totals[k] = amounts{rapid.Int64Range(1, 5).Draw(rt, "requests"), 0, rapid.Int64Range(0, 100).Draw(rt, "input")}
		}
		truth := b.byDay()
		check := func(when string) {
			if diff := cmp.Diff(truth, b.byDay()); diff != "" {
				rt.Fatalf("%s (-want +got):\n%s", when, diff)
			}
			// Also in each hour and day that is kept, where a query may group by it.
			for at, sum := range b.places() {
				if sum.below() {
					rt.Fatalf("%s: %v is below zero: %v", when, at, sum)
				}
			}
		}
		id := 0
		for step := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "another leader") {
				id++
			}
			l := newLedger(b, id)
			tm := termOf(b, l, id)
			ctx, kill := context.WithCancel(context.Background())
			mishaps := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 6).Draw(rt, "mishaps")
			left := rapid.IntRange(0, 8).Draw(rt, "transactions before the kill")
			b.mu.Lock()
			b.mishaps = func() mishap {
				if left--; left < 0 {
					kill() // this transaction is the last: the next sees the context
				}
				if len(mishaps) == 0 {
					return fine
				}
				m := mishaps[0]
				mishaps = mishaps[1:]
				return mishap(m)
			}
			b.mu.Unlock()
			if rapid.IntRange(0, 2).Draw(rt, "what") == 0 {
				k := rapid.SampledFrom(places).Draw(rt, "place to correct")
				at := begin + hours.Draw(rt, "hour to correct")
				n := rapid.Int64Range(-150, 50).Draw(rt, "delta")
				req := &adminv1.CorrectUsageRequest{
					Id: fmt.Sprint("fix", step), Hour: timestamppb.New(hourTime(at)), Key: k.Key, Group: k.Group, Channel: k.Channel, Model: k.Model,
					Delta: &adminv1.UsageDelta{InputTokens: n}, Reason: "test",
				}
				l.o.Find = func(_ model.Kind, id string) (string, bool) { return id, true }
				b.mu.Lock()
				b.mishaps = nil
				b.mu.Unlock()
				res, err := l.Correct(context.Background(), store.Actor{Operator: "o"}, req)
				switch {
				case err == nil:
					done := res.GetCorrection()
					k := store.UsageKey{
						Hour: at - at%hoursOfDay, Key: done.GetKey(), Group: done.GetGroup(), Channel: done.GetChannel(), Model: done.GetModel(),
					}
					truth[k], _ = truth[k].plus(amounts{2: n})
				case fault.KindOf(err) != fault.Invalid:
					rt.Fatalf("correct: %v", err)
				}
			} else {
				_ = tm.thin(ctx)
			}
			kill()
			check("after a step")
			if rapid.Bool().Draw(rt, "something late happens") {
				b.mu.Lock()
				b.happen()
				b.mu.Unlock()
				check("after something late")
			}
		}
		b.mu.Lock()
		b.mishaps = nil
		b.mu.Unlock()
		id++
		if err := termOf(b, newLedger(b, id), id).thin(context.Background()); err != nil {
			rt.Fatalf("the last time: %v", err)
		}
		for len(b.late) > 0 {
			b.happen()
		}
		check("in the end")
		end := firstHour(noon.Add(-90 * day))
		for _, r := range b.all() {
			if !r.Day && r.Hour < end {
				rt.Fatalf("hour %d is still there", r.Hour)
			}
		}
	})
}
