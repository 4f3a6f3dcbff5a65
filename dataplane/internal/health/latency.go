package health

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// maxModels bounds the models whose times to the first byte are summed up.
const maxModels = 500

// sums are those of a linear regression of the time to the first byte (ms) over uncached input tokens, as they grew since
// the report before. Whole numbers can be added by many at once: with what observe bounds, a billion answers fit.
type sums struct{ n, x, y, xx, xy atomic.Uint64 }

const (
	maxTokens = 2_000_000
	maxTTFT   = 10 * time.Minute
)

func (s *sums) add(tokens int64, ttft time.Duration) {
	x := uint64(min(max(tokens, 0), maxTokens))
	y := uint64(min(max(ttft, 0), maxTTFT).Milliseconds())
	s.n.Add(1)
	s.x.Add(x)
	s.y.Add(y)
	s.xx.Add(x * x)
	s.xy.Add(x * y)
}

// take returns what was added since it was taken last; nil = nothing.
func (s *sums) take(model string) *syncv1.LatencySums {
	if s.n.Load() == 0 {
		return nil
	}
	return &syncv1.LatencySums{
		Model: model, N: float64(s.n.Swap(0)), X: float64(s.x.Swap(0)), Y: float64(s.y.Swap(0)),
		Xx: float64(s.xx.Swap(0)), Xy: float64(s.xy.Swap(0)),
	}
}

// fit is what the fleet expects of a model.
type fit struct{ base, perToken float64 } // ms

// expect is the expected time to the first byte in ms; at least one.
func (f fit) expect(tokens int64) float64 {
	return max(f.base+f.perToken*float64(max(tokens, 0)), 1)
}

// maxRatio bounds what one attempt says: a single stray one is not to move a mean by itself.
const maxRatio = 32

// latencyShare is the weight of one observation in a moving average.
const latencyShare = 0.2

// observe notes an answer's time to its first byte.
func (k *Keeper) observe(w *ward, o *Outcome) {
	average(&w.cell.LatencyEWMA, float64(o.TTFT)/float64(time.Millisecond))
	f := w.traffic()
	f.ttft[bucket(o.TTFT)].Add(1)
	k.compare(w, o)
}

// compare notes the same against what is expected of the model, once the attempt's input is known: a stream's is at its end.
func (k *Keeper) compare(w *ward, o *Outcome) {
	if o.compared || o.UncachedInput <= 0 {
		return // nobody knows what to expect
	}
	o.compared = true
	f := w.traffic()
	if s := k.sums.Load().at("", o.Model); s != nil {
		s.add(o.UncachedInput, o.TTFT)
	}
	if fits := k.fits.Load(); fits != nil {
		if m, ok := (*fits)[o.Model]; ok {
			ratio := min(float64(o.TTFT)/float64(time.Millisecond)/m.expect(o.UncachedInput), maxRatio)
			f.ratioSum.Add(uint64(ratio * ratioUnit))
			f.ratioCount.Add(1)
			average(&f.ratio, ratio)
		}
	}
}

// ratioUnit is what ratios are counted in.
const ratioUnit = 1024

// average moves a moving average, which begins with its first value.
func average(bits *atomic.Uint64, v float64) {
	for {
		old := bits.Load()
		next := v
		if old != 0 {
			was := math.Float64frombits(old)
			next = was + latencyShare*(v-was)
		}
		if bits.CompareAndSwap(old, math.Float64bits(next)) {
			return
		}
	}
}

// buckets of a histogram of times: [i] has those of 2^(i/2) ms and more.
const buckets = 40

func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	ms := us / 1000
	if ms == 0 {
		return 0
	}
	n := bits.Len64(ms) - 1
	if n >= buckets/2 {
		return buckets - 1
	}
	// d^2 against 2^(2n+1) ms^2: whether it is in the upper half of its power of two.
	if us*us >= (uint64(1)<<(2*n+1))*1_000_000 {
		return 2*n + 1
	}
	return 2 * n
}

// neutral is the performance of an account that answers as fast as its model is expected to, and of one of which nothing
// is known: three quarters. So there is room above for those that are faster.
const neutral = 0.75

// performance is min(1, reference/ratio), where ratio is how many times slower than expected the account is, and the
// reference is such that 1 comes out as neutral.
func performance(ratio float64) float64 {
	if !(ratio > 0) {
		return neutral
	}
	return min(1, neutral/ratio)
}

// localRatio is how slow an account is as far as this process knows: against its models' fits, else against the mean of
// all that it uses. 0 = unknown.
func (k *Keeper) localRatio(w *ward) float64 {
	if f := w.flow.Load(); f != nil {
		if r := math.Float64frombits(f.ratio.Load()); r > 0 {
			return r
		}
	}
	own := latency(w.cell)
	if own == 0 || k.typical.latency == 0 {
		return 0
	}
	return own / k.typical.latency
}

func latency(c *snapshot.Cell) float64 { return math.Float64frombits(c.LatencyEWMA.Load()) }
