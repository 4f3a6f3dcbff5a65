package main

import (
	"image/color"

	"fairway/pkg/chart"
)

func targetColor(name string) color.RGBA {
	switch name {
	case "fairway":
		return color.RGBA{0x1f, 0x5f, 0xbf, 0xff}
	case "nginx":
		return color.RGBA{0x2e, 0x8b, 0x57, 0xff}
	default:
		return color.RGBA{0x80, 0x80, 0x80, 0xff}
	}
}

// writePlot draws a sweep: median latency, its 99th percentile, and CPU per request over the rates.
func writePlot(file string, points []point) error {
	var rates []float64
	for _, p := range points {
		rates = append(rates, p.Rate)
	}
	charts := []*chart.Chart{{Title: "latency p50 (us)"}, {Title: "latency p99 (us)"}, {Title: "CPU per request (us)"}}
	for _, name := range []string{"direct", "nginx", "fairway"} {
		lines := make([]chart.Series, len(charts))
		for _, p := range points {
			for i, of := range []map[string]spread{p.P50, p.P99, p.CPU} {
				lines[i].Y = append(lines[i].Y, of[name].Median)
			}
		}
		for i, line := range lines {
			line.Name, line.Color = name, targetColor(name)
			if name != "direct" || i < 2 { // the upstream's CPU time is nobody's business
				charts[i].Series = append(charts[i].Series, line)
			}
		}
	}
	for _, c := range charts {
		c.X, c.Under = rates, "requests/s"
	}
	return chart.Write(file, charts)
}

// writeSoakPlot draws a soak over its seconds.
func writeSoakPlot(file string, samples []sample) error {
	colors := []color.RGBA{{0x1f, 0x5f, 0xbf, 0xff}, {0x2e, 0x8b, 0x57, 0xff}, {0xbf, 0x7f, 0x1f, 0xff}, {0xbf, 0x1f, 0x3f, 0xff}}
	seconds := seriesOf(samples, func(s *sample) float64 { return s.at })
	of := func(title string, lines ...chart.Series) *chart.Chart {
		for i := range lines {
			lines[i].Color = colors[i]
		}
		return &chart.Chart{Title: title, Under: "seconds", X: seconds, Series: lines}
	}
	line := func(name string, figure func(*sample) float64) chart.Series {
		return chart.Series{Name: name, Y: seriesOf(samples, figure)}
	}
	return chart.Write(file, []*chart.Chart{
		of("memory (MiB)", line("resident", func(s *sample) float64 { return s.rss }), line("heap", func(s *sample) float64 { return s.heap })),
		of("goroutines", line("goroutines", func(s *sample) float64 { return s.goroutines })),
		of("descriptors", line("open", func(s *sample) float64 { return s.files }),
			line("clients", func(s *sample) float64 { return s.clients }), line("upstreams", func(s *sample) float64 { return s.upstreams })),
		of("requests/s", line("all", func(s *sample) float64 { return s.requests }), line("answered", func(s *sample) float64 { return s.good }),
			line("in flight", func(s *sample) float64 { return s.inFlight })),
		of("not answered/s", line("refused", func(s *sample) float64 { return s.refused }), line("upstream", func(s *sample) float64 { return s.failed }),
			line("left", func(s *sample) float64 { return s.left }), line("wrong", func(s *sample) float64 { return s.unexpected })),
		of("CPU (% of a core)", line("proxy", func(s *sample) float64 { return s.cpu })),
	})
}

func seriesOf(samples []sample, figure func(*sample) float64) []float64 {
	var y []float64
	for i := range samples {
		y = append(y, figure(&samples[i]))
	}
	return y
}
