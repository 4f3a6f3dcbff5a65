package sim

import (
	"fmt"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/judge"
)

// As the control plane has it.
const (
	lookEvery  = 250 * time.Millisecond
	lookSoon   = 25 * time.Millisecond
	writeTakes = 20 * time.Millisecond
)

// leader is the control plane's replica that looks after health.
type leader struct {
	world   *World
	judge   *judge.Judge // nil = nobody leads
	term    int
	looking bool // soon
}

// lead begins a term.
func (l *leader) lead() {
	w := l.world
	l.term++
	term := l.term
	l.judge = judge.New(judge.Options{
		Term: fmt.Sprint(term), Now: w.time(), FirstEver: term == 1, Seed: w.setup.Seed + uint64(term),
	})
	l.judge.Configure(w.rules, w.judged(), w.time())
	var look func()
	look = func() {
		if l.term == term && l.judge != nil {
			l.look()
			w.after(lookEvery, look)
		}
	}
	w.after(lookEvery, look)
	for _, p := range w.proxies {
		boot := p.boot
		w.after(time.Duration(w.network.Int64N(int64(reportEvery))), func() {
			if p.boot == boot && p.running {
				p.connect()
			}
		})
	}
}

// lose ends it.
func (l *leader) lose() {
	l.judge = nil
	for _, p := range l.world.proxies {
		p.up = false
	}
}

// hear takes a report.
func (l *leader) hear(p *proxy, boot int, r *syncv1.HealthReport) {
	if l.judge == nil || !p.up || p.boot != boot {
		return
	}
	l.judge.Report(p.id, fmt.Sprint(boot), p.id, r, l.world.time())
	if pressing(r) {
		l.soon()
	}
}

// soon looks at what came before the next tick.
func (l *leader) soon() {
	if l.looking {
		return
	}
	l.looking = true
	term := l.term
	l.world.after(lookSoon, func() {
		l.looking = false
		if l.term == term && l.judge != nil {
			l.look()
		}
	})
}

// pressing says whether the rest of the fleet should hear of a report at once.
func pressing(r *syncv1.HealthReport) bool {
	if len(r.GetProbes()) > 0 {
		return true
	}
	for _, a := range r.GetAccounts() {
		if a.GetDisabled() || a.GetRest() != nil || len(a.GetFamilies()) > 0 {
			return true
		}
	}
	return false
}

// look decides, has that kept, and tells proxies what is new.
func (l *leader) look() {
	w, j := l.world, l.judge
	for _, d := range j.Tick(w.time()) {
		w.after(writeTakes, func() {
			if l.judge != j {
				return
			}
			u := w.byID[d.AccountID]
			w.state.verdicts[u.id] = d.Health
			w.publish(w.account(u))
			j.Persisted(d, nil)
			w.note(u, d)
		})
	}
	for _, p := range w.proxies {
		if !p.up {
			continue
		}
		u := j.Update(p.id, p.since, w.time())
		if u == nil {
			continue
		}
		p.since = u.GetRevision()
		p.inOrder(func() { p.keeper.Apply(u, w.time()) })
	}
}
