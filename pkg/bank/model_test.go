package bank

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

var (
	noon  = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	owner = Owner{Key, "k1"}
	rpm   = ID{owner, Kind{What: Requests, Period: Minute}}
	slots = ID{owner, Kind{What: Concurrency, Period: None}}
	spend = ID{owner, Kind{What: Cost, Period: Total}}
	daily = ID{owner, Kind{What: Cost, Period: Day}}
)

// world is a fleet with a lossy network, a ledger, and leaders that come and go.
type world struct {
	t       *rapid.T
	mono    time.Duration
	wall    time.Duration // what was done to the clock of the leader's machine
	bank    *Bank
	term    int64
	proxies []*proxy
	boots   int
	wires   []message
	amounts map[ID]int64

	ledger   map[ID]int64            // what is on the books
	records  map[string][]record     // of each boot, not committed
	acks     map[string]map[ID]int64 // committed, not acknowledged
	admitted map[minute]int64        // requests, by the leaders' windows
	running  map[*proxy]int64        // requests under way
	orphans  map[*proxy]int64        // of those, which the bank could not know of
	late     map[ID]int64            // spent by boots that were given up, when they were
	pending  map[*proxy]map[ID]int64 // spent, not committed
	offset   time.Duration
	epochs   int64
	zombies  map[string]*proxy // killed, with records on their disk
}

type record struct {
	id     ID
	amount int64
}

// minute is a window as often as it came: numbers come again when a leader's clock is behind and no proxy remembers.
type minute struct{ window, epoch int64 }

// epoch counts how often the calendar of the leaders went back.
func (w *world) epoch() int64 {
	offset := w.bank.clock.steady.Sub(noon) - w.bank.clock.mono
	if offset < w.offset-10*time.Second {
		w.epochs++
	}
	w.offset = offset
	return w.epochs
}

type message struct {
	proxy *proxy
	up    *syncv1.LeaseRequest
	down  *syncv1.LeaseResponse
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, amounts: map[ID]int64{rpm: 20, slots: 5, spend: 1000, daily: 700}, ledger: map[ID]int64{},
		records: map[string][]record{}, acks: map[string]map[ID]int64{}, admitted: map[minute]int64{},
		running: map[*proxy]int64{}, orphans: map[*proxy]int64{}, late: map[ID]int64{},
		pending: map[*proxy]map[ID]int64{}, zombies: map[string]*proxy{},
	}
	w.lead(true)
	for range 3 {
		w.join()
	}
	return w
}

func (w *world) now() Moment { return Moment{Mono: w.mono, Wall: noon.Add(w.mono + w.wall)} }

func (w *world) lead(first bool) {
	w.term++
	w.bank = New(Options{Term: w.term, FirstEver: first, Strict: true})
	var all []Limit
	for id, n := range w.amounts {
		all = append(all, Limit{Kind: id.Kind, Amount: n})
	}
	w.bank.Configure(owner, all, w.now())
}

func (w *world) join() {
	w.boots++
	p := newProxy(fmt.Sprintf("b%d", w.boots), rpm, slots, spend, daily)
	p.least = map[ID]int64{rpm: 1, slots: 1, spend: 10, daily: 10}
	w.proxies = append(w.proxies, p)
	w.pending[p] = map[ID]int64{}
	p.lapsed = func(p *proxy, u *purse) {
		switch {
		case u.id == slots:
			w.orphans[p] = w.running[p]
		case u.id.Booked():
			w.late[u.id] += w.pending[p][u.id]
		}
	}
}

func (w *world) pick() *proxy {
	if len(w.proxies) == 0 {
		w.join()
	}
	return w.proxies[rapid.IntRange(0, len(w.proxies)-1).Draw(w.t, "proxy")]
}

