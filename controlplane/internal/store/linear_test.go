package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

// op is a read (write 0) or a compare-and-swap from one weight to another.
type op struct {
	write bool
	from  uint32
	to    uint32
}

type outcome struct {
	seen uint32
	won  bool
}

// register is one resource as its users may see it.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return uint32(0) },
		Step: func(state, input, output any) (bool, any) {
			now, _ := state.(uint32)
			in, _ := input.(op)
			out, _ := output.(outcome)
			switch {
			case !in.write:
				return out.seen == now, now
			case out.won:
				return in.from == now, in.to
			default:
				return in.from != now, now
			}
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v -> %v", input, output) },
	}
}

func TestCommitAndReadAreLinearizable(t *testing.T) {
	const clients, rounds = 6, 25
	cluster := etcdtest.Start(t, 3)
	ctx := soon(t)
	seed := open(t, cluster.Endpoints()...)
	first := create(t, seed, &resourcev1.Account{Metadata: meta(t, seed, "a"), Channel: create(t, seed, channel(t, seed, "c"))[0].GetMetadata().GetName()})[0]
	id := first.GetMetadata().GetId()
	var stores []*Store
	for _, endpoint := range cluster.Endpoints() {
		stores = append(stores, open(t, endpoint)) // Each asks a member of its own.
	}
	begin := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	record := func(client int, in op, fn func() outcome) {
		call := time.Since(begin).Nanoseconds()
		out := fn()
		ret := time.Since(begin).Nanoseconds()
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: ret})
	}
	errs := contend(clients, func(client int) error {
		s := stores[client%len(stores)]
		for round := range rounds {
			var current *resourcev1.Account
			var err error
			record(client, op{}, func() outcome {
				var r model.Resource
				r, err = s.Read(ctx, model.KindAccount, id)
				current, _ = r.(*resourcev1.Account)
				return outcome{seen: current.GetWeight()}
			})
			if err != nil {
				return err
			}
			to := uint32(1 + client*rounds + round)
			record(client, op{write: true, from: current.GetWeight(), to: to}, func() outcome {
				_, err = s.Commit(ctx, Write{Puts: []Put{update(current, func(a *resourcev1.Account) { a.Weight = to })}})
				return outcome{won: err == nil}
			})
			if err != nil && fault.KindOf(err) != fault.Stale {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !porcupine.CheckOperations(register(), history) {
		t.Fatal("the history is not linearizable")
	}
}
