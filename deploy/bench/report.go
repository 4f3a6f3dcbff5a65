package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// row is a measure's result.
type row struct {
	Name     string  `json:"name"`
	Title    string  `json:"title"`
	Unit     string  `json:"unit"`
	Bar      float64 `json:"bar"`
	Absolute bool    `json:"absolute,omitempty"` // the bar is on the value, and nginx is not asked
	Nginx    spread  `json:"nginx"`
	Fairway  spread  `json:"fairway"`
	Ratio    float64 `json:"ratio,omitempty"` // of the medians
	Ratios   spread  `json:"ratios,omitzero"` // of rounds next to each other
}

// compare makes the row of what was measured on both.
func compare(name, title, unit string, bar float64, nginx, fairway []float64) row {
	r := row{Name: name, Title: title, Unit: unit, Bar: bar, Nginx: spreadOf(nginx), Fairway: spreadOf(fairway), Ratios: spreadOf(ratios(fairway, nginx))}
	if r.Nginx.Median > 0 {
		r.Ratio = r.Fairway.Median / r.Nginx.Median
	}
	return r
}

// verdict says whether the bar is met. A ratio whose rounds lie on both sides of the bar is marked: it may be luck.
func (r *row) verdict() string {
	value, low, high := r.Ratio, r.Ratios.Min, r.Ratios.Max
	if r.Absolute {
		value, low, high = r.Fairway.Median, r.Fairway.Min, r.Fairway.Max
	} else if r.Ratio == 0 {
		return "no figure"
	}
	said := "missed"
	if value <= r.Bar {
		said = "met"
	}
	if low <= r.Bar && high > r.Bar {
		said += " (rounds differ)"
	}
	return said
}

func (r *row) cell(s spread) string {
	if len(s.Rounds) == 0 {
		return "-"
	}
	value := strings.TrimSpace(figure(s.Median) + " " + r.Unit)
	if len(s.Rounds) == 1 {
		return value
	}
	return fmt.Sprintf("%s (%s..%s)", value, figure(s.Min), figure(s.Max))
}

// figure writes what a measure can tell apart: three digits.
func figure(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// machine is where the results come from.
type machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Nginx   string `json:"nginx"`
	Fairway string `json:"fairway"`
}

func thisMachine(nginx, fairway string) machine {
	return machine{CPU: cpuName(), Cores: runtime.NumCPU(), Kernel: fileText("/proc/sys/kernel/osrelease"), Go: runtime.Version(), Nginx: nginx, Fairway: fairway}
}

func fileText(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(raw))
}

func cpuName() string {
	for line := range strings.Lines(fileText("/proc/cpuinfo")) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// results are all of a run, as results.json has them.
type results struct {
	Time       time.Time `json:"time"`
	Machine    machine   `json:"machine"`
	Rounds     int       `json:"rounds"`
	Quick      bool      `json:"quick,omitempty"`
	GOMAXPROCS int       `json:"gomaxprocs"` // of the proxy; 0 = the number of cores
	Rows       []row     `json:"measures"`
	Sweep      []point   `json:"sweep,omitempty"`
}

func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s, %d cores, Linux %s, %s, %s; medians of %d rounds (min..max)\n\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Machine.Nginx, r.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measure\tnginx\tfairway\tratio\tbar\tverdict")
	for i := range r.Rows {
		row := &r.Rows[i]
		ratio, bar := "-", fmt.Sprintf("<= %.3gx", row.Bar)
		switch {
		case row.Absolute:
			bar = strings.TrimSpace(fmt.Sprintf("<= %.4g %s", row.Bar, row.Unit))
		case row.Ratio == 0:
		case len(row.Ratios.Rounds) < 2:
			ratio = fmt.Sprintf("%.2fx", row.Ratio)
		default:
			ratio = fmt.Sprintf("%.2fx (%.2f..%.2f)", row.Ratio, row.Ratios.Min, row.Ratios.Max)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", row.Title, row.cell(row.Nginx), row.cell(row.Fairway), ratio, bar, row.verdict())
	}
	_ = t.Flush() // of a terminal, see Fprintf
}

// write puts results.json and, when there is a sweep, plot.png into a directory.
func (r *results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	if len(r.Sweep) == 0 {
		return nil
	}
	return writePlot(filepath.Join(dir, "plot.png"), r.Sweep)
}
