package main

import (
	"slices"

	"fairway/pkg/operation"
)

// words say what a label can be, and how many values it can have at the very most.
type words struct {
	values []string // all of them; nil = see words
	words  string
	most   int    // where values is nil; 0 = see limit
	limit  string // what bounds them where no number does
}

func (w words) bound() int {
	if len(w.values) > 0 {
		return len(w.values)
	}
	return w.most
}

// wordsOf finds the words for a metric's label: those for the very metric first. where is their name in labels.
func wordsOf(metric, label string) (w words, where string, ok bool) {
	for _, where := range []string{metric + "." + label, label} {
		if w, ok := labels[where]; ok {
			return w, where, true
		}
	}
	return words{}, "", false
}

func oneOf(values ...string) words { return words{values: values} }

func operations() words {
	var all []string
	for op := range operation.Operation(operation.Count) {
		all = append(all, op.String())
	}
	slices.Sort(all)
	return oneOf(all...)
}

// faults are what an upstream's answer can mean; the words are those of the proxy's table of faults.
const faults = "what the failure means, such as `rate_limit`, `quota`, `credential`, `overloaded`, `server_error`, `timeout`, `connection`"

// labels say it of each label, by metric and label, or by label alone where it is the same wherever it is.
var labels = map[string]words{
	"version":    {words: "this build's version", most: 1},
	"go_version": {words: "the version of Go that it was built with", most: 1},

	"operation":                             operations(),
	"from":                                  operations(),
	"to":                                    operations(),
	"fairway_requests_total.status":         oneOf("1xx", "2xx", "3xx", "4xx", "5xx", "canceled", "other"),
	"fairway_misses_total.result":           oneOf("found", "final"),
	"kind":                                  oneOf("input", "cached", "output"),
	"fairway_attempt_failures_total.reason": {words: faults + "; `stream_died` and `stream_error_event` after bytes were sent", most: 40},
	"fairway_probes_total.result":           {words: "`ok`, or what was wrong, such as `credential`, `model`, `quota`, `timeout`", most: 40},
	"fairway_account_checks_total.result":   {words: "`ok`, or what was wrong, as in `fairway_probes_total`", most: 40},
	"loss":                                  {words: "the names in [providers.md](providers.md#what-converting-loses)", most: 64},

	"fairway_picks_total.reason":          oneOf("chosen", "affinity", "spilled", "panicked", "probe", "exhausted", "held", "resting", "crowded", "none"),
	"fairway_unavailable_total.code":      oneOf("no_account_available", "upstream_unavailable", "upstream_timeout"),
	"fairway_hedges_total.result":         oneOf("won", "lost", "failed", "denied", "nobody"),
	"fairway_account_rests_total.reason":  {words: faults, most: 40},
	"fairway_plan_limited_total.kind":     oneOf("requests", "tokens", "session", "concurrency"),
	"fairway_probes_granted_total.result": oneOf("ok", "failed", "unused"),

	"channel":                               {words: "a channel's name, of the first 200; `other` for the rest", most: 201},
	"fairway_accounts.state":                oneOf("closed", "open", "half_open", "disabled"),
	"fairway_health_decisions_total.state":  oneOf("closed", "open", "half_open", "disabled"),
	"fairway_health_decisions_total.reason": {words: faults + "; `reset` and `operator` when an operator said so, `other` beyond 40 of them", most: 41},
	"answer":                                oneOf("ok", "declare", "refused"),
	"fairway_probe_permits_total.result":    oneOf("granted", "ok", "failed", "unused"),

	"phase":                              oneOf("queue", "dial", "tls", "write", "first_byte", "head", "body"),
	"fairway_upstream_connections.state": oneOf("idle", "active"),

	"fairway_access_log_dropped_total.reason": oneOf("full", "write"),
	"fairway_otlp_spans_dropped_total.reason": oneOf("full", "send"),
	"signal": oneOf("traces", "metrics"),
	"fairway_usage_dropped_records_total.reason": {words: "why, such as a full disk", most: 8},
	"what":                                oneOf("enroll", "stream", "apply", "renew"),
	"fairway_lease_credits.what":          oneOf("requests", "tokens", "concurrency", "cost"),
	"fairway_limit_refused_total.what":    oneOf("requests", "tokens", "concurrency", "cost"),
	"fairway_limit_refused_total.scope":   oneOf("tenant", "group", "key"),
	"fairway_lastgood_saves_total.result": oneOf("ok", "error"),

	"mode":                              oneOf("delta", "diff", "full"),
	"fairway_build_failures_total.kind": {words: "a kind of resource", most: 16},
	"method":                            {words: "a method of exchange, such as `aws_role`, `entra`, `google_service_account`, `oauth_refresh`", most: 8},
	"fairway_credential_exchanges_total.result": oneOf("ok", "refused", "failed"),
	"fairway_notifications_total.target":        oneOf("webhook", "slack", "smtp"),
	"fairway_notifications_total.result":        oneOf("sent", "failed", "dropped"),

	"fairway_tls_certificate_expiry_timestamp_seconds.name": {words: "a name that a certificate is for", limit: "the names in the certificate files"},
}

// types are those of metrics that may have no series when the planes start, so that the registry does not tell; of counters
// the name does.
var types = map[string]string{
	"fairway_credential_earliest_expiry_seconds": "gauge",
	"fairway_accounts":                           "gauge",
}

// process are metrics that client_golang makes, as far as the alerts and the dashboard use them.
var process = []string{
	"go_goroutines", "go_memstats_heap_inuse_bytes", "process_cpu_seconds_total", "process_max_fds",
	"process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds",
}
