package route

import "fairway/dataplane/internal/snapshot"

// Budget bounds the retries of one group, so that a failing upstream is not met with a multiple of its traffic: at most
// a share of the group's active requests, or a small number whatever the share says, is in a second or later attempt at
// any time. It lives in the group's cell, takes no lock and is safe for concurrent use; the value itself may be copied.
type Budget struct {
	cell    *snapshot.GroupCell
	percent int64
	least   int64
}

// BudgetOf is the budget of g under the fleet's settings.
func BudgetOf(g *snapshot.Group, s snapshot.Settings) Budget {
	return Budget{cell: g.Cell, percent: int64(s.RetryBudgetPercent), least: int64(s.RetryBudgetMin)}
}

// Begin counts a request in. Each Begin needs one End.
func (b Budget) Begin() { b.cell.Active.Add(1) }

// End counts a request out.
func (b Budget) End() { b.cell.Active.Add(-1) }

// Retry asks whether one more request may go into its second attempt, and counts it if so. A request asks once: its
// third attempt is paid for with its second. Each granted Retry needs one EndRetry.
func (b Budget) Retry() bool {
	allowed := max(b.least, b.cell.Active.Load()*b.percent/100)
	for {
		n := b.cell.Retries.Load()
		if n >= allowed {
			return false
		}
		if b.cell.Retries.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// EndRetry counts a granted Retry out.
func (b Budget) EndRetry() { b.cell.Retries.Add(-1) }
