package sim

import (
	"fmt"
	"hash/fnv"
	"time"

	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// As the data plane has it.
const (
	tickEvery   = 250 * time.Millisecond
	reportEvery = time.Second
	reportSoon  = 50 * time.Millisecond
)

// proxy is one of the fleet.
type proxy struct {
	world *World
	index int
	id    string
	seed  uint64

	boot    int
	running bool
	replica *snapshot.Replica
	holder  *snapshot.Holder
	keeper  *health.Keeper
	rng     route.Rand
	choose  func(*snapshot.Pool, *route.Ask) (*snapshot.Candidate, route.Reason)

	lots    []lot         // for draws
	reports int           // counts changes of when the next report goes
	hurried bool          // it goes soon
	up      bool          // its stream to the leader is open
	since   uint64        // revision of the update before
	lastIn  time.Duration // arrival of what the control plane sent last: it comes in order
}

func newProxy(w *World, index int) *proxy {
	p := &proxy{world: w, index: index, id: fmt.Sprintf("proxy-%03d", index)}
	h := fnv.New64a()
	_, _ = h.Write([]byte(p.id))
	p.seed = h.Sum64()
	return p
}

// start boots it, with the state of the moment.
func (p *proxy) start() {
	w := p.world
	p.boot++
	p.running, p.hurried = true, false
	boot := p.boot
	p.replica, p.holder = snapshot.NewReplica(), snapshot.NewHolder()
	p.keeper = health.New(p.holder, health.Options{BootID: fmt.Sprint(p.id, "/", boot), ID: func() string { return p.id }, Now: w.time})
	p.rng = route.SeededRand(w.setup.Seed*1_000_003 + uint64(p.index)*7919 + uint64(boot))
	p.choose = w.chooser(p)
	p.receive(w.state.whole())
	live := func(do func()) func() {
		return func() {
			if p.boot == boot {
				do()
			}
		}
	}
	phase := time.Duration(w.network.Int64N(int64(tickEvery)))
	w.every(w.now+phase, tickEvery, live(func() {
		now := w.time()
		p.keeper.Tick(now)
		route.Refresh(p.holder.Current(), now)
	}))
	w.after(time.Duration(w.network.Int64N(int64(reportEvery))), live(p.connect))
}

// stop kills it, and all that it has under way.
func (p *proxy) stop() {
	p.boot++
	p.running, p.up = false, false
	w := p.world
	if w.leader.judge != nil {
		w.leader.judge.Gone(p.id, w.time())
	}
	for _, u := range w.accounts {
		for f := u.flights.next; f != &u.flights; {
			next := f.next
			if f.request.proxy == p {
				f.drop()
				w.tally.dropped++
			}
			f = next
		}
	}
}

// connect opens the stream to the leader, if there is one, and reports.
func (p *proxy) connect() {
	w := p.world
	if w.leader.judge == nil || p.up {
		return
	}
	p.up, p.since = true, 0
	w.leader.judge.Joined(p.id, w.time())
	p.keeper.Anew()
	p.report()
}

// hear schedules a report when there is news.
func (p *proxy) hear() {
	select {
	case <-p.keeper.News():
	default:
		return
	}
	if !p.hurried {
		p.hurried = true
		p.reportIn(reportSoon)
	}
}

func (p *proxy) reportIn(d time.Duration) {
	p.reports++
	n, boot := p.reports, p.boot
	p.world.after(d, func() {
		if n == p.reports && boot == p.boot {
			p.report()
		}
	})
}

// report tells the leader what happened.
func (p *proxy) report() {
	w := p.world
	p.hurried = false
	if !p.up {
		return
	}
	r, boot := p.keeper.Report(w.time()), p.boot
	w.after(w.latency(), func() { w.leader.hear(p, boot, r) })
	p.reportIn(reportEvery)
}

// inOrder has something arrive after what was sent before.
func (p *proxy) inOrder(do func()) {
	w, boot := p.world, p.boot
	p.lastIn = max(p.lastIn, w.now+w.latency())
	w.at(p.lastIn, func() {
		if p.boot == boot {
			do()
		}
	})
}

// receive takes a change of the state.
func (p *proxy) receive(t *syncv1.Txn) {
	if _, err := p.replica.Receive(t); err != nil {
		panic(fmt.Sprintf("sim: %s: %v", p.id, err)) // the world is inconsistent
	}
	p.holder.Publish(p.replica.Snapshot(), p.world.time())
}

// latency is that of a message between proxy and leader.
func (w *World) latency() time.Duration {
	return 10*time.Millisecond + time.Duration(w.network.Int64N(int64(40*time.Millisecond)))
}
