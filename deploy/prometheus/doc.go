// Package prometheus has no code: it is the alerts that ship with Fairway, their tests, and an example of Prometheus' own
// configuration. The tests here hold the alerts and Grafana's dashboard to docs/metrics.md, which the root's tests hold to the
// code: neither can go on about a metric, a label or a value that is gone. What the alerts do is tested by promtool
// (`make rules`).
package prometheus
