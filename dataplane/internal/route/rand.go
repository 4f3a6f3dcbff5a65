package route

import (
	"math/bits"
	"math/rand/v2"
)

// Rand is a source of random numbers for one goroutine: wyrand, by Wang Yi (github.com/wangyi-fudan/wyhash, public
// domain). It is not for secrets. The zero Rand works, and always gives the same numbers.
type Rand struct{ state uint64 }

// NewRand returns a source that the runtime seeds.
func NewRand() Rand { return Rand{state: rand.Uint64()} }

// SeededRand returns a source whose numbers the seed decides.
func SeededRand(seed uint64) Rand { return Rand{state: seed} }

// Uint64 is the next 64 bits.
func (r *Rand) Uint64() uint64 {
	r.state += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(r.state, r.state^0xe7037ed1a0b428db)
	return hi ^ lo
}

// below is a number in [0, n); n must be positive and below 2^32.
func (r *Rand) below(n int) int { return int((r.Uint64() >> 32) * uint64(n) >> 32) }

// float is a number in [0, 1).
func (r *Rand) float() float64 { return float64(r.Uint64()>>11) / (1 << 53) }

// unit is a number in [0, 1) of random bits.
func unit(bits uint64) float32 { return float32(bits>>40) / (1 << 24) }
