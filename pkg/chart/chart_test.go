package chart

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

// TestLinesAreWhereTheyBelong: a line that rises begins at the bottom left and ends at the top right of its chart.
func TestLinesAreWhereTheyBelong(t *testing.T) {
	red := color.RGBA{0xff, 0, 0, 0xff}
	img := drawn(t, []*Chart{
		{Title: "nothing", Under: "x", X: []float64{0, 1}, Series: []Series{{Name: "a", Y: []float64{1, 1}}}},
		{Title: "rises", Under: "x", X: []float64{0, 10}, Series: []Series{{Name: "b", Color: red, Y: []float64{0, 10}}}},
	})
	if got := img.Bounds(); got != image.Rect(0, 0, 2*chartWidth, chartHeight) {
		t.Fatalf("the picture is %v", got)
	}
	at := func(x, y int) bool { return img.At(x, y) == red }
	bottom, top := chartHeight-marginBottom, marginTop
	if !at(chartWidth+marginLeft, bottom) || !at(2*chartWidth-marginRight, top) {
		t.Error("the line does not go from corner to corner")
	}
	for y := range chartHeight {
		for x := range chartWidth {
			if at(x, y) {
				t.Fatalf("it is in another chart, at %d, %d", x, y)
			}
		}
	}
}

// TestLinesWithoutColorDiffer: and a legend that is too long goes on below.
func TestLinesWithoutColorDiffer(t *testing.T) {
	c := &Chart{X: []float64{0, 1}}
	for range 5 {
		c.Series = append(c.Series, Series{Name: "a name", Y: []float64{0, 1}})
	}
	drawn(t, []*Chart{c})
	seen := map[color.RGBA]bool{}
	for _, s := range c.Series {
		seen[s.Color] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d colors for 5 lines", len(seen))
	}
}

// TestLetters: all that labels are made of can be read.
func TestLetters(t *testing.T) {
	for _, b := range []byte("0123456789./()-+CPUMB%abcdefghijklmnopqrstuvwxyz") {
		if glyph(b) == [5]byte{} {
			t.Errorf("%q is blank", b)
		}
	}
}

func drawn(t *testing.T, charts []*Chart) image.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "chart.png")
	if err := Write(file, charts); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}
