package judge

import (
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// earlyFor is how long what was said of an account that is not known yet is kept: proxies may hear of a new account, and
	// use it, a moment before the judge is told.
	earlyFor = 10 * time.Second
	maxEarly = 1_000
)

// early is what a proxy said of an account that is not known yet.
type early struct {
	proxy *proxy
	delta *syncv1.AccountDelta
	at    moment
}

// await keeps a delta for when its account is known. What is too much, or too old, is forgotten.
func (j *Judge) await(p *proxy, d *syncv1.AccountDelta, m moment) {
	if len(j.early) > 0 && m.sub(j.early[0].at) > earlyFor {
		j.early = j.early[:0] // in bulk: it hardly ever holds anything
	}
	if len(j.early) < maxEarly {
		j.early = append(j.early, early{p, d, m})
	}
}

// catchUp merges what was said of accounts that are known by now.
func (j *Judge) catchUp(m moment) {
	waiting := j.early
	j.early = nil
	for _, e := range waiting {
		switch a := j.accounts[e.delta.GetAccountId()]; {
		case m.sub(e.at) > earlyFor:
		case a != nil:
			j.delta(a, e.proxy, e.delta, m)
		default:
			j.early = append(j.early, e)
		}
	}
}
