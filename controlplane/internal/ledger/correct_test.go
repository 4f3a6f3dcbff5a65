package ledger

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
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

var ada = store.Actor{Operator: "ada", Procedure: "/p", RequestID: "r"}

func fix(key, model string, at time.Time, d *adminv1.UsageDelta) *adminv1.CorrectUsageRequest {
	return &adminv1.CorrectUsageRequest{Key: key, Model: model, Hour: timestamppb.New(at), Delta: d, Reason: "because"}
}

// corrected is a ledger over queried's books, where names are known both ways.
func corrected(t *testing.T) (*Ledger, *books) {
	t.Helper()
	l := queried(t)
	l.o.Find = func(_ model.Kind, name string) (string, bool) {
		id, ok := map[string]string{"zoe": "k1", "alice": "k2", "east": "c1", "first": "a1"}[name]
		return id, ok
	}
	l.o.Group = func(string) (string, bool) { return "g1", true }
	return l, l.store.(replica).books
}

func TestCorrect(t *testing.T) {
	l, b := corrected(t)
	at := noon.Add(-90 * time.Minute) // 10:30, of which the books have two hours: rounded down to 10
	at = at.Add(40 * time.Minute)     // 11:10: k1 has m2, k2 has m1
	got, err := l.Correct(t.Context(), ada, fix("alice", "m1", at, &adminv1.UsageDelta{Requests: -1, InputTokens: -40, CostNanoUsd: 7}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&adminv1.UsageCounters{Requests: 3, CostNanoUsd: 7}, got.GetCounters(), protocmp.Transform()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	c := got.GetCorrection()
	if c.GetKey() != "alice" || c.GetChannel() != "west" || c.GetAccount() != "a3" || !c.GetHour().AsTime().Equal(noon.Add(-time.Hour)) || c.GetId() == "" {
		t.Errorf("correction = %v", c)
	}
	if diff := cmp.Diff([]string{"requests", "input_tokens", "cost_nano_usd"}, b.audited[0].Fields); diff != "" || b.audited[0].Actor != ada {
		t.Errorf("audit: %+v %s", b.audited[0].Actor, diff)
	}
	// Queries have the net, and beside it what was corrected.
	res, err := l.Query(t.Context(), &adminv1.QueryUsageRequest{Keys: []string{"alice"}, GroupBy: []adminv1.UsageDimension{byKey}})
	if err != nil {
		t.Fatal(err)
	}
	want := &adminv1.UsageRow{
		Key: "alice", Counters: &adminv1.UsageCounters{Requests: 3, CostNanoUsd: 7},
		Corrected: &adminv1.UsageCorrected{Corrections: 1, Counters: &adminv1.UsageCounters{Requests: -1, InputTokens: -40, CostNanoUsd: 7}},
	}
	if diff := cmp.Diff([]*adminv1.UsageRow{want}, res.GetRows(), protocmp.Transform()); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.GetCorrected(), res.GetCorrected(), protocmp.Transform()); diff != "" {
		t.Errorf("total (-want +got):\n%s", diff)
	}
	list, err := l.Corrections(t.Context(), &adminv1.ListUsageCorrectionsRequest{})
	if err != nil || len(list.GetCorrections()) != 1 || list.GetCorrections()[0].GetKey() != "alice" {
		t.Errorf("corrections = %v, %v", list, err)
	}
}

func TestCorrectRefuses(t *testing.T) {
	hour := noon.Add(-time.Hour)
	one := &adminv1.UsageDelta{Requests: 1}
	for _, tt := range []struct {
		name string
		req  *adminv1.CorrectUsageRequest
		kind fault.Kind
		says string
	}{
		{"more than there is", fix("alice", "m1", hour, &adminv1.UsageDelta{Requests: -5}), fault.Invalid, "more than there is"},
		{"more of one number", fix("alice", "m1", hour, &adminv1.UsageDelta{Requests: -1, OutputTokens: -1}), fault.Invalid, "more than there is"},
		{"from nothing", fix("alice", "m9", hour, &adminv1.UsageDelta{Requests: -1}), fault.Invalid, "no such usage"},
		{"nothing", fix("alice", "m1", hour, &adminv1.UsageDelta{}), fault.Invalid, "changes nothing"},
		{"the future", fix("alice", "m1", noon.Add(time.Hour), one), fault.Invalid, "future"},
		{"long ago", fix("alice", "m1", noon.Add(-4*365*day), one), fault.Invalid, "before what the books keep"},
		{"an unknown key", fix("nobody", "m1", hour, one), fault.NotFound, `no key "nobody"`},
		{"overflow", fix("alice", "m1", hour, &adminv1.UsageDelta{CachedTokens: math.MaxInt64}), 0, ""},
		{"no reason", &adminv1.CorrectUsageRequest{
			Key: "alice", Model: "m1", Hour: timestamppb.New(hour), Delta: one, Reason: "  ",
		}, fault.Invalid, "say why"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, b := corrected(t)
			_, err := l.Correct(t.Context(), ada, tt.req)
			if fault.KindOf(err) != tt.kind || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want kind %v saying %q", err, tt.kind, tt.says)
			}
			if err != nil && len(b.others) > 0 {
				t.Errorf("something was written: %v", b.others)
			}
		})
	}
}

