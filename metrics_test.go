package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"fairway/controlplane"
	"fairway/dataplane"
	"fairway/pkg/serve"
	"fairway/pkg/telemetry"
	"fairway/pkg/testkit/testcert"
)

// TestMetrics keeps docs/metrics.md equal to what both planes register when they start with everything switched on;
// testdata/metrics.md.tmpl holds what is written by hand. The alerts and the dashboard are checked against the page.
func TestMetrics(t *testing.T) {
	proxy, control := metricsOfPlanes(t)
	raw, err := os.ReadFile(filepath.Join("testdata", "metrics.md.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := template.New("metrics").Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	var b strings.Builder
	if err := page.Execute(&b, struct{ Proxy, Control, Labels, Process string }{
		metricTable(t, proxy, used), metricTable(t, control, used), labelTable(t, append(slices.Clone(proxy), control...), used), processTable(t, proxy),
	}); err != nil {
		t.Fatal(err)
	}
	for name := range labels {
		if !used[name] {
			t.Errorf("metrics_words_test.go has words for the label %s, which nothing has", name)
		}
	}
	for name := range types {
		if !used[name] {
			t.Errorf("metrics_words_test.go has a type for %s, which nobody registers", name)
		}
	}
	checkPage(t, "metrics.md", b.String())
}

// metric is a family of series as its registry has it.
type metric struct {
	name, help string
	labels     []string
	kind       string                     // "" = it had no series, so its registry does not tell
	buckets    int                        // of a histogram, without +Inf
	values     map[string]map[string]bool // of each label, those seen
}

// metricsOfPlanes starts a control plane and a proxy, and asks what they registered.
func metricsOfPlanes(t *testing.T) (proxy, control []metric) {
	t.Helper()
	const anyPort = "127.0.0.1:0"
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	cert, key := filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	testcert.Write(t, testcert.NewCA(t).Server(t, "127.0.0.1"), cert, key)
	of := map[string]*prometheus.Registry{"proxy": telemetry.NewRegistry(), "control": telemetry.NewRegistry()}

	listening, up := make(chan controlplane.Addresses, 1), make(chan dataplane.Addresses, 1)
	c := controlplane.Config{
		DataDir: filepath.Join(dir, "control"), Embedded: true, AdminListen: anyPort, SyncListen: anyPort, OpsListen: anyPort,
		AdminTLSCertFile: cert, AdminTLSKeyFile: key, Log: log, Registry: of["control"],
		Listening: func(a controlplane.Addresses) { listening <- a },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve.InOrder(ctx,
			serve.Part{Name: "control plane", Run: func(ctx context.Context) error { return controlplane.Run(ctx, c) }},
			serve.Part{Name: "proxy", Run: func(ctx context.Context) error {
				var at controlplane.Addresses
				select {
				case at = <-listening:
				case <-ctx.Done():
					return nil
				}
				return dataplane.Run(ctx, dataplane.Config{
					ControlPlane: []string{at.Sync}, JoinTokenFile: filepath.Join(c.DataDir, "join.token"), StateDir: filepath.Join(dir, "proxy"),
					Listen: anyPort, OpsListen: anyPort, TLSCertFiles: []string{cert}, TLSKeyFiles: []string{key},
					AccessLog: dataplane.AccessLog{File: filepath.Join(dir, "access.log")}, OTLP: dataplane.OTLP{Endpoint: "http://127.0.0.1:1", Signals: []string{"traces", "metrics"}}, Log: log, Registry: of["proxy"],
					Listening: func(a dataplane.Addresses) { up <- a },
				})
			}})
	}()
	select {
	case <-up:
	case err := <-ended:
		t.Fatalf("the planes ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the planes are not up after a minute")
	}
	proxy, control = registered(t, of["proxy"]), registered(t, of["control"])
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return proxy, control
}

// description is what a Desc says of itself: it has no other way.
var description = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"),.* constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

var constLabel = regexp.MustCompile(`([a-zA-Z_]\w*)="(?:[^"\\]|\\.)*"`)

// registered are the metrics of a registry, by name, also those that have no series yet.
func registered(t *testing.T, r *prometheus.Registry) []metric {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		r.Describe(descs)
	}()
	all := map[string]*metric{}
	for d := range descs {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Errorf("not understood: %s", d)
			continue
		}
		name, err1 := strconv.Unquote(m[1])
		help, err2 := strconv.Unquote(m[2])
		if err1 != nil || err2 != nil {
			t.Errorf("not understood: %s", d)
			continue
		}
		one := all[name]
		if one == nil {
			one = &metric{name: name, help: help, values: map[string]map[string]bool{}}
			all[name] = one
		}
		for _, l := range constLabel.FindAllStringSubmatch(m[3], -1) {
			one.labels = append(one.labels, l[1])
		}
		if m[4] != "" {
			one.labels = append(one.labels, strings.Split(m[4], ",")...)
		}
		slices.Sort(one.labels)
		one.labels = slices.Compact(one.labels)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		one := all[f.GetName()]
		if one == nil {
			// The page of metrics itself has some of promhttp's, which may come between the two questions.
			if strings.HasPrefix(f.GetName(), "fairway_") {
				t.Errorf("%s is collected and not described", f.GetName())
			}
			continue
		}
		one.kind = strings.ToLower(f.GetType().String())
		for _, series := range f.GetMetric() {
			for _, l := range series.GetLabel() {
				if one.values[l.GetName()] == nil {
					one.values[l.GetName()] = map[string]bool{}
				}
				one.values[l.GetName()][l.GetValue()] = true
			}
			if f.GetType() == dto.MetricType_HISTOGRAM {
				one.buckets = len(series.GetHistogram().GetBucket())
			}
		}
	}
	var list []metric
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, *all[name])
	}
	return list
}

