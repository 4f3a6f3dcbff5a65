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
	// ErrInvalid is a negative count, price or ratio, or more cached tokens than input tokens.
	ErrInvalid = errors.New("money: invalid amount")
)

// Prices are per million tokens.
type Prices struct {
	// Input is for input tokens that were not cached, CachedInput for those that were, Output for what was generated.
	Input, CachedInput, Output NanoUSD
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

// Cost is what tokens cost at prices times all ratios, rounded half up once, at the end. Intermediates are 256 bits
// wide, so with two ratios or fewer the result is exact whenever it fits. It returns ErrInvalid for negative inputs and
// for Cached > Input, and ErrOverflow when the result or an intermediate does not fit.
func Cost(tokens Tokens, p Prices, ratios ...PPM) (NanoUSD, error) {
	if tokens.Input < 0 || tokens.Cached < 0 || tokens.Output < 0 || tokens.Cached > tokens.Input {
		return 0, ErrInvalid
	}
	if p.Input < 0 || p.CachedInput < 0 || p.Output < 0 {
		return 0, ErrInvalid
	}
	var sum wide
	sum.addProduct(uint64(tokens.Input-tokens.Cached), uint64(p.Input))
	sum.addProduct(uint64(tokens.Cached), uint64(p.CachedInput))
	sum.addProduct(uint64(tokens.Output), uint64(p.Output))

	half := wide{perTokens / 2}
	ok := true
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

// addProduct adds a*b for a and b below 2^63; up to four such products fit in the lower two words.
func (w *wide) addProduct(a, b uint64) {
	hi, lo := bits.Mul64(a, b)
	var carry uint64
	w[0], carry = bits.Add64(w[0], lo, 0)
	w[1], _ = bits.Add64(w[1], hi, carry)
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
