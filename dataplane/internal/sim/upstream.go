package sim

import (
	"math"
	"time"

	"fairway/dataplane/internal/dialect"
)

// Mode is how an account behaves.
type Mode int

// The modes.
const (
	Well     Mode = iota
	Errs          // 500 at once
	Unheard       // no connection
	Silent        // no first byte, ever
	Refused       // 401: its credential is of no use
	Limited       // 429 for everything, and says when to come back
	Flaky         // 500 for three in ten
	Sluggish      // answers, but takes eight times as long to begin
)

const (
	firstByte = 10 * time.Second      // proxies wait no longer
	refusal   = 80 * time.Millisecond // until an error has come
	firstBase = 500 * time.Millisecond
	perInput  = 100 * time.Microsecond // of the first byte, for each input token
	meanInput = 2000
)

// upstream is an account as its provider has it.
type upstream struct {
	world    *World
	index    int
	id       string
	capacity int
	pace     float64 // how much longer than usual it takes
	mode     Mode
	there    bool
	under    int    // requests that it is at work on
	flights  flight // head of a ring of those
}

// set changes how the account behaves; breaks ends what is under way as well.
func (u *upstream) set(m Mode, breaks bool) {
	u.mode = m
	for breaks && u.flights.next != &u.flights {
		u.flights.next.fail(dialect.Transport(false), 0)
	}
}

// take begins an attempt at the account.
func (u *upstream) take(f *flight) {
	w := u.world
	switch u.mode {
	case Errs:
		f.failIn(u.jittered(refusal), classify(500), 0)
	case Unheard:
		f.failIn(u.jittered(5*time.Millisecond), dialect.Transport(false), 0)
	case Silent:
		f.failIn(firstByte, dialect.Transport(true), 0)
	case Refused:
		f.failIn(u.jittered(refusal), classify(401), 0)
	case Limited:
		f.failIn(u.jittered(refusal), classify(429), 20*time.Second)
	case Flaky:
		if w.provider.Float64() < 0.3 {
			f.failIn(u.jittered(refusal), classify(500), 0)
			return
		}
		u.serve(f)
	default:
		u.serve(f)
	}
}

// serve answers if there is room.
func (u *upstream) serve(f *flight) {
	w := u.world
	if u.under >= u.capacity {
		w.tally.rejected++
		f.over = true
		f.failIn(u.jittered(refusal), classify(429), time.Second+time.Duration(w.provider.Float64()*float64(time.Second)))
		return
	}
	f.join(u)
	first := float64(firstBase+time.Duration(f.request.input)*perInput) * u.pace * w.lognormal(0.3)
	if u.mode == Sluggish {
		first *= 8
	}
	rest := float64(f.request.writing) * u.pace
	f.ttft = time.Duration(first)
	w.after(f.ttft, f.answer)
	w.after(time.Duration(first+rest), f.end)
}

func (u *upstream) jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.5 + u.world.provider.Float64()))
}

func classify(status int) dialect.Verdict {
	return dialect.Classify(&dialect.UpstreamError{Status: status})
}

// lognormal is a positive number with mean 1.
func (w *World) lognormal(sigma float64) float64 {
	return math.Exp(sigma*w.provider.NormFloat64() - sigma*sigma/2)
}

// full says whether one more is one too many.
func (u *upstream) full() bool { return u.under >= u.capacity }