// deliver carries a message. What it answers is on the wire then.
func (w *world) deliver(m message) {
	if m.up == nil {
		if !m.proxy.dead {
			m.proxy.hear(m.down, w.mono)
		}
		return
	}
	a, err := w.bank.Handle(m.proxy.boot, m.up, w.now())
	if err != nil {
		w.t.Fatalf("Handle: %v", err)
	}
	w.open()
	if a != nil {
		w.wires = append(w.wires, message{proxy: m.proxy, down: a})
	}
}

// open reads the balances that the bank wants.
func (w *world) open() {
	for _, v := range w.bank.Wanted(10, w.now()) {
		w.bank.Open(v.ID, map[int64]int64{v.Windows[0].Number: w.ledger[v.ID]}, w.now())
	}
}

// commit puts records of a boot on the books.
func (w *world) commit(boot string, p *proxy, n int) {
	for _, r := range w.records[boot][:n] {
		w.ledger[r.id] += r.amount
		w.bank.Settled(boot, r.id, noon.Add(w.mono), r.amount, w.now())
		w.pending[p][r.id] -= r.amount
		if w.acks[boot] == nil {
			w.acks[boot] = map[ID]int64{}
		}
		w.acks[boot][r.id] += r.amount
	}
	w.records[boot] = w.records[boot][n:]
}

func (w *world) check() {
	for s, n := range w.admitted {
		if n > w.amounts[rpm] {
			w.t.Fatalf("window %d: %d requests were admitted", s.window, n)
		}
	}
	var running, orphans int64
	for _, p := range w.proxies {
		running += w.running[p]
		orphans += w.orphans[p]
	}
	if running > w.amounts[slots]+orphans {
		w.t.Fatalf("%d requests are under way, %d unknown", running, orphans)
	}
	for _, id := range []ID{spend, daily} {
		total := w.ledger[id]
		for _, p := range w.pending {
			total += p[id]
		}
		if total > w.amounts[id]+w.late[id] {
			w.t.Fatalf("%v: %d were spent, %d of them late", id.Kind, total, w.late[id])
		}
	}
	for id := range w.amounts {
		v, ok := w.bank.Outstanding(id, w.now())
		if !ok || v.Held < 0 || v.Spent < 0 || v.Left < 0 || v.Booked < 0 {
			w.t.Fatalf("%v: %+v", id.Kind, v)
		}
	}
}

// often is how often things happen, by how often they are named.
var often = strings.Fields(`exchange exchange exchange exchange ask ask ask deliver deliver deliver deliver deliver
	requests requests requests begin begin end end pay pay pay commit commit acknowledge acknowledge pass pass pass pass
	reconnect reconnect kill spool elect jump`)

