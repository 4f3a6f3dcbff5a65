package lease

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"fairway/pkg/bank"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

// spender is a proxy with a purse for one budget, which keeps the rules of the lease protocol.
type spender struct {
	id, boot string
	limit    *syncv1.LimitRef
	rnd      *rand.Rand
	sequence uint64

	to                              *proxy
	granted, returned, used, booked int64
	keep                            int64 // -1 = all
	reported                        uint64
}

func (s *spender) held() int64 { return s.granted - s.returned - s.used }

// exchange asks for credits, after giving back what it does not want; false = there is no leader now.
func (s *spender) exchange(r *rig, want int64) bool {
	full := s.to == nil
	if full {
		s.to = r.connect(s.id, s.boot)
	}
	if over := s.held() - want; over > 0 {
		s.returned += over
	}
	if over := s.held() - s.keep; s.keep >= 0 && over > 0 {
		s.returned += over
	}
	s.keep = -1
	s.sequence++
	m := &syncv1.LeaseRequest{BootId: s.boot, Sequence: s.sequence, Full: full, Holdings: []*syncv1.Holding{{
		Limit: s.limit, Window: 1, Granted: s.granted, Returned: s.returned, Used: s.used, Booked: s.booked, Want: want, Least: 1,
	}}}
	select {
	case s.to.to <- m:
	case err := <-s.to.ended:
		s.to.ended <- err
		s.to = nil
		return false
	}
	for {
		select {
		case a := <-s.to.from:
			s.hear(a)
			if a.GetDeclare() || a.GetSequence() == s.sequence && a.GetTtl() != nil {
				return true
			}
		case err := <-s.to.ended:
			s.to.ended <- err
			s.to = nil
			return false
		}
	}
}

func (s *spender) hear(a *syncv1.LeaseResponse) {
	for _, g := range a.GetGrants() {
		s.granted = max(s.granted, g.GetGranted())
		if g.Keep != nil {
			s.keep = g.GetKeep()
		}
	}
}

// spend uses up some credits, and has them put on the books.
func (s *spender) spend(r *rig, keyID string, most int64) {
	n := min(s.held(), most)
	if n <= 0 {
		return
	}
	s.used += n
	for w := uint64(0); w < s.reported+1; {
		var err error
		// The very same record until it is certain: twice is once.
		if w, err = r.ledger.Report(soon(r.t), s.boot, s.reported+1, []*syncv1.UsageRecord{r.record(keyID, n)}); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
	s.reported++
	s.booked += n
}

// Ten proxies spend a budget over real books, while commits fail and the leadership moves. All grants and returns together
// are such as one counter could have had, nothing is spent beyond the budget, and in the end all of it is.
func TestSpendingIsLinear(t *testing.T) {
	const seed, amount, spenders, rounds = 7, 4000, 10, 12
	endpoint, c := etcdtest.New(t), &clock{}
	replicas := []*rig{newReplica(t, endpoint, c), newReplica(t, endpoint, c)}
	k := key("k", "", "", limitsWith(budget(amount, inTotal)))
	replicas[0].put(k)
	id := k.GetMetadata().GetId()
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, r := range replicas {
		r.store.mishap = func() mishap {
			mu.Lock()
			defer mu.Unlock()
			return mishap(max(0, rnd.IntN(12)-9))
		}
	}
	var all []*spender
	for i := range spenders {
		all = append(all, &spender{
			id: bootID(i), boot: bootID(i), rnd: rand.New(rand.NewPCG(seed, uint64(i+1))), keep: -1,
			limit: wantOf(k, bank.Kind{What: bank.Cost, Period: bank.Total}, 0).GetLimit(),
		})
	}
	var (
		clock   atomic.Int64
		history []porcupine.Operation
	)
	step := func(r *rig, s *spender, i int, want int64) bool {
		granted, returned, call := s.granted, s.returned, clock.Add(1)
		ok := s.exchange(r, want)
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{
			ClientId: i, Call: call, Return: clock.Add(1),
			Input: deed{granted: s.granted - granted, returned: s.returned - returned},
		})
		return ok
	}
	everyone := func(do func(i int, s *spender)) {
		var wg sync.WaitGroup
		for i, s := range all {
			wg.Go(func() { do(i, s) })
		}
		wg.Wait()
	}
	leader := replicas[0]
	stop := leader.lead()
	for round := range rounds {
		everyone(func(i int, s *spender) {
			for range 3 {
				step(leader, s, i, 1+s.rnd.Int64N(60))
				s.spend(leader, id, 1+s.rnd.Int64N(30))
			}
		})
		c.pass(time.Second)
		if round == 3 || round == 7 {
			stop()
			leader = replicas[(round+1)/4%2]
			stop = leader.lead()
			for range 8 { // what is held goes on; nothing is lent until all that was lent before is over
				everyone(func(i int, s *spender) {
					s.to = nil
					step(leader, s, i, s.held())
				})
				c.pass(10 * time.Second)
			}
		}
	}
	left := func() int64 { return leader.status(k, "total").GetLeft() + leader.status(k, "total").GetLent() }
	leader.until("all is spent", func() bool {
		everyone(func(i int, s *spender) {
			step(leader, s, i, 20)
			s.spend(leader, id, amount)
		})
		c.pass(time.Second)
		return left() == 0
	})
	var used int64
	for _, s := range all {
		used += s.used
	}
	if stored := spent(leader.stored(), k, bank.Total); used != amount || stored != amount {
		t.Errorf("%d were spent, and %d are stored, of %d", used, stored, amount)
	}
	if got := porcupine.CheckOperationsTimeout(budgetModel(amount), history, 30*time.Second); got != porcupine.Ok {
		t.Errorf("the history is %v", got)
	}
}

// deed is what a proxy did to a budget: it was granted credits, or gave some back.
type deed struct{ granted, returned int64 }

// budgetModel is the budget as one counter: credits come out of it and go back, and it is never below 0.
func budgetModel(amount int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return amount },
		Step: func(state, input, _ any) (bool, any) {
			d := input.(deed)
			left := state.(int64) + d.returned - d.granted
			return left >= 0, left
		},
	}
}
