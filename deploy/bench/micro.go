package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// micro is a row that needs no processes: Go benchmarks of one room, each of which is one shape of the same thing. The
// slowest shape counts.
type micro struct {
	name, title string
	room        string
	benchmarks  string // as go test takes them
	bar         float64
}

func micros() []micro {
	const route, auth = "fairway/dataplane/internal/route", "fairway/dataplane/internal/auth"
	return []micro{
		{"select-10k", "selection, 10,000 accounts", route, "^BenchmarkPick$/^(10000x1|100x100|1x10000)$", 60},
		{"select-100k", "selection, 100,000 accounts", route, "^BenchmarkPick$/^(100000x1|1000x100|1x100000)$", 100},
		{"auth", "authentication, 1,000,000 keys", auth, "^BenchmarkCaller$/^1000000$", 400},
	}
}

// figures are what a benchmark's runs came to.
type figures struct {
	ns     []float64
	allocs float64 // the most
}

// parseBenchmarks reads what go test -bench prints: for each benchmark, without the number of cores, its runs.
func parseBenchmarks(raw []byte) (map[string]figures, error) {
	all := map[string]figures{}
	for line := range bytes.Lines(raw) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := fields[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		f := all[name]
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("a benchmark's line: %w: %q", err, line)
			}
			switch fields[i+1] {
			case "ns/op":
				f.ns = append(f.ns, v)
			case "allocs/op":
				f.allocs = max(f.allocs, v)
			}
		}
		all[name] = f
	}
	return all, nil
}

// slowest is the row of a micro: of each run the slowest shape, and what any of them allocates.
func (m micro) slowest(all map[string]figures) (row, error) {
	var rounds []float64
	var allocs float64
	for _, f := range all {
		allocs = max(allocs, f.allocs)
		for i, ns := range f.ns {
			if i == len(rounds) {
				rounds = append(rounds, 0)
			}
			rounds[i] = max(rounds[i], ns)
		}
	}
	if len(rounds) == 0 {
		return row{}, errors.New("no benchmark has run")
	}
	r := row{Name: m.name, Title: m.title, Unit: "ns", Bar: m.bar, Absolute: true, Fairway: spreadOf(rounds)}
	if allocs > 0 {
		r.Title += fmt.Sprintf(" (%.0f allocations each)", allocs)
	}
	return r, nil
}

// micro runs a room's benchmarks, as many times as there are rounds.
func (b *bench) micro(ctx context.Context, m micro) (row, error) {
	args := []string{"test", "-run", "^$", "-bench", m.benchmarks, "-benchmem", "-benchtime", b.pace.benchtime, "-count", strconv.Itoa(b.rounds)}
	if b.rig.procs > 0 {
		args = append(args, "-cpu", strconv.Itoa(b.rig.procs))
	}
	out, err := run(ctx, append(os.Environ(), "CGO_ENABLED=0"), "", "go", append(args, m.room)...)
	if err != nil {
		return row{}, err
	}
	all, err := parseBenchmarks(out)
	if err != nil {
		return row{}, err
	}
	for name, f := range all {
		s := spreadOf(f.ns)
		b.note("%-34s %s ns (%s..%s), %.0f allocations", name, figure(s.Median), figure(s.Min), figure(s.Max), f.allocs)
	}
	return m.slowest(all)
}
