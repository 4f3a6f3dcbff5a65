package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

// Each percent of a budget is told once for each window, and of several that are passed at once the highest.
func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early := hook("early", "https://x.example")
		early.BudgetPercents = []uint32{50}
		r := &recorder{}
		n, _ := told(t, newMemory(hook("ops", "https://x.example"), early), r)
		for _, e := range []BudgetEvent{
			day("a", 49, 1), day("a", 50, 1), day("a", 79, 1), day("a", 80, 1), day("a", 80, 1), day("a", 81, 1), day("a", 100, 1),
			day("a", 101, 1), day("b", 120, 1), day("a", 85, 2),
		} {
			n.Budget(e)
			synctest.Wait()
		}
		var got []string
		for _, text := range r.texts("ops") {
			what, _, _ := strings.Cut(text, " is used")
			got = append(got, what)
		}
		want := []string{`Budget of key "a": 80%`, `Budget of key "a": 100%`, `Budget of key "b": 100%`, `Budget of key "a": 80%`}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("ops was told (-want +got):\n%s", d)
		}
		if got := len(r.of("early")); got != 3 {
			t.Errorf("early was told %d times, want once for each of three windows: %v", got, r.texts("early"))
		}
		ids := map[string]bool{}
		for _, a := range r.of("ops") {
			ids[a.id] = true
		}
		if len(ids) != len(want) {
			t.Errorf("%d ids for %d events", len(ids), len(want))
		}
	})
}

// A rolling budget has no window that ends: it is told of again when one length of it has passed, not with each slice.
func TestRollingBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		key := &resourcev1.Key{Metadata: metadata("a"), Limits: &resourcev1.Limits{Budgets: []*resourcev1.Budget{
			{Window: resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING, RollingMinutes: 60, AmountNanoUsd: 1},
		}}}
		n, _ := told(t, newMemory(hook("ops", "https://x.example"), key), r)
		gone := day("b", 100, 1)
		gone.Window = "rolling"
		n.Budget(gone)
		for i := range int64(40) {
			e := day("a", 80+uint32(i%2), i)
			e.Window = "rolling"
			n.Budget(e)
			synctest.Wait()
			time.Sleep(3 * time.Minute)
		}
		if got := len(r.of("ops")); got < 2 || got > 3 {
			t.Errorf("told %d times in two hours of a budget of one hour: %v", got, r.texts("ops"))
		}
	})
}

// Who asks for a tenant hears of its keys, of it and of its parts, and of nothing else.
func TestTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := func(name, parent string) *resourcev1.Tenant {
			return &resourcev1.Tenant{Metadata: metadata(name), Parent: parent}
		}
		key := func(name, tenant string) *resourcev1.Key {
			return &resourcev1.Key{Metadata: metadata(name), Tenant: tenant}
		}
		team := hook("team", "https://x.example")
		team.Tenant = "team"
		r := &recorder{}
		n, _ := told(t, newMemory(
			team, tenant("team", ""), tenant("ann", "team"), tenant("rivals", ""), &resourcev1.Group{Metadata: metadata("g")},
			key("ours", "team"), key("anns", "ann"), key("theirs", "rivals"), key("nobodys", ""), key("stray", "gone"),
		), r)
		for _, k := range []string{"ours", "anns", "theirs", "nobodys", "stray", "deleted"} {
			n.Budget(day(k, 80, 1))
		}
		for _, name := range []string{"team", "ann", "rivals"} {
			e := day(name, 80, 1)
			e.Scope = "tenant"
			n.Budget(e)
		}
		group := day("g", 80, 1)
		group.Scope = "group"
		n.Budget(group)
		synctest.Wait()
		n.Unpriced("m", "id-theirs")
		n.Unpriced("m", "")
		synctest.Wait()
		n.Unpriced("m", "id-anns")
		synctest.Wait()
		got := map[string]int{}
		for _, text := range r.texts("team") {
			got[text[:min(len(text), 23)]]++
		}
		want := map[string]int{
			`Budget of key "ours": 8`: 1, `Budget of key "anns": 8`: 1, `Budget of tenant "team"`: 1, `Budget of tenant "ann":`: 1,
			`Model "m" has no price:`: 1,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
	})
}

