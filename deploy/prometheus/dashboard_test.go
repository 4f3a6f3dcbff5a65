package prometheus

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type dashboard struct {
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Panels        []struct {
		ID          int    `json:"id"`
		Type        string `json:"type"`
		Title       string `json:"title"`
		Description string `json:"description"`
		Datasource  source `json:"datasource"`
		Grid        struct {
			X, Y, W, H int
		} `json:"gridPos"`
		Targets []struct {
			Datasource source `json:"datasource"`
			Expr       string `json:"expr"`
			Legend     string `json:"legendFormat"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Type  string          `json:"type"`
			Query json.RawMessage `json:"query"`
			// Definition is what a variable of type query asks.
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
}

type source struct {
	Type, UID string
}

func readDashboard(t *testing.T) *dashboard {
	t.Helper()
	raw, err := os.ReadFile("../grafana/fairway.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// TestDashboardAsksForWhatThereIs: a panel on a metric that is gone is an empty panel, which looks like quiet.
func TestDashboardAsksForWhatThereIs(t *testing.T) {
	p, d := readPage(t), readDashboard(t)
	legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	n := 0
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			n++
			for _, problem := range p.problems(target.Expr) {
				t.Errorf("%s: %v", panel.Title, problem)
			}
			// A legend of a label that the expression has summed away is empty.
			q, err := parse(target.Expr)
			if err != nil {
				continue
			}
			for _, m := range legend.FindAllStringSubmatch(target.Legend, -1) {
				kept := slices.Contains(q.groups, m[1])
				if !strings.Contains(target.Expr, " by (") && !strings.HasPrefix(target.Expr, "sum(") {
					kept = slices.Contains(targetLabels, m[1])
				}
				if !kept {
					t.Errorf("%s: the legend wants %s, which %s does not keep", panel.Title, m[1], target.Expr)
				}
			}
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr == "" {
			continue
		}
		for _, problem := range p.problems(a.Expr) {
			t.Errorf("an annotation: %v", problem)
		}
	}
	values := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := values.FindStringSubmatch(v.Definition)
		if m == nil || !slices.Contains(targetLabels, m[2]) {
			t.Errorf("the variable %s asks for %q", v.Name, v.Definition)
			continue
		}
		for _, problem := range p.problems(m[1]) {
			t.Errorf("the variable %s: %v", v.Name, problem)
		}
	}
	if n < 50 {
		t.Errorf("%d expressions: the dashboard was not read as it is", n)
	}
}

// TestDashboardCanBeImported: everything follows the data source and the choices at the top, nothing overlaps, and each
// metric of Fairway's that is worth an alert can be seen.
func TestDashboardCanBeImported(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "fairway" || d.SchemaVersion < 39 {
		t.Errorf("uid %q, schema %d", d.UID, d.SchemaVersion)
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	if !slices.Equal(names, []string{"datasource", "job", "instance"}) {
		t.Errorf("variables %q", names)
	}
	own := source{Type: "prometheus", UID: "${datasource}"}
	ids, taken, shown, rows := map[int]bool{}, map[[2]int]string{}, map[string]bool{}, 0
	for _, panel := range d.Panels {
		if ids[panel.ID] {
			t.Errorf("%s: the id %d is there twice", panel.Title, panel.ID)
		}
		ids[panel.ID] = true
		g := panel.Grid
		if g.X < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("%s: is at %+v", panel.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%s lies on %s", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
		if panel.Type == "row" {
			rows++
			continue
		}
		if panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("%s: says nothing, or shows nothing", panel.Title)
		}
		if panel.Datasource != own {
			t.Errorf("%s: data source %+v", panel.Title, panel.Datasource)
		}
		for _, target := range panel.Targets {
			if target.Datasource != own {
				t.Errorf("%s: data source %+v", panel.Title, target.Datasource)
			}
			q, err := parse(target.Expr)
			if err != nil {
				continue
			}
			for _, s := range q.selectors {
				shown[s.metric] = true
				for _, v := range []string{"job", "instance"} {
					if !slices.Contains(s.matchers, matcher{label: v, op: "=~", value: "$" + v}) {
						t.Errorf("%s: %s does not go by the chosen %s", panel.Title, s.metric, v)
					}
				}
			}
		}
	}
	if rows < 8 {
		t.Errorf("%d rows", rows)
	}
	for _, r := range readRules(t) {
		q, err := parse(r.Expr)
		if err != nil {
			continue
		}
		for _, s := range q.selectors {
			if s.metric != "up" && !shown[s.metric] {
				t.Errorf("%s fires on %s, which no panel shows", r.Alert, s.metric)
			}
		}
	}
}
