package serve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificateMetrics tells when the certificates of the day end, by name: names come and go with the files.
type certificateMetrics struct {
	c      *Certificates
	expiry *prometheus.Desc
	errors *prometheus.Desc
}

func (c *Certificates) metrics() prometheus.Collector {
	return &certificateMetrics{
		c: c,
		expiry: prometheus.NewDesc("fairway_tls_certificate_expiry_timestamp_seconds",
			"When the certificate for a name ends, in Unix seconds; of several, the one that ends first.", []string{"name"}, nil),
		errors: prometheus.NewDesc("fairway_tls_reload_errors_total",
			"Looks at a certificate's files that found them changed to something that cannot be used.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *certificateMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.expiry
	to <- m.errors
}

// Collect implements prometheus.Collector.
func (m *certificateMetrics) Collect(to chan<- prometheus.Metric) {
	ends := map[string]time.Time{}
	for _, cert := range *m.c.current.Load() {
		for _, name := range names(cert.Leaf) {
			if end, ok := ends[name]; !ok || cert.Leaf.NotAfter.Before(end) {
				ends[name] = cert.Leaf.NotAfter
			}
		}
	}
	for name, end := range ends {
		to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(end.Unix()), name)
	}
	to <- prometheus.MustNewConstMetric(m.errors, prometheus.CounterValue, float64(m.c.failures.Load()))
}
