package judge

import (
	"math"
	"slices"
	"strings"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	maxModels = 4096
	// forgetting is the half-life of what the fit is made of.
	forgetting = 5 * time.Minute
	// leastFit is how many answers a fit needs.
	leastFit = 20
	maxMS    = float64(time.Hour / time.Millisecond)
	maxInput = 1e8 // tokens of one request
)

// model is the time to the first byte of one, as the fleet sees it: a line through all answers, of which old ones count
// less and less.
type model struct {
	name            string
	n, x, y, xx, xy float64
	base, slope     float64 // as proxies were told
	revision        uint64
	orphan          bool // no account serves it
	seats           []seat
}

// fit merges a proxy's sums. Sums that no answers can have are dropped whole.
func (j *Judge) fit(p *proxy, l *syncv1.LatencySums, m moment) {
	n, x, y, xx, xy := l.GetN(), l.GetX(), l.GetY(), l.GetXx(), l.GetXy()
	// Not ">": that lets NaN through.
	if !(n > 0 && n <= most) || !(x >= 0 && x <= n*maxInput) || !(y >= 0 && y <= n*maxMS) ||
		!(xx >= 0 && xx <= n*maxInput*maxInput) || !(xy >= 0 && xy <= n*maxInput*maxMS) ||
		x*x > n*xx*(1+1e-6) || l.GetModel() == "" || len(l.GetModel()) > 256 {
		return
	}
	s := j.models[l.GetModel()]
	if s == nil {
		if len(j.models) >= maxModels {
			return
		}
		s = &model{name: strings.ToValidUTF8(strings.Clone(l.GetModel()), "?")}
		j.models[s.name] = s
	}
	s.n, s.x, s.y, s.xx, s.xy = s.n+n, s.x+x, s.y+y, s.xx+xx, s.xy+xy
	for i := range s.seats {
		if s.seats[i].proxy == p {
			s.seats[i].add(m, n)
			return
		}
	}
	s.seats = append(s.seats, seat{proxy: p, recent: n, at: m})
}

// fits lets old answers fade, and tells of lines that moved.
func (j *Judge) fits(m moment) {
	fade := math.Exp2(-float64(factsEvery) / float64(forgetting))
	for name, s := range j.models {
		s.n, s.x, s.y, s.xx, s.xy = s.n*fade, s.x*fade, s.y*fade, s.xx*fade, s.xy*fade
		s.seats = slices.DeleteFunc(s.seats, func(s seat) bool { return s.stale(m) })
		if s.n < 0.01 {
			delete(j.models, name)
			continue
		}
		if s.orphan || s.n < leastFit {
			continue
		}
		base, slope := s.line()
		if far(base, s.base) || far(slope, s.slope) {
			j.revision++
			s.base, s.slope, s.revision = base, slope, j.revision
		}
	}
}

// line is base + slope * input, by least squares. Neither is below 0: more input is never faster, and nothing comes
// before it was asked for.
func (m *model) line() (base, slope float64) {
	mean := m.y / m.n
	if spread := m.n*m.xx - m.x*m.x; spread > 1e-9*m.n*m.xx && m.xx > 0 {
		slope = (m.n*m.xy - m.x*m.y) / spread
	}
	base = (m.y - slope*m.x) / m.n
	switch {
	case slope <= 0:
		base, slope = mean, 0
	case base < 1:
		// The best line through 1 ms.
		base, slope = 1, max((m.xy-m.x)/m.xx, 0)
	}
	return max(finite(base, 1, maxMS), 1), finite(slope, 0, maxMS)
}

// far reports whether a number moved by more than two percent.
func far(now, then float64) bool { return math.Abs(now-then) > 0.02*math.Abs(then) }
