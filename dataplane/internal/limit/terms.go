package limit

import (
	"slices"
	"sync/atomic"
)

// Scope is whose limit it is.
type Scope uint8

// The scopes, from the outside in.
const (
	Tenant Scope = iota
	Group
	Key
	scopeCount
)

// String is the scope as errors and metrics name it.
func (s Scope) String() string {
	switch s {
	case Tenant:
		return "tenant"
	case Group:
		return "group"
	case Key:
		return "key"
	}
	return "unknown"
}

// Place is where limits stand above a request. They nest: it must find room at each of its places.
type Place uint8

// The places, from the outside in. A tenant's parent is a tenant, too, with terms like any other's.
const (
	AtParent Place = iota
	AtTenant
	AtGroup
	AtKey
	places
)

// Scopes are the terms that stand above one request; nil = no limits there.
type Scopes [places]*Terms

// What is what a limit counts.
type What uint8

// The things that are limited.
const (
	Requests    What = iota // per window
	Tokens                  // per window, input and output
	Concurrency             // requests at once
	Cost                    // nano-USD per window
	whatCount
)

// String is the thing as metrics name it.
func (w What) String() string {
	switch w {
	case Requests:
		return "requests"
	case Tokens:
		return "tokens"
	case Concurrency:
		return "concurrency"
	case Cost:
		return "cost"
	}
	return "unknown"
}

// Policy is what becomes of requests when the leader cannot be reached and nothing that it lent is left.
type Policy uint8

// The policies. The zero value is Closed.
const (
	Closed Policy = iota // they are refused
	Safe                 // a published share of the limit is let through
	Open                 // all are let through, and marked
)

// Span is the window that a limit counts over.
type Span uint8

// The windows. Which one is open, and until when, the leader says.
const (
	Always Span = iota // no window: slots of Concurrency, or a budget for ever
	Minute
	Day
	Week
	Month
	Rolling // whatever the last minutes are
)

// String is the window as errors name it.
func (s Span) String() string {
	switch s {
	case Minute:
		return "minute"
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	}
	return ""
}

// Limit is one limit of a scope.
type Limit struct {
	// What it counts.
	What What
	// Over is its window. A scope has one limit of a thing over a window, whatever its amount.
	Over Span
	// Minutes is the window of Rolling; it means nothing for others.
	Minutes uint32
	// Amount is how much of it there is in a window: requests, tokens, slots or nano-USD; never negative.
	Amount int64
}

// maxLimits is how many limits one scope may have: requests, tokens, concurrency, and cost over five windows.
const maxLimits = 8

// Terms are the limits of one scope, as its resource says. They do not change; a new form of the resource has new terms,
// and the credits live on by the scope's id. A nil *Terms has no limits.
type Terms struct {
	scope   Scope
	id      string
	version int64
	limits  []Limit
	policy  Policy
	tokens  int64 // of one request at most; 0 = no maximum
	cost    int64 // likewise, nano-USD

	wallet atomic.Pointer[wallet] // found at the first use
}

// Rules are what Terms are made of. The zero value has no limits.
type Rules struct {
	// Version is the resource's. Of two terms of one scope that are in use, those of the higher version hold.
	Version int64
	// Limits, at most 8; others are left out.
	Limits []Limit
	// Away is the policy for when the leader is away; the zero value refuses.
	Away Policy
	// MaxTokens is the most that one request may be estimated at, in tokens; 0 = no maximum.
	MaxTokens int64
	// MaxCost likewise, in nano-USD; 0 = no maximum.
	MaxCost int64
}

// NewTerms makes the terms of a scope, or nil where the rules hold no limit.
func NewTerms(s Scope, id string, r Rules) *Terms {
	if len(r.Limits) == 0 && r.MaxTokens <= 0 && r.MaxCost <= 0 {
		return nil
	}
	t := &Terms{scope: s, id: id, version: r.Version, policy: r.Away, tokens: max(r.MaxTokens, 0), cost: max(r.MaxCost, 0)}
	for _, l := range r.Limits {
		l.Amount = max(l.Amount, 0)
		if l.What == Concurrency {
			l.Over = Always
		}
		if l.Over != Rolling {
			l.Minutes = 0
		}
		same := slices.IndexFunc(t.limits, func(o Limit) bool {
			return o.What == l.What && o.Over == l.Over && o.Minutes == l.Minutes
		})
		switch {
		case same >= 0:
			t.limits[same].Amount = min(t.limits[same].Amount, l.Amount)
		case len(t.limits) < maxLimits:
			t.limits = append(t.limits, l)
		}
	}
	return t
}
