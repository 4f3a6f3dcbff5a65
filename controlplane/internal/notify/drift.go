package notify

import "fairway/pkg/money"

const (
	// driftRequests is how many requests of a model its estimates are judged by, at least. One is known only by what it was
	// like, so a few say nothing.
	driftRequests = 100
	// What is reserved may be so many times what is used. More is room that others are refused, less is no limit.
	driftMost, driftLeast = 4.0, 0.5
)

// drift is what was reserved, in tokens, for the requests of a model on a day, and what they used.
type drift struct {
	model          string
	day            int64
	requests       int64
	reserved, used int64
	heard          bool // that it is far off
}

// add counts a request. One that would wrap a sum is left out.
func (d *drift) add(reserved, used int64) {
	r, wraps := money.Add(d.reserved, reserved)
	u, too := money.Add(d.used, used)
	if wraps == nil && too == nil {
		d.requests, d.reserved, d.used = d.requests+1, r, u
	}
}

// ratio is how many times what was used was reserved. Where nothing was used, one token counts.
func (d *drift) ratio() float64 { return float64(d.reserved) / float64(max(d.used, 1)) }

// far says whether enough requests say that the estimates are far off.
func (d *drift) far() bool {
	return d.requests >= driftRequests && (d.ratio() > driftMost || d.ratio() < driftLeast)
}
