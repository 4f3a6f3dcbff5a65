package traffic

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Report is what became of a run.
type Report struct {
	Asked              int        `json:"asked"`
	Sent               int        `json:"sent"`
	OK                 int        `json:"ok"`
	Failed             int        `json:"failed"`
	Unavailable        int        `json:"unavailable"` // answered with 503
	SuccessPercent     float64    `json:"success_percent"`
	UnavailablePercent float64    `json:"unavailable_percent"`
	Seconds            float64    `json:"seconds"`
	RequestsPerSecond  float64    `json:"requests_per_second"`
	Latency            Spread     `json:"latency_ms"` // of those that were answered, to the last byte
	TTFT               Spread     `json:"ttft_ms"`    // of those, to the first byte or event
	Failures           []*Failure `json:"failures"`
	// Stopped says that somebody ended the run before it was done.
	Stopped bool `json:"stopped"`
	// Pass and Reasons are what Judge said.
	Pass    bool     `json:"pass"`
	Reasons []string `json:"reasons"`
}

// Failure is one class of requests that were not answered.
type Failure struct {
	Class   string  `json:"class"`
	Count   int     `json:"count"`
	Percent float64 `json:"percent"`
	Status  int     `json:"status,omitempty"` // 0 = none came
	Code    string  `json:"code,omitempty"`
	// Example is what the first of them said, and RequestID which one it was.
	Example   string `json:"example,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Means     string `json:"means"`
	Next      string `json:"next"` // a command to type

	kind kind
}

// Spread are percentiles in milliseconds; all 0 = there were none.
type Spread struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func spread(d []time.Duration) Spread {
	if len(d) == 0 {
		return Spread{}
	}
	slices.Sort(d)
	// The nearest rank: the least value that so many percent do not exceed.
	at := func(percent int) float64 {
		i := (len(d)*percent + 99) / 100
		return milliseconds(d[max(0, i-1)])
	}
	return Spread{P50: at(50), P95: at(95), P99: at(99), Max: at(100)}
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }

func percent(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(100*n) / float64(of)
}

func (r *recorder) report(o Options, took time.Duration) *Report {
	out := &Report{
		Asked: o.Requests, Sent: r.sent, OK: len(r.latency), Failed: r.sent - len(r.latency), Stopped: r.sent < o.Requests,
		Seconds: took.Round(time.Millisecond).Seconds(),
		Latency: spread(r.latency), TTFT: spread(r.ttft), Failures: []*Failure{}, Reasons: []string{},
	}
	if took > 0 {
		out.RequestsPerSecond = float64(int(10*float64(r.sent)/took.Seconds())) / 10
	}
	for _, f := range r.failures {
		f.Percent = percent(f.Count, r.sent)
		f.advise(o)
		if f.Status == http.StatusServiceUnavailable {
			out.Unavailable += f.Count
		}
		out.Failures = append(out.Failures, f)
	}
	slices.SortFunc(out.Failures, func(a, b *Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Class, b.Class))
	})
	out.SuccessPercent = percent(out.OK, out.Sent)
	out.UnavailablePercent = percent(out.Unavailable, out.Sent)
	return out
}

// Limits are what a run must keep to.
type Limits struct {
	MinSuccess     float64       // in percent; 0 = whatever
	MaxP95         time.Duration // of latencies; 0 = whatever
	MaxUnavailable float64       // 503s in percent; 100 = whatever
}

// Judge says whether the run passed, and why not. One that was stopped has proved nothing.
func (r *Report) Judge(l Limits) {
	r.Reasons = []string{}
	fail := func(format string, args ...any) { r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...)) }
	if r.Stopped {
		fail("stopped after %d of %d requests", r.Sent, r.Asked)
	}
	if r.Sent > 0 {
		if r.SuccessPercent < l.MinSuccess {
			fail("%s of requests were answered, less than %s", inPercent(r.SuccessPercent), inPercent(l.MinSuccess))
		}
		if r.UnavailablePercent > l.MaxUnavailable {
			fail("%s of requests were answered with 503, more than %s", inPercent(r.UnavailablePercent), inPercent(l.MaxUnavailable))
		}
	}
	if limit := float64(l.MaxP95) / 1e6; limit > 0 && r.OK > 0 && r.Latency.P95 > limit {
		fail("the 95th percentile of latencies is %gms, more than %gms", r.Latency.P95, limit)
	}
	r.Pass = len(r.Reasons) == 0
}

// inPercent keeps enough digits to tell 99.9% from what is not quite that.
func inPercent(f float64) string {
	s := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", f), "0"), ".")
	return s + "%"
}
