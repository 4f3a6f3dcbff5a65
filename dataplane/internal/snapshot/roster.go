package snapshot

import (
	"slices"
	"strings"
	"sync/atomic"
)

// Candidate is one enabled account of one enabled channel. Candidates are shared by all pools of their channel; the
// upstream's name of a model is Account.Channel.UpstreamModel(model).
type Candidate struct {
	Account *Account
	Cell    *Cell   // Account.Cell, one step nearer
	Scale   float32 // 1/(share of the tier's traffic), up to a factor common to the tier: in-flight * Scale compares load
	Weight  uint32  // among the channel's accounts
}

// Roster is what one channel offers: its enabled accounts. It is immutable but for its Tally; in a Tier it has a candidate.
type Roster struct {
	Channel    *Channel
	Candidates []Candidate          // sorted by account id
	seats      []seat               // one per candidate; up to here it is one cache line, and all that a draw reads
	ring       atomic.Pointer[Ring] // nil = nobody has asked

	Passive []Candidate // no draw finds them; sorted as Candidates
	Tally   Tally
}

// Tally is what a roster's cells said when routing summed them up last. It belongs to the one goroutine that does; nobody else
// may look at it. Shares are of the channel's weight, so those of all its candidates are 1.
type Tally struct {
	Pass     any        // names the round that wrote it
	Healthy  float64    // share of those that do not rest
	InFlight int64      // of all
	Vigor    float64    // sum over those that do not rest of share * vigor
	Use      float64    // likewise, of share * vigor * use
	Powers   [5]float64 // likewise, of share * vigor * q^i, q being what "balanced" knows without cost and load
	MaxVigor float64
	MaxUse   float64 // the most of vigor * use
	MaxQ     float64
}

// seat is a candidate as a draw sees it: a quarter of a cache line, so that a hundred thousand of them stay near the
// processor. The candidate itself is read once it has won.
type seat struct {
	slot slot // of the roster's alias table
	cell *Cell
}

// newRoster keeps of accounts those that may serve. It returns nil when there are none, or the channel is disabled. What
// requests asked of the roster before is made for this one too.
func newRoster(ch *Channel, accounts []*Account, old *Roster) *Roster {
	if ch == nil || ch.Disabled {
		return nil
	}
	var total float64
	weights := make([]uint32, 0, len(accounts))
	r := &Roster{Channel: ch, Candidates: make([]Candidate, 0, len(accounts))}
	for _, a := range accounts {
		switch c := (Candidate{Account: a, Cell: a.Cell, Scale: 1, Weight: a.Weight}); {
		case a.Disabled:
		case a.Passive:
			r.Passive = append(r.Passive, c)
		default:
			total += float64(a.Weight)
			weights = append(weights, a.Weight)
			r.Candidates = append(r.Candidates, c)
		}
	}
	if len(r.Candidates)+len(r.Passive) == 0 {
		return nil
	}
	r.seats = make([]seat, len(r.Candidates))
	for i, slot := range aliasTable(weights) {
		c := &r.Candidates[i]
		c.Scale = float32(total / (float64(c.Weight) * float64(ch.Weight)))
		r.seats[i] = seat{slot: slot, cell: c.Cell}
	}
	if old != nil && old.ring.Load() != nil {
		r.Ring()
	}
	return r
}

// serves says whether draws can find somebody.
func (r *Roster) serves() bool { return r != nil && len(r.Candidates) > 0 }

// Ring is the candidates by a hash of their accounts' ids. The first call makes it.
func (r *Roster) Ring() *Ring {
	if ring := r.ring.Load(); ring != nil {
		return ring
	}
	spots := make([]Spot, len(r.Candidates))
	for i := range r.Candidates {
		c := &r.Candidates[i]
		spots[i] = Spot{Hash: spotHash(string(c.Account.ID)), Index: uint32(i), Weight: c.Weight}
	}
	r.ring.CompareAndSwap(nil, newRing(spots))
	return r.ring.Load()
}

// find looks an account up, be it passive or not.
func (r *Roster) find(id AccountID) *Candidate {
	for _, list := range [...][]Candidate{r.Candidates, r.Passive} {
		i, ok := slices.BinarySearchFunc(list, id, func(c Candidate, id AccountID) int {
			return strings.Compare(string(c.Account.ID), string(id))
		})
		if ok {
			return &list[i]
		}
	}
	return nil
}
