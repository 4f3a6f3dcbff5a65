package main

import (
	"fmt"
	"slices"
)

// finding is one thing that a soak looks at, and what it found.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func (f finding) String() string {
	verdict := "ok    "
	if !f.OK {
		verdict = "FAILED"
	}
	return fmt.Sprintf("%s  %-24s %s", verdict, f.Name, f.Detail)
}

// flatness says what must not grow, and by how much it may all the same: a share of what it was, and a slack for what
// comes and goes.
type flatness struct {
	name  string
	unit  string
	of    func(*sample) float64
	share float64
	slack float64
}

func flatnesses() []flatness {
	return []flatness{
		{"resident memory", "MiB", func(s *sample) float64 { return s.rss }, 0.10, 16},
		{"Go heap", "MiB", func(s *sample) float64 { return s.heap }, 0.10, 12},
		{"goroutines", "", func(s *sample) float64 { return s.goroutines }, 0.05, 20},
		{"open files", "", func(s *sample) float64 { return s.files }, 0.05, 20},
		{"upstream connections", "", func(s *sample) float64 { return s.upstreams }, 0.05, 20},
	}
}

// leastSamples are so many that a quarter of them says something.
const leastSamples = 16

// judge compares the median of the second quarter with that of the last: the first quarter is warming up.
func (f flatness) judge(samples []sample) finding {
	n := len(samples)
	if n < leastSamples {
		return finding{f.name + " flat", false, fmt.Sprintf("%d samples are too few to judge", n)}
	}
	of := func(part []sample) float64 {
		var all []float64
		for i := range part {
			all = append(all, f.of(&part[i]))
		}
		slices.Sort(all)
		return median(all)
	}
	before, after := of(samples[n/4:n/2]), of(samples[n-n/4:])
	most := before*(1+f.share) + f.slack
	return finding{f.name + " flat", after <= most,
		fmt.Sprintf("%.0f -> %.0f %s (at most +%.0f%% and %.0f: %.0f)", before, after, f.unit, 100*f.share, f.slack, most)}
}
