package model

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// The documented defaults.
const (
	DefaultWeight        = 100
	DefaultPriceRatioPPM = 1_000_000
	DefaultMaxAttempts   = 3
	DefaultBudgetPercent = 20
	DefaultBudgetMin     = 3
	DefaultHedgeExtraPPM = 20_000

	DefaultDialTimeout      = 10 * time.Second
	DefaultTLSTimeout       = 10 * time.Second
	DefaultFirstByteTimeout = 300 * time.Second
	DefaultIdleTimeout      = 120 * time.Second
)

// Defaults fills, in place, every field whose absence has a documented meaning. It is idempotent. What depends on
// another resource stays absent: a group without a strategy follows the settings, a price without cached_input follows
// input.
func Defaults(r Resource) {
	switch r := r.(type) {
	case *resourcev1.Channel:
		channelDefaults(r)
	case *resourcev1.Account:
		setIfZero(&r.Weight, DefaultWeight)
	case *resourcev1.Group:
		setIfZero(&r.PriceRatioPpm, DefaultPriceRatioPPM)
		if r.Hedging != nil {
			setIfZero(&r.Hedging.MaxExtraPpm, DefaultHedgeExtraPPM)
		}
		dropEmpty(&r.Limits)
	case *resourcev1.Tenant:
		dropEmpty(&r.Limits)
	case *resourcev1.Key:
		setIfZero(&r.Group, DefaultGroup)
		dropEmpty(&r.Limits)
	case *resourcev1.Settings:
		settingsDefaults(r)
	}
}

func channelDefaults(c *resourcev1.Channel) {
	if len(c.Groups) == 0 {
		c.Groups = []string{DefaultGroup}
	}
	setIfZero(&c.Weight, DefaultWeight)
	setIfZero(&c.PriceRatioPpm, DefaultPriceRatioPPM)
	if c.Timeouts == nil {
		c.Timeouts = &resourcev1.Timeouts{}
	}
	setIfNil(&c.Timeouts.Dial, DefaultDialTimeout)
	setIfNil(&c.Timeouts.Tls, DefaultTLSTimeout)
	setIfNil(&c.Timeouts.FirstByte, DefaultFirstByteTimeout)
	setIfNil(&c.Timeouts.Idle, DefaultIdleTimeout)
}

func settingsDefaults(s *resourcev1.Settings) {
	setIfZero(&s.DefaultStrategy, resourcev1.Strategy_STRATEGY_BALANCED)
	if s.Retry == nil {
		s.Retry = &resourcev1.RetryPolicy{}
	}
	setIfZero(&s.Retry.MaxAttempts, DefaultMaxAttempts)
	setIfZero(&s.Retry.BudgetPercent, DefaultBudgetPercent)
	setIfZero(&s.Retry.BudgetMin, DefaultBudgetMin)
	if s.Weights == nil {
		s.Weights = &resourcev1.BalanceWeights{Cost: 0.4, Performance: 0.3, Load: 0.2, Reliability: 0.1}
	}
	healthDefaults(s, breaker.Defaults())
	setIfZero(&s.Affinity, resourcev1.Affinity_AFFINITY_ON)
}

func healthDefaults(s *resourcev1.Settings, d breaker.Rules) {
	if s.Thresholds == nil {
		s.Thresholds = &resourcev1.Thresholds{}
	}
	t := s.Thresholds
	setIfZero(&t.ConsecutiveFailures, uint32(d.ConsecutiveFailures))
	setIfZero(&t.MaxErrorRate, d.MaxErrorRate)
	setIfZero(&t.MinRequests, uint32(d.MinRequests))
	setIfNil(&t.Window, d.Window)
	setIfZero(&t.MaxTtftRatio, d.MaxTTFTRatio)
	setIfZero(&t.MaxEjectedPercent, uint32(d.MaxEjected*100))
	setIfZero(&t.PanicPercent, uint32(d.Panic*100))
	if s.Recovery == nil {
		s.Recovery = &resourcev1.Recovery{}
	}
	r := s.Recovery
	setIfNil(&r.Open, d.Open)
	setIfNil(&r.MaxOpen, d.MaxOpen)
	setIfNil(&r.SlowStart, d.SlowStart)
	setIfZero(&r.Check, resourcev1.CheckMode(d.Check))
	setIfNil(&r.CheckInterval, d.CheckInterval)
}

// dropEmpty makes limits of which the last was taken away those that were never set.
func dropEmpty(l **resourcev1.Limits) {
	if proto.Size(*l) == 0 {
		*l = nil
	}
}

func setIfZero[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setIfNil(field **durationpb.Duration, value time.Duration) {
	if *field == nil {
		*field = durationpb.New(value)
	}
}

// Initial returns what every data set is born with: the settings and the default group, with their defaults and names;
// ids and times are the caller's to set.
func Initial() []Resource {
	initial := []Resource{
		&resourcev1.Settings{Metadata: &resourcev1.Metadata{Name: SettingsName}},
		&resourcev1.Group{
			Metadata:    &resourcev1.Metadata{Name: DefaultGroup},
			Description: "Channels and keys that name no group.",
		},
	}
	for _, r := range initial {
		Defaults(r)
	}
	return initial
}
