package gateway

import (
	"fairway/dataplane/internal/route"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// mostListed is how many candidates a decision names.
const mostListed = 24

// listCandidates says how the choice sees the accounts, as of the request's end.
func (x *exchange) listCandidates(d *adminv1.Decision) {
	if x.pool == nil {
		return
	}
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
