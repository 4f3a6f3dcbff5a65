package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A soak runs mixed traffic against one proxy for a long time: good requests of all sizes, streams, clients that leave or
// dawdle or are wrong, upstreams that fail in every way. It holds each answer against what that request may get, watches
// the proxy's memory, goroutines and files, and at the end compares the books with what the clients know.

// soak is one run.
type soak struct {
	rig    *rig
	target *target
	log    io.Writer
	out    string
	tally  *tally

	samples  []sample
	findings []finding
}

// soakReport is what soak.json has.
type soakReport struct {
	Time     time.Time        `json:"time"`
	Machine  machine          `json:"machine"`
	Seconds  float64          `json:"seconds"`
	Requests int64            `json:"requests"`
	Endings  map[string]int64 `json:"endings"`
	Findings []finding        `json:"findings"`
	Faults   []string         `json:"unexpected,omitempty"` // the first ones
}

// soakRole is this process as a soak. Its error is the verdict too.
func soakRole(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	length := f.Duration("for", 20*time.Minute, "how long")
	out := f.String("out", ".build/soak", "directory for samples.csv, soak.json and soak.png")
	procs := f.Int("gomaxprocs", 0, "GOMAXPROCS of the proxy (default: the number of cores)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || *length < leastSamples*sampleEvery {
		return fmt.Errorf("want -for of %s or more, and no arguments", leastSamples*sampleEvery)
	}
	if err := allowManyFiles(); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fairway-soak-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &soak{log: os.Stdout, out: *out, tally: newTally()}
	if s.rig, err = newRig(ctx, dir, "", *procs, s.log); err != nil {
		return err
	}
	defer s.rig.stop()
	return s.run(ctx, *length)
}

const (
	sampleEvery = time.Second
	tellEvery   = 10 * time.Second
)

// run soaks for so long, or until ctx ends, and reports either way.
func (s *soak) run(ctx context.Context, length time.Duration) error {
	keys, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	soaking, end := context.WithTimeout(ctx, length)
	defer end()
	fmt.Fprintf(s.log, "soaking for %s; ctrl-c ends it early, with a report\n", length)
	var playing sync.WaitGroup
	for _, sc := range scenes() {
		for i := range sc.actors {
			a := &actor{visitor: visitor{addr: s.target.plain}, keys: keys, turn: i}
			playing.Go(func() { sc.run(soaking, a, s.tally) })
		}
	}
	watch := sampler{target: s.target, tally: s.tally, start: start}
	watchErr := watch.every(soaking, sampleEvery, s.note)
	end() // a proxy that cannot be watched need not be soaked
	if ctx.Err() != nil {
		fmt.Fprintln(s.log, "ended early")
	}
	playing.Wait()
	// The report is made even when the run was ended early.
	s.findings = append(s.findings, s.conclude(context.WithoutCancel(ctx), watchErr)...)
	return s.report(start)
}

// prepare makes the channels that have faults, the keys of the ledgers, and the proxy.
func (s *soak) prepare(ctx context.Context) (keys [ledgers]string, err error) {
	const accounts = 3
	all := ""
	var models []string
	for _, f := range allFaults() {
		model := faultModel(f)
		// Short enough that a hanging upstream is given up many times in a soak.
		all += channelYAML(model, "http://"+s.rig.at.Plain[0], model, "timeouts: {first_byte: 1s, idle: 2s}\n", accounts)
		models = append(models, model)
	}
	if err := s.rig.apply(ctx, all, models...); err != nil {
		return keys, err
	}
	for l := range ledgers {
		if keys[l], err = s.rig.newKey(ctx, l.String()); err != nil {
			return keys, err
		}
	}
	s.target, err = s.rig.fairway(ctx)
	return keys, err
}

