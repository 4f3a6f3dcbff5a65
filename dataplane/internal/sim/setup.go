package sim

import (
	"cmp"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Setup is a world and what happens in it. The zero value works: it is the fleet of the bars, eight proxies and a hundred
// accounts, by the default strategy.
type Setup struct {
	Name string
	Seed uint64 // of all chance; 0 = 1

	Proxies  int // 0 = 8
	Accounts int // 0 = 100
	Channels int // that they are spread over; 0 = 10
	Capacity int // requests that an account carries at once, on average; 0 = 100
	// Even gives all accounts the same capacity; else there are accounts of 0.5, 1 and 1.5 times the mean. Weights are as
	// capacities.
	Even bool
	// Spread is the standard deviation of the logarithm of accounts' speeds; 0 = 0.15, negative = none.
	Spread float64
	Prices []int64 // price ratios of the channels in turn, in millionths; nil = all 1
	Capped bool    // accounts' concurrency is told to Fairway; else it is the provider's secret

	Load   float64       // share of what all accounts can carry; 0 = 0.85
	Wave   float64       // how much of the load comes and goes with the time of day; 0 = none
	Day    time.Duration // of the wave; 0 = 10min
	Answer time.Duration // mean of a whole answer; 0 = 10s

	Strategy resourcev1.Strategy // 0 = balanced
	Rival    Rival               // chooses instead; 0 = Fairway does
	Power    int                 // of the score of "balanced", for a study of it; 0 = routing's own

	Open time.Duration // first rest of an account that failed; 0 = 300s

	Warm   time.Duration // before anything is measured; 0 = 90s
	Length time.Duration // that is measured; 0 = 120s

	Watch  []int          // accounts of the usual speed, of which decisions are kept
	New    []int          // likewise, that are not there until World.Add
	Script func(w *World) // notes what is to happen; nil = nothing does
}

func (s *Setup) fill() {
	s.Seed = cmp.Or(s.Seed, 1)
	s.Proxies = cmp.Or(s.Proxies, 8)
	s.Accounts = cmp.Or(s.Accounts, 100)
	s.Channels = min(cmp.Or(s.Channels, 10), s.Accounts)
	s.Capacity = cmp.Or(s.Capacity, 100)
	s.Spread = max(cmp.Or(s.Spread, 0.15), 0)
	s.Load = cmp.Or(s.Load, 0.85)
	s.Day = cmp.Or(s.Day, 10*time.Minute)
	s.Answer = cmp.Or(s.Answer, 10*time.Second)
	s.Strategy = cmp.Or(s.Strategy, resourcev1.Strategy_STRATEGY_BALANCED)
	s.Warm = cmp.Or(s.Warm, 90*time.Second)
	s.Length = cmp.Or(s.Length, 2*time.Minute)
}

// Rival is a way to choose that Fairway is compared with. It passes over accounts that rest, as the same health room says,
// so that only the choice differs.
type Rival int

// The rivals.
const (
	// RoundRobin gives each account its turns by weight, each proxy by itself, all in the same order.
	RoundRobin Rival = iota + 1
	// ArgMin takes the account with the least to do for its weight in a view of the whole fleet that is up to a second old.
	ArgMin
	// PlainRandom draws by weight.
	PlainRandom
)

// String names it.
func (r Rival) String() string {
	switch r {
	case RoundRobin:
		return "round robin"
	case ArgMin:
		return "arg-min, 1 s old"
	case PlainRandom:
		return "plain weighted random"
	default:
		return "none"
	}
}

func strategyName(s resourcev1.Strategy) string {
	switch s {
	case resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM:
		return "weighted_random"
	case resourcev1.Strategy_STRATEGY_LEAST_USED:
		return "least_used"
	case resourcev1.Strategy_STRATEGY_LEAST_RECENT:
		return "least_recent"
	case resourcev1.Strategy_STRATEGY_LOWEST_COST:
		return "lowest_cost"
	default:
		return "balanced"
	}
}
