package limit

import (
	"fmt"
	"time"

	"fairway/pkg/fault"
	"fairway/pkg/money"
)

// Cause is why a request was refused.
type Cause uint8

// The causes.
const (
	Spent   Cause = iota + 1 // the limit is used up in its window, over the whole fleet
	Short                    // the leader lends more, but not at the pace that was asked for
	Pending                  // the leader's answer is on its way, and the request did not wait for it
	Away                     // the leader cannot be reached, and the policy is closed or has nothing left
	TooMuch                  // the request alone is above the maximum of one request
)

// String is the cause as logs name it.
func (c Cause) String() string {
	switch c {
	case Spent:
		return "spent"
	case Short:
		return "short"
	case Pending:
		return "pending"
	case Away:
		return "away"
	case TooMuch:
		return "too_much"
	}
	return "unknown"
}

// Refusal says which limit a request did not fit into. Of several, it names the one that is spent the longest.
type Refusal struct {
	Cause Cause
	Scope Scope
	What  What
	Over  Span
	// Minutes is the window of Rolling.
	Minutes uint32
	// Limit is how much there is in a window; of TooMuch, the maximum of one request.
	Limit int64
	// Need is what the request was estimated at.
	Need int64
	// Retry is when the limit may have room again; 0 = nobody knows that it ever has.
	Retry time.Duration
}

// soon is when to come back for what moves all the time.
const soon = time.Second

// worse says whether o is the one to name.
func (f *Refusal) worse(o *Refusal) bool {
	rank := func(r *Refusal) int {
		switch r.Cause {
		case TooMuch:
			return 5
		case Spent:
			return 4
		case Away:
			return 3
		case Short:
			return 2
		case Pending:
			return 1
		}
		return 0
	}
	if a, b := rank(f), rank(o); a != b {
		return b > a
	}
	forever := func(r *Refusal) bool { return r.Cause == Spent && r.Retry == 0 }
	if forever(f) != forever(o) {
		return forever(o)
	}
	return o.Retry > f.Retry
}

// Terminal says whether the same request cannot succeed by itself however long the client waits.
func (f *Refusal) Terminal() bool {
	return f.Cause == TooMuch || f.Cause == Spent && f.Retry == 0
}

// String is the refusal as logs name it: key_requests_minute_spent, tenant_cost_rolling_away, group_tokens_too_much.
func (f *Refusal) String() string {
	over := f.Over.String()
	switch {
	case f.Cause == TooMuch:
		over = ""
	case f.Over == Rolling:
		over = "rolling"
	}
	if over != "" {
		over += "_"
	}
	return f.Scope.String() + "_" + f.What.String() + "_" + over + f.Cause.String()
}

// Fault is the refusal as clients are told.
func (f *Refusal) Fault() *fault.Error {
	switch f.Cause {
	case TooMuch:
		return fault.New(fault.Invalid, "the request is estimated at %s, and the %s allows %s for one request",
			amount(f.What, f.Need), f.Scope, amount(f.What, f.Limit)).WithCode("request_limit_exceeded")
	case Away:
		return fault.New(fault.Unavailable, "the %s's limit of %s cannot be checked at the moment", f.Scope, f.limit()).
			WithCode("limits_unavailable").WithRetryAfter(max(f.Retry, soon))
	case Short, Pending:
		return fault.New(fault.Exhausted, "the %s's limit of %s is shared out at the moment", f.Scope, f.limit()).
			WithCode("rate_limit_exceeded").WithRetryAfter(max(f.Retry, soon))
	}
	code := "rate_limit_exceeded"
	if f.What == Cost {
		code = "insufficient_quota"
	}
	return fault.New(fault.Exhausted, "the %s's limit of %s is reached", f.Scope, f.limit()).
		WithCode(code).WithRetryAfter(f.Retry)
}

// limit is the limit in words.
func (f *Refusal) limit() string {
	switch {
	case f.What == Concurrency:
		return fmt.Sprintf("%d requests at once", f.Limit)
	case f.Over == Always:
		return amount(f.What, f.Limit) + " in total"
	}
	if f.Over == Rolling {
		return fmt.Sprintf("%s in %d minutes", amount(f.What, f.Limit), f.Minutes)
	}
	return amount(f.What, f.Limit) + " per " + f.Over.String()
}

func amount(w What, n int64) string {
	if w == Cost {
		return money.NanoUSD(n).String()
	}
	return fmt.Sprintf("%d %s", n, w)
}