// note keeps a sample, and tells now and then.
func (s *soak) note(got sample) {
	every := int(tellEvery / sampleEvery)
	if len(s.samples)%every == 0 {
		fmt.Fprintf(s.log, "%6.0f s  %5.0f requests/s  %4.0f in flight  cpu %3.0f%%  rss %4.0f MiB  heap %4.0f MiB  %5.0f goroutines  %5.0f files  %.0f unexpected\n",
			got.at, got.requests, got.inFlight, got.cpu, got.rss, got.heap, got.goroutines, got.files, got.unexpected)
	}
	s.samples = append(s.samples, got)
}

// conclude looks at the proxy after the traffic.
func (s *soak) conclude(ctx context.Context, watchErr error) []finding {
	var all []finding
	n := s.tally.counts()
	all = append(all, finding{"answers", n.unexpected == 0 && n.good > 0, fmt.Sprintf("%d requests: %d answered in full, %d refused, %d failed by their upstream, %d left by their client, %d got what they must not get",
		n.requests, n.good, n.refused, n.failed, n.left, n.unexpected)})
	if watchErr != nil {
		return append(all, finding{"alive", false, fmt.Sprintf("%v\n%s", watchErr, s.target.main.log.String())})
	}
	for _, f := range flatnesses() {
		all = append(all, f.judge(s.samples))
	}
	m, drained := s.drained(ctx)
	all = append(all, drained)
	panics := m.sum("fairway_ingress_panics_total") + m.sum("fairway_request_panics_total")
	lost := m.sum("fairway_usage_records_lost_total") + m.sum("fairway_usage_dropped_records_total")
	all = append(all, finding{"no panics, none lost", panics == 0 && lost == 0, fmt.Sprintf("%.0f panics, %.0f usage records lost", panics, lost)})
	books, err := s.rig.books(ctx)
	if err != nil {
		return append(all, finding{"books", false, err.Error()})
	}
	return append(all, judgeBooks(books, s.tally)...)
}

// drained waits until nothing is under way any more, and the books have everything.
func (s *soak) drained(ctx context.Context) (exposition, finding) {
	const longest = 30 * time.Second
	begun := time.Now()
	for {
		m, err := metricsOf(ctx, s.target.ops)
		if err != nil {
			return nil, finding{"drained", false, err.Error()}
		}
		flying, clients := m.sum("fairway_requests_in_flight"), m.sum("fairway_ingress_connections")
		active, lag := m[`fairway_upstream_connections{state="active"}`], m.sum("fairway_usage_lag_records")
		over := flying == 0 && clients == 0 && active == 0 && lag == 0
		if over || time.Since(begun) > longest {
			return m, finding{"drained", over, fmt.Sprintf("%.0f requests, %.0f clients, %.0f busy upstream connections, %.0f usage records left", flying, clients, active, lag)}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// errSoak is a verdict; what was found is printed before.
var errSoak = errors.New("the soak failed")

// report prints and writes what was found.
func (s *soak) report(start time.Time) error {
	fmt.Fprintf(s.log, "\n%s\n", s.tally)
	ok := true
	for _, f := range s.findings {
		fmt.Fprintln(s.log, f)
		ok = ok && f.OK
	}
	for _, text := range s.tally.first {
		fmt.Fprintln(s.log, "unexpected:", text)
	}
	raw, err := json.MarshalIndent(soakReport{
		Time: start.UTC().Truncate(time.Second), Machine: thisMachine("", ""), Seconds: time.Since(start).Seconds(),
		Requests: s.tally.counts().requests, Endings: s.tally.endings, Findings: s.findings, Faults: s.tally.first,
	}, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(s.out, "soak.json"), append(raw, '\n'), 0o644)
	}
	err = errors.Join(err, writeSamples(filepath.Join(s.out, "samples.csv"), s.samples), writeSoakPlot(filepath.Join(s.out, "soak.png"), s.samples))
	fmt.Fprintf(s.log, "\nsamples and plots in %s\n", s.out)
	if !ok {
		err = errors.Join(errSoak, err)
	}
	return err
}
