package ledger

import (
	"context"

	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// noBudgets are what a ledger has that is given none.
type noBudgets struct{}

// Ready at once.
func (noBudgets) Ready(context.Context) error { return nil }

// Owners of nothing.
func (noBudgets) Owners(*syncv1.UsageRecord) []store.BalanceKey { return nil }

// Charge nobody.
func (noBudgets) Charge(context.Context, []*syncv1.UsageRecord) (Charges, error) {
	return noBudgets{}, nil
}

// Balances are none.
func (noBudgets) Balances() map[store.BalanceKey]*resourcev1.Balances { return nil }

// Done changes nothing.
func (noBudgets) Done(string, bool) {}
