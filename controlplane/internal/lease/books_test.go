package lease

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/bank"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

const (
	inADay   = resourcev1.BudgetWindow_BUDGET_WINDOW_DAY
	inAMonth = resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH
	inTotal  = resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL
)

// One record counts for its key, its group, its tenant and what that is a part of, in each of their budgets.
func TestChargesAllAbove(t *testing.T) {
	r := newRig(t)
	team := &resourcev1.Tenant{Metadata: meta("team"), Limits: limitsWith(budget(100*usd, inTotal))}
	person := &resourcev1.Tenant{Metadata: meta("person"), Parent: "team", Limits: limitsWith(budget(50*usd, inAMonth))}
	group := &resourcev1.Group{Metadata: meta("fast"), Limits: daily(20 * usd)}
	other := &resourcev1.Group{Metadata: meta("slow"), Limits: daily(20 * usd)}
	r.put(team, group, other)
	r.put(person)
	k := key("k", "fast", "person", limitsWith(budget(10*usd, inADay), budget(30*usd, inTotal)))
	free := key("free", "", "", nil)
	r.put(k, free)
	r.lead()

	elsewhere := r.record(k.GetMetadata().GetId(), 2*usd) // the key was in another group at the time
	elsewhere.GroupId = other.GetMetadata().GetId()
	gone := r.record("nobody-knows-this-key", usd)
	gone.TenantId = person.GetMetadata().GetId()
	r.report("boot", 1, r.record(k.GetMetadata().GetId(), 3*usd), elsewhere, gone, r.record(free.GetMetadata().GetId(), 7*usd), r.record(k.GetMetadata().GetId(), 0))

	for _, tt := range []struct {
		of     model.Resource
		window string
		period bank.Period
		want   int64
	}{
		{k, "day", bank.Day, 5}, {k, "total", bank.Total, 5}, {group, "day", bank.Day, 3}, {other, "day", bank.Day, 2},
		{person, "month", bank.Month, 6}, {team, "total", bank.Total, 6},
	} {
		name := tt.of.GetMetadata().GetName() + " by " + tt.window
		if got := r.status(tt.of, tt.window).GetUsed(); got != tt.want*usd {
			t.Errorf("%s: used %d, want %d", name, got, tt.want*usd)
		}
		if got := spent(r.stored(), tt.of, tt.period); got != tt.want*usd {
			t.Errorf("%s: %d is stored, want %d", name, got, tt.want*usd)
		}
	}
	if got := len(r.stored()); got != 5 {
		t.Errorf("balances of %d owners are stored, want 5", got)
	}
}

// A new leader lends what is left beyond the books, records between the leaders included.
func TestNewLeaderGoesOnWithTheBooks(t *testing.T) {
	endpoint, c := etcdtest.New(t), &clock{}
	a, b := newReplica(t, endpoint, c), newReplica(t, endpoint, c)
	k := key("k", "", "", daily(10*usd))
	a.put(k)
	id := k.GetMetadata().GetId()
	stop := a.lead()
	if a.status(k, "day").GetWaiting() {
		t.Error("the very first leader waits")
	}
	a.report("boot", 1, a.record(id, 3*usd), a.record(id, usd))
	stop()
	if _, err := a.leases.Status(soon(t), bank.Key, id); !notLeader(err) {
		t.Errorf("Status of who leads no more = %v", err)
	}
	if _, err := a.leases.Charge(soon(t), nil); !notLeader(err) {
		t.Errorf("Charge of who leads no more = %v", err)
	}
	b.lead()
	b.report("boot", 1, a.record(id, 3*usd), a.record(id, usd), a.record(id, 2*usd)) // the first two come again
	if got := b.status(k, "day"); got.GetUsed() != 6*usd || got.GetLeft() != 4*usd {
		t.Errorf("the new leader shows %v", got)
	}
	c.pass(70 * time.Second) // of whatever was lent before
	g := b.connect("p", "boot").granted(wantOf(k, dayCost, 100*usd))
	if g.GetGranted() != 4*usd {
		t.Errorf("granted %d, want 4 USD: %v", g.GetGranted(), g)
	}
}

