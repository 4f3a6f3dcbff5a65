package ctl

import (
	"testing"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestReadNumbers(t *testing.T) {
	for in, want := range map[string]int64{"1": 1_000_000, "1.25": 1_250_000, "0": 0, "0.000001": 1} {
		if got, err := ratio(in); err != nil || got != want {
			t.Errorf("ratio(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for in, want := range map[string]int64{"2.50": 2_500_000_000, "$0.0375": 37_500_000, "0": 0} {
		if got, err := usdPerMillion(in); err != nil || got != want {
			t.Errorf("usdPerMillion(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "NaN", "1e99", "x"} {
		if _, err := ratio(in); err == nil {
			t.Errorf("ratio(%q) was accepted", in)
		}
		if _, err := usdPerMillion(in); err == nil {
			t.Errorf("usdPerMillion(%q) was accepted", in)
		}
	}
}

func TestExpiryAndMoment(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"24h": "2026-03-02T12:00:00Z", "2027-01-31": "2027-01-31T00:00:00Z", "2027-01-31T10:00:00+02:00": "2027-01-31T08:00:00Z",
	} {
		got, err := expiry(in, now)
		if err != nil || got.AsTime().Format(time.RFC3339) != want {
			t.Errorf("expiry(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
	if got, err := expiry("never", now); got != nil || err != nil {
		t.Errorf("expiry(never) = %v, %v", got, err)
	}
	if _, err := expiry("-3h", now); err == nil {
		t.Error("an expiry in the past by duration was accepted")
	}
	if got, err := moment("3h", now); err != nil || got.AsTime().Format(time.RFC3339) != "2026-03-01T09:00:00Z" {
		t.Errorf("moment(3h) = %v, %v", got, err)
	}
	if _, err := moment("yesterday", now); err == nil {
		t.Error("moment(yesterday) was accepted")
	}
}

func TestEnumFlag(t *testing.T) {
	if got, err := enumFlag[resourcev1.Strategy]("weighted-random"); err != nil || got != resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := enumFlag[resourcev1.Role]("unspecified"); err == nil {
		t.Error("the unspecified value was accepted")
	}
	_, err := enumFlag[resourcev1.Role]("admin")
	if err == nil || err.Error() != `"admin" is not one of viewer, operator, owner` {
		t.Errorf("got %v", err)
	}
}
