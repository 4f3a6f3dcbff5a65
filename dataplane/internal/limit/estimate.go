package limit

import (
	"hash/maphash"
	"math"
	"strings"
	"sync/atomic"

	"fairway/pkg/money"
)

const (
	// maxModels bounds what is learned: models beyond it are estimated as those nobody knows.
	maxModels = 1024
	// bytesPerToken is what text in the Latin script has, and outputUnsaid what is expected of a model that nobody knows
	// when the client names no maximum; outputUnknown bounds what is expected when it names one.
	bytesPerToken = 4
	outputUnsaid  = 1024
	outputUnknown = 4096
	// maxAnswers bounds how many answers are expected of one request; no provider gives more.
	maxAnswers = 128
	// lessons is from how many answers on a model is known.
	lessons = 20
	// ratioWeight is how much one answer counts in the ratio, and halveAt after how many answers old lengths count half.
	ratioWeight = 1.0 / 32
	halveAt     = 4096
)

// Estimator learns what requests use, by model. Its methods may be called by any goroutine; they take no lock, and allocate
// only for a model that is new.
type Estimator struct {
	seed  maphash.Seed
	count atomic.Int32
	slots [2 * maxModels]atomic.Pointer[lesson]
}

// lesson is what is known of one model.
type lesson struct {
	model string
	seen  atomic.Uint32
	ratio atomic.Uint64 // math.Float64bits of input tokens per byte; 0 = not known
	most  atomic.Int64  // the 95th percentile of output tokens; 0 = not known
	sizes [64]atomic.Uint32
}

// NewEstimator returns one that knows nothing.
func NewEstimator() *Estimator { return &Estimator{seed: maphash.MakeSeed()} }

// Request is what is known of a request before it is sent.
type Request struct {
	Model     string
	TextBytes int64        // of text that the model reads
	MaxTokens int64        // of output, as the client asks; 0 = it does not say
	Answers   int64        // that it asks for; 0 = one
	NoOutput  bool         // no text comes back, as with embeddings
	Images    bool         // each answer is an image
	Prices    money.Prices // the zero value costs nothing
	// Ratio and GroupRatio multiply the cost; 0 = 1.
	Ratio, GroupRatio money.PPM
}

// Estimate is what the request will probably use: input by the model's ratio of tokens to bytes, and output by what the
// client allows, but no more than 19 of 20 answers of the model had.
func (e *Estimator) Estimate(q *Request) Estimate {
	l := e.find(q.Model, false)
	ratio, most := 1.0/bytesPerToken, int64(0)
	if l != nil {
		if bits := l.ratio.Load(); bits != 0 {
			ratio = math.Float64frombits(bits)
		}
		most = l.most.Load()
	}
	tokens := money.Tokens{Input: count(float64(max(q.TextBytes, 0)) * ratio)}
	switch {
	case q.NoOutput:
	case most > 0 && q.MaxTokens > 0:
		tokens.Output = min(q.MaxTokens, most)
	case most > 0:
		tokens.Output = most
	case q.MaxTokens > 0:
		tokens.Output = min(q.MaxTokens, outputUnknown)
	default:
		tokens.Output = outputUnsaid
	}
	answers := min(max(q.Answers, 1), maxAnswers)
	tokens.Output = min(tokens.Output, maxAmount/2/answers) * answers
	use := money.Use{Tokens: tokens, Requests: 1}
	if q.Images {
		use.Images = answers
	}
	one := func(r money.PPM) money.PPM {
		if r == 0 {
			return money.One
		}
		return r
	}
	cost, err := money.Cost(use, q.Prices, one(q.Ratio), one(q.GroupRatio))
	if err != nil {
		cost = maxAmount
	}
	return Estimate{Tokens: clamp(tokens.Input + tokens.Output), Cost: clamp(int64(cost))}
}

func count(tokens float64) int64 {
	if tokens >= maxAmount/2 {
		return maxAmount / 2
	}
	return int64(math.Ceil(tokens))
}

// Learn takes in what a provider said that a request used. Usage that nobody told is not learned from.
func (e *Estimator) Learn(model string, textBytes int64, used money.Tokens) {
	l := e.find(model, true)
	if l == nil {
		return
	}
	if textBytes > 0 && used.Input > 0 {
		l.learnRatio(float64(used.Input) / float64(textBytes))
	}
	if used.Output > 0 {
		l.learnSize(used.Output)
	}
}

// learnRatio moves the ratio. A single request, of images for example, must not move it far.
func (l *lesson) learnRatio(now float64) {
	now = min(max(now, 1.0/64), 4)
	for {
		bits := l.ratio.Load()
		was := 1.0 / bytesPerToken
		if bits != 0 {
			was = math.Float64frombits(bits)
		}
		if l.ratio.CompareAndSwap(bits, math.Float64bits(was+ratioWeight*(now-was))) {
			return
		}
	}
}

// learnSize counts an answer, and now and then works out how long 19 of 20 are.
func (l *lesson) learnSize(output int64) {
	l.sizes[sizeOf(output)].Add(1)
	n := l.seen.Add(1)
	if n < lessons || n%16 != 0 && n != lessons {
		return
	}
	var counts [len(l.sizes)]uint32
	total := uint64(0)
	for i := range counts {
		counts[i] = l.sizes[i].Load()
		total += uint64(counts[i])
	}
	below := uint64(0)
	for i, c := range counts {
		if below += uint64(c); below*20 >= total*19 {
			l.most.Store(sizeEnd(i))
			break
		}
	}
	if total >= halveAt && l.seen.CompareAndSwap(n, lessons) {
		for i := range counts {
			l.sizes[i].Store(counts[i] / 2)
		}
	}
}

// sizeOf is the bucket of a number of tokens: [i] ends at 2^(i/2), about. The last takes all above.
func sizeOf(n int64) int {
	return min(max(int(math.Ceil(2*math.Log2(float64(n)))), 0), 63)
}

// sizeEnd is the most that bucket i counts.
func sizeEnd(i int) int64 { return int64(math.Ceil(math.Exp2(float64(i) / 2))) }

// find is what is known of a model; nil = nothing, and with add: there is no room. The name is copied when it is kept.
func (e *Estimator) find(model string, add bool) *lesson {
	h := maphash.String(e.seed, model)
	var added *lesson
	for i := range uint64(32) {
		slot := &e.slots[(h+i)%uint64(len(e.slots))]
		l := slot.Load()
		if l == nil {
			if !add {
				return nil
			}
			if added == nil {
				if e.count.Add(1) > maxModels {
					e.count.Add(-1)
					return nil
				}
				added = &lesson{model: strings.Clone(model)}
			}
			if slot.CompareAndSwap(nil, added) {
				return added
			}
			l = slot.Load()
		}
		if l.model == model {
			if added != nil {
				e.count.Add(-1)
			}
			return l
		}
	}
	if added != nil {
		e.count.Add(-1)
	}
	return nil
}
