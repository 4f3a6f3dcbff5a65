package bank

import (
	"math"
	"time"
)

// Moment is the time as the caller knows it. Spans are measured by Mono alone, so that setting the clock of a machine
// neither ends leases nor starts windows.
type Moment struct {
	Mono time.Duration // since any fixed moment, by a clock that nobody sets
	Wall time.Time     // by the clock of the calendar
}

// slew is how fast the bank's own calendar follows a clock that was set: a 64th of the time that passes, which is nearly
// a minute an hour. So windows get a little longer or shorter, and none comes twice or is left out.
const slew = 64

// clock is the bank's calendar: it starts at the wall clock, runs with Mono, and never goes back once credits are out.
type clock struct {
	began  bool
	mono   time.Duration // the newest that a caller gave
	steady time.Time
}

// tell moves the clock to a caller's time.
func (c *clock) tell(m Moment) {
	wall := m.Wall.Round(0).UTC()
	if !c.began {
		c.began, c.mono, c.steady = true, m.Mono, wall
		return
	}
	passed := m.Mono - c.mono
	if passed <= 0 {
		return
	}
	c.mono = m.Mono
	c.steady = c.steady.Add(passed)
	c.steady = c.steady.Add(min(max(wall.Sub(c.steady), -passed/slew), passed/slew))
}

// at is the calendar's time at an earlier reading of Mono.
func (c *clock) at(mono time.Duration) time.Time { return c.steady.Add(mono - c.mono) }

// slice is how long one window of a rolling limit is: the shortest of some round lengths of which 32 or fewer reach all
// the way.
func (k Kind) slice() time.Duration {
	reach := time.Duration(k.Minutes) * time.Minute
	for _, s := range [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour} {
		if reach <= 32*s {
			return s
		}
	}
	return 24 * time.Hour
}

// trail is how many windows before the one that is now count with it.
func (k Kind) trail() int64 {
	if k.Period != Rolling {
		return 0
	}
	s := k.slice()
	// The oldest is counted whole, though only a part of it is within reach: a limit errs to the safe side.
	return int64((time.Duration(k.Minutes)*time.Minute + s - 1) / s)
}

// window is the number of the window that holds t. Numbers are 1 and more for times after 1970.
func (k Kind) window(t time.Time, zone *time.Location) int64 {
	switch k.Period {
	case Minute:
		return t.Unix() / 60
	case Day:
		return civil(t.In(zone))
	case Week:
		return (civil(t.In(zone)) + 3) / 7 // 1970 began on a Thursday
	case Month:
		y, m, _ := t.In(zone).Date()
		return int64(y)*12 + int64(m)
	case Rolling:
		return t.Unix() / int64(k.slice()/time.Second)
	default:
		return 1
	}
}

// civil counts the days of the calendar from 1970-01-01.
func civil(local time.Time) int64 {
	y, m, d := local.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60)
}

// begin is when a window of about now starts, in nanoseconds since 1970; those without windows started long ago.
func (k Kind) begin(n int64, zone *time.Location) int64 {
	var t time.Time
	switch k.Period {
	case Minute:
		return n * int64(time.Minute)
	case Rolling:
		return n * int64(k.slice())
	case Day:
		t = time.Date(1970, 1, 1+int(n), 0, 0, 0, 0, zone)
	case Week:
		t = time.Date(1970, 1, 1+int(n)*7-3, 0, 0, 0, 0, zone)
	case Month:
		t = time.Date(0, time.Month(n), 1, 0, 0, 0, 0, zone)
	default:
		return math.MinInt64
	}
	// Where clocks are changed at midnight, there are days without one and days with two.
	const step = 15 * time.Minute
	for range 12 {
		if k.window(t, zone) >= n {
			break
		}
		t = t.Add(step)
	}
	for range 12 {
		if k.window(t.Add(-step), zone) < n {
			break
		}
		t = t.Add(-step)
	}
	return t.UnixNano()
}

// end is when a window ends, in nanoseconds since 1970.
func (k Kind) end(n int64, zone *time.Location) int64 {
	if k.Period == Total || k.Period == None {
		return math.MaxInt64
	}
	return k.begin(n+1, zone)
}
