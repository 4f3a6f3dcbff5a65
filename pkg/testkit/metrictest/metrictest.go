// Package metrictest reads metrics in tests as a scrape finds them, by name.
package metrictest

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Value is that of a counter or a gauge. labels are values, of as many of its labels as it takes to tell it from its like, in
// the order of the labels' names. Without such a series the test ends.
func Value(t testing.TB, from prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if has(m.GetLabel(), labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %q", name, labels)
	return 0
}

func has(pairs []*dto.LabelPair, values []string) bool {
	return len(pairs) >= len(values) && slices.EqualFunc(pairs[:len(values)], values, func(p *dto.LabelPair, v string) bool { return p.GetValue() == v })
}
