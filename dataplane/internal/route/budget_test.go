package route

import (
	"sync"
	"testing"

	"fairway/dataplane/internal/snapshot"
)

func TestBudget(t *testing.T) {
	var cell snapshot.GroupCell
	b := BudgetOf(&snapshot.Group{Cell: &cell}, snapshot.Settings{RetryBudgetPercent: 20, RetryBudgetMin: 3})
	grants := func() int {
		n := 0
		for b.Retry() {
			n++
		}
		for range n {
			b.EndRetry()
		}
		return n
	}
	for _, tt := range []struct{ active, want int }{{0, 3}, {1, 3}, {15, 3}, {20, 4}, {1000, 200}} {
		for range tt.active {
			b.Begin()
		}
		if got := grants(); got != tt.want {
			t.Errorf("%d active requests: %d retries, want %d", tt.active, got, tt.want)
		}
		for range tt.active {
			b.End()
		}
	}
	if cell.Active.Load() != 0 || cell.Retries.Load() != 0 {
		t.Errorf("%d active and %d retries are left", cell.Active.Load(), cell.Retries.Load())
	}
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	var cell snapshot.GroupCell
	b := BudgetOf(&snapshot.Group{Cell: &cell}, snapshot.Settings{RetryBudgetPercent: 0, RetryBudgetMin: 4})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 2000 {
				if !b.Retry() {
					continue
				}
				if n := cell.Retries.Load(); n > 4 {
					t.Errorf("%d retries at once, want 4 at most", n)
				}
				b.EndRetry()
			}
		})
	}
	all.Wait()
	if n := cell.Retries.Load(); n != 0 {
		t.Errorf("%d retries are left", n)
	}
}
