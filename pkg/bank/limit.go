package bank

import (
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Scope says whose limit it is; the values are those of sync.v1.LimitScope.
type Scope uint8

// The scopes.
const (
	Key    Scope = 1
	Group  Scope = 2
	Tenant Scope = 3
)

// What says what a credit is; the values are those of sync.v1.LimitWhat.
type What uint8

// What limits are about.
const (
	Requests    What = 1
	Tokens      What = 2
	Concurrency What = 3
	Cost        What = 4 // in nano-USD
)

// Period says how long windows are; the values are those of sync.v1.LimitPeriod.
type Period uint8

// The periods.
const (
	Minute  Period = 1
	Day     Period = 2
	Week    Period = 3
	Month   Period = 4
	Total   Period = 5
	Rolling Period = 6
	None    Period = 7 // slots have no windows
)

// Owner is who has limits.
type Owner struct {
	Scope Scope
	ID    string // of the key or group; the name of the tenant
}

// Kind tells an owner's limits apart: there is at most one of each.
type Kind struct {
	What    What
	Period  Period
	Minutes uint32 // how far back a rolling window reaches; 0 for all other periods
}

// ID names a limit.
type ID struct {
	Owner
	Kind
}

// Limit is one limit of an owner.
type Limit struct {
	Kind
	Amount int64          // credits per window, or slots; below 0 = 0
	Zone   *time.Location // of days, weeks and months; nil = UTC
}

// maxRolling is the longest reach of a rolling window, in minutes: 366 days.
const maxRolling = 366 * 24 * 60

// Valid tells whether there can be such a limit: slots have no period and all else has one; costs are not limited by the
// minute, for their books are too slow for that.
func (k Kind) Valid() bool {
	if (k.Period == Rolling) != (k.Minutes > 0) || k.Minutes > maxRolling || k.Period < Minute || k.Period > None {
		return false
	}
	switch k.What {
	case Requests, Tokens:
		return k.Period != None
	case Cost:
		return k.Period != None && k.Period != Minute
	case Concurrency:
		return k.Period == None
	default:
		return false
	}
}

// Booked tells whether what is used of the limit gets on the books, as usage records that outlive proxies and leaders.
// Minutes are over before that matters.
func (k Kind) Booked() bool { return k.Period != Minute && k.Period != None }

// slots tells whether credits come back when requests end.
func (k Kind) slots() bool { return k.What == Concurrency }

// ref is an ID as messages carry it.
func (i ID) ref() *syncv1.LimitRef {
	return &syncv1.LimitRef{
		Scope: syncv1.LimitScope(i.Scope), Id: i.ID, What: syncv1.LimitWhat(i.What),
		Period: syncv1.LimitPeriod(i.Period), RollingMinutes: i.Minutes,
	}
}

// idOf reads an ID; values that fit no limit become one that is never configured.
func idOf(r *syncv1.LimitRef) ID {
	return ID{
		Owner: Owner{Scope: Scope(narrow(int32(r.GetScope()))), ID: r.GetId()},
		Kind:  Kind{What: What(narrow(int32(r.GetWhat()))), Period: Period(narrow(int32(r.GetPeriod()))), Minutes: r.GetRollingMinutes()},
	}
}

// narrow is v, or 0 if it does not fit.
func narrow(v int32) uint8 {
	if v < 0 || v > 255 {
		return 0
	}
	return uint8(v)
}

// add is the sum of two amounts that are not negative, or the greatest there is.
func add(a, b int64) int64 {
	if s := a + b; s >= a {
		return s
	}
	return 1<<63 - 1
}
