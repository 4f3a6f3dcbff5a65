package upstream

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	defaultMaxConns  = 1024
	defaultMaxWarm   = 512
	defaultKeepIdle  = 90 * time.Second
	defaultDial      = 10 * time.Second
	defaultTLS       = 10 * time.Second
	defaultFirstByte = 5 * time.Minute
	defaultIdle      = 2 * time.Minute

	hostMemory = 10 * time.Minute // a target without connections is forgotten after this
)

// Pool keeps connections to upstreams. Safe for concurrent use.
type Pool struct {
	o     Options
	guard guard
	slabs *slabs
	log   *slog.Logger

	hosts  atomic.Pointer[map[key]*host] // never changed, only replaced
	grow   sync.Mutex                    // held to replace hosts
	closed atomic.Bool

	responses sync.Pool
	errors    [PhaseBody + 1]atomic.Uint64 // by phase
	aborts    atomic.Uint64
	past      counts // of forgotten hosts; under grow
	inflaters sync.Pool
	warmer    warmer
}

// New returns a pool. It works without Run, but then nothing closes idle connections until they are found expired.
func New(o Options) *Pool {
	o.MaxConnsPerHost = or(o.MaxConnsPerHost, defaultMaxConns)
	o.MaxIdlePerHost = or(o.MaxIdlePerHost, o.MaxConnsPerHost)
	o.IdleTimeout = or(o.IdleTimeout, defaultKeepIdle)
	o.MaxWarm = or(o.MaxWarm, defaultMaxWarm)
	p := &Pool{o: o, guard: newGuard(o.AllowCIDRs), slabs: newSlabs(), log: o.Log}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.responses.New = func() any { return new(Response) }
	p.inflaters.New = func() any { return new(gzip.Reader) }
	p.warmer.wake = make(chan struct{}, 1)
	p.hosts.Store(&map[key]*host{})
	if o.Registry != nil {
		if err := o.Registry.Register(newCollector(p)); err != nil {
			p.log.Warn("upstream metrics are not registered", "error", err)
		}
	}
	return p
}

// Run closes connections that have idled too long, and opens those that Warm asked for, until ctx ends. Then it closes all
// idle ones and the pool: Do fails, responses under way go on and their connections close when they end.
func (p *Pool) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { p.warmer.run(ctx, p) })
	tick := time.NewTicker(min(max(p.o.IdleTimeout/4, time.Second), 15*time.Second))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.reap(now)
		case <-ctx.Done():
			p.closed.Store(true)
			p.grow.Lock()
			defer p.grow.Unlock()
			for _, h := range *p.hosts.Load() {
				h.reap(time.Time{}, true)
			}
			return nil
		}
	}
}

// reap closes what has idled too long at the time now, and forgets targets unused since long.
func (p *Pool) reap(now time.Time) {
	p.grow.Lock()
	defer p.grow.Unlock()
	var gone []*host
	for _, h := range *p.hosts.Load() {
		if h.reap(now, false) {
			gone = append(gone, h)
		}
	}
	if len(gone) == 0 {
		return
	}
	next := maps.Clone(*p.hosts.Load())
	for _, h := range gone {
		delete(next, h.key)
		p.past.add(h.snapshot())
	}
	p.hosts.Store(&next)
}

// host returns the target's connections.
func (p *Pool) host(t *Target) *host {
	k := t.key()
	if h, ok := (*p.hosts.Load())[k]; ok {
		return h
	}
	return p.hostAnew(k, t)
}

// hostAnew looks once nobody changes the hosts, and makes the host if there is none.
func (p *Pool) hostAnew(k key, t *Target) *host {
	p.grow.Lock()
	defer p.grow.Unlock()
	hosts := *p.hosts.Load()
	if h, ok := hosts[k]; ok {
		return h
	}
	h := p.newHost(k, t)
	h.gone = p.closed.Load()
	next := maps.Clone(hosts)
	next[k] = h
	p.hosts.Store(&next)
	return h
}

// or returns v, or what it means when it is zero.
func or[T int | time.Duration](v, zero T) T {
	if v <= 0 {
		return zero
	}
	return v
}
