package gateway

import (
	"math/rand/v2"
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/fault"
)

// step is one attempt, for the decision log.
type step struct {
	channel, account string
	picked           route.Reason
	verdict          string // "" = it answered
	status           int    // of the upstream; 0 = none
	took             time.Duration
}

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
		if !x.pick() {
			return x.exhausted()
		}
		if x.attempt++; x.attempt > 1 {
			x.g.meters.retries.Inc()
		}
		began := x.now
		f := x.try()
		x.note(began, f)
		if f == nil {
			return x.answer()
		}
		x.closeResponse()
		x.land()
		if f.gone {
			return x.clientLeft()
		}
		if x.elsewhere(f) {
			x.last = *f
			x.tried = append(x.tried, x.candidate.Account)
			x.askedAround++
			continue
		}
		x.punish(f)
		x.last = *f
		if !f.verdict.Retry {
			return x.exhausted()
		}
		if f.refusal != nil {
			x.askedAround++ // nobody was asked
			if x.skipChannel(x.candidate.Account.Channel) {
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
	case x.attempt-x.askedAround >= x.snap.Settings().MaxAttempts:
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

// pick chooses the next account. Channels that are known not to serve the model count as tried.
func (x *exchange) pick() bool {
	nowMS := x.now.UnixMilli()
	if x.pinned != nil {
		return x.pickPinned()
	}
	ask := route.Ask{Group: x.group, Settings: x.snap.SettingsRef(), NowMS: nowMS}
	for {
		ask.Tried = x.tried
		c, reason := route.Pick(x.pool, &ask, &x.rng)
		x.candidate, x.reason = c, reason
		if c == nil {
			return false
		}
		// A short-lived credential that has ended is as good as none: its next one is on its way.
		if ends := c.Account.SecretEndsMS; ends != 0 && ends <= nowMS && len(x.tried) < maxSkipped {
			x.tried = append(x.tried, c.Account)
			continue
		}
		if !x.g.excluded.has(c.Account.Channel, x.model, nowMS) || !x.skipChannel(c.Account.Channel) {
			return true
		}
	}
}

// maxSkipped is how many accounts a channel may have to be skipped: each pick looks through those that were tried. A
// larger one is asked again, which costs an attempt.
const maxSkipped = 64

// skipChannel counts a channel's accounts as tried; false if they are too many.
func (x *exchange) skipChannel(ch *snapshot.Channel) bool {
	for i := range x.pool.Tiers {
		for _, r := range x.pool.Tiers[i].Rosters {
			if r.Channel != ch {
				continue
			}
			if len(r.Candidates) > maxSkipped {
				return false
			}
			for j := range r.Candidates {
				x.tried = append(x.tried, r.Candidates[j].Account)
			}
			return true
		}
	}
	return false
}

func (x *exchange) note(began time.Time, f *failure) {
	s := step{
		channel: x.candidate.Account.Channel.Name,
		account: x.candidate.Account.Name,
		picked:  x.reason,
		took:    x.now.Sub(began),
	}
	if f != nil {
		s.verdict, s.status = f.verdict.Reason, f.status
		if f.gone {
			s.verdict = "client_gone"
		}
	} else if x.response != nil {
		s.status = x.response.Status
	}
	x.trail = append(x.trail, s)
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
	if last.answer != nil && last.tellClient() {
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
	return f.WithRetryAfter(retryAfter)
}

// farAway is from which wait on a client should not try again by itself.
const farAway = time.Minute

// why is the reason in words that name no account: clients read it.
func (x *exchange) why() string {
	if x.attempt == 0 {
		return "all of them are resting after failures"
	}
	switch x.last.verdict.Reason {
	case "connection":
		return "the connection to the upstream failed"
	case "no_first_byte":
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
	wait := time.Duration(route.ReadyAt(x.pool)-x.g.now().UnixMilli()) * time.Millisecond
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
