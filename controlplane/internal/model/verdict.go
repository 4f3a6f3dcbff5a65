package model

import (
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Reasons of a health that an operator made.
const (
	ReasonOperator = "operator" // disabled
	ReasonReset    = "reset"    // closed
)

// VerdictOf returns what was decided last about an account's health; nil when nothing ever was.
func VerdictOf(s *State, a *resourcev1.Account) *resourcev1.Verdict {
	r, ok := s.Get(KindVerdict, a.GetMetadata().GetId())
	if !ok {
		return nil
	}
	v, _ := r.(*resourcev1.Verdict)
	return v
}

// Health is how an account is by what is stored, at the time now: out by an operator's word, else as was decided last,
// else in. A rest whose time is over is half open, whether or not somebody has said so yet. The caller owns the result.
func Health(s *State, a *resourcev1.Account, now time.Time) *resourcev1.AccountHealth {
	if a.GetDisabled() {
		return &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_DISABLED, Reason: ReasonOperator}
	}
	h := VerdictOf(s, a).GetHealth()
	out := &resourcev1.AccountHealth{
		State: h.GetState(), Reason: h.GetReason(), Until: h.GetUntil(), Since: h.GetSince(), Opens: h.GetOpens(), Ordered: h.GetOrdered(),
	}
	switch {
	case out.State == resourcev1.HealthState_HEALTH_STATE_UNSPECIFIED:
		out.State = resourcev1.HealthState_HEALTH_STATE_CLOSED
	case out.State == resourcev1.HealthState_HEALTH_STATE_OPEN && out.Until != nil && !now.Before(out.Until.AsTime()):
		out.State, out.Since, out.Until, out.Ordered = resourcev1.HealthState_HEALTH_STATE_HALF_OPEN, out.Until, nil, false
	}
	return out
}