func TestFleet(t *testing.T) {
	var admitted, elections, kills, called int64
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		ask := func(p *proxy, full bool) {
			for _, id := range p.limits {
				p.demand[id] = rapid.SampledFrom([]int64{0, 1, 3, 10, 40}).Draw(t, "demand") * max(1, p.least[id])
			}
			w.wires = append(w.wires, message{proxy: p, up: p.request(w.mono, full)})
		}
		steps := map[string]func(*rapid.T){
			"exchange": func(t *rapid.T) {
				for _, p := range w.proxies {
					ask(p, false)
				}
				for len(w.wires) > 0 {
					m := w.wires[0]
					w.wires = w.wires[1:]
					w.deliver(m)
				}
			},
			"ask":       func(t *rapid.T) { ask(w.pick(), false) },
			"reconnect": func(t *rapid.T) { ask(w.pick(), true) },
			"deliver": func(t *rapid.T) {
				for range min(len(w.wires), rapid.IntRange(1, 6).Draw(t, "n")) {
					i := rapid.IntRange(0, len(w.wires)-1).Draw(t, "message")
					m := w.wires[i]
					switch rapid.IntRange(0, 6).Draw(t, "fate") {
					case 0:
						w.wires = slices.Delete(w.wires, i, i+1)
						continue
					case 1: // It comes again.
					default:
						w.wires = slices.Delete(w.wires, i, i+1)
					}
					w.deliver(m)
				}
			},
			"pass": func(t *rapid.T) {
				w.mono += time.Duration(rapid.SampledFrom([]int{1, 100, 100, 300, 800, 800, 1500, 3000, 5000, 9000, 20000, 65000}).Draw(t, "ms")) * time.Millisecond
				for _, n := range w.bank.Tick(w.now()) {
					for _, p := range w.proxies {
						if p.boot == n.Boot {
							w.wires = append(w.wires, message{proxy: p, down: n.Response})
						}
					}
				}
				for _, p := range w.proxies {
					p.expire(w.mono)
				}
			},
			"requests": func(t *rapid.T) {
				p := w.pick()
				for range rapid.IntRange(1, 30).Draw(t, "n") {
					if !p.take(rpm, 1, w.mono) {
						break
					}
					w.admitted[minute{p.now(rpm, w.mono).window, w.epoch()}]++
					admitted++
				}
			},
			"begin": func(t *rapid.T) {
				p := w.pick()
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					if !p.take(slots, 1, w.mono) {
						break
					}
					w.running[p]++
				}
			},
			"end": func(*rapid.T) {
				p := w.pick()
				if w.running[p] == 0 {
					return
				}
				w.running[p]--
				w.orphans[p] = min(w.orphans[p], w.running[p])
				for _, u := range p.purses {
					if u.id == slots {
						u.used--
					}
				}
			},
			"pay": func(t *rapid.T) {
				p := w.pick()
				for range rapid.IntRange(1, 8).Draw(t, "n") {
					id := rapid.SampledFrom([]ID{spend, daily}).Draw(t, "limit")
					if p.take(id, 10, w.mono) {
						w.records[p.boot] = append(w.records[p.boot], record{id, 10})
						w.pending[p][id] += 10
					}
				}
			},
			"commit": func(t *rapid.T) {
				p := w.pick()
				w.commit(p.boot, p, rapid.IntRange(0, len(w.records[p.boot])).Draw(t, "n"))
			},
			"acknowledge": func(*rapid.T) {
				p := w.pick()
				for id, n := range w.acks[p.boot] {
					for _, u := range p.purses {
						if u.id == id {
							u.booked += n
						}
					}
				}
				delete(w.acks, p.boot)
			},
			"kill": func(t *rapid.T) {
				p := w.pick()
				p.dead = true
				kills++
				w.proxies = slices.DeleteFunc(w.proxies, func(q *proxy) bool { return p == q })
				for id, n := range w.pending[p] {
					w.late[id] += n
				}
				w.zombies[p.boot] = p
				if rapid.Bool().Draw(t, "known") {
					w.bank.Gone(p.boot, w.now())
				}
				w.join()
			},
			"spool": func(t *rapid.T) {
				if len(w.zombies) == 0 {
					return
				}
				boot := rapid.SampledFrom(slices.Sorted(maps.Keys(w.zombies))).Draw(t, "boot")
				w.commit(boot, w.zombies[boot], len(w.records[boot]))
			},
			"elect": func(*rapid.T) { elections++; w.lead(false) },
			"jump": func(t *rapid.T) {
				w.wall += time.Duration(rapid.SampledFrom([]int{-60, -1, 1, 60}).Draw(t, "minutes")) * time.Minute
			},
		}
		for range rapid.IntRange(200, 400).Draw(t, "steps") {
			steps[rapid.SampledFrom(often).Draw(t, "step")](t)
			w.check()
			for _, p := range w.proxies {
				for _, u := range p.purses {
					if u.id == slots && u.held() < 0 {
						called++
					}
				}
			}
		}
	})
	t.Logf("%d requests admitted, %d elections, %d kills, %d times slots in use were called back", admitted, elections, kills, called)
	if admitted == 0 || called == 0 {
		t.Error("nothing was ever admitted, or called back")
	}
}
