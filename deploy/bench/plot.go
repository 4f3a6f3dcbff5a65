package main

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
)

// Charts of a few lines each. They need so little that no library has to draw them.

const (
	chartWidth, chartHeight = 560, 400
	marginLeft, marginRight = 80, 40
	marginTop, marginBottom = 60, 60
	letterScale             = 2
	fewPoints               = 40 // that get a mark each
)

// series is a line of a chart.
type series struct {
	name  string
	color color.RGBA
	y     []float64
}

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
	charts := []*chart{{title: "latency p50 (us)"}, {title: "latency p99 (us)"}, {title: "CPU per request (us)"}}
	for _, name := range []string{"direct", "nginx", "fairway"} {
		lines := make([]series, len(charts))
		for _, p := range points {
			for i, of := range []map[string]spread{p.P50, p.P99, p.CPU} {
				lines[i].y = append(lines[i].y, of[name].Median)
			}
		}
		for i, line := range lines {
			line.name, line.color = name, targetColor(name)
			if name != "direct" || i < 2 { // the upstream's CPU time is nobody's business
				charts[i].series = append(charts[i].series, line)
			}
		}
	}
	for _, c := range charts {
		c.x, c.under = rates, "requests/s"
	}
	return writeCharts(file, charts)
}

// writeSoakPlot draws a soak over its seconds.
func writeSoakPlot(file string, samples []sample) error {
	colors := []color.RGBA{{0x1f, 0x5f, 0xbf, 0xff}, {0x2e, 0x8b, 0x57, 0xff}, {0xbf, 0x7f, 0x1f, 0xff}, {0xbf, 0x1f, 0x3f, 0xff}}
	seconds := seriesOf(samples, func(s *sample) float64 { return s.at })
	of := func(title string, lines ...series) *chart {
		for i := range lines {
			lines[i].color = colors[i]
		}
		return &chart{title: title, under: "seconds", x: seconds, series: lines}
	}
	line := func(name string, figure func(*sample) float64) series {
		return series{name: name, y: seriesOf(samples, figure)}
	}
	return writeCharts(file, []*chart{
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

// writeCharts draws charts, three in a row.
func writeCharts(file string, charts []*chart) error {
	const inRow = 3
	rows := (len(charts) + inRow - 1) / inRow
	img := image.NewRGBA(image.Rect(0, 0, min(len(charts), inRow)*chartWidth, rows*chartHeight))
	draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	for i, c := range charts {
		c.img, c.left, c.top = img, i%inRow*chartWidth, i/inRow*chartHeight
		c.draw()
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(png.Encode(f, img), f.Close())
}

// chart is one of them, from left and top on.
type chart struct {
	img    *image.RGBA
	left   int
	top    int
	title  string
	under  string // what x is
	x      []float64
	series []series

	maxX, maxY float64
}

func (c *chart) draw() {
	black, grid := color.RGBA{0, 0, 0, 0xff}, color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
	for _, x := range c.x {
		c.maxX = max(c.maxX, x)
	}
	for _, s := range c.series {
		for _, y := range s.y {
			c.maxY = max(c.maxY, y)
		}
	}
	stepX, stepY := niceStep(c.maxX), niceStep(c.maxY)
	c.maxX, c.maxY = math.Ceil(c.maxX/stepX)*stepX, math.Ceil(c.maxY/stepY)*stepY
	for y := 0.0; y <= c.maxY; y += stepY {
		c.line(0, y, c.maxX, y, grid)
		_, py := c.at(0, y)
		label := fmt.Sprintf("%g", y)
		c.text(c.left+marginLeft-8-textWidth(label), py-7, label, black)
	}
	for x := 0.0; x <= c.maxX; x += stepX {
		c.line(x, 0, x, c.maxY, grid)
		px, py := c.at(x, 0)
		label := fmt.Sprintf("%g", x)
		c.text(px-textWidth(label)/2, py+8, label, black)
	}
	c.line(0, 0, c.maxX, 0, black)
	c.line(0, 0, 0, c.maxY, black)
	c.text(c.left+(chartWidth-textWidth(c.under))/2, c.top+chartHeight-26, c.under, black)
	c.text(c.left+marginLeft, c.top+10, c.title, black)
	for i, s := range c.series {
		c.text(c.left+marginLeft+i*120, c.top+32, s.name, s.color)
		for j := 1; j < len(c.x); j++ {
			c.line(c.x[j-1], s.y[j-1], c.x[j], s.y[j], s.color)
		}
		if len(c.x) > fewPoints {
			continue
		}
		for j := range c.x {
			px, py := c.at(c.x[j], s.y[j])
			draw.Draw(c.img, image.Rect(px-3, py-3, px+4, py+4), image.NewUniform(s.color), image.Point{}, draw.Src)
		}
	}
}

// niceStep is 1, 2 or 5 times a power of ten, so that about five steps reach most.
func niceStep(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, n := range []float64{1, 2, 5} {
		if n*power >= most/5 {
			return n * power
		}
	}
	return 10 * power
}

func (c *chart) at(x, y float64) (px, py int) {
	return c.left + marginLeft + int(x/c.maxX*(chartWidth-marginLeft-marginRight)),
		c.top + chartHeight - marginBottom - int(y/c.maxY*(chartHeight-marginTop-marginBottom))
}

func (c *chart) line(x0, y0, x1, y1 float64, col color.RGBA) {
	ax, ay := c.at(x0, y0)
	bx, by := c.at(x1, y1)
	steps := max(abs(bx-ax), abs(by-ay), 1)
	for i := range steps + 1 {
		px, py := ax+(bx-ax)*i/steps, ay+(by-ay)*i/steps
		c.img.SetRGBA(px, py, col)
		if abs(bx-ax) > 0 && abs(by-ay) > 0 { // the data; axes stay thin
			c.img.SetRGBA(px, py+1, col)
		}
	}
}

func abs(n int) int { return max(n, -n) }

func textWidth(text string) int { return len(text) * 6 * letterScale }

func (c *chart) text(left, top int, text string, col color.RGBA) {
	for i := range len(text) {
		g := glyph(text[i])
		for column, bits := range g {
			for line := range 8 {
				if bits>>line&1 == 0 {
					continue
				}
				x, y := left+(i*6+column)*letterScale, top+line*letterScale
				draw.Draw(c.img, image.Rect(x, y, x+letterScale, y+letterScale), image.NewUniform(col), image.Point{}, draw.Src)
			}
		}
	}
}

// glyph is a letter of 5 by 8 dots, a byte for each column, its lowest bit at the top. Letters that no chart here has
// are blank.
func glyph(b byte) [5]byte {
	const letters = "0123456789./()-+ CPUMB%abcdefghijklmnopqrstuvwxyz"
	const dots = "\x3e\x51\x49\x45\x3e\x00\x42\x7f\x40\x00\x42\x61\x51\x49\x46\x21\x41\x45\x4b\x31\x18\x14\x12\x7f\x10" + // 0-4
		"\x27\x45\x45\x45\x39\x3c\x4a\x49\x49\x30\x01\x71\x09\x05\x03\x36\x49\x49\x49\x36\x06\x49\x49\x29\x1e" + // 5-9
		"\x00\x60\x60\x00\x00\x20\x10\x08\x04\x02\x00\x1c\x22\x41\x00\x00\x41\x22\x1c\x00\x08\x08\x08\x08\x08\x08\x08\x3e\x08\x08" + // ./()-+
		"\x00\x00\x00\x00\x00\x3e\x41\x41\x41\x22\x7f\x09\x09\x09\x06\x3f\x40\x40\x40\x3f" + // space CPU
		"\x7f\x02\x0c\x02\x7f\x7f\x49\x49\x49\x36\x23\x13\x08\x64\x62" + // MB%
		"\x20\x54\x54\x54\x78\x7f\x48\x44\x44\x38\x38\x44\x44\x44\x20\x38\x44\x44\x48\x7f\x38\x54\x54\x54\x18\x08\x7e\x09\x01\x02" + // a-f
		"\x0c\x52\x52\x52\x3e\x7f\x08\x04\x04\x78\x00\x44\x7d\x40\x00\x20\x40\x44\x3d\x00\x7f\x10\x28\x44\x00\x00\x41\x7f\x40\x00" + // g-l
		"\x7c\x04\x18\x04\x78\x7c\x08\x04\x04\x78\x38\x44\x44\x44\x38\x7c\x14\x14\x14\x08\x08\x14\x14\x18\x7c\x7c\x08\x04\x04\x08" + // m-r
		"\x48\x54\x54\x54\x20\x04\x3f\x44\x40\x20\x3c\x40\x40\x20\x7c\x1c\x20\x40\x20\x1c\x3c\x40\x30\x40\x3c\x44\x28\x10\x28\x44" + // s-x
		"\x0c\x50\x50\x50\x3c\x44\x64\x54\x4c\x44" // y-z
	for i := range len(letters) {
		if letters[i] == b {
			return [5]byte([]byte(dots[5*i : 5*i+5]))
		}
	}
	return [5]byte{}
}
