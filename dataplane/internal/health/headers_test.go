package health

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func header(h map[string]string) func(string) []byte {
	return func(name string) []byte {
		if v, ok := h[name]; ok {
			return []byte(v)
		}
		return nil
	}
}

func TestHeadroom(t *testing.T) {
	at := func(d time.Duration) string { return begin.Add(d).Format(time.RFC3339) }
	unix := func(d time.Duration) string { return strconv.FormatInt(begin.Add(d).Unix(), 10) }
	for _, tc := range []struct {
		name     string
		provider int32
		headers  map[string]string
		vigor    float32 // of the weight; 1 = all
		cooling  time.Duration
		held     time.Duration
	}{
		{name: "none", provider: 1, vigor: 1},
		{name: "plenty", provider: 1, headers: map[string]string{
			"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-requests": "1s",
			"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "500", "x-ratelimit-reset-tokens": "30s",
		}, vigor: 1},
		{name: "the tightest counts", provider: 1, headers: map[string]string{
			"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-requests": "1s",
			"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "6m0s",
		}, vigor: 0.25},
		{name: "next to nothing", provider: 1, headers: map[string]string{
			"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "1m30.5s",
		}, vigor: 0.0025, cooling: 90500 * time.Millisecond},
		{name: "nothing", provider: 1, headers: map[string]string{
			"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms",
		}, vigor: 0, held: 120 * time.Millisecond},
		{name: "azure seconds", provider: 4, headers: map[string]string{
			"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "17",
		}, vigor: 0, held: 17 * time.Second},
		{name: "azure does not know", provider: 4, headers: map[string]string{
			"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0",
		}, vigor: 1},
		{name: "azure knows what remains only", provider: 4, headers: map[string]string{
			"x-ratelimit-remaining-tokens": "0", "x-ratelimit-remaining-requests": "3",
		}, vigor: 1},
		{name: "anthropic", provider: 2, headers: map[string]string{
			"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49", "anthropic-ratelimit-requests-reset": at(time.Second),
			"anthropic-ratelimit-output-tokens-limit": "8000", "anthropic-ratelimit-output-tokens-remaining": "0",
			"anthropic-ratelimit-output-tokens-reset": at(42 * time.Second),
		}, vigor: 0, held: 42 * time.Second},
		{name: "subscription, a warning", provider: 2, headers: map[string]string{
			"anthropic-ratelimit-unified-status":    "allowed_warning",
			"anthropic-ratelimit-unified-5h-status": "allowed_warning", "anthropic-ratelimit-unified-5h-utilization": "0.9",
			"anthropic-ratelimit-unified-5h-reset":  unix(time.Hour),
			"anthropic-ratelimit-unified-7d-status": "allowed", "anthropic-ratelimit-unified-7d-utilization": "0.3",
			"anthropic-ratelimit-unified-7d-reset": unix(50 * time.Hour),
		}, vigor: 0.25},
		{name: "subscription, over but allowed", provider: 2, headers: map[string]string{
			"anthropic-ratelimit-unified-status":    "allowed",
			"anthropic-ratelimit-unified-5h-status": "allowed", "anthropic-ratelimit-unified-5h-utilization": "1.02",
			"anthropic-ratelimit-unified-5h-reset": unix(time.Hour),
		}, vigor: 0},
		{name: "subscription, both windows reject", provider: 2, headers: map[string]string{
			"anthropic-ratelimit-unified-status":    "rejected",
			"anthropic-ratelimit-unified-5h-status": "rejected", "anthropic-ratelimit-unified-5h-utilization": "1",
			"anthropic-ratelimit-unified-5h-reset":  unix(3 * time.Minute),
			"anthropic-ratelimit-unified-7d-status": "rejected", "anthropic-ratelimit-unified-7d-utilization": "1",
			"anthropic-ratelimit-unified-7d-reset": unix(40 * time.Hour),
		}, vigor: 0, held: 40 * time.Hour},
		{name: "subscription, one model's window rejects", provider: 2, headers: map[string]string{
			"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": unix(40 * time.Hour),
			"anthropic-ratelimit-unified-5h-status": "allowed", "anthropic-ratelimit-unified-5h-utilization": "0.1",
			"anthropic-ratelimit-unified-5h-reset": unix(time.Hour),
		}, vigor: 1},
		{name: "gemini has none", provider: 3, headers: map[string]string{
			"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m",
		}, vigor: 1},
		{name: "a reset that is past all reason", provider: 1, headers: map[string]string{
			"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "90000h",
		}, vigor: 0, held: maxReset},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.channel("c", func(s *syncv1.ChannelState) {
				s.Provider = tc.provider
				if tc.provider == 4 {
					s.ApiVersion = "2024-10-21"
				}
			})
			w.account("a", nil)
			w.publish()
			c := w.candidate("a")
			w.k.Headers(c.Account, header(tc.headers), w.now)
			w.k.ward(c.Account)
			w.k.Tick(w.now)
			if got := c.Cell.Vigor.Load(); math.Abs(float64(got-tc.vigor)) > 1e-3 {
				t.Errorf("%v of the weight, want %v", got, tc.vigor)
			}
			if got := w.cooling("a"); got != tc.cooling {
				t.Errorf("cools for %v, want %v", got, tc.cooling)
			}
			if got := w.held("a"); got != tc.held {
				t.Errorf("held for %v, want %v", got, tc.held)
			}
		})
	}
}

