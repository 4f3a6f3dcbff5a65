package telemetry

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fairway/pkg/version"
)

// NewRegistry makes a registry with the metrics of the Go runtime and of the process, and with fairway_build_info.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "fairway_build_info",
		Help:        "Which build this is; always 1.",
		ConstLabels: prometheus.Labels{"version": version.String(), "go_version": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build,
	)
	return r
}