func TestDueDays(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const d = 24 * time.Hour
	key := func(left, life time.Duration) *resourcev1.Key {
		return &resourcev1.Key{
			Metadata:   &resourcev1.Metadata{CreateTime: timestamppb.New(now.Add(left - life))},
			ExpireTime: timestamppb.New(now.Add(left)),
		}
	}
	disabled, activated := key(d/2, 90*d), key(d/2, 365*d)
	disabled.Disabled = true
	activated.ExpireAfterFirstUse = durationpb.New(d)
	for _, tt := range []struct {
		name string
		key  *resourcev1.Key
		days []uint32
		want uint32
	}{
		{"never ends", &resourcev1.Key{}, nil, 0},
		{"eight days", key(8*d, 90*d), nil, 0},
		{"seven days", key(7*d, 90*d), nil, 7},
		{"two days", key(2*d, 90*d), nil, 7},
		{"a day", key(d, 90*d), nil, 1},
		{"a moment", key(time.Second, 90*d), nil, 1},
		{"over", key(0, 90*d), nil, 0},
		{"long over", key(-9*d, 90*d), nil, 0},
		{"made for seven days", key(6*d, 7*d), nil, 0},
		{"made for five days, the last one", key(d/2, 5*d), nil, 1},
		{"made for an hour", key(time.Minute, time.Hour), nil, 0},
		{"lives a day from its first use on", activated, nil, 0},
		{"disabled", disabled, nil, 0},
		{"as asked for", key(20*d, 90*d), []uint32{3, 30, 14}, 30},
		{"as asked for, the nearest", key(13*d, 90*d), []uint32{3, 30, 14}, 14},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := dueDays(&resourcev1.Notifier{ExpiryDays: tt.days}, tt.key, now); got != tt.want {
				t.Errorf("due %d, want %d", got, tt.want)
			}
		})
	}
}

// A key is told of seven days before its end and one day before, once each, though it is looked at every minute; and
// anew when its end is another.
func TestKeyExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const d = 24 * time.Hour
		k := ending("k", 10*d)
		m, r := newMemory(hook("ops", "https://x.example"), k, ending("later", 40*d)), &recorder{}
		told(t, m, r)
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, text := range r.texts("ops") {
				_, in, _ := strings.Cut(text, ", in ")
				got = append(got, in)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		}
		time.Sleep(2 * d)
		expect()
		time.Sleep(d + time.Hour)
		expect("7 days")
		time.Sleep(6 * d)
		expect("7 days", "1 day")
		longer := ending("k", 3*d)
		m.apply(model.Change{Kind: model.KindKey, ID: "id-k", New: longer})
		time.Sleep(time.Hour)
		expect("7 days", "1 day", "3 days")
		time.Sleep(20 * d)
		expect("7 days", "1 day", "3 days", "1 day")
		if left := m.kept(); left != 0 {
			t.Errorf("%d events are remembered of keys that have ended", left)
		}
	})
}

// Thousands of keys that end are told in time, and never more than the half of a queue wait.
func TestManyKeysExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := []model.Resource{hook("ops", "https://x.example"), hook("dead", "https://y.example")}
		for i := range 400 {
			all = append(all, ending(idOf(i), 12*time.Hour))
		}
		m, r := newMemory(all...), &recorder{}
		r.answer = func(n *resourcev1.Notifier, _ *Event) error {
			if n.GetMetadata().GetName() == "dead" {
				return errHang
			}
			return nil
		}
		n, _ := told(t, m, r)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := len(r.of("ops")); got != 400 {
			t.Errorf("told of %d keys, want 400", got)
		}
		if got := m.kept(); got > 400+maxQueue/2 {
			t.Errorf("%d events wait for who does not answer", got-400)
		}
		n.Budget(day("k000", 90, 1))
		synctest.Wait()
		if got := m.kept(); got > 400+maxQueue/2+2 || got < 402 {
			t.Errorf("%d events are kept: keys must leave room for budgets", got)
		}
	})
}

// A model without a price is told of once a day, and names that clients make up have a bound.
func TestUnpriced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		n, _ := told(t, newMemory(hook("ops", "https://x.example")), r)
		for range 3 {
			for range 5 {
				n.Unpriced("m", "id-k")
				n.Unpriced("m", "id-l")
				synctest.Wait()
				time.Sleep(time.Hour)
			}
			time.Sleep(19 * time.Hour)
		}
		if got := len(r.of("ops")); got != 3 {
			t.Errorf("told %d times in three days: %v", got, r.texts("ops"))
		}
		for i := range 5000 {
			n.Unpriced(fmt.Sprintf("made-up-%d", i), "id-k")
			if i%50 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if got := len(r.of("ops")); got != 3+maxModelsTold {
			t.Errorf("told %d times, want %d", got, 3+maxModelsTold)
		}
	})
}

