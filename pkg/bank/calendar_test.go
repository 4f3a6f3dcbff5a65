package bank

import (
	"testing"
	"time"
)

// What Place says is where Settled counts, also when that comes after the window has ended.
func TestPlaceIsWhereSettledCounts(t *testing.T) {
	for _, k := range []Kind{
		{What: Cost, Period: Day}, {What: Cost, Period: Week}, {What: Cost, Period: Month}, {What: Cost, Period: Total},
		{What: Cost, Period: Rolling, Minutes: 60},
	} {
		for _, ago := range []time.Duration{-time.Hour, 0, time.Second, 50 * time.Minute} {
			for _, later := range []time.Duration{0, time.Minute} {
				id := ID{owner, k}
				l := newLab(t, Options{FirstEver: true}, 0, map[ID]int64{id: 1000})
				l.Open(id, nil, l.now())
				p, ok := l.Place(id, l.now().Wall.Add(-ago), l.now())
				if !ok || p.Window == 0 {
					t.Fatalf("%v, %v ago: %+v, %t", k, ago, p, ok)
				}
				l.pass(later)
				l.Settled("boot", id, p.At, 7, l.now())
				if c := l.find(id).book.cell(p.Window); c == nil || c.booked != 7 {
					t.Errorf("%v, %v ago, told %v later: %+v is booked, want 7", k, ago, later, c)
				}
			}
		}
		if p, ok := newLab(t, Options{}, 0, map[ID]int64{{owner, k}: 1}).Place(ID{owner, k}, noon.AddDate(-2, 0, 0), Moment{Wall: noon}); !ok || p.Window != 0 && k.Period == Rolling {
			t.Errorf("%v: two years ago counts in %+v", k, p)
		}
	}
	if _, ok := New(Options{}).Place(ID{owner, Kind{What: Cost, Period: Day}}, noon, Moment{Wall: noon}); ok {
		t.Error("there is no such limit")
	}
}
