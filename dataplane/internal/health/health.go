package health

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Options configure a Keeper. The zero value works, without a leader.
type Options struct {
	// BootID names this process to the leader; needed with Dial.
	BootID string
	// ID is what the leader calls this proxy: the id in its certificate; nil, or "" as long as it has none, = BootID.
	ID func() string
	// Probe tries an account at once, for a permit that says so, and returns how it went: Outcome's Verdict and Asked. It must
	// return when ctx ends. nil = such permits end unused.
	Probe func(ctx context.Context, p *syncv1.ProbePermit) Outcome
	// Dial connects to a control-plane replica's sync listener; the closer ends the connection. nil = there is no leader.
	Dial func(ctx context.Context, address string) (grpc.ClientConnInterface, io.Closer, error)
	// Addresses are the replicas that are known from the start; the leader may be at another.
	Addresses []string
	// OnTick is called after each tick, from Run's goroutine, for what others refresh at the same pace; nil = nothing.
	OnTick func(now time.Time)
	// DisableFor is how long a refused credential rests while the leader says nothing; 0 = 5min.
	DisableFor time.Duration
	// ExcludeFor is how long a channel is not asked for a model that it does not know; 0 = 10min.
	ExcludeFor time.Duration
	// MinBackoff and MaxBackoff bound the wait after a stream that failed, which is drawn from 0 to a limit that doubles
	// with each failure in a row; 0 = 200ms and 10s.
	MinBackoff, MaxBackoff time.Duration
	// Registry gets the metrics; nil = none.
	Registry prometheus.Registerer
	// Log; nil = nothing is logged.
	Log *slog.Logger
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// Keeper keeps the accounts' health. Its methods may be called by any goroutine.
type Keeper struct {
	o         Options
	log       *slog.Logger
	snapshots *snapshot.Holder
	meters    *meters
	reasons   reasons

	// Read by requests, written in the background.
	bars    atomic.Pointer[bars]
	permits atomic.Pointer[[]*permit]
	fits    atomic.Pointer[map[string]fit]
	turn    atomic.Uint32 // which of a tally's buckets counts

	// Written by requests.
	fresh atomic.Pointer[ward] // a stack of those that background work has not seen yet
	dirty atomic.Pointer[ward] // a stack of those with something to report
	sums  atomic.Pointer[book[sums]]
	rolls atomic.Pointer[book[tally]]
	stats [statCount]counter
	news  chan struct{} // something is worth a report at once

	active    chan *permit // to be tried by Run's helpers
	connected atomic.Bool

	// side guards writes of bars, permits and outcomes; it is held for microseconds, since failures take it.
	side     sync.Mutex
	outcomes []*syncv1.ProbeOutcome

	mu       sync.Mutex // guards what follows, which no request needs
	wards    map[snapshot.AccountID]*ward
	list     []*ward // of wards, for work in turns
	capped   []*ward // of these, with caps
	cursor   int
	index    map[snapshot.AccountID]*snapshot.Account
	indexed  *snapshot.Snapshot
	indexAt  int64 // unix ms
	pending  map[snapshot.AccountID]*facts
	typical  typical
	started  time.Time
	last     time.Time // of Tick
	turned   int64     // unix ms when turn changed last
	heard    time.Time // when the leader was heard last
	term     string
	revision uint64
	proxies  []string
	self     int // this proxy's place among proxies; -1 = it is not there
	sequence uint64
	whole    bool // the next report is the first on its stream
	window   int64
}

// New makes a Keeper for the snapshots of h. It does nothing in the background until Run, or Tick.
func New(h *snapshot.Holder, o Options) *Keeper {
	if o.DisableFor == 0 {
		o.DisableFor = 5 * time.Minute
	}
	if o.ExcludeFor == 0 {
		o.ExcludeFor = 10 * time.Minute
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = 200 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{
		o: o, log: o.Log, snapshots: h, reasons: newReasons(dialect.Reasons()), news: make(chan struct{}, 1),
		active: make(chan *permit, maxPermits), wards: make(map[snapshot.AccountID]*ward),
		pending: make(map[snapshot.AccountID]*facts), self: -1, whole: true, started: o.Now(), typical: unknown(),
	}
	k.sums.Store(newBook[sums](maxModels))
	k.rolls.Store(newBook[tally](maxRolls))
	k.meters = newMeters(k, o.Registry)
	return k
}

// Outcome is how one attempt ended.
type Outcome struct {
	Candidate *snapshot.Candidate
	Model     string           // as the client asked; it may be a view of memory that changes afterwards
	Verdict   *dialect.Verdict // nil = it was answered
	Asked     time.Duration    // how long the provider wants to be left alone; 0 = it did not say
	TTFT      time.Duration    // to the first byte; 0 = none came
	Took      time.Duration    // of the whole attempt; 0 = unknown
	// UncachedInput are the input tokens that the provider had not cached; 0 = unknown.
	UncachedInput int64
	Permit        string // that it was made with; "" = none
	Panicked      bool   // it was chosen though it rests, as all do
	Delivered     bool   // it failed after bytes had gone to the client
	Gone          bool   // the client left before it ended: it says nothing about the account
	Now           time.Time

	answered, compared bool
}

// Stat is what Count counts.
type Stat uint8

// The stats: those of syncv1.ProxyStats that only the walk knows.
const (
	Requests Stat = iota
	Failures
	Unavailable
	Retries
	Spilled
	Panicked
	MissedFound
	MissedFinal
	Hedges
	InputTokens
	OutputTokens
	attempts
	attemptFailures
	throttled
	inFlight // of requests; see Underway
	statCount
)

// counter has a cache line to itself.
type counter struct {
	n atomic.Uint64
	_ [56]byte
}

// Count adds n to a stat.
func (k *Keeper) Count(kind Stat, n uint64) {
	if kind < statCount {
		k.stats[kind].n.Add(n)
	}
}

// Underway notes that a request has come (1) or gone (-1).
func (k *Keeper) Underway(change int64) { k.stats[inFlight].n.Add(uint64(change)) }

// id is what the leader calls this proxy.
func (k *Keeper) id() string {
	if k.o.ID != nil {
		if id := k.o.ID(); id != "" {
			return id
		}
	}
	return k.o.BootID
}

// hurry has what is to be told told at once.
func (k *Keeper) hurry() {
	select {
	case k.news <- struct{}{}:
	default:
	}
}