// What somebody does not want to hear of, is disabled for, or is not there for, is not told, and kept nowhere.
func TestUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prices, off := hook("prices", "https://x.example"), hook("off", "https://x.example")
		prices.Events = []resourcev1.NotificationEvent{resourcev1.NotificationEvent_NOTIFICATION_EVENT_UNKNOWN_PRICE}
		off.Disabled = true
		m, r := newMemory(prices, off, ending("k", time.Hour)), &recorder{}
		n, _ := told(t, m, r)
		n.Budget(day("k", 100, 1))
		n.Unpriced("m", "id-k")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.all) != 1 || r.all[0].notifier != "prices" || r.all[0].event != eventUnknownPrice {
			t.Errorf("told: %+v", r.all)
		}
		if m.kept() != 1 {
			t.Errorf("%d events are remembered, want 1", m.kept())
		}
	})
}

// What is remembered goes with its window, with what it is about, and with its notifier.
func TestForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ops, gone := hook("ops", "https://x.example"), hook("gone", "https://x.example")
		key := &resourcev1.Key{Metadata: metadata("a")}
		m, r := newMemory(ops, gone, key), &recorder{}
		n, _ := told(t, m, r)
		forever := day("a", 80, 0)
		forever.Window, forever.Ends = "total", time.Time{}
		n.Budget(forever)
		n.Budget(day("a", 80, 1))
		synctest.Wait()
		if m.kept() != 4 {
			t.Fatalf("%d events are remembered, want 4", m.kept())
		}
		deleted := model.Change{Kind: model.KindNotifier, ID: "id-gone", Old: gone}
		n.Observe(m.apply(deleted), []model.Change{deleted})
		synctest.Wait()
		if m.kept() != 2 {
			t.Errorf("%d events are remembered, want those of one notifier", m.kept())
		}
		time.Sleep(13 * time.Hour)
		synctest.Wait()
		if m.kept() != 1 {
			t.Errorf("%d events are remembered, want that of the window which never ends", m.kept())
		}
		n.Budget(forever)
		synctest.Wait()
		if got := len(r.of("ops")); got != 2 {
			t.Errorf("told %d times, want 2", got)
		}
		m.apply(model.Change{Kind: model.KindKey, ID: "id-a", Old: key})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if m.kept() != 0 {
			t.Errorf("%d events are remembered of a key that is gone", m.kept())
		}
	})
}

// A store that cannot be written to keeps no event back.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(hook("ops", "https://x.example")), &recorder{}
		m.fails = errors.New("away")
		n, _ := told(t, m, r)
		n.Budget(day("a", 80, 1))
		synctest.Wait()
		n.Budget(day("a", 81, 1))
		synctest.Wait()
		if got := len(r.of("ops")); got != 1 {
			t.Errorf("told %d times, want 1", got)
		}
	})
}

// What one leader sent, the next does not send again; what was under way, it does, as the same event.
func TestLeaderChange(t *testing.T) {
	endpoint := etcdtest.New(t)
	a := newReplica(t, endpoint).lead()
	a.put(hook("ops", "https://x.example"), hook("dead", "https://y.example"))
	a.sent.answer = func(n *resourcev1.Notifier, _ *Event) error {
		if n.GetMetadata().GetName() == "dead" {
			return errHang
		}
		return nil
	}
	until(t, "the first event", func() bool {
		a.notify.Budget(day("a", 80, 1))
		waiting, sent := a.notices()
		return waiting == 1 && sent == 1
	})
	b := newReplica(t, endpoint)
	a.stop()
	b.lead()
	until(t, "sending what was under way", func() bool { waiting, sent := b.notices(); return waiting == 0 && sent == 2 })
	b.notify.Budget(day("a", 80, 1))
	b.notify.Budget(day("a", 100, 1))
	until(t, "the second event", func() bool { return len(b.sent.of("ops")) == 1 && len(b.sent.of("dead")) == 2 })
	if got := b.sent.texts("ops"); !strings.Contains(got[0], "100%") {
		t.Errorf("the new leader sent again: %v", got)
	}
	if first, again := a.sent.of("dead")[0], b.sent.of("dead")[0]; first.id != again.id || first.text != again.text {
		t.Errorf("an event that is sent again is another: %+v and %+v", first, again)
	}
}
