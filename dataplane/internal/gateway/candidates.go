package gateway

import (
	"slices"

	"fairway/dataplane/internal/route"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// mostListed is how many candidates a decision names.
const mostListed = 24

// listCandidates says how the choice sees the accounts, as of the request's end.
func (x *exchange) listCandidates(d *adminv1.Decision) {
	if x.pool != nil {
		x.listPool(d)
	}
	if x.key.Accounts() != nil {
		x.listUnbound(d)
	}
}

// listPool lists those that the key may use.
func (x *exchange) listPool(d *adminv1.Decision) {
	ask := x.asks(x.now.UnixMilli())
	scores, more := route.Scores(x.pool, &ask, mostListed)
	d.MoreCandidates = uint32(more)
	for i := range scores {
		s := &scores[i]
		a := s.Candidate.Account
		out := &adminv1.DecisionCandidate{
			Channel: a.Channel.Name, Account: a.Name, Priority: s.Priority, Share: s.Share,
			Cost: float64(s.Cost), Performance: float64(s.Performance), Load: float64(s.Load), Reliability: float64(s.Reliability),
			Vigor: float64(s.Vigor), InFlight: uint32(max(s.InFlight, 0)), Excluded: s.Excluded,
		}
		for _, skipped := range x.skips {
			if skipped.account == a {
				out.Excluded = skipped.why.String()
				if skipped.why == 0 {
					out.Excluded = "credential_ended"
				}
			}
		}
		d.Candidates = append(d.Candidates, out)
	}
}

// listUnbound adds those that serve the model for others, but not for the key.
func (x *exchange) listUnbound(d *adminv1.Decision) {
	pool, ok := x.snap.Pool(x.group, x.model)
	if !ok {
		return
	}
	bound := x.key.Accounts()
	for i := range pool.Tiers {
		t := &pool.Tiers[i]
		for _, r := range t.Rosters {
			for j := range r.Candidates {
				a := r.Candidates[j].Account
				if _, ok := slices.BinarySearch(bound, a.ID); ok {
					continue
				}
				if len(d.Candidates) >= mostListed {
					d.MoreCandidates++
					continue
				}
				d.Candidates = append(d.Candidates, &adminv1.DecisionCandidate{
					Channel: a.Channel.Name, Account: a.Name, Priority: t.Priority, Excluded: "not bound to the key",
				})
			}
		}
	}
}
