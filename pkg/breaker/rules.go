// Package breaker decides when an upstream account rests and how it comes back: the state machine of one account, by the
// rules that the fleet's settings give. Proxies run it on what they see themselves, the leader on what all see; so both
// planes, and the simulator, share it.
//
// It is pure: times come from the caller, nothing is sent, stored or logged here. It refuses to know why a request failed
// (the fault table says that) and which account serves next (routing does).
package breaker

import "time"

// Rules are the thresholds and times of all breakers. Zero values are not defaults: start from Defaults.
type Rules struct {
	ConsecutiveFailures int           // in a row, after which an account rests
	MaxErrorRate        float64       // share of failed requests in Window, 0 to 1
	MinRequests         int           // in Window, below which rates say nothing
	Window              time.Duration // over which rates are taken
	MaxTTFTRatio        float64       // time to the first byte over what is expected, over the whole window
	MaxEjected          float64       // share of a tier that rates and slowness may take out at once, 0 to 1
	Panic               float64       // share of healthy accounts below which health is ignored, 0 to 1

	Open          time.Duration // the first rest; doubled each time
	MaxOpen       time.Duration // the longest
	SlowStart     time.Duration // from recovery to the full share; 0 = at once
	CheckInterval time.Duration // without traffic, until an account is checked, and between checks
	Check         Check
}

// Check says how an account without traffic is looked after; the values are those of resource.v1.CheckMode.
type Check int32

// The ways.
const (
	CheckOff    Check = 1
	CheckModels Check = 2
	CheckAnswer Check = 3
)

// Defaults are those that resource.v1.Thresholds and resource.v1.Recovery document.
func Defaults() Rules {
	return Rules{
		ConsecutiveFailures: 5, MaxErrorRate: 0.05, MinRequests: 20, Window: time.Minute, MaxTTFTRatio: 5,
		MaxEjected: 0.5, Panic: 0.5,
		Open: 300 * time.Second, MaxOpen: 3600 * time.Second, SlowStart: time.Minute,
		CheckInterval: 30 * time.Second, Check: CheckModels,
	}
}

// State is where a breaker stands; the values are those of resource.v1.HealthState.
type State int32

// The states.
const (
	Closed   State = 1 // it serves
	Open     State = 2 // it rests until a time
	HalfOpen State = 3 // one request at a time tries it
	Disabled State = 4 // until somebody acts
)

// String is the state for logs and metrics.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	case Disabled:
		return "disabled"
	default:
		return "unknown"
	}
}

// Share is how much of its weight an account gets that has been coming back for age.
func (r *Rules) Share(age time.Duration) float64 {
	if age >= r.SlowStart {
		return 1
	}
	return Least + (1-Least)*float64(max(age, 0))/float64(r.SlowStart)
}
