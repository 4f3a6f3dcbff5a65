package gateway

import (
	"slices"

	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
)

// skip is an account that was passed over, and why.
type skip struct {
	account *snapshot.Account
	why     health.Refusal // 0 = its credential has ended
}

// pick chooses the next account. The first attempt may be one that finds out whether an account is well again, if this proxy
// was asked to: it can still move on.
func (x *exchange) pick() bool {
	x.permit = ""
	if x.pinned != nil {
		return x.pickPinned()
	}
	nowMS := x.now.UnixMilli()
	if x.attempt == 0 && !x.searching {
		if c, id := x.g.health.Permit(x.pool, nowMS); c != nil {
			if x.g.health.Refuses(c.Account, x.model, nowMS) == 0 {
				x.candidate, x.reason, x.permit = c, route.Chosen, id
				x.g.meters.picksProbe.Inc()
				return true
			}
			x.g.health.Return(id)
		}
	}
	ask := x.asks(nowMS)
	if x.avoid != nil {
		ask.Tried = x.alsoAvoiding()
		if x.choose(&ask) {
			return true
		}
		ask.Tried = x.tried
	}
	return x.choose(&ask)
}

// asks is what the request wants of routing.
func (x *exchange) asks(nowMS int64) route.Ask {
	return route.Ask{
		Group: x.group, Settings: x.snap.SettingsRef(), Tried: x.tried, NowMS: nowMS, Affinity: x.affinity, Seed: x.g.seed,
	}
}

// choose picks until nothing speaks against the account: what single accounts and models are refused for is not routing's to
// know.
func (x *exchange) choose(ask *route.Ask) bool {
	for {
		c, reason := route.Pick(x.pool, ask, &x.rng)
		x.candidate, x.reason = c, reason
		x.g.meters.picks[reason].Inc()
		switch reason {
		case route.Spilled:
			x.g.health.Count(health.Spilled, 1)
		case route.Panicked:
			x.g.health.Count(health.Panicked, 1)
		default:
		}
		if c == nil {
			return false
		}
		// A short-lived credential that has ended is as good as none: its next one is on its way.
		if ends := c.Account.SecretEndsMS; ends != 0 && ends <= ask.NowMS && len(x.skips) < maxSkipped {
			x.passOver(ask, c.Account, 0)
			continue
		}
		why := x.g.health.Refuses(c.Account, x.model, ask.NowMS)
		switch {
		case why == 0:
			return true
		case len(x.skips) >= mostPassed:
			x.candidate, x.reason = nil, route.Crowded
			return false
		case why == health.ModelExcluded || why == health.Throttled:
			// It is the channel that does not serve the model.
			if !x.skipChannel(ask, c.Account.Channel, why) {
				return true
			}
		default:
			x.passOver(ask, c.Account, why)
		}
	}
}

const (
	// maxSkipped is how many accounts of a channel, or of a provider, are passed over together: each pick looks through those
	// that were tried.
	maxSkipped = 64
	// mostPassed is how many are passed over one by one. When so many have spent what their plans allow, the request fails.
	mostPassed = 256
)

// passOver counts an account as tried.
func (x *exchange) passOver(ask *route.Ask, a *snapshot.Account, why health.Refusal) {
	x.skips = append(x.skips, skip{a, why})
	x.tried = append(x.tried, a)
	if ask != nil {
		ask.Tried = append(ask.Tried[:len(ask.Tried):len(ask.Tried)], a)
	}
}

// skipChannel counts a channel's accounts as tried; false if they are too many: then it is asked again, which costs an
// attempt.
func (x *exchange) skipChannel(ask *route.Ask, ch *snapshot.Channel, why health.Refusal) bool {
	for i := range x.pool.Tiers {
		for _, r := range x.pool.Tiers[i].Rosters {
			if r.Channel != ch {
				continue
			}
			if len(r.Candidates) > maxSkipped {
				return false
			}
			for j := range r.Candidates {
				x.passOver(ask, r.Candidates[j].Account, why)
			}
			return true
		}
	}
	return false
}

// alsoAvoiding are the accounts that were tried, and those of the provider that has just said that nobody there can serve
// the model, as far as they are few.
func (x *exchange) alsoAvoiding() []*snapshot.Account {
	all := slices.Clone(x.tried)
	for i := range x.pool.Tiers {
		for _, r := range x.pool.Tiers[i].Rosters {
			if r.Channel.Provider != x.avoid.Provider {
				continue
			}
			for j := range r.Candidates {
				if len(all) >= maxSkipped {
					return all
				}
				all = append(all, r.Candidates[j].Account)
			}
		}
	}
	return all
}

// picked says why the candidate is the one.
func (x *exchange) picked() string {
	switch {
	case x.pinned != nil:
		return pickedOwner
	case x.permit != "":
		return pickedProbe
	}
	return x.reason.String()
}
