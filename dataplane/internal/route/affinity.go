package route

import (
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/splitmix"
)

const (
	// walk is how many accounts a conversation may belong to, one after the other.
	walk = 4
	// slack is how much more than its share of what is under way an account takes for the sake of conversations
	// (V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent hashing with bounded loads", 2016).
	slack = 1.25
)

// Affinity names a conversation: the same session of the same key and model is always the same number, at every proxy, and
// never 0.
func Affinity(key snapshot.KeyID, model string, session []byte) uint64 {
	h := splitmix.Mix(xxhash.Sum64String(string(key)))
	h = splitmix.Mix(h ^ xxhash.Sum64String(model))
	h = splitmix.Mix(h ^ xxhash.Sum64(session))
	return max(h, 1)
}

// stick finds the account that a conversation belongs to. One that is not usable is left at once, and so is one that has
// more than its share to do; then the next is asked, up to four. nil = none of them.
func stick(t *snapshot.Tier, beat *snapshot.TierPulse, a *Ask) *snapshot.Candidate {
	under := float64(0)
	if a.Group.Cell != nil {
		under = float64(a.Group.Cell.Active.Load()) // of now
	}
	if beat != nil {
		under = max(under, float64(beat.InFlight)) // of others too
	}
	w := begun(t, a.Affinity)
	for range walk {
		c := w.next()
		if c == nil {
			return nil
		}
		if !usable(c, a) {
			continue
		}
		load := c.Cell.InFlight.Load()
		if load <= 1 {
			return c
		}
		share := float64(min(1, c.Cell.Vigor.Load())) / float64(c.Scale*t.Weight)
		if float64(load) <= math.Ceil(slack*under*share) {
			return c
		}
	}
	return nil
}

// loyal is the one account that a conversation belongs to for good.
func loyal(t *snapshot.Tier, a *Ask) (*snapshot.Candidate, Reason) {
	w := begun(t, a.Affinity)
	c := w.next()
	if why := against(c, a); why != Chosen {
		return nil, why
	}
	return c, Stuck
}

// walker goes through the accounts of a tier in the order in which they own a conversation, by rendezvous (D. Thaler,
// C. Ravishankar, "Using name-based mappings to increase hit rates", 1998), weighted by the weights that draws go by: the
// channels first, inside a channel its accounts, since providers' caches are often common to those. Of many it looks only at the
// neighbourhood of the conversation.
type walker struct {
	tier   *snapshot.Tier
	hash   uint64
	lanes  field
	roster *snapshot.Roster // under way; nil = the next channel's turn
	seats  field
}

func begun(t *snapshot.Tier, hash uint64) walker {
	w := walker{tier: t, hash: hash}
	if len(t.Rosters) == 1 {
		w.enter(t.Rosters[0])
		return w
	}
	ring := t.Ring()
	w.lanes = field{spots: ring.Near(hash), even: ring.Even()}
	return w
}

func (w *walker) enter(r *snapshot.Roster) {
	w.roster, w.seats = r, field{}
	if len(r.Candidates) > 1 {
		ring := r.Ring()
		w.seats = field{spots: ring.Near(splitmix.Mix(w.hash)), even: ring.Even()}
	}
}

// next is the next owner; nil after the last.
func (w *walker) next() *snapshot.Candidate {
	for {
		if w.roster == nil {
			i := w.lanes.best(w.hash)
			if i < 0 {
				return nil
			}
			w.enter(w.tier.Rosters[i])
		}
		r := w.roster
		if len(r.Candidates) == 1 {
			w.roster = nil
			return &r.Candidates[0]
		}
		if i := w.seats.best(w.hash); i >= 0 {
			return &r.Candidates[i]
		}
		w.roster = nil
	}
}

// field is a neighbourhood, less those that had their turn.
type field struct {
	spots []snapshot.Spot
	even  bool
	gone  uint16 // bit i: spots[i] had its turn
}

// best is the index of the next owner, -1 after the last.
func (f *field) best(hash uint64) int {
	at := -1
	var best float32
	var most uint64
	for i := range f.spots {
		if f.gone&(1<<i) != 0 {
			continue
		}
		s := &f.spots[i]
		lot := splitmix.Mix(s.Hash ^ hash)
		if f.even {
			if at < 0 || lot > most {
				most, at = lot, i
			}
			continue
		}
		// Of exponential times with the weights as rates, the least.
		if score := log2(lot|1) / float32(s.Weight); at < 0 || score > best {
			best, at = score, i
		}
	}
	if at < 0 {
		return -1
	}
	f.gone |= 1 << at
	return int(f.spots[at].Index)
}

// log2 is the binary logarithm of x/2^64 to within 0.005, which no share can tell from the exact one, in a fifth of its time.
// It never falls where x rises, so conversations stay where they are when weights become the same.
func log2(x uint64) float32 {
	zeros := bits.LeadingZeros64(x)
	f := float32(x<<zeros<<1>>40) / (1 << 24)
	return float32(-1-zeros) + f*(1.4249+f*(-0.5842+f*0.1593))
}