// TestHeadroomReserves: what is under way beside this answer will be taken from what is left.
func TestHeadroomReserves(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	c := w.candidate("a")
	for range 11 {
		w.k.Began(c, w.now.UnixMilli())
	}
	w.k.Headers(c.Account, header(map[string]string{
		"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "20", "x-ratelimit-reset-requests": "1m",
	}), w.now)
	w.k.Tick(w.now)
	if got := c.Cell.Vigor.Load(); math.Abs(float64(got)-0.25) > 1e-3 {
		t.Errorf("20 left, 10 of them given away: %v of the weight, want 0.25", got)
	}
	w.tick(61 * time.Second)
	if got := c.Cell.Vigor.Load(); got != 1 {
		t.Errorf("after the reset: %v", got)
	}
}

func TestSpans(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"6m0s": 6 * time.Minute, "120ms": 120 * time.Millisecond, "1h2m3.5s": time.Hour + 2*time.Minute + 3500*time.Millisecond, "7": 7 * time.Second,
		"1d": 24 * time.Hour, "0.5": 500 * time.Millisecond, "1s500ms": 1500 * time.Millisecond, "2000us": 2 * time.Millisecond,
	} {
		if got, ok := span([]byte(in), begin); !ok || got-begin.UnixMilli() != want.Milliseconds() {
			t.Errorf("%q: %d %v, want %v", in, got-begin.UnixMilli(), ok, want)
		}
	}
	for _, in := range []string{"", "s", "1x", "-1", "-5s", "1m-2s", "..", "1.2.3s", "NaN", "1e9", strings.Repeat("9", 30)} {
		if got, ok := span([]byte(in), begin); ok {
			t.Errorf("%q: %d", in, got)
		}
	}
}

// FuzzMoment holds the reader of dates against the standard library's.
func FuzzMoment(f *testing.F) {
	for _, s := range []string{
		"2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678Z", "2024-02-29T23:59:59+02:30", "2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
		"2026-01-02T03:04:05", "2026-01-02t03:04:05z", "2026-01-02T24:00:00Z", "2026-01-02T03:04:05,5Z", "2026-01-02T03:04:05-24:00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := moment([]byte(s), begin)
		want, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return // it may read more than that: small letters
		}
		if strings.ContainsRune(s, ',') || len(s) < 20 {
			return // the library's leniencies
		}
		if !ok || got != want.UnixMilli() {
			t.Errorf("%q: %d %v, want %d", s, got, ok, want.UnixMilli())
		}
	})
}

// FuzzHeaders: whatever headers say, what is left is a share, and no rest is beyond the bound or without a reset ahead.
func FuzzHeaders(f *testing.F) {
	f.Add(int32(1), "100", "1", "1m30s")
	f.Add(int32(4), "-1", "-1", "0")
	f.Add(int32(2), "50", "0", "2026-03-10T12:00:42Z")
	f.Add(int32(2), "rejected", "1.5", "1773140000")
	f.Fuzz(func(t *testing.T, provider int32, limit, remaining, reset string) {
		w := newWorld(t, Options{})
		w.channel("c", func(s *syncv1.ChannelState) { s.Provider = 1 + (provider&1)*1 })
		w.account("a", nil)
		w.publish()
		c := w.candidate("a")
		h := map[string]string{
			"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": reset,
			"anthropic-ratelimit-requests-limit": limit, "anthropic-ratelimit-requests-remaining": remaining, "anthropic-ratelimit-requests-reset": reset,
			"anthropic-ratelimit-unified-5h-status": limit, "anthropic-ratelimit-unified-5h-utilization": remaining,
			"anthropic-ratelimit-unified-5h-reset": reset,
		}
		if provider&2 != 0 {
			h["anthropic-ratelimit-unified-status"] = limit
		}
		w.k.Headers(c.Account, header(h), w.now)
		w.k.Tick(w.now)
		if v := c.Cell.Vigor.Load(); !(v >= 0 && v <= 1) {
			t.Errorf("%v of the weight", v)
		}
		if rest := max(w.cooling("a"), w.held("a")); rest > maxReset {
			t.Errorf("rests for %v", rest)
		}
	})
}