// metricTable is a table of Fairway's own metrics. It fails where a label has no words and no bound.
func metricTable(t *testing.T, all []metric, used map[string]bool) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| metric | type | labels | series | what |\n|---|---|---|---|---|\n")
	for _, m := range all {
		if !strings.HasPrefix(m.name, "fairway_") {
			continue
		}
		kind := m.kind
		if said, ok := types[m.name]; ok {
			used[m.name] = true
			if kind != "" && kind != said {
				t.Errorf("%s is a %s; metrics_words_test.go says %s", m.name, kind, said)
			}
			kind = said
		} else if kind == "" && strings.HasSuffix(m.name, "_total") {
			kind = "counter"
		}
		if kind == "" {
			t.Errorf("%s has no series when the planes start: say in metrics_words_test.go what type it has", m.name)
		}
		series, known := 1, true
		var names []string
		for _, l := range m.labels {
			names = append(names, "`"+l+"`")
			w, where, ok := wordsOf(m.name, l)
			if !ok {
				t.Errorf("%s: nothing says what the label %s can be, and how much of it: add it to metrics_words_test.go", m.name, l)
				continue
			}
			used[where] = true
			if known = known && w.bound() > 0; known {
				series *= w.bound()
			}
			if n := len(m.values[l]); w.bound() > 0 && n > w.bound() {
				t.Errorf("%s has %d values of %s, more than the %d at most that metrics_words_test.go says", m.name, n, l, w.bound())
			}
			for v := range m.values[l] {
				if len(w.values) > 0 && !slices.Contains(w.values, v) {
					t.Errorf("%s has %s=%q, which is not among %q", m.name, l, v, w.values)
				}
			}
		}
		count := "see labels"
		if known {
			if kind == "histogram" {
				series *= m.buckets + 3
			}
			count = strconv.Itoa(series)
		}
		label := "–"
		if len(names) > 0 {
			label = strings.Join(names, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, kind, label, count, strings.ReplaceAll(m.help, "|", "\\|"))
	}
	return b.String()
}

// labelTable says what labels can be. Labels that say the same are one row.
func labelTable(t *testing.T, all []metric, used map[string]bool) string {
	t.Helper()
	type row struct{ label, values, most string }
	of := map[row][]string{}
	for _, m := range all {
		if !strings.HasPrefix(m.name, "fairway_") {
			continue
		}
		for _, l := range m.labels {
			w, _, ok := wordsOf(m.name, l)
			if !ok {
				continue
			}
			r := row{label: l, values: w.words, most: strconv.Itoa(w.bound())}
			if len(w.values) > 0 {
				r.values = "`" + strings.Join(w.values, "`, `") + "`"
			}
			if w.bound() == 0 {
				r.most = w.limit
			}
			if name := "`" + m.name + "`"; !slices.Contains(of[r], name) {
				of[r] = append(of[r], name)
			}
		}
	}
	rows := slices.SortedFunc(maps.Keys(of), func(a, b row) int {
		return strings.Compare(a.label+of[a][0], b.label+of[b][0])
	})
	var b strings.Builder
	b.WriteString("| label | of | values | at most |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.label, strings.Join(of[r], ", "), r.values, r.most)
	}
	return b.String()
}

// processTable has what the alerts and the dashboard use of the metrics of the Go runtime and of the process.
func processTable(t *testing.T, all []metric) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| metric | type | labels | series | what |\n|---|---|---|---|---|\n")
	for _, name := range process {
		i := slices.IndexFunc(all, func(m metric) bool { return m.name == name })
		if i < 0 {
			t.Errorf("%s is not registered on this system", name)
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | – | 1 | %s |\n", name, all[i].kind, strings.ReplaceAll(all[i].help, "|", "\\|"))
	}
	return b.String()
}