// Where several places fit, the caller has to say which.
func TestCorrectAsksWhichPlace(t *testing.T) {
	l, b := corrected(t)
	at := hourOf(noon) - 5
	for _, account := range []string{"a1", "a2"} {
		b.totals[store.UsageKey{Hour: at, Key: "k1", Channel: "c1", Account: account, Model: "m"}] = amounts{2}
	}
	take := fix("zoe", "m", hourTime(at), &adminv1.UsageDelta{Requests: -1})
	_, err := l.Correct(t.Context(), ada, take)
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "account=first") || !strings.Contains(err.Error(), "account=a2") {
		t.Errorf("error = %v, want both places", err)
	}
	take.Account = "first"
	if got, err := l.Correct(t.Context(), ada, take); err != nil || got.GetCorrection().GetAccount() != "first" || got.GetCounters().GetRequests() != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// What is not on the books at all can be added, and taken off again.
func TestCorrectPutsWhatWasNeverReported(t *testing.T) {
	l, b := corrected(t)
	add := fix("alice", "new", noon.Add(-3*time.Hour), &adminv1.UsageDelta{Requests: 2})
	add.Channel, add.Account = "east", "first"
	if _, err := l.Correct(t.Context(), ada, add); err != nil {
		t.Fatal(err)
	}
	where := store.UsageKey{Hour: hourOf(noon) - 3, Key: "k2", Group: "g1", Channel: "c1", Account: "a1", Model: "new"}
	if r := b.row(spot{where, false, true}); r.Corrections != 1 || r.Counters.GetRequests() != 2 {
		t.Errorf("row = %+v", r)
	}
	if _, err := l.Correct(t.Context(), ada, fix("alice", "new", noon.Add(-3*time.Hour), &adminv1.UsageDelta{Requests: -2})); err != nil {
		t.Error(err)
	}
	if _, err := l.Correct(t.Context(), ada, fix("alice", "new", noon.Add(-3*time.Hour), &adminv1.UsageDelta{Requests: -1})); fault.KindOf(err) != fault.Invalid {
		t.Errorf("error = %v, want Invalid", err)
	}
}

// Hours that are thinned out are corrected as days.
func TestCorrectADay(t *testing.T) {
	l, b := corrected(t)
	at := firstHour(noon.Add(-100 * day))
	k := store.UsageKey{Hour: at, Key: "k1", Channel: "c1", Account: "a1", Model: "m"}
	b.changes = 5
	b.putRow(store.UsageRow{UsageKey: k, Day: true, Counters: &adminv1.UsageCounters{Requests: 10}})
	got, err := l.Correct(t.Context(), ada, fix("zoe", "m", hourTime(at+7), &adminv1.UsageDelta{Requests: -10}))
	if err != nil || got.GetCounters().GetRequests() != 0 {
		t.Fatalf("got %v, %v", got, err)
	}
	if r := b.row(spot{k, true, true}); r.Corrections != 1 {
		t.Errorf("the day's correction = %+v", r)
	}
	if _, err := l.Correct(t.Context(), ada, fix("zoe", "m", hourTime(at+8), &adminv1.UsageDelta{Requests: -1})); fault.KindOf(err) != fault.Invalid {
		t.Errorf("error = %v, want Invalid: the day is empty", err)
	}
}

// A correction that is repeated under its id counts once, also when it took all there was.
func TestCorrectOnce(t *testing.T) {
	l, b := corrected(t)
	req := fix("alice", "m1", noon.Add(-time.Hour), &adminv1.UsageDelta{Requests: -4})
	req.Id = "one"
	for range 3 {
		got, err := l.Correct(t.Context(), ada, req)
		if err != nil || got.GetCounters().GetRequests() != 0 || got.GetCorrection().GetId() != "one" {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if len(b.audited) != 1 {
		t.Errorf("%d corrections were made, want 1", len(b.audited))
	}
	req.Delta = &adminv1.UsageDelta{Requests: 1}
	if _, err := l.Correct(t.Context(), ada, req); fault.KindOf(err) != fault.Exists {
		t.Errorf("another one under the id: error = %v, want Exists", err)
	}
}

// Many take from one counter at once, while proxies report: no one gets below zero, nothing is lost.
func TestCorrectConcurrently(t *testing.T) {
	b, l := leader(t)
	l.o.Find = func(_ model.Kind, id string) (string, bool) { return id, true }
	r := record(0)
	k := place(r, noon)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range uint64(50) {
			mustReport(t, l, "boot", i+1, records(1), i+1)
		}
	})
	var mu sync.Mutex
	taken, refused := int64(0), 0
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				req := fix(r.KeyId, r.Model, noon, &adminv1.UsageDelta{Requests: -1})
				req.Id = fmt.Sprintf("%d-%d", i, j)
				_, err := l.Correct(context.Background(), ada, req)
				mu.Lock()
				switch fault.KindOf(err) {
				case 0:
					taken++
				case fault.Invalid:
					refused++
				case fault.Unavailable: // lost too many races
				default:
					t.Errorf("correct: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	base, sum := b.row(spot{UsageKey: k}).Counters.GetRequests(), b.row(spot{k, false, true}).Counters.GetRequests()
	if base != 50 || sum != -taken || base+sum < 0 {
		t.Errorf("%d reported, %d corrected, %d taken", base, sum, taken)
	}
}
