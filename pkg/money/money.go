// Package money is the arithmetic of costs: int64 nano-USD, integer tokens, ratios in parts per million. Everything is
// checked; what does not fit is ErrOverflow.
//
// It refuses floating point, and it refuses to wrap around: an overflow in a bill would credit the one who caused it.
package money

import (
	"errors"
	"math"
	"math/bits"
)

// NanoUSD is an amount in billionths of a US dollar; the largest is about 9.2 billion dollars.
type NanoUSD int64

// PPM is a ratio in parts per million: 1_000_000 = 1.
type PPM int64

// One is the ratio that changes nothing.
const One PPM = 1_000_000

// perTokens is how many tokens a price is for.
const perTokens = 1_000_000

// Errors of this package.
var (
	// ErrOverflow is a result that does not fit in an int64.
	ErrOverflow = errors.New("money: overflow")
	// ErrInvalid is a negative count, price or ratio, or parts that are more than their whole.
	ErrInvalid = errors.New("money: invalid amount")
)

// Prices are whole: nothing in them falls back on anything else. Those of tokens are per million.
type Prices struct {
	// Input is for input that no cache had to do with, CachedInput for what came from one, Output for what was generated.
	Input, CachedInput, Output NanoUSD
	// CacheWrite and CacheWriteLong are for what was put into the provider's cache.
	CacheWrite, CacheWriteLong NanoUSD
	// Reasoning is for what was thought, AudioInput and AudioOutput for sound.
	Reasoning, AudioInput, AudioOutput NanoUSD
	// Image is for each image that was made, Request for each request.
	Image, Request NanoUSD
}

// Tokens is what a request used.
type Tokens struct {
	// Input includes Cached, CacheWrite, CacheWriteLong and AudioInput; Output includes Reasoning and AudioOutput.
	Input, Cached, Output int64
	// CacheWrite was put into the provider's cache for the usual time (5 minutes at Anthropic), CacheWriteLong for the long
	// one (1 hour).
	CacheWrite, CacheWriteLong int64
	// Reasoning is what the model thought.
	Reasoning int64
	// AudioInput and AudioOutput are tokens of sound.
	AudioInput, AudioOutput int64
}

// Use is all that is paid for.
type Use struct {
	Tokens
	Images, Requests int64
}

// Sound returns t with its parts cut to their whole, in the order in which they are declared, and whether they fitted
// before. Sound that came from a cache is part of both, so AudioInput only has to fit into Input.
func (t Tokens) Sound() (Tokens, bool) {
	before := t
	t.Input, t.Output = max(t.Input, 0), max(t.Output, 0)
	cut := func(part *int64, room int64) int64 {
		*part = min(max(*part, 0), room)
		return room - *part
	}
	room := cut(&t.Cached, t.Input)
	room = cut(&t.CacheWrite, room)
	cut(&t.CacheWriteLong, room)
	cut(&t.AudioInput, t.Input)
	room = cut(&t.Reasoning, t.Output)
	cut(&t.AudioOutput, room)
	return t, t == before
}

// Cost is what a use costs at prices times all ratios, rounded half up once, at the end. Every token is paid for once: what
// is both sound and from a cache costs as what it is in the cache. Intermediates are 256 bits wide, so with two ratios or
// fewer the result is exact whenever it fits. It returns ErrInvalid for what is negative and for tokens that are not Sound,
// and ErrOverflow when the result or an intermediate does not fit.
func Cost(use Use, p Prices, ratios ...PPM) (NanoUSD, error) {
	t, ok := use.Sound()
	if !ok || use.Images < 0 || use.Requests < 0 {
		return 0, ErrInvalid
	}
	if min(p.Input, p.CachedInput, p.Output, p.CacheWrite, p.CacheWriteLong, p.Reasoning, p.AudioInput, p.AudioOutput, p.Image, p.Request) < 0 {
		return 0, ErrInvalid
	}
	// None of these differences is negative: t is Sound.
	plain := t.Input - t.Cached - t.CacheWrite - t.CacheWriteLong
	heard := min(t.AudioInput, plain)
	var sum, pieces wide
	pieces.addProduct(use.Images, p.Image)
	pieces.addProduct(use.Requests, p.Request)
	pieces.mul(perTokens) // of fewer than 2^148: it fits
	sum.addProduct(plain-heard, p.Input)
	sum.addProduct(heard, p.AudioInput)
	sum.addProduct(t.Cached, p.CachedInput)
	sum.addProduct(t.CacheWrite, p.CacheWrite)
	sum.addProduct(t.CacheWriteLong, p.CacheWriteLong)
	sum.addProduct(t.Output-t.Reasoning-t.AudioOutput, p.Output)
	sum.addProduct(t.Reasoning, p.Reasoning)
	sum.addProduct(t.AudioOutput, p.AudioOutput)
	sum.add(pieces)

	half := wide{perTokens / 2}
	for _, r := range ratios {
		if r < 0 {
			return 0, ErrInvalid
		}
		ok = sum.mul(uint64(r)) && half.mul(uint64(One)) && ok
	}
	if !ok || !sum.add(half) {
		return 0, ErrOverflow
	}
	// floor(floor(x/a)/b) = floor(x/(ab)), so dividing in steps rounds only once.
	sum.div(perTokens)
	for range ratios {
		sum.div(uint64(One))
	}
	if sum[1]|sum[2]|sum[3] != 0 || sum[0] > math.MaxInt64 {
		return 0, ErrOverflow
	}
	return NanoUSD(sum[0]), nil
}

// Add returns a+b, or ErrOverflow. It serves amounts and token counts alike.
func Add(a, b int64) (int64, error) {
	s := a + b
	if (s > a) != (b > 0) {
		return 0, ErrOverflow
	}
	return s, nil
}

// wide is an unsigned 256-bit integer, least significant word first.
type wide [4]uint64

// addProduct adds n*price, neither of which is negative. Ten such products are far from filling w.
func (w *wide) addProduct(n int64, price NanoUSD) {
	hi, lo := bits.Mul64(uint64(n), uint64(price))
	w.add(wide{lo, hi})
}

// add reports whether the sum fits.
func (w *wide) add(o wide) bool {
	var carry uint64
	for i := range w {
		w[i], carry = bits.Add64(w[i], o[i], carry)
	}
	return carry == 0
}

// mul reports whether the product fits.
func (w *wide) mul(m uint64) bool {
	var carry uint64
	for i := range w {
		hi, lo := bits.Mul64(w[i], m)
		var c uint64
		w[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c // hi <= 2^64-2, so this cannot wrap
	}
	return carry == 0
}

// div divides by d, rounding down.
func (w *wide) div(d uint64) {
	var rem uint64
	for i := len(w) - 1; i >= 0; i-- {
		w[i], rem = bits.Div64(rem, w[i], d)
	}
}
