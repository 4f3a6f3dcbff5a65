package model

import (
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// checkGroup refuses limits that make no sense, and deadlines of which one makes another meaningless.
func checkGroup(g *resourcev1.Group) error {
	if err := checkLimits(g.GetLimits()); err != nil {
		return err
	}
	d := g.GetDeadlines()
	if d.GetTotal() == nil {
		return nil
	}
	total := d.GetTotal().AsDuration()
	switch {
	case d.GetFirstByte() != nil && d.GetFirstByte().AsDuration() > total:
		return invalid("deadlines.first_byte", "is longer than deadlines.total")
	case d.GetIdle() != nil && d.GetIdle().AsDuration() > total:
		return invalid("deadlines.idle", "is longer than deadlines.total")
	case g.GetHedging().GetAfter() != nil && g.GetHedging().GetAfter().AsDuration() >= total:
		return invalid("hedging.after", "is not before deadlines.total: no second attempt would ever start")
	}
	return nil
}

// checkSettings looks at the settings as a whole, with their defaults filled in.
func checkSettings(s *resourcev1.Settings) error {
	r := s.GetRecovery()
	if r.GetOpen() != nil && r.GetMaxOpen() != nil && r.GetMaxOpen().AsDuration() < r.GetOpen().AsDuration() {
		return invalid("recovery.max_open", "is %s, shorter than recovery.open (%s)",
			r.GetMaxOpen().AsDuration(), r.GetOpen().AsDuration())
	}
	return nil
}
