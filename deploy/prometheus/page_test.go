package prometheus

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is docs/metrics.md: what there is to be asked for.
type page struct {
	metrics map[string]metric
	// values are those of a metric's label, where the page names them all.
	values map[[2]string][]string
}

type metric struct {
	kind   string
	labels []string
}

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	closed = regexp.MustCompile("^`[^`]+`(, `[^`]+`)*$")
)

func readPage(t *testing.T) *page {
	t.Helper()
	raw, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	p := &page{metrics: map[string]metric{}, values: map[[2]string][]string{}}
	inQuotes := func(cell string) (all []string) {
		for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
			all = append(all, m[1])
		}
		return all
	}
	header := ""
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) < 4 || strings.HasPrefix(cells[0], "---") {
			continue
		}
		first := inQuotes(cells[0])
		switch {
		case len(first) == 0:
			header = cells[0]
		case header == "metric":
			// Both planes may have a metric of one name, with labels of its own.
			one := p.metrics[first[0]]
			p.metrics[first[0]] = metric{kind: cells[1], labels: append(one.labels, inQuotes(cells[2])...)}
		case header == "label" && closed.MatchString(cells[2]):
			for _, name := range inQuotes(cells[1]) {
				p.values[[2]string{name, first[0]}] = inQuotes(cells[2])
			}
		}
	}
	if len(p.metrics) < 50 || len(p.values) < 5 {
		t.Fatalf("%d metrics and %d labels were read: the page is not what it was", len(p.metrics), len(p.values))
	}
	return p
}

// targetLabels are Prometheus' own, of every series.
var targetLabels = []string{"job", "instance"}

// family finds the metric that a series belongs to; those of a histogram have names of their own.
func (p *page) family(series string) (name string, m metric, ok bool) {
	if series == "up" {
		return series, metric{kind: "gauge"}, true
	}
	if m, ok := p.metrics[series]; ok {
		return series, m, m.kind != "histogram"
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if name, ok := strings.CutSuffix(series, suffix); ok && p.metrics[name].kind == "histogram" {
			m := p.metrics[name]
			if suffix == "_bucket" {
				m.labels = append(slices.Clone(m.labels), "le")
			}
			return name, m, true
		}
	}
	return series, metric{}, false
}

// problems says what an expression refers to that is not there.
func (p *page) problems(expr string) (all []error) {
	q, err := parse(expr)
	if err != nil {
		return []error{err}
	}
	known := slices.Clone(targetLabels)
	for _, s := range q.selectors {
		name, m, ok := p.family(s.metric)
		if !ok {
			all = append(all, fmt.Errorf("nobody has the metric %s", s.metric))
			continue
		}
		known = append(known, m.labels...)
		for _, match := range s.matchers {
			if slices.Contains(targetLabels, match.label) {
				continue
			}
			if !slices.Contains(m.labels, match.label) {
				all = append(all, fmt.Errorf("%s has no label %s", s.metric, match.label))
				continue
			}
			among := p.values[[2]string{name, match.label}]
			named, ok := match.alternatives()
			for _, v := range named {
				if ok && among != nil && !slices.Contains(among, v) {
					all = append(all, fmt.Errorf("%s never has %s=%q", s.metric, match.label, v))
				}
			}
		}
	}
	for _, label := range q.groups {
		if len(all) == 0 && !slices.Contains(known, label) {
			all = append(all, fmt.Errorf("no metric of %q has the label %s", expr, label))
		}
	}
	return all
}

// TestProblems: what holds alerts and dashboard to the page finds what it is there for.
func TestProblems(t *testing.T) {
	p := readPage(t)
	for _, c := range []struct{ expr, want string }{
		{`sum by (job, operation) (rate(fairway_requests_total{status=~"5xx|4xx", job="x"}[5m])) > 1`, ""},
		{`histogram_quantile(0.95, sum by (le) (rate(fairway_request_duration_seconds_bucket{job=~"$job"}[$__rate_interval])))`, ""},
		{`fairway_snapshot_age_seconds > 60 and on (job, instance) fairway_sync_connected == 0 unless fairway_snapshot_revision offset 10m`, ""},
		{`up{job=~"fairway.*"} == 0`, ""},
		{`rate(fairway_request_total[5m])`, "nobody has the metric fairway_request_total"},
		{`1 - fairway_nonsense`, "nobody has the metric fairway_nonsense"},
		{`rate(fairway_request_duration_seconds[5m])`, "nobody has the metric fairway_request_duration_seconds"},
		{`rate(fairway_requests_total_count[5m])`, "nobody has the metric fairway_requests_total_count"},
		{`fairway_requests_total{code="200"}`, "fairway_requests_total has no label code"},
		{`fairway_requests_total{status="503"}`, `fairway_requests_total never has status="503"`},
		{`fairway_requests_total{operation="chat", status=~"5xx|6xx"}`, `fairway_requests_total never has status="6xx"`},
		{`sum by (key) (fairway_requests_total)`, "has the label key"},
		{`sum by (le) (rate(fairway_request_duration_seconds_sum[5m]))`, "has the label le"},
		{`vector(1)`, "no metric"},
		{`{job="x"}`, "without a metric"},
	} {
		got := fmt.Sprint(p.problems(c.expr))
		if c.want == "" && got != "[]" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", c.expr, got, c.want)
		}
	}
}
