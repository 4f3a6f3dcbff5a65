package bank

import (
	"fmt"
	"testing"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// lab is a bank and proxies without a network between them: every exchange is whole.
type lab struct {
	t *testing.T
	*Bank
	mono    time.Duration
	wall    time.Duration
	proxies []*proxy
	ledger  map[ID]map[int64]int64
}

func newLab(t *testing.T, o Options, n int, limits map[ID]int64) *lab {
	l := &lab{t: t, Bank: New(o), ledger: map[ID]map[int64]int64{}}
	l.limit(limits)
	for i := range n {
		l.proxies = append(l.proxies, l.proxy(fmt.Sprintf("p%d", i), limits))
	}
	return l
}

func (l *lab) proxy(boot string, limits map[ID]int64) *proxy {
	var ids []ID
	for id := range limits {
		ids = append(ids, id)
	}
	return newProxy(boot, ids...)
}

func (l *lab) limit(limits map[ID]int64) {
	by := map[Owner][]Limit{}
	for id, n := range limits {
		by[id.Owner] = append(by[id.Owner], Limit{Kind: id.Kind, Amount: n})
	}
	for who, all := range by {
		l.Configure(who, all, l.now())
	}
}

func (l *lab) now() Moment { return Moment{Mono: l.mono, Wall: noon.Add(l.mono + l.wall)} }

// pass lets time go by.
func (l *lab) pass(d time.Duration) {
	l.mono += d
	for _, n := range l.Tick(l.now()) {
		for _, p := range l.proxies {
			if p.boot == n.Boot {
				p.hear(n.Response, l.mono)
			}
		}
	}
}

// exchange is one of each of some proxies, and a second one if the first was answered with declare.
func (l *lab) exchange(some ...*proxy) {
	l.t.Helper()
	for _, p := range some {
		for range 2 {
			r := p.request(l.mono, false)
			a, err := l.Handle(p.boot, r, l.now())
			if err != nil {
				l.t.Fatalf("%s: %v", p.boot, err)
			}
			l.open()
			p.hear(a, l.mono)
			if !a.GetDeclare() {
				break
			}
		}
		for _, n := range l.Tick(l.now()) {
			for _, q := range l.proxies {
				if q.boot == n.Boot {
					q.hear(n.Response, l.mono)
				}
			}
		}
	}
}

func (l *lab) open() {
	for _, v := range l.Wanted(100, l.now()) {
		l.Open(v.ID, l.ledger[v.ID], l.now())
	}
}

// want sets what proxies would like to hold, and what serves one request.
func want(id ID, n, least int64, some ...*proxy) {
	for _, p := range some {
		p.demand[id], p.least[id] = n, least
	}
}

// pay spends and books an amount at once.
func (l *lab) pay(p *proxy, id ID, n int64) bool {
	if !p.take(id, n, l.mono) {
		return false
	}
	u := p.now(id, l.mono)
	if l.ledger[id] == nil {
		l.ledger[id] = map[int64]int64{}
	}
	l.ledger[id][u.window] += n
	l.Settled(p.boot, id, l.clock.steady, n, l.now())
	u.booked += n
	return true
}

func (l *lab) view(id ID) View {
	v, _ := l.Outstanding(id, l.now())
	return v
}

func held(p *proxy, id ID, now time.Duration) int64 {
	if u := p.now(id, now); u != nil {
		return u.held()
	}
	return 0
}

func ask(boot string, seq uint64, full bool, h ...*syncv1.Holding) *syncv1.LeaseRequest {
	return &syncv1.LeaseRequest{BootId: boot, Sequence: seq, Full: full, Holdings: h}
}
