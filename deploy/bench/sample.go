package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// sample is the proxy at one moment of a soak. Rates are since the sample before.
type sample struct {
	at         float64 // seconds since the start
	rss        float64 // MiB, by the kernel
	heap       float64 // MiB in use, by Go
	goroutines float64
	files      float64 // open descriptors
	cpu        float64 // percent of one core
	requests   float64 // per second
	good       float64 // of them, per second: answered in full,
	refused    float64 // refused for what the client did,
	failed     float64 // failed by their upstream,
	left       float64 // left by their client
	unexpected float64 // got what they must not get, so far
	clients    float64 // connections of clients
	upstreams  float64 // connections to upstreams, idle ones too
	inFlight   float64 // requests
}

// column is one of a sample's figures.
type column struct {
	name string
	of   func(*sample) float64
}

func columns() []column {
	return []column{
		{"seconds", func(s *sample) float64 { return s.at }},
		{"rss_mib", func(s *sample) float64 { return s.rss }},
		{"heap_mib", func(s *sample) float64 { return s.heap }},
		{"goroutines", func(s *sample) float64 { return s.goroutines }},
		{"files", func(s *sample) float64 { return s.files }},
		{"cpu_percent", func(s *sample) float64 { return s.cpu }},
		{"requests_per_second", func(s *sample) float64 { return s.requests }},
		{"good_per_second", func(s *sample) float64 { return s.good }},
		{"refused_per_second", func(s *sample) float64 { return s.refused }},
		{"failed_per_second", func(s *sample) float64 { return s.failed }},
		{"left_per_second", func(s *sample) float64 { return s.left }},
		{"unexpected", func(s *sample) float64 { return s.unexpected }},
		{"client_connections", func(s *sample) float64 { return s.clients }},
		{"upstream_connections", func(s *sample) float64 { return s.upstreams }},
		{"requests_in_flight", func(s *sample) float64 { return s.inFlight }},
	}
}

// sampler looks at a proxy.
type sampler struct {
	target *target
	tally  *tally
	start  time.Time

	last time.Time
	cpu  time.Duration
	sums sums
}

func (s *sampler) take(ctx context.Context) (sample, error) {
	// A proxy that does not answer this is stuck.
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := metricsOf(ctx, s.target.ops)
	if err != nil {
		return sample{}, err
	}
	stat, err := readStat(s.target.main.pid())
	if err != nil {
		return sample{}, err
	}
	files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(s.target.main.pid()), "fd"))
	if err != nil {
		return sample{}, err
	}
	now := time.Now()
	sums := s.tally.counts()
	const mib = 1 << 20
	got := sample{
		at:  now.Sub(s.start).Seconds(),
		rss: float64(stat.rss) / mib, heap: m.sum("go_memstats_heap_inuse_bytes") / mib,
		goroutines: m.sum("go_goroutines"), files: float64(len(files)), unexpected: float64(sums.unexpected),
		clients: m.sum("fairway_ingress_connections"), upstreams: m.sum("fairway_upstream_connections"),
		inFlight: m.sum("fairway_requests_in_flight"),
	}
	if since := now.Sub(s.last).Seconds(); !s.last.IsZero() && since > 0 {
		got.cpu = 100 * (stat.cpu - s.cpu).Seconds() / since
		rate := func(now, before int64) float64 { return float64(now-before) / since }
		got.requests, got.good = rate(sums.requests, s.sums.requests), rate(sums.good, s.sums.good)
		got.refused, got.failed, got.left = rate(sums.refused, s.sums.refused), rate(sums.failed, s.sums.failed), rate(sums.left, s.sums.left)
	}
	s.last, s.cpu, s.sums = now, stat.cpu, sums
	return got, nil
}

// every takes samples until ctx ends, or until the proxy cannot be looked at any more.
func (s *sampler) every(ctx context.Context, d time.Duration, each func(sample)) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		got, err := s.take(context.WithoutCancel(ctx))
		if err != nil {
			return fmt.Errorf("look at the proxy: %w", err)
		}
		each(got)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// writeSamples writes them as CSV.
func writeSamples(file string, samples []sample) error {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	all := columns()
	line := make([]string, len(all))
	for i, c := range all {
		line[i] = c.name
	}
	err := w.Write(line)
	for i := range samples {
		for j, c := range all {
			line[j] = strconv.FormatFloat(c.of(&samples[i]), 'f', -1, 64)
		}
		if err == nil {
			err = w.Write(line)
		}
	}
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}
