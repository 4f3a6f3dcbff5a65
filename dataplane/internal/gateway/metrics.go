package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/route"
	"fairway/pkg/operation"
)

// classes are the values of the label "status".
var classes = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx", "canceled"} //nolint:gochecknoglobals // a constant table; Go has no constant of this type

// meters are counters that are looked up before the first request, but for those of failures.
type meters struct {
	requests  [operation.Count][len(classes)]prometheus.Counter
	durations [operation.Count]prometheus.Observer
	ttft      [operation.Count]prometheus.Observer

	inFlight        prometheus.Gauge
	attempts        prometheus.Counter
	attemptFailures *prometheus.CounterVec
	retries         prometheus.Counter
	budgetSpent     prometheus.Counter
	picks           [route.Crowded + 1]prometheus.Counter
	picksProbe      prometheus.Counter
	hedgesWon       prometheus.Counter
	hedgesLost      prometheus.Counter
	hedgesFailed    prometheus.Counter
	hedgesDenied    prometheus.Counter
	hedgesNobody    prometheus.Counter
	unavailable     *prometheus.CounterVec
	overdue         prometheus.Counter
	missFound       prometheus.Counter
	missFinal       prometheus.Counter
	hangUps         prometheus.Counter
	shed            prometheus.Counter
	panics          prometheus.Counter
	probes          *prometheus.CounterVec
	checks          *prometheus.CounterVec
	conversions     *prometheus.CounterVec
	losses          *prometheus.CounterVec
	lost            prometheus.Counter
	input           prometheus.Counter
	cached          prometheus.Counter
	output          prometheus.Counter
	estimated       prometheus.Counter
	unpriced        prometheus.Counter
	defaultPriced   prometheus.Counter
	inconsistent    prometheus.Counter
}

// seconds are the buckets of durations: from a cache's answer to a long reasoning.
var seconds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600} //nolint:gochecknoglobals // a constant table; Go has no constant of this type

func newMeters(r prometheus.Registerer) *meters {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		all = append(all, c)
		return c
	}
	histograms := func(name, help string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds},
			[]string{"operation"})
		all = append(all, h)
		return h
	}
	requests := counters("fairway_requests_total", "Requests by operation and by the class of the status they were answered with; canceled = the client left.",
		"operation", "status")
	durations := histograms("fairway_request_duration_seconds", "From a request's head to the last byte of its answer.")
	ttft := histograms("fairway_time_to_first_byte_seconds", "From a request's head to the first event, or the whole, of a successful answer.")
	misses := counters("fairway_misses_total", "Requests that awaited state which their snapshot lacked, by how that ended.", "result")
	tokens := counters("fairway_tokens_total", "Tokens of settled requests; input includes cached.", "kind")
	picks := counters("fairway_picks_total", "Accounts picked, by how the choice came to them; exhausted, held, resting and crowded = there was none.", "reason")
	hedges := counters("fairway_hedges_total", "Second attempts that joined a slow first, by how that ended; denied = beyond their share, nobody = no other account.", "result")
	m := &meters{
		picksProbe:      picks.WithLabelValues(pickedProbe),
		hedgesWon:       hedges.WithLabelValues("won"),
		hedgesLost:      hedges.WithLabelValues("lost"),
		hedgesFailed:    hedges.WithLabelValues("failed"),
		hedgesDenied:    hedges.WithLabelValues("denied"),
		hedgesNobody:    hedges.WithLabelValues("nobody"),
		unavailable:     counters("fairway_unavailable_total", "Requests that no account served, by the code that their clients got.", "code"),
		overdue:         counter("fairway_deadlines_passed_total", "Attempts and answers that were ended because their group's or channel's time for them had passed."),
		inFlight:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_requests_in_flight", Help: "Requests under way."}),
		attempts:        counter("fairway_attempts_total", "Requests sent to upstreams."),
		attemptFailures: counters("fairway_attempt_failures_total", "Attempts that failed, by what that meant.", "reason"),
		retries:         counter("fairway_retries_total", "Attempts after a request's first."),
		budgetSpent:     counter("fairway_retry_budget_exhausted_total", "Retries that were not made because the group's budget was spent."),
		missFound:       misses.WithLabelValues("found"),
		missFinal:       misses.WithLabelValues("final"),
		hangUps:         counter("fairway_client_hangups_total", "Clients that left while their request was under way."),
		shed:            counter("fairway_requests_shed_total", "Requests refused because the proxy bears no more at once."),
		panics:          counter("fairway_request_panics_total", "Requests that panicked."),
		probes:          counters("fairway_probes_total", "Accounts tried for channel test, by what was wrong; ok = nothing.", "result"),
		checks:          counters("fairway_account_checks_total", "Accounts tried that rest or have no traffic, by what was wrong; ok = nothing.", "result"),
		conversions:     counters("fairway_conversions_total", "Answers that were converted between dialects, by the client's operation and the upstream's.", "from", "to"),
		losses:          counters("fairway_conversion_losses_total", "What conversions could not carry, by its name in x-fairway-lossy.", "loss"),
		lost:            counter("fairway_usage_records_lost_total", "Usage records that could not be kept."),
		input:           tokens.WithLabelValues("input"),
		cached:          tokens.WithLabelValues("cached"),
		output:          tokens.WithLabelValues("output"),
		estimated:       counter("fairway_usage_estimated_total", "Settled requests whose tokens are estimates."),
		unpriced:        counter("fairway_usage_unpriced_total", "Settled requests whose model has no price."),
		defaultPriced:   counter("fairway_usage_default_priced_total", "Settled requests whose model has no price and that cost the settings' default."),
		inconsistent:    counter("fairway_usage_inconsistent_total", "Usage records whose counts contradicted themselves and were cut to what makes sense."),
	}
	for reason := route.Chosen; int(reason) < len(m.picks); reason++ {
		m.picks[reason] = picks.WithLabelValues(reason.String())
	}
	for op := range operation.Count {
		name := operation.Operation(op).String()
		for class := range classes {
			m.requests[op][class] = requests.WithLabelValues(name, classes[class])
		}
		m.durations[op] = durations.WithLabelValues(name)
		m.ttft[op] = ttft.WithLabelValues(name)
	}
	if r != nil {
		r.MustRegister(append(all, m.inFlight)...)
	}
	return m
}

// converted counts an answer that is converted.
func (m *meters) converted(from, to operation.Operation) {
	m.conversions.WithLabelValues(from.String(), to.String()).Inc()
}

// finished counts an exchange at its end.
func (m *meters) finished(x *exchange, ended time.Time) {
	m.inFlight.Dec()
	x.sumUp()
	class := 0
	switch {
	case x.gone.Load():
		class = len(classes) - 1
	case x.status >= 100 && x.status < 600:
		class = x.status / 100
	}
	m.requests[x.op][class].Inc()
	m.durations[x.op].Observe(ended.Sub(x.start).Seconds())
	if x.ttft > 0 {
		m.ttft[x.op].Observe(x.ttft.Seconds())
	}
	if !x.settled {
		return
	}
	m.input.Add(float64(x.usage.Input))
	m.cached.Add(float64(x.usage.Cached))
	m.output.Add(float64(x.usage.Output))
	if x.usage.Estimated {
		m.estimated.Inc()
	}
	if x.record.Unpriced {
		m.unpriced.Inc()
	}
	if x.record.DefaultPriced {
		m.defaultPriced.Inc()
	}
}
