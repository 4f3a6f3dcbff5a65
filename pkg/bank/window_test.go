package bank

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindows(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	tests := []struct {
		name       string
		kind       Kind
		zone       *time.Location
		at         string
		begin, end string
	}{
		{"minute", Kind{Requests, Minute, 0}, time.UTC, "2026-05-04T12:34:56Z", "2026-05-04T12:34:00Z", "2026-05-04T12:35:00Z"},
		{"day", Kind{Cost, Day, 0}, time.UTC, "2026-05-04T23:59:59Z", "2026-05-04T00:00:00Z", "2026-05-05T00:00:00Z"},
		{"day elsewhere", Kind{Cost, Day, 0}, berlin, "2026-05-04T22:00:00Z", "2026-05-04T22:00:00Z", "2026-05-05T22:00:00Z"},
		{"day of 23 hours", Kind{Cost, Day, 0}, berlin, "2026-03-29T10:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"day of 25 hours", Kind{Cost, Day, 0}, berlin, "2026-10-25T10:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"no midnight", Kind{Cost, Day, 0}, zone(t, "America/Sao_Paulo"), "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		{"two midnights", Kind{Cost, Day, 0}, zone(t, "America/Havana"), "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"week", Kind{Cost, Week, 0}, time.UTC, "2026-05-10T23:00:00Z", "2026-05-04T00:00:00Z", "2026-05-11T00:00:00Z"},
		{"month", Kind{Cost, Month, 0}, time.UTC, "2026-12-31T23:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"slice of an hour", Kind{Cost, Rolling, 60}, time.UTC, "2026-05-04T12:34:56Z", "2026-05-04T12:30:00Z", "2026-05-04T12:35:00Z"},
		{"slice of a week", Kind{Cost, Rolling, 7 * 24 * 60}, time.UTC, "2026-05-04T13:00:00Z", "2026-05-04T12:00:00Z", "2026-05-04T18:00:00Z"},
	}
	for _, tt := range tests {
		n := tt.kind.window(stamp(t, tt.at), tt.zone)
		begin, end := time.Unix(0, tt.kind.begin(n, tt.zone)).UTC(), time.Unix(0, tt.kind.end(n, tt.zone)).UTC()
		if !begin.Equal(stamp(t, tt.begin)) || !end.Equal(stamp(t, tt.end)) {
			t.Errorf("%s: from %v to %v", tt.name, begin, end)
		}
	}
}

// Windows follow each other without gaps, and a time is in the window that its number says.
func TestWindowsAreWhole(t *testing.T) {
	zones := []*time.Location{
		time.UTC, zone(t, "Europe/Berlin"), zone(t, "America/Havana"), zone(t, "America/Sao_Paulo"), zone(t, "Australia/Lord_Howe"),
		zone(t, "Asia/Kolkata"), zone(t, "Africa/Cairo"), zone(t, "America/Asuncion"),
	}
	rapid.Check(t, func(t *rapid.T) {
		z := rapid.SampledFrom(zones).Draw(t, "zone")
		k := Kind{What: Cost, Period: Period(rapid.IntRange(int(Minute), int(Rolling)).Draw(t, "period"))}
		if k.Period == Rolling {
			k.Minutes = uint32(rapid.IntRange(1, maxRolling).Draw(t, "minutes"))
			if reach, slices := time.Duration(k.Minutes)*time.Minute, k.trail(); time.Duration(slices)*k.slice() < reach || slices > 366 {
				t.Fatalf("%v in %d slices of %v", reach, slices, k.slice())
			}
		}
		at := time.Unix(rapid.Int64Range(1_500_000_000, 2_000_000_000).Draw(t, "at"), 0)
		n := k.window(at, z)
		if k.Period == Total {
			if n != 1 {
				t.Fatalf("total is in window %d", n)
			}
			return
		}
		begin, end := time.Unix(0, k.begin(n, z)), time.Unix(0, k.end(n, z))
		if at.Before(begin) || !at.Before(end) {
			t.Fatalf("%v is not within %v and %v", at, begin, end)
		}
		if k.window(begin, z) != n || k.window(begin.Add(-1), z) != n-1 || k.window(end, z) != n+1 {
			t.Fatalf("windows %d, %d and %d around %d", k.window(begin.Add(-1), z), k.window(begin, z), k.window(end, z), n)
		}
	})
}

func TestValid(t *testing.T) {
	tests := []struct {
		kind Kind
		want bool
	}{
		{Kind{Requests, Minute, 0}, true}, {Kind{Tokens, Day, 0}, true}, {Kind{Cost, Total, 0}, true},
		{Kind{Cost, Rolling, 300}, true}, {Kind{Concurrency, None, 0}, true},
		{Kind{Cost, Minute, 0}, false}, {Kind{Cost, None, 0}, false}, {Kind{Concurrency, Minute, 0}, false},
		{Kind{Requests, None, 0}, false}, {Kind{Cost, Rolling, 0}, false}, {Kind{Cost, Rolling, maxRolling + 1}, false},
		{Kind{Cost, Day, 5}, false}, {Kind{0, Day, 0}, false}, {Kind{Cost, 0, 0}, false}, {Kind{Cost, 8, 0}, false}, {Kind{5, Day, 0}, false},
	}
	for _, tt := range tests {
		if got := tt.kind.Valid(); got != tt.want {
			t.Errorf("%+v: %t", tt.kind, got)
		}
	}
}

func zone(t *testing.T, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Skipf("no time zones here: %v", err)
	}
	return z
}

func stamp(t *testing.T, s string) time.Time {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
