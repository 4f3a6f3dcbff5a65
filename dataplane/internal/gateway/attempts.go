package gateway

import (
	"math"
	"math/rand/v2"
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/route"
	"fairway/pkg/fault"
)

// attempts tries accounts until one answers, none is left, or a retry is not affordable. Nothing has been sent to the
// client while it runs. A fault is the answer.
func (x *exchange) attempts() *fault.Error {
	for {
		if x.gone.Load() {
			return x.clientLeft()
		}
		if !x.affordable() {
			return x.exhausted()
		}
		if x.attempt > 0 {
			x.now = x.g.now()
		}
		if x.outOfTime() {
			return x.tooLate()
		}
		if !x.pick() {
			return x.exhausted()
		}
		if x.attempt++; x.attempt > 1 {
			x.g.meters.retries.Inc()
			x.g.health.Count(health.Retries, 1)
		}
		x.stepAt = x.beginStep(x.candidate.Account, x.picked())
		f := x.try()
		x.note(x.stepAt, f)
		if f == nil {
			return x.answer()
		}
		x.closeResponse()
		elsewhere := x.elsewhere(f)
		x.landFailed(f, !elsewhere)
		x.endLimit()
		if f.gone {
			return x.clientLeft()
		}
		if elsewhere {
			x.last = *f
			x.tried = append(x.tried, x.candidate.Account)
			x.askedAround++
			continue
		}
		x.countFailure(f)
		x.last = *f
		if !f.verdict.Retry {
			return x.exhausted()
		}
		if f.refusal != nil {
			x.askedAround++ // nobody was asked
			if x.skipChannel(nil, x.candidate.Account.Channel, 0) {
				continue
			}
		}
		x.tried = append(x.tried, x.candidate.Account)
	}
}

// affordable says whether another attempt is within the request's cap and the group's budget.
func (x *exchange) affordable() bool {
	switch {
	case x.attempt == 0:
		return true
	case x.attempt == x.askedAround:
		return true // nobody has failed yet
	case x.attempt-x.askedAround >= x.snap.SettingsRef().MaxAttempts:
		return false
	case x.retrying:
		return true
	}
	x.retrying = x.budget.Retry()
	if !x.retrying {
		x.g.meters.budgetSpent.Inc()
	}
	return x.retrying
}

// tooLate is the answer when the group's time is over, or too little of it is left to try anybody.
func (x *exchange) tooLate() *fault.Error {
	if x.attempt == 0 {
		x.failed = true
		return fault.New(fault.Deadline, "the request took longer to arrive than its group allows for all of it").
			WithCode("request_timeout")
	}
	x.last.timeout = true
	return x.exhausted()
}

// clientLeft is the end of a request whose client hung up before its answer began.
func (x *exchange) clientLeft() *fault.Error {
	return fault.New(fault.Canceled, "the client closed the request")
}

// exhausted is the answer when no attempt succeeded and none follows: what the last upstream said if that is the
// client's business, and why nobody could serve otherwise.
func (x *exchange) exhausted() *fault.Error {
	x.failed = true
	last := &x.last
	if last.refusal != nil {
		return last.refusal
	}
	// Where all accounts were known to be down before it came, that is the news, and not what the last of them said.
	if last.answer != nil && last.tellClient() && (last.verdict.Pass || !x.outcome.Panicked) {
		x.answerFailure(last)
		return nil
	}
	retryAfter := x.readyIn()
	f := fault.New(fault.Unavailable, "no account could serve the request: %s", x.why())
	switch {
	case x.attempt > 0 && last.timeout:
		f = f.WithStatus(504).WithCode("upstream_timeout")
	case x.attempt > 0:
		f = f.WithCode("upstream_unavailable")
	default:
		f = f.WithCode("no_account_available")
	}
	if retryAfter > farAway {
		x.out.Set("X-Should-Retry", "false")
	}
	x.g.meters.unavailable.WithLabelValues(f.Code).Inc()
	x.g.health.Count(health.Unavailable, 1)
	return f.WithRetryAfter(retryAfter)
}

// untilSomebodyActs is what clients are told where time alone brings no account back: somebody may act, and they shall see.
const untilSomebodyActs = 5 * time.Minute

// farAway is from which wait on a client should not try again by itself.
const farAway = time.Minute

// why is the reason in words that name no account: clients read it.
func (x *exchange) why() string {
	if x.attempt == 0 {
		for _, s := range x.skips {
			switch s.why {
			case health.RequestsSpent, health.TokensSpent, health.SessionSpent, health.Busy:
				return "the limits of its accounts are used up"
			case health.Throttled, health.FamilyResting:
				return "the upstream is overloaded"
			default:
			}
		}
		if x.reason == route.Crowded {
			return "the limits of its accounts are used up"
		}
		return "all of them are resting after failures"
	}
	switch x.last.verdict.Reason {
	case "connection":
		return "the connection to the upstream failed"
	case "no_first_byte", "deadline":
		return "the upstream did not answer in time"
	case "credential", "quota", "organization_limit", "project_limit", "forbidden":
		return "the upstream refused the account"
	case "rate_limit":
		return "the upstream's rate limit was reached"
	}
	return "the upstream failed"
}

// readyIn is how long until some account is ready, one second at least, with a little jitter so that clients do not
// come back all at once.
func (x *exchange) readyIn() time.Duration {
	if x.pool == nil {
		return time.Second
	}
	at := route.ReadyAt(x.pool)
	if at == math.MaxInt64 {
		return untilSomebodyActs
	}
	wait := time.Duration(at-x.g.now().UnixMilli()) * time.Millisecond
	if wait < time.Second {
		return time.Second
	}
	return wait + time.Duration(rand.Int64N(int64(wait)/10+1))
}

// failure is an attempt that did not succeed.
type failure struct {
	verdict dialect.Verdict
	status  int           // of the upstream, or the one that its error stands for; 0 = no answer came
	asked   time.Duration // how long the provider wants to be left alone; 0 = it did not say
	timeout bool
	gone    bool  // not a failure at all: the client hung up
	cause   error // for the log; nil = the status says it
	detail  string
	said    dialect.UpstreamError // in the upstream's words, masked
	answer  *answered
	refusal *fault.Error // the request cannot be put to this upstream at all; nil = it was
}

// tellClient says whether an upstream's own words go to the client. Those about our accounts do not.
func (f *failure) tellClient() bool {
	v := &f.verdict
	return !v.Disable && f.status >= 400 && f.status != 401 && f.status != 403
}

// answered is what an upstream said when it failed.
type answered struct {
	body        []byte
	contentType string
	requestID   string
	headers     [][2]string // that the client may see
}
