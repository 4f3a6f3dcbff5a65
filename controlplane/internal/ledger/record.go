package ledger

import (
	"strings"
	"time"

	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/money"
)

const (
	maxID    = 64
	maxModel = 256
	// maxAge is how old a record can be: a proxy that was cut off for longer reports its oldest usage as that old.
	maxAge = 31 * 24 * time.Hour
)

// plainID says whether s can stand in a key of the books. Empty is fine.
func plainID(s string) bool {
	if len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '/' {
			return false
		}
	}
	return true
}

// keyID says whether s can be a key's id on the books, where an at sign parts it from the group.
func keyID(s string) bool { return plainID(s) && !strings.Contains(s, "@") }

// groupID is keyID for a group.
func groupID(s string) bool { return keyID(s) }

// sound says whether a record can be on the books at all. A proxy that is well sends no other.
func sound(r *syncv1.UsageRecord) bool {
	if r == nil || !keyID(r.KeyId) || !groupID(r.GroupId) || !plainID(r.ChannelId) || !plainID(r.AccountId) ||
		len(r.Model) > maxModel {
		return false
	}
	for i := range len(r.Model) {
		if r.Model[i] < ' ' || r.Model[i] == 0x7f {
			return false
		}
	}
	return r.InputTokens >= 0 && r.CachedTokens >= 0 && r.OutputTokens >= 0 && r.CostNanoUsd >= 0
}

// place returns where a record belongs. Its time is the proxy's word: what lies in the future counts as now, what is
// older than maxAge as that old.
func place(r *syncv1.UsageRecord, now time.Time) store.UsageKey {
	ms := min(max(r.TimeMs, now.Add(-maxAge).UnixMilli()), now.UnixMilli())
	return store.UsageKey{
		Hour:    ms / time.Hour.Milliseconds(),
		Key:     r.KeyId,
		Group:   r.GroupId,
		Channel: r.ChannelId,
		Account: r.AccountId,
		Model:   r.Model,
	}
}

// amounts is a form of UsageCounters that can be added and copied.
type amounts [8]int64

func amountsOf(c *adminv1.UsageCounters) amounts {
	return amounts{
		c.GetRequests(), c.GetErrors(), c.GetInputTokens(), c.GetCachedTokens(), c.GetOutputTokens(),
		c.GetCostNanoUsd(), c.GetEstimatedRequests(), c.GetUnpricedRequests(),
	}
}

func amountsIn(r *syncv1.UsageRecord) amounts {
	return amounts{
		1, one(r.Error), r.InputTokens, r.CachedTokens, r.OutputTokens,
		r.CostNanoUsd, one(r.Estimated), one(r.Unpriced),
	}
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (a amounts) counters() *adminv1.UsageCounters {
	return &adminv1.UsageCounters{
		Requests: a[0], Errors: a[1], InputTokens: a[2], CachedTokens: a[3], OutputTokens: a[4],
		CostNanoUsd: a[5], EstimatedRequests: a[6], UnpricedRequests: a[7],
	}
}

// below says whether any part is below zero.
func (a amounts) below() bool {
	for _, n := range a {
		if n < 0 {
			return true
		}
	}
	return false
}

// plus returns the sum, or false if any part of it overflows.
func (a amounts) plus(b amounts) (amounts, bool) {
	for i := range a {
		sum, err := money.Add(a[i], b[i])
		if err != nil {
			return amounts{}, false
		}
		a[i] = sum
	}
	return a, true
}
