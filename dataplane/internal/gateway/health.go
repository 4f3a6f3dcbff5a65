package gateway

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
)

// punish draws the consequences of a failed attempt for the account, and where the fault is wider, for its organisation
// or for the channel's model. Until fleet-wide verdicts exist, a refused credential rests for Options.DisableFor and is
// then tried by a live request that can still move on.
func (x *exchange) punish(f *failure) {
	x.g.meters.attemptFailures.WithLabelValues(f.verdict.Reason).Inc()
	v := &f.verdict
	if v.Pass {
		return
	}
	now := x.g.now()
	account := x.candidate.Account
	cell := account.Cell
	failures := int(cell.Failures.Add(1))
	switch rest := v.Cool.For(failures, f.asked); {
	case v.Disable:
		until := now.Add(x.g.options.DisableFor).UnixMilli()
		cell.Hold(until)
		if account.Organization != "" && v.Reason != "credential" {
			x.holdOrganization(account, until)
		}
	case rest > 0 && v.Cool.Ask && f.asked > 0:
		cell.Hold(now.Add(rest).UnixMilli())
	case rest > 0:
		cell.Cool(now.Add(rest).UnixMilli())
	}
	if v.ExcludeModel {
		x.g.excluded.add(account.Channel, x.model, now.Add(x.g.options.ExcludeFor).UnixMilli(), now.UnixMilli())
	}
	if v.Disable {
		x.g.meters.disabled.Inc()
	}
	if v.Alert {
		x.g.log.Warn("upstream refuses an account", "request_id", x.requestID(), "reason", v.Reason,
			"channel", account.Channel.Name, "account", account.Name, "status", f.status, "detail", f.detail,
			"disabled", v.Disable)
	}
}

// holdOrganization rests the other accounts that share an exhausted organisation.
func (x *exchange) holdOrganization(of *snapshot.Account, untilMS int64) {
	for i := range x.pool.Tiers {
		for _, r := range x.pool.Tiers[i].Rosters {
			if r.Channel.ID != of.Channel.ID {
				continue
			}
			for j := range r.Candidates {
				if r.Candidates[j].Account.Organization == of.Organization {
					r.Candidates[j].Cell.Hold(untilMS)
				}
			}
		}
	}
}

// praise notes an answer. A success ends what was said about the account before, but not a rest that began while the
// request was under way; only when everybody rests and this one was tried all the same is its rest over.
func (x *exchange) praise() {
	cell := x.candidate.Cell
	if cell.Failures.Load() != 0 {
		cell.Failures.Store(0)
	}
	if x.reason == route.Panicked {
		cell.CooldownUntil.Store(0)
	}
}

// latencyShare is the weight of one observation in the moving average.
const latencyShare = 0.2

// observeLatency moves the account's average time to the response's head.
func (x *exchange) observeLatency(took time.Duration) {
	cell := x.candidate.Cell
	ms := float64(took) / float64(time.Millisecond)
	for {
		old := cell.LatencyEWMA.Load()
		next := ms
		if old != 0 {
			was := math.Float64frombits(old)
			next = was + latencyShare*(ms-was)
		}
		if cell.LatencyEWMA.CompareAndSwap(old, math.Float64bits(next)) {
			return
		}
	}
}

// maxExclusions bounds what is remembered; beyond it nothing is excluded any more, which costs attempts only.
const maxExclusions = 4096

// excludedModel is a model that a channel said it does not know. A channel that an operator has changed is another one,
// and asked again.
type excludedModel struct {
	channel *snapshot.Channel
	model   string
}

// exclusions are the models that channels do not know. Reading is one load while there are none.
type exclusions struct {
	mu  sync.Mutex
	set atomic.Pointer[map[excludedModel]int64] // until, unix ms; the map is never changed
}

func (e *exclusions) has(channel *snapshot.Channel, model string, nowMS int64) bool {
	set := e.set.Load()
	return set != nil && (*set)[excludedModel{channel, model}] > nowMS
}

func (e *exclusions) add(channel *snapshot.Channel, model string, untilMS, nowMS int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := make(map[excludedModel]int64)
	if set := e.set.Load(); set != nil {
		maps.Copy(next, *set)
	}
	maps.DeleteFunc(next, func(_ excludedModel, until int64) bool { return until <= nowMS })
	if len(next) < maxExclusions {
		// The name is a view of an exchange's memory.
		next[excludedModel{channel, string(append([]byte(nil), model...))}] = untilMS
	}
	e.set.Store(&next)
}
