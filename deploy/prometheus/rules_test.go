package prometheus

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// rule is an alert of fairway.rules.yml.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func readRules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	read(t, "fairway.rules.yml", &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

func read(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestRulesAskForWhatThereIs: an alert on a metric that is gone never fires, and nobody would know.
func TestRulesAskForWhatThereIs(t *testing.T) {
	p := readPage(t)
	for _, r := range readRules(t) {
		for _, problem := range p.problems(r.Expr) {
			t.Errorf("%s: %v", r.Alert, problem)
		}
	}
}

// TestRulesSayWhatToDo: each alert says what it means, what to type next, and where to read on.
func TestRulesSayWhatToDo(t *testing.T) {
	raw, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^###? (\w+)$`).FindAllStringSubmatch(string(raw), -1) {
		sections[m[1]] = true
	}
	seen := map[string]bool{}
	for _, r := range readRules(t) {
		if seen[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if s := r.Annotations["summary"]; s == "" || len(s) > 100 {
			t.Errorf("%s: the summary is a line for a pager, not %q", r.Alert, s)
		}
		if !strings.Contains(r.Annotations["description"], "ype `") {
			t.Errorf("%s: the description does not say what to type", r.Alert)
		}
		if want := "docs/alerts.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: the runbook is %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if !sections[r.Alert] {
			t.Errorf("%s has no section in docs/alerts.md", r.Alert)
		}
		delete(sections, r.Alert)
	}
	for s := range sections {
		if strings.HasPrefix(s, "Fairway") {
			t.Errorf("docs/alerts.md has a section for %s, and there is no such alert", s)
		}
	}
}

var alertName = regexp.MustCompile(`^ALERTS\{alertname="(\w+)", alertstate="firing"\}$`)

// TestRulesAreTested: promtool has a moment for each alert at which it fires, and one at which it does not.
func TestRulesAreTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Name  string `json:"name"`
			Exprs []struct {
				Expr    string `json:"expr"`
				Samples []struct {
					Labels string `json:"labels"`
				} `json:"exp_samples"`
			} `json:"promql_expr_test"`
			Series []struct {
				Series string `json:"series"`
			} `json:"input_series"`
		} `json:"tests"`
	}
	read(t, "fairway.rules.test.yml", &file)
	p := readPage(t)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, e := range test.Exprs {
			m := alertName.FindStringSubmatch(e.Expr)
			if m == nil {
				t.Errorf("%s: %q is not how the others ask", test.Name, e.Expr)
				continue
			}
			if len(e.Samples) > 0 {
				fires[m[1]] = true
			} else {
				quiet[m[1]] = true
			}
		}
		// What goes in must be what there is, too.
		for _, s := range test.Series {
			for _, problem := range p.problems(s.Series) {
				t.Errorf("%s: %v", test.Name, problem)
			}
		}
	}
	var names []string
	for _, r := range readRules(t) {
		names = append(names, r.Alert)
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s: tested to fire: %v, to be quiet: %v", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
	for name := range fires {
		if !slices.Contains(names, name) {
			t.Errorf("%s is tested, and there is no such alert", name)
		}
	}
}

// TestExampleScrapesBothPlanes: the alerts go by names of jobs, and the example must have them.
func TestExampleScrapesBothPlanes(t *testing.T) {
	var file struct {
		RuleFiles     []string `json:"rule_files"`
		ScrapeConfigs []struct {
			Job    string `json:"job_name"`
			Static []struct {
				Targets []string `json:"targets"`
			} `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	read(t, "prometheus.yml", &file)
	if !slices.Contains(file.RuleFiles, "fairway.rules.yml") {
		t.Errorf("rule files %q", file.RuleFiles)
	}
	got := map[string]string{}
	for _, c := range file.ScrapeConfigs {
		got[c.Job] = c.Static[0].Targets[0]
	}
	for job, target := range map[string]string{"fairway-proxy": "127.0.0.1:9091", "fairway-controlplane": "127.0.0.1:9092"} {
		if got[job] != target {
			t.Errorf("%s is scraped at %q, want %q", job, got[job], target)
		}
	}
}
