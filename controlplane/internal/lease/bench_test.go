package lease

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// shelf is a store that only has what it was given.
type shelf struct {
	Store
	state *model.State
}

func (s *shelf) State() *model.State                             { return s.state }
func (s *shelf) WaitRevision(ctx context.Context, _ int64) error { return ctx.Err() }

func (s *shelf) BeginLending(context.Context, store.Fence) (bool, error) { return true, nil }

func (s *shelf) Balances(_ context.Context, fn func(store.BalanceKey, *resourcev1.Balances) error) error {
	for r := range s.state.All(model.KindKey) {
		if limitless(r) {
			continue
		}
		b := &resourcev1.Balances{Balances: []*resourcev1.Balance{{Period: 2, Window: 20778, SpentNanoUsd: 1}}}
		if err := fn(store.BalanceKey{Scope: "key", ID: "x" + r.GetMetadata().GetId()[1:]}, b); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkOpen is the start of a leadership: what keys cost that have no limits, a budget, and a budget that was used.
func BenchmarkOpen(b *testing.B) {
	const keys = 100_000
	for name, limits := range map[string]*resourcev1.Limits{"no limits": nil, "a budget": daily(usd)} {
		b.Run(name, func(b *testing.B) {
			var changes []model.Change
			for i := range keys {
				k := key(fmt.Sprint("k", i), "", "", limits)
				k.Metadata.Id = fmt.Sprintf("x%025d", i)
				changes = append(changes, model.Change{Kind: model.KindKey, ID: k.GetMetadata().GetId(), New: k})
			}
			s := &shelf{state: model.Empty("l").Apply(1, changes)}
			l := New(s, Options{Clock: (&clock{}).moment})
			for b.Loop() {
				before := heap()
				t := newTerm(l, store.Fence{})
				if !t.open(b.Context()) {
					b.Fatal("it does not open")
				}
				clear(t.dirty)
				b.ReportMetric(float64(int64(heap())-int64(before))/keys, "B/key")
				runtime.KeepAlive(t)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
