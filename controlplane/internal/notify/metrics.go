package notify

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// What becomes of a notification.
const (
	resultSent    = "sent"
	resultFailed  = "failed"
	resultDropped = "dropped"
)

type metrics struct{ notifications *prometheus.CounterVec }

func newMetrics(r prometheus.Registerer, log *slog.Logger) *metrics {
	m := &metrics{notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_notifications_total",
		Help: "Events for notifiers, by what these are and what became of them: sent, failed and given up, or dropped because too many wait.",
	}, []string{"target", "result"})}
	for _, target := range []string{"webhook", "slack", "smtp"} {
		for _, result := range []string{resultSent, resultFailed, resultDropped} {
			m.notifications.WithLabelValues(target, result)
		}
	}
	if r != nil {
		if err := r.Register(m.notifications); err != nil {
			log.Warn("notification metric is not registered", "error", err)
		}
	}
	return m
}

func (m *metrics) count(n *resourcev1.Notifier, result string) {
	target := "webhook"
	switch n.GetTarget().(type) {
	case *resourcev1.Notifier_Slack:
		target = "slack"
	case *resourcev1.Notifier_Smtp:
		target = "smtp"
	}
	m.notifications.WithLabelValues(target, result).Inc()
}
