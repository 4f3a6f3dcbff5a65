package judge

import (
	"math"
	"time"
)

// Buckets of histograms of times to the first byte: [i] counts those of 2^(i/2) ms and more.
const buckets = 40

// most bounds what one report may count of anything; beyond it a number is a mistake or an attack.
const most = 1_000_000

// traffic is what happened at one account lately: two halves of a window, of which the newer one fills.
type traffic struct {
	halves [2]half // newer, older
	number int64   // of the newer half since the moment 0
	slow   bool    // both halves were too slow when the newer one ended
	rate   [ring]uint32
	second int64 // of the newest in rate
}

// ring of whole seconds: ten that are over, and the one that runs.
const ring = 11

type half struct {
	ok, failed uint32
	ratio      float64 // sum of ttft ratios
	ratios     uint32
	durations  uint32
	tokens     uint64
	duration   uint64 // sum, in ms
	ttft       [buckets]uint32
	faults     []faultCount
}

type faultCount struct {
	reason string
	count  uint32
}

// maxFaults bounds the reasons that one half tells apart.
const maxFaults = 16

// turn makes the halves and seconds those of m. limit is the mean ratio above which a half is slow, volume how many
// attempts both need to say so.
func (t *traffic) turn(m moment, window time.Duration, limit float64, volume int) {
	number := int64(m) / max(int64(window/2), 1)
	switch number - t.number {
	case 0:
	case 1:
		t.slow = t.halves[0].slow(limit) && t.halves[1].slow(limit) &&
			uint64(t.halves[0].ratios)+uint64(t.halves[1].ratios) >= uint64(max(volume, 1))
		t.halves[1], t.halves[0] = t.halves[0], half{}
	default:
		t.halves, t.slow = [2]half{}, false
	}
	t.number = number
	second := int64(m) / int64(time.Second)
	if second-t.second >= ring || second < t.second {
		t.rate = [ring]uint32{}
	} else {
		for n := t.second + 1; n <= second; n++ {
			t.rate[n%ring] = 0
		}
	}
	t.second = second
}

func (h *half) slow(limit float64) bool {
	return h.ratios > 0 && limit > 0 && h.ratio > limit*float64(h.ratios)
}

// unslow forgets how slow the account was: it begins again.
func (t *traffic) unslow() {
	t.slow = false
	for i := range t.halves {
		t.halves[i].ratio, t.halves[i].ratios = 0, 0
	}
}

func (t *traffic) attempts() uint64 {
	ok, failed := t.counts()
	return ok + failed
}

func (t *traffic) counts() (ok, failed uint64) {
	for i := range t.halves {
		ok += uint64(t.halves[i].ok)
		failed += uint64(t.halves[i].failed)
	}
	return ok, failed
}

// ratio is the mean of the ttft ratios; 0 = not known.
func (t *traffic) ratio() float64 {
	n := uint64(t.halves[0].ratios) + uint64(t.halves[1].ratios)
	if n == 0 {
		return 0
	}
	return (t.halves[0].ratio + t.halves[1].ratio) / float64(n)
}

// mean is that of whole attempts; 0 = not known.
func (t *traffic) mean() time.Duration {
	n := uint64(t.halves[0].durations) + uint64(t.halves[1].durations)
	if n == 0 {
		return 0
	}
	return time.Duration((t.halves[0].duration+t.halves[1].duration)/n) * time.Millisecond //nolint:gosec // a mean of bounded numbers
}

// perSecond is the rate of attempts over the ten seconds that are over.
func (t *traffic) perSecond() float64 {
	var n uint64
	for i, c := range t.rate {
		if int64(i) != t.second%ring {
			n += uint64(c)
		}
	}
	return float64(n) / (ring - 1)
}

// quantile is that of times to the first byte, by a line inside the bucket; ok is false without answers.
func (t *traffic) quantile(q float64) (d time.Duration, ok bool) {
	var all uint64
	for i := range buckets {
		all += uint64(t.halves[0].ttft[i]) + uint64(t.halves[1].ttft[i])
	}
	if all == 0 {
		return 0, false
	}
	rank := q * float64(all)
	for i := range buckets {
		n := float64(t.halves[0].ttft[i]) + float64(t.halves[1].ttft[i])
		if n > 0 && rank <= n {
			low, high := math.Exp2(float64(i)/2), math.Exp2(float64(i+1)/2)
			return time.Duration((low + (high-low)*rank/n) * float64(time.Millisecond)), true
		}
		rank -= n
	}
	return time.Duration(math.Exp2(buckets/2) * float64(time.Millisecond)), true
}

// faults are those of the window, by reason.
func (t *traffic) faults() map[string]uint64 {
	var all map[string]uint64
	for i := range t.halves {
		for _, f := range t.halves[i].faults {
			if all == nil {
				all = make(map[string]uint64, len(t.halves[i].faults))
			}
			all[f.reason] += uint64(f.count)
		}
	}
	return all
}

func (h *half) fault(reason string, n uint64) {
	for i := range h.faults {
		if h.faults[i].reason == reason {
			h.faults[i].count = plus(h.faults[i].count, n)
			return
		}
	}
	if len(h.faults) < maxFaults {
		h.faults = append(h.faults, faultCount{reason, plus(0, n)})
	}
}

// plus adds, as far as it goes.
func plus(a uint32, n uint64) uint32 {
	return uint32(min(uint64(a)+min(n, most), math.MaxUint32)) //nolint:gosec // bounded in this line
}

// finite takes a number from elsewhere as one between low and high; what is none becomes low.
func finite(v, low, high float64) float64 {
	if math.IsNaN(v) {
		return low
	}
	return min(max(v, low), high)
}