// The balances are what the records add up to, whatever becomes of commits and leaders.
func TestBalancesAreExact(t *testing.T) {
	const seed, boxes, rounds = 20261122, 10, 12
	endpoint, c := etcdtest.New(t), &clock{}
	replicas := []*rig{newReplica(t, endpoint, c), newReplica(t, endpoint, c)}
	var owners []model.Resource
	total := limitsWith(budget(1e6*usd, inTotal), budget(1e6*usd, inADay))
	parent := &resourcev1.Tenant{Metadata: meta("t"), Limits: total}
	group := &resourcev1.Group{Metadata: meta("g"), Limits: total}
	replicas[0].put(parent, group)
	child := &resourcev1.Tenant{Metadata: meta("c"), Parent: "t", Limits: total}
	replicas[0].put(child)
	owners = append(owners, parent, group, child)
	var keys []*resourcev1.Key
	for i := range 150 {
		k := key(fmt.Sprint("k", i), "g", "c", total)
		if i%3 == 0 {
			k.Limits = nil
		}
		keys = append(keys, k)
		owners = append(owners, k)
	}
	for i := 0; i < len(keys); i += 10 {
		replicas[0].put(resourcesOf(keys[i : i+10])...)
	}
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 1))
	for _, r := range replicas {
		r.store.mishap = func() mishap {
			mu.Lock()
			defer mu.Unlock()
			switch rnd.IntN(8) {
			case 0:
				return lostBefore
			case 1:
				return lostAfter
			}
			return fine
		}
	}
	want := map[string]int64{}
	stop := replicas[0].lead()
	leader := 0
	var wg sync.WaitGroup
	sent := make([]uint64, boxes)
	for round := range rounds {
		var turn sync.Mutex
		for i := range boxes {
			seeded := rand.New(rand.NewPCG(seed, uint64(100*round+i)))
			var records []*syncv1.UsageRecord
			for range 1 + seeded.IntN(60) {
				k := keys[seeded.IntN(len(keys))]
				rec := replicas[0].record(k.GetMetadata().GetId(), 1+seeded.Int64N(1000))
				if seeded.IntN(2) == 0 {
					rec.GroupId, rec.TenantId = group.GetMetadata().GetId(), child.GetMetadata().GetId()
				}
				records = append(records, rec)
				for _, o := range []string{k.GetMetadata().GetId(), "g", "c", "t"} {
					want[o] += rec.GetCostNanoUsd()
				}
			}
			first := sent[i] + 1
			sent[i] += uint64(len(records))
			wg.Go(func() {
				for done := first - 1; done < first+uint64(len(records))-1; {
					turn.Lock()
					r := replicas[leader]
					turn.Unlock()
					w, err := r.ledger.Report(soon(t), bootID(i), first, records) // all of them, each time
					if done = max(done, w); err != nil {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		if round%3 == 2 {
			stop() // in the middle of it
			turn.Lock()
			leader = 1 - leader
			turn.Unlock()
			stop = replicas[leader].lead()
		}
		wg.Wait()
	}
	r := replicas[leader]
	stored := r.stored()
	for _, o := range owners {
		name, id := o.GetMetadata().GetName(), o.GetMetadata().GetId()
		sum := want[id]
		if model.KindOf(o) != model.KindKey {
			sum = want[name]
		}
		if limitless(o) {
			sum = 0
		}
		for _, p := range []bank.Period{bank.Day, bank.Total} {
			if got := spent(stored, o, p); got != sum {
				t.Errorf("%s, period %d: %d is stored, want %d", name, p, got, sum)
			}
		}
	}
	if diff := cmp.Diff(stored, r.memory()); diff != "" {
		t.Errorf("the leader has in mind what is not stored (-stored +memory):\n%s", diff)
	}
}

func resourcesOf(keys []*resourcev1.Key) []model.Resource {
	var all []model.Resource
	for _, k := range keys {
		all = append(all, k)
	}
	return all
}

// A budget counts from when it is set: what was spent before it was removed is forgotten, in the store too.
func TestBudgetsThatChange(t *testing.T) {
	r := newRig(t)
	k := key("k", "", "", limitsWith(budget(10*usd, inADay), budget(50*usd, inTotal)))
	r.put(k)
	id := k.GetMetadata().GetId()
	r.lead()
	r.report("boot", 1, r.record(id, 4*usd))

	change := func(l *resourcev1.Limits) {
		t.Helper()
		k = proto.CloneOf(k)
		k.Limits = l
		r.put(k)
	}
	stored := func(day, total int64) {
		t.Helper()
		r.until(fmt.Sprintf("%d and %d USD are stored", day, total), func() bool {
			all := r.stored()
			return spent(all, k, bank.Day) == day*usd && spent(all, k, bank.Total) == total*usd
		})
	}
	stored(4, 4)
	change(limitsWith(budget(3*usd, inADay), budget(50*usd, inTotal)))
	if got := r.status(k, "day"); got.GetUsed() != 4*usd || got.GetExcess() != usd || got.GetLeft() != 0 {
		t.Errorf("lowered: %v", got)
	}
	change(limitsWith(budget(50*usd, inTotal)))
	stored(0, 4)
	if got := r.status(k, "day"); got != nil {
		t.Errorf("removed: %v", got)
	}
	change(limitsWith(budget(10*usd, inADay), budget(50*usd, inTotal)))
	if got := r.status(k, "day").GetUsed(); got != 0 {
		t.Errorf("set again: used %d", got)
	}
	r.report("boot", 2, r.record(id, usd))
	stored(1, 5)
	change(nil)
	r.until("nothing is stored", func() bool { return len(r.stored()) == 0 })
	r.report("boot", 3, r.record(id, usd))
	if got := len(r.stored()); got != 0 {
		t.Errorf("balances of %d owners are stored where nobody has a budget", got)
	}
}

// Who is deleted leaves nothing behind, whether or not anybody led at that time.
func TestDeletedOwners(t *testing.T) {
	r := newRig(t)
	now, later := key("now", "", "", daily(usd)), key("later", "", "", daily(usd))
	r.put(now, later)
	stop := r.lead()
	r.report("boot", 1, r.record(now.GetMetadata().GetId(), 1), r.record(later.GetMetadata().GetId(), 1))
	r.remove(now)
	r.until("one is left", func() bool { return len(r.stored()) == 1 })
	stop()
	r.remove(later)
	r.lead()
	r.until("none is left", func() bool { return len(r.stored()) == 0 })
	if s := r.stats(); s.Owners != 0 {
		t.Errorf("%d owners with limits", s.Owners)
	}
}

// Events come with each whole percent, once, and first uses as long as the key's end is not set.
func TestEventsAndFirstUse(t *testing.T) {
	r := newRig(t)
	k := key("k", "", "", daily(1000))
	k.ExpireAfterFirstUse = durationpb.New(time.Hour)
	r.put(k)
	id := k.GetMetadata().GetId()
	r.lead()
	for i, cost := range []int64{5, 4, 1, 490, 5, 600} {
		r.report("boot", uint64(i+1), r.record(id, cost))
	}
	var percents []uint32
	r.mu.Lock()
	for _, e := range r.events {
		percents = append(percents, e.Percent)
		if e.Name != "k" || e.Scope != "key" || e.ID != id || e.Window != "day" || e.Limit != 1000 || !e.Ends.Equal(noon.Truncate(24*time.Hour).Add(24*time.Hour)) {
			t.Errorf("event %+v", e)
		}
	}
	if diff := cmp.Diff([]uint32{1, 50, 110}, percents); diff != "" {
		t.Errorf("percents (-want +got):\n%s", diff)
	}
	if r.first[id] != 6 {
		t.Errorf("%d first uses were told, want one of each record", r.first[id])
	}
	r.mu.Unlock()

	k.ExpireTime = timestamppb.New(noon)
	r.put(k)
	r.report("boot", 7, r.record(id, 0))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first[id] != 6 {
		t.Error("a first use was told of a key whose end is set")
	}
}

// Days go on where the clock is set back or forth by one.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			r := newRig(t)
			k := key("k", "", "", daily(10*usd))
			r.put(k)
			id := k.GetMetadata().GetId()
			r.lead()
			r.report("boot", 1, r.record(id, 3*usd))
			p := r.connect("p", "boot")
			if g := p.granted(wantOf(k, dayCost, 2*usd)); g.GetGranted() != 2*usd {
				t.Fatalf("granted %v", g)
			}
			r.clock.turn(by)
			r.clock.pass(time.Second)
			late := r.record(id, usd)
			if by < 0 {
				late.BeginMs = noon.UnixMilli() // by a proxy whose clock was not set
			}
			r.report("boot", 2, late)
			if got := r.status(k, "day"); got.GetUsed() != 4*usd || got.GetLent() != 2*usd || got.GetLeft() != 4*usd {
				t.Errorf("after the clock was set: %v", got)
			}
			if got := r.stored()[store.BalanceKey{Scope: "key", ID: id}]; len(got) != 1 {
				t.Errorf("stored: %v", got)
			}
		})
	}
}
