package judge

import (
	"math"
	"slices"

	"fairway/pkg/breaker"
)

// tierID is a group's accounts of one priority.
type tierID struct {
	group    string
	priority int32
}

// tier is what serves one group at one priority.
type tier struct {
	members []*account // that no operator disabled
	out     int        // of these, not closed

	// Of the batch that runs.
	attempts uint64
	weight   float64
}

// place is a channel: where its traffic comes from.
type place struct {
	weight float64 // of all accounts that no operator disabled
	seats  []seat
}

// organizationID is an organisation at a provider.
type organizationID struct {
	provider int32
	name     string
}

// organization is the accounts that share its limits.
type organization struct {
	members []*account
	refused moment // as a whole, for the last time
}

// arrange makes tiers and channels anew from the accounts.
func (j *Judge) arrange() {
	clear(j.tiers)
	clear(j.organizations)
	channels := make(map[string]*place, len(j.channels))
	names := map[string]struct{}{}
	for _, a := range j.list {
		c := channels[a.ChannelID]
		if c == nil {
			c = &place{}
			if old := j.channels[a.ChannelID]; old != nil {
				c.seats = old.seats
			}
			channels[a.ChannelID] = c
		}
		a.place, a.tiers, a.out = c, a.tiers[:0], false
		if a.Disabled {
			continue
		}
		c.weight += weight(a.Weight)
		if a.Organization != "" {
			id := organizationID{a.Provider, a.Organization}
			if j.organizations[id] == nil {
				j.organizations[id] = &organization{}
			}
			j.organizations[id].members = append(j.organizations[id].members, a)
		}
		for _, g := range a.Groups {
			id := tierID{g, a.Priority}
			t := j.tiers[id]
			if t == nil {
				t = &tier{}
				j.tiers[id] = t
			}
			if !slices.Contains(a.tiers, t) {
				t.members = append(t.members, a)
				a.tiers = append(a.tiers, t)
			}
		}
		a.count()
		for _, m := range a.Models {
			names[m] = struct{}{}
		}
	}
	j.channels = channels
	for _, a := range j.list {
		a.portion = weight(a.ChannelWeight) * weight(a.Weight) / max(a.place.weight, 1e-9)
	}
	for name, m := range j.models {
		if _, ok := names[name]; !ok {
			m.orphan = true
		}
	}
	for name := range names {
		if m := j.models[name]; m != nil {
			m.orphan = false
		}
	}
}

// count tells a's tiers when it goes out or comes in.
func (a *account) count() {
	out := a.breaker.State() != breaker.Closed && !a.Disabled
	if out == a.out {
		return
	}
	a.out = out
	for _, t := range a.tiers {
		if out {
			t.out++
		} else {
			t.out--
		}
	}
}

// ejectable reports whether rates and slowness may take a out. Accounts that are out for other reasons count as well:
// what is left of a tier serves better than nothing.
func (j *Judge) ejectable(a *account) bool {
	for _, t := range a.tiers {
		if t.out+1 > int(finite(j.rules.MaxEjected, 0, 1)*float64(len(t.members))) {
			return false
		}
	}
	return true
}

// weight is one that can be divided by.
func weight(w float64) float64 { return finite(w, 1e-9, 1e9) }

// balance sets the factors of least_used: how much less than its share an account got of what its tier got. Of several
// tiers the busiest counts. Accounts that are out, or come back, have no say.
func (j *Judge) balance(m moment) {
	for _, t := range j.tiers {
		t.attempts, t.weight = 0, 0
		for _, a := range t.members {
			if a.out {
				continue
			}
			t.weight += a.portion
			if a.traffic != nil {
				t.attempts += a.traffic.attempts()
			}
		}
	}
	for _, a := range j.list {
		a.use = 0
		var busiest *tier
		for _, t := range a.tiers {
			if busiest == nil || t.attempts > busiest.attempts {
				busiest = t
			}
		}
		if busiest == nil || a.out || busiest.attempts < uint64(max(j.rules.MinRequests, 1)) || j.coming(a, m) {
			continue
		}
		var attempts uint64
		if a.traffic != nil {
			attempts = a.traffic.attempts()
		}
		a.use = factor(a.portion/busiest.weight, float64(attempts)/float64(busiest.attempts))
	}
}

// factor is clamp(1 + (share - actual) / share, 1/4, 4).
func factor(share, actual float64) float32 {
	f := 1 + (share-actual)/share
	if math.IsNaN(f) {
		return 1
	}
	return float32(min(max(f, 0.25), 4))
}
