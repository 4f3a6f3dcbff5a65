package credential

import (
	"errors"
	"hash/fnv"
	mathrand "math/rand/v2"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// spare is how long before its end a credential is renewed at the latest.
	spare = 5 * time.Minute
	// clockSlack is by how much the clocks of two leaders may differ.
	clockSlack = time.Minute

	maxPause = 5 * time.Minute
	// refusedPause is the first pause after an endpoint refused the credential itself, in first pauses of other failures:
	// asking again soon changes nothing, and looks like an attack.
	refusedPause = 15
	maxRefused   = 15 * time.Minute
)

// renewIn returns how long to keep a credential: to 80% of its life, or to 5 minutes before its end when that is earlier,
// but never less than half of its life. Up to 5% come off by chance, so that credentials that were exchanged together are
// not renewed together; the chance is the same for every leader. A credential from the future has been issued by a clock
// that was set since: nobody knows when it ends.
func renewIn(c *resourcev1.Credential, now time.Time) time.Duration {
	issued, expires := c.GetIssueTime().AsTime(), c.GetExpireTime().AsTime()
	life := expires.Sub(issued)
	if life <= 0 || issued.After(now.Add(clockSlack)) {
		return 0
	}
	keep := max(min(life*4/5, life-spare), life/2)
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.GetMetadata().GetId() + issued.String())) // never fails
	keep -= life / 20 * time.Duration(h.Sum32()%1024) / 1024
	return issued.Add(keep).Sub(now)
}

// pause returns how long to wait after the failure that follows so many others: doubled each time, between half and all of
// it by chance, and never shorter than the endpoint asks for.
func (e *Exchanger) pause(failures int, err error) time.Duration {
	pause, limit := e.firstPause, maxPause
	r, refused := errors.AsType[*refusal](err)
	if refused && r.credential() {
		pause, limit = e.firstPause*refusedPause, maxRefused
	}
	for range failures {
		if pause >= limit {
			break
		}
		pause *= 2
	}
	pause = min(pause, limit)
	pause = pause/2 + mathrand.N(pause/2+1)
	if refused {
		pause = max(pause, min(r.retryAfter, maxRefused))
	}
	return pause
}
