package route

import (
	"cmp"
	"slices"

	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Score is one candidate as a choice sees it.
type Score struct {
	Candidate *snapshot.Candidate
	Priority  int32
	Share     float64 // of its tier's draws, 0 to 1, before load is compared; 0 when it is excluded

	// The terms of "balanced", each 0 to 1, whatever the strategy.
	Cost, Performance, Load, Reliability float32
	Total                                float32 // by the fleet's weights

	Vigor    float32
	InFlight int32
	Excluded string // "tried", "held", "crowded" or "resting"; empty = it is in
}

// Scores says what Pick sees: the first candidates of the pool, best tier first and inside a tier by share, and how many more
// there are. It looks at every account and allocates: for those who ask why, not for the hot path.
func Scores(p *snapshot.Pool, a *Ask, most int) (list []Score, more int) {
	if a.Group.Strategy == int32(resourcev1.Strategy_STRATEGY_LOWEST_COST) {
		p = p.ByCost()
	}
	for i := range p.Tiers {
		t := &p.Tiers[i]
		if left := most - len(list); left <= 0 {
			more += t.Size
			continue
		}
		scores := tierScores(t, a)
		slices.SortStableFunc(scores, func(a, b Score) int {
			return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Excluded, b.Excluded))
		})
		n := min(most-len(list), len(scores))
		list = append(list, scores[:n]...)
		more += len(scores) - n
	}
	return list, more
}

func tierScores(t *snapshot.Tier, a *Ask) []Score {
	s := tasteOf(nil, a)
	terms := taste{strategy: resourcev1.Strategy_STRATEGY_BALANCED, weights: &a.Settings.Balance}
	scores := make([]Score, 0, t.Size)
	total := 0.0
	for i, r := range t.Rosters {
		for j := range r.Candidates {
			c := &r.Candidates[j]
			d := snapshot.Drawn{Cell: c.Cell, Candidate: c, Cost: t.Cost(i)}
			score := Score{
				Candidate: c, Priority: t.Priority,
				Cost: d.Cost, Performance: c.Cell.Performance.Load(), Load: leisure(t, &d), Reliability: c.Cell.Reliability.Load(),
				Total: terms.score(t, &d), Vigor: c.Cell.Vigor.Load(), InFlight: c.Cell.InFlight.Load(),
			}
			switch why := against(c, a); why {
			case Chosen:
				score.Share = s.weight(&d)
				total += score.Share
			case Exhausted:
				score.Excluded = "tried"
			default:
				score.Excluded = why.String()
			}
			scores = append(scores, score)
		}
	}
	for i := range scores {
		if total > 0 {
			scores[i].Share /= total
		}
	}
	return scores
}
