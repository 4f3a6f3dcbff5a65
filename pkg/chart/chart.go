// Package chart draws charts of a few lines each into PNG files, for pages of documentation. They need so little that no
// library has to do it. It refuses to be anything more: no styles, no scales but linear ones from zero.
package chart

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

const (
	chartWidth, chartHeight = 560, 400
	marginLeft, marginRight = 80, 40
	marginTop, marginBottom = 60, 60
	letterScale             = 2
	fewPoints               = 40 // that get a mark each
)

// Write draws charts into a PNG file, three in a row.
func Write(file string, charts []*Chart) error {
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

// Chart is one of them. Letters that glyph does not know are blank.
type Chart struct {
	Title  string
	Under  string // what x is
	X      []float64
	Series []Series

	img        *image.RGBA
	left, top  int
	maxX, maxY float64
}

// Series is a line of a chart: a y for each x of the chart.
type Series struct {
	Name  string
	Color color.RGBA // zero = the next of a few that can be told apart
	Y     []float64
}

// colors of lines that have none of their own.
func colors(i int) color.RGBA {
	all := [...]color.RGBA{
		{0x1f, 0x5f, 0xbf, 0xff}, {0x2e, 0x8b, 0x57, 0xff}, {0xbf, 0x7f, 0x1f, 0xff}, {0xbf, 0x1f, 0x3f, 0xff},
		{0x7f, 0x3f, 0x9f, 0xff}, {0x60, 0x60, 0x60, 0xff},
	}
	return all[i%len(all)]
}

func (c *Chart) draw() {
	black, grid := color.RGBA{0, 0, 0, 0xff}, color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
	for _, x := range c.X {
		c.maxX = max(c.maxX, x)
	}
	for _, s := range c.Series {
		for _, y := range s.Y {
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
	c.text(c.left+(chartWidth-textWidth(c.Under))/2, c.top+chartHeight-26, c.Under, black)
	c.text(c.left+marginLeft, c.top+10, c.Title, black)
	right, row := 0, 0
	for i := range c.Series {
		s := &c.Series[i]
		if s.Color.A == 0 {
			s.Color = colors(i)
		}
		if right > 0 && right+textWidth(s.Name) > chartWidth-marginLeft {
			right, row = 0, row+1
		}
		c.text(c.left+marginLeft+right, c.top+28+16*row, s.Name, s.Color)
		right += max(textWidth(s.Name)+12, 120)
		for j := 1; j < len(c.X); j++ {
			c.line(c.X[j-1], s.Y[j-1], c.X[j], s.Y[j], s.Color)
		}
		if len(c.X) > fewPoints {
			continue
		}
		for j := range c.X {
			px, py := c.at(c.X[j], s.Y[j])
			draw.Draw(c.img, image.Rect(px-3, py-3, px+4, py+4), image.NewUniform(s.Color), image.Point{}, draw.Src)
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

func (c *Chart) at(x, y float64) (px, py int) {
	return c.left + marginLeft + int(x/c.maxX*(chartWidth-marginLeft-marginRight)),
		c.top + chartHeight - marginBottom - int(y/c.maxY*(chartHeight-marginTop-marginBottom))
}

func (c *Chart) line(x0, y0, x1, y1 float64, col color.RGBA) {
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

func (c *Chart) text(left, top int, text string, col color.RGBA) {
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
