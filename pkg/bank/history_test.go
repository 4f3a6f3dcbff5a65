package bank

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// deed is what one client did to a budget, as it saw it: it was granted credits, or gave some back.
type deed struct{ granted, returned int64 }

// budgetModel is the limit as one sequential counter: credits come out of it and go back, and it is never below 0.
func budgetModel(limit int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return limit },
		Step: func(state, input, _ any) (bool, any) {
			d := input.(deed)
			left := state.(int64) + d.returned - d.granted
			return left >= 0, left
		},
	}
}

// Proxies ask at the same time, over one leader that others take over from; the history of all grants and returns is one
// that a single counter could have had.
func TestHistory(t *testing.T) {
	const limit, boots, rounds = 60, 8, 25
	slot := ID{owner, Kind{What: Concurrency, Period: None}}
	var (
		mu    sync.Mutex
		mono  time.Duration
		bank  *Bank
		clock atomic.Int64
	)
	now := func() Moment { return Moment{Mono: mono, Wall: noon.Add(mono)} }
	lead := func(term int64) {
		bank = New(Options{Term: term, FirstEver: term == 1})
		bank.Configure(owner, []Limit{{Kind: slot.Kind, Amount: limit}}, now())
	}
	lead(1)
	history := make([][]porcupine.Operation, boots)
	proxies := make([]*proxy, boots)
	for i := range proxies {
		proxies[i] = newProxy(fmt.Sprintf("b%d", i), slot)
		proxies[i].least[slot] = 1
	}
	for round := range rounds {
		// Nobody goes far ahead: the lease of one that is left behind would end, of which the history knows nothing.
		var wait sync.WaitGroup
		for i, p := range proxies {
			wait.Go(func() {
				p.demand[slot] = int64((round*7+i*3)%20 + 1)
				mu.Lock()
				at := mono
				before := held(p, slot, at)
				r := p.request(at, false)
				mu.Unlock()
				returned := before - holding(r)
				call := clock.Add(1)
				mu.Lock()
				if i == 0 && round%10 == 9 {
					lead(bank.o.Term + 1)
				}
				mono += 200 * time.Millisecond
				a, err := bank.Handle(p.boot, r, now())
				p.hear(a, mono)
				after := held(p, slot, mono)
				mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				history[i] = append(history[i], porcupine.Operation{
					ClientId: i, Call: call, Return: clock.Add(1), Input: deed{granted: after - before + returned, returned: returned},
				})
			})
		}
		wait.Wait()
	}
	var all []porcupine.Operation
	granted := int64(0)
	for _, h := range history {
		for _, o := range h {
			granted += o.Input.(deed).granted
		}
		all = append(all, h...)
	}
	if granted < limit {
		t.Errorf("only %d slots were ever lent", granted)
	}
	if got := porcupine.CheckOperationsTimeout(budgetModel(limit), all, 20*time.Second); got != porcupine.Ok {
		t.Errorf("the history is %v", got)
	}
}

// holding is what a request says to be unspent.
func holding(r *syncv1.LeaseRequest) int64 {
	var n int64
	for _, h := range r.GetHoldings() {
		n += h.GetGranted() - h.GetReturned() - h.GetUsed()
	}
	return n
}
