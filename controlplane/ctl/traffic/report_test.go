package traffic

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	tests := []struct {
		name   string
		report Report
		limits Limits
		want   []string
	}{
		{"all is well", Report{Asked: 10, Sent: 10, OK: 10, SuccessPercent: 100}, Limits{MinSuccess: 100}, []string{}},
		{"just enough", Report{Asked: 1000, Sent: 1000, OK: 999, SuccessPercent: percent(999, 1000)}, Limits{MinSuccess: 99.9, MaxUnavailable: 100}, []string{}},
		{"not quite", Report{Asked: 10000, Sent: 10000, OK: 9989, SuccessPercent: percent(9989, 10000)}, Limits{MinSuccess: 99.9, MaxUnavailable: 100},
			[]string{"99.89% of requests were answered, less than 99.9%"}},
		{"503s", Report{Asked: 100, Sent: 100, OK: 98, SuccessPercent: 98, UnavailablePercent: 2}, Limits{MaxUnavailable: 1.5},
			[]string{"2% of requests were answered with 503, more than 1.5%"}},
		{"as many 503s as may be", Report{Asked: 100, Sent: 100, UnavailablePercent: 2}, Limits{MaxUnavailable: 2}, []string{}},
		{"slow", Report{Asked: 1, Sent: 1, OK: 1, SuccessPercent: 100, Latency: Spread{P95: 1200.5}}, Limits{MaxP95: 1200 * time.Millisecond},
			[]string{"the 95th percentile of latencies is 1200.5ms, more than 1200ms"}},
		{"fast enough", Report{Asked: 1, Sent: 1, OK: 1, SuccessPercent: 100, Latency: Spread{P95: 1200}}, Limits{MaxP95: 1200 * time.Millisecond}, []string{}},
		{"stopped", Report{Asked: 5, Stopped: true}, Limits{MinSuccess: 99}, []string{"stopped after 0 of 5 requests"}},
		{"all at once", Report{Asked: 5, Sent: 4, Stopped: true, OK: 2, SuccessPercent: 50, UnavailablePercent: 50, Latency: Spread{P95: 2}},
			Limits{MinSuccess: 99, MaxP95: time.Millisecond, MaxUnavailable: 0}, []string{
				"stopped after 4 of 5 requests", "50% of requests were answered, less than 99%", "50% of requests were answered with 503, more than 0%",
				"the 95th percentile of latencies is 2ms, more than 1ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.report.Judge(tt.limits)
			if d := cmp.Diff(tt.want, tt.report.Reasons); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if tt.report.Pass != (len(tt.want) == 0) {
				t.Errorf("pass = %t", tt.report.Pass)
			}
		})
	}
}

// A percentile is one of the values; so many are not above it, and one less would be too few.
func TestSpread(t *testing.T) {
	if got := spread(nil); got != (Spread{}) {
		t.Errorf("of nothing: %+v", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.SliceOfN(rapid.IntRange(0, 50), 1, 300).Draw(t, "ms")
		d := make([]time.Duration, len(ms))
		for i, n := range ms {
			d[i] = time.Duration(n) * time.Millisecond
		}
		got := spread(d)
		for p, v := range map[int]float64{50: got.P50, 95: got.P95, 99: got.P99, 100: got.Max} {
			below, upTo := 0, 0
			for _, n := range ms {
				if float64(n) < v {
					below++
				}
				if float64(n) <= v {
					upTo++
				}
			}
			if upTo == below || 100*upTo < p*len(ms) || 100*below >= p*len(ms) {
				t.Fatalf("p%d of %v is %g", p, ms, v)
			}
		}
	})
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"gpt-4o-mini": "gpt-4o-mini", "a/b": "'a/b'", "a'; rm x": `'a'\''; rm x'`, "": "''"} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s", in, got)
		}
	}
}
