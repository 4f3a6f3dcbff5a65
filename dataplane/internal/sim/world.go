package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/judge"
)

// World is a fleet, its clients, its providers and its control plane.
type World struct {
	agenda
	setup     Setup
	rules     breaker.Rules
	state     *state
	accounts  []*upstream
	upstreams map[snapshot.AccountID]*upstream
	byID      map[string]*upstream
	proxies   []*proxy
	leader    leader
	tally     tally
	rate      float64 // requests a second, on average

	// One source for each, so that the same clients come whatever is decided.
	clients, provider, network *rand.Rand
}

// begin is the time at which worlds begin: one without a monotonic reading.
func begin() time.Time { return time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC) }

func (w *World) time() time.Time { return begin().Add(w.now) }

// Run makes a world and lets its time pass.
func Run(s Setup) *Result {
	s.fill()
	w := &World{
		setup: s, rules: s.rules(), state: newState(), upstreams: map[snapshot.AccountID]*upstream{}, byID: map[string]*upstream{},
		clients: rand.New(rand.NewPCG(s.Seed, 1)), provider: rand.New(rand.NewPCG(s.Seed, 2)), network: rand.New(rand.NewPCG(s.Seed, 3)),
	}
	w.leader.world = w
	w.people()
	w.found()
	for i := range s.Proxies {
		p := newProxy(w, i)
		w.proxies = append(w.proxies, p)
	}
	w.tally.begin(w)
	w.leader.lead()
	for _, p := range w.proxies {
		p.start()
	}
	if s.Script != nil {
		s.Script(w)
	}
	w.at(w.nextRequest(), w.request)
	w.every(s.Warm, time.Second, w.tally.sample)
	w.run(s.Warm)
	w.tally.measuring = true
	w.run(s.Warm + s.Length)
	return w.tally.result()
}

// people makes the accounts.
func (w *World) people() {
	kinds := rand.New(rand.NewPCG(w.setup.Seed, 4))
	for i := range w.setup.Accounts {
		u := &upstream{world: w, index: i, id: fmt.Sprintf("account-%04d", i), capacity: w.setup.Capacity, there: !slices.Contains(w.setup.New, i)}
		if !w.setup.Even {
			// By channels, so that each has some of all.
			u.capacity = max(u.capacity*(1+i/w.setup.Channels%3)/2, 1)
		}
		u.pace = math.Exp(w.setup.Spread * kinds.NormFloat64())
		if slices.Contains(w.setup.Watch, i) || slices.Contains(w.setup.New, i) {
			u.pace = 1 // a fast one would deserve more than its weight, and a slow one less
		}
		u.flights.prev, u.flights.next = &u.flights, &u.flights
		w.accounts = append(w.accounts, u)
		w.upstreams[snapshot.AccountID(u.id)] = u
		w.byID[u.id] = u
		// What accounts can do together: as many answers at once as they carry, each of its own duration.
		w.rate += w.setup.Load * float64(u.capacity) / (u.pace * w.setup.Answer.Seconds())
	}
}

// found makes the data set.
func (w *World) found() {
	changes := []*syncv1.Change{w.settings(), w.state.put(syncv1.Kind_KIND_GROUP, groupID, &syncv1.GroupState{
		Name: "g", Strategy: int32(w.setup.Strategy), PriceRatioPpm: 1_000_000, Affinity: 1,
	})}
	for n := range w.setup.Channels {
		changes = append(changes, w.channel(n))
	}
	for _, u := range w.accounts {
		if u.there {
			changes = append(changes, w.account(u))
		}
	}
	w.state.txn(changes...)
}

// publish sends a change of the data set to all proxies.
func (w *World) publish(changes ...*syncv1.Change) {
	t := w.state.txn(changes...)
	for _, p := range w.proxies {
		if p.running {
			p.inOrder(func() { p.receive(t) })
		}
	}
}

// request is the next client's, at some proxy.
func (w *World) request() {
	w.at(w.nextRequest(), w.request)
	mean := float64(w.setup.Answer) - float64(firstBase+meanInput*perInput)
	input := int(meanInput * math.Exp(0.8*w.clients.NormFloat64()-0.32))
	writing := time.Duration(mean * math.Exp(0.7*w.clients.NormFloat64()-0.245))
	p := w.proxies[w.clients.IntN(len(w.proxies))]
	for i := 0; !p.running && i < len(w.proxies); i++ {
		p = w.proxies[(p.index+1)%len(w.proxies)]
	}
	p.arrive(max(input, 1), writing)
}

// nextRequest is when it comes: a Poisson process, of which the time of day thins out some.
func (w *World) nextRequest() time.Duration {
	most := w.rate * (1 + w.setup.Wave)
	for t := w.now; ; {
		t += time.Duration(w.clients.ExpFloat64() / most * float64(time.Second))
		now := w.rate * (1 - w.setup.Wave*math.Cos(2*math.Pi*t.Seconds()/w.setup.Day.Seconds()))
		if w.setup.Wave == 0 || w.clients.Float64()*most < now {
			return t
		}
	}
}

// What scripts can do, at times since the measuring began.

// At notes something for d after the measuring began.
func (w *World) At(d time.Duration, do func()) { w.at(w.setup.Warm+d, do) }

// Set changes how accounts behave; breaks ends what is under way there as well.
func (w *World) Set(m Mode, breaks bool, accounts ...int) {
	for _, n := range accounts {
		w.accounts[n].set(m, breaks)
	}
}

// Add brings an account that is new.
func (w *World) Add(n int) {
	u := w.accounts[n]
	u.there = true
	w.publish(w.account(u), w.channel(u.index%w.setup.Channels))
	w.after(writeTakes, func() {
		if j := w.leader.judge; j != nil {
			j.Configure(w.rules, w.judged(), w.time())
			w.leader.soon()
		}
	})
}

// Reset is an operator's word that accounts are well.
func (w *World) Reset(accounts ...int) {
	for _, n := range accounts {
		u := w.accounts[n]
		w.state.verdicts[u.id] = &resourcev1.AccountHealth{
			State: resourcev1.HealthState_HEALTH_STATE_CLOSED, Reason: breaker.ReasonReset, Since: timestamppb.New(w.time()),
		}
		w.publish(w.account(u))
		if j := w.leader.judge; j != nil {
			j.Reset(u.id, w.time())
			w.leader.soon()
		}
	}
}

// Restart has a proxy end and come back.
func (w *World) Restart(n int, away time.Duration) {
	p := w.proxies[n]
	p.stop()
	w.after(away, p.start)
}

// Leaderless has the leader go away, and another one come.
func (w *World) Leaderless(away time.Duration) {
	w.leader.lose()
	w.after(away, w.leader.lead)
}

// note keeps what was decided of a watched account.
func (w *World) note(u *upstream, d judge.Decision) {
	for _, n := range w.setup.Watch {
		if n == u.index {
			w.tally.decided(u, breaker.State(d.Health.GetState()), d.Health.GetReason())
		}
	}
}
