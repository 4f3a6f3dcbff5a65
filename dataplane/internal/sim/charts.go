package sim

import (
	"fmt"
	"path/filepath"
	"time"

	"fairway/pkg/chart"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Loads is the study behind the first chart: ways to choose while the load grows.
func Loads() Study {
	s := Study{Name: "loads", Question: "Load that grows, accounts of three sizes"}
	for _, load := range loads() {
		for _, way := range ways() {
			way.Name = fmt.Sprintf("%.0f%%", 100*load)
			way.Load, way.Warm, way.Length = load, 45*time.Second, 45*time.Second
			s.Cases = append(s.Cases, Case{Setup: way})
		}
	}
	return s
}

func loads() []float64 { return []float64{0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95} }

func ways() []Setup {
	return []Setup{
		{Strategy: resourcev1.Strategy_STRATEGY_BALANCED}, {Strategy: resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM},
		{Rival: RoundRobin}, {Rival: PlainRandom}, {Rival: ArgMin},
	}
}

// Draw draws charts of what Suite and Loads came to into a folder.
func Draw(folder string, reports []*Report) error {
	by := map[string]*Report{}
	for _, r := range reports {
		by[r.Name] = r
	}
	for name, charts := range map[string][]*chart.Chart{
		"balancing-choosing.png": choosingCharts(by["loads"]),
		"balancing-power.png":    powerCharts(by["power"]),
		"balancing-accounts.png": accountCharts(by["failures"], by["returns"]),
	} {
		if err := chart.Write(filepath.Join(folder, name), charts); err != nil {
			return fmt.Errorf("draw %s: %w", name, err)
		}
	}
	return nil
}

func choosingCharts(r *Report) []*chart.Chart {
	names := []string{"balanced", "weighted", "round robin", "plain", "arg-min"}
	over := &chart.Chart{Title: "over capacity (%)", Under: "load (%)"}
	near := &chart.Chart{Title: "without arg-min", Under: "load (%)"}
	peak := &chart.Chart{Title: "busiest over mean", Under: "load (%)"}
	for _, load := range loads() {
		over.X = append(over.X, 100*load)
	}
	near.X, peak.X = over.X, over.X
	for i, name := range names {
		var shares, peaks []float64
		for j := range loads() {
			o := r.Outcomes[j*len(names)+i]
			shares, peaks = append(shares, 100*o.Over), append(peaks, o.Peak)
		}
		over.Series = append(over.Series, chart.Series{Name: name, Y: shares})
		if name != "arg-min" {
			near.Series = append(near.Series, chart.Series{Name: name, Y: shares})
		}
		peak.Series = append(peak.Series, chart.Series{Name: name, Y: peaks})
	}
	return []*chart.Chart{over, near, peak}
}

func powerCharts(r *Report) []*chart.Chart {
	figure := func(nth int, of func(*Outcome) float64) (y []float64) {
		for i := nth; i < len(r.Outcomes); i += 3 {
			y = append(y, of(r.Outcomes[i]))
		}
		return y
	}
	over := func(o *Outcome) float64 { return 100 * o.Over }
	price := func(o *Outcome) float64 { return o.Price }
	k := []float64{1, 2, 4, 8}
	return []*chart.Chart{
		{Title: "over capacity (%)", Under: "k", X: k, Series: []chart.Series{
			{Name: "prices 85%", Y: figure(1, over)}, {Name: "speeds 85%", Y: figure(2, over)}, {Name: "prices 40%", Y: figure(0, over)},
		}},
		{Title: "mean price", Under: "k", X: k, Series: []chart.Series{
			{Name: "40% load", Y: figure(0, price)}, {Name: "85% load", Y: figure(1, price)},
		}},
		{Title: "first byte (ms)", Under: "k", X: k, Series: []chart.Series{
			{Name: "speeds far apart", Y: figure(2, func(o *Outcome) float64 { return o.TTFT })},
		}},
	}
}

// accountCharts show one account's share of its weight, second by second.
func accountCharts(failures, returns *Report) []*chart.Chart {
	dead := &chart.Chart{Title: "share of a failing account (%)", Under: "seconds"}
	for _, of := range []struct {
		name string
		nth  int
	}{{"500", 0}, {"401", 3}, {"no answer", 5}, {"3 in 10", 6}} {
		var y []float64
		dead.X = nil
		for at := range 36 {
			dead.X = append(dead.X, float64(at))
			y = append(y, 100*failures.Outcomes[of.nth].Of(at, at+1, victim))
		}
		dead.Series = append(dead.Series, chart.Series{Name: of.name, Y: y})
	}
	charts := []*chart.Chart{dead}
	for _, of := range []struct {
		title string
		nth   int
	}{{"dead at 5 s - well at 25 s (%)", 0}, {"new at 5 s (%)", 2}} {
		c := &chart.Chart{Title: of.title, Under: "seconds"}
		o := returns.Outcomes[of.nth]
		var y []float64
		for at := 0; at+5 <= o.length; at += 5 {
			c.X = append(c.X, float64(at))
			y = append(y, 100*o.Of(at, at+5, victim))
		}
		c.Series = []chart.Series{{Name: "share of its weight", Y: y}}
		charts = append(charts, c)
	}
	return charts
}
