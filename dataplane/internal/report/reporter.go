package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairway/pkg/leader"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
)

// Options configure a Reporter. Dial and Addresses are needed, everything else has a default.
type Options struct {
	// Dial connects to a control-plane replica's sync listener. The closer ends the connection.
	Dial func(ctx context.Context, address string) (grpc.ClientConnInterface, io.Closer, error)
	// Addresses are the replicas that are known from the start; the leader may be at another.
	Addresses []string
	// MaxBatch is how many records one message carries at most; 0 = 5000, at most 10000.
	MaxBatch int
	// MaxDelay is how long a record waits for others to go with; 0 = 1s.
	MaxDelay time.Duration
	// Timeout bounds the wait for one answer; 0 = 30s.
	Timeout time.Duration
	// MinBackoff and MaxBackoff bound the wait after a failure, which is drawn from 0 to a limit that doubles with each
	// failure in a row; 0 = 100ms and 30s.
	MinBackoff, MaxBackoff time.Duration
	// Registry gets the metrics; nil = none.
	Registry prometheus.Registerer
	// Log; nil = nothing is logged.
	Log *slog.Logger
}

const (
	defaultBatch = 5000
	wireBatch    = 10000 // the contract's limit
	// maxBatchBytes keeps a message below the 4 MiB that a gRPC server takes unless told otherwise.
	maxBatchBytes = 2 << 20
	// flushPoll is how soon a Flush looks again for records that are just being written.
	flushPoll = 5 * time.Millisecond
)

// Reporter sends what the spool holds, for this boot and for those before it, until the books have it.
type Reporter struct {
	spool *Spool
	o     Options
	log   *slog.Logger

	// Owned by Run's goroutine.
	live *boot
	old  []*boot

	acked    atomic.Uint64 // records of this boot, by sequence
	sent     atomic.Uint64 // records acknowledged, all boots
	failures atomic.Uint64
	backlog  atomic.Int64 // old boots
	corrupt  atomic.Uint64

	mu       sync.Mutex
	progress chan struct{} // closed and replaced when acked grows
	flushing atomic.Int32
	hurry    chan struct{} // a Flush has begun
}

// New makes a Reporter for a spool. It does nothing until Run.
func New(spool *Spool, o Options) (*Reporter, error) {
	if o.Dial == nil || len(o.Addresses) == 0 {
		return nil, errors.New("usage reporter: Dial and Addresses are needed")
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = defaultBatch
	}
	o.MaxBatch = min(o.MaxBatch, wireBatch)
	if o.MaxDelay == 0 {
		o.MaxDelay = time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = 100 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reporter{spool: spool, o: o, log: o.Log, progress: make(chan struct{}), hurry: make(chan struct{}, 1)}
	r.live = &boot{id: spool.id, dir: spool.dir, shelf: liveShelf{spool}, table: spool.table}
	for _, b := range spool.old {
		e, err := loadEpoch(b.dir)
		if err != nil {
			return nil, err
		}
		b.freed = spool.freed
		r.old = append(r.old, &boot{id: b.id, dir: b.dir, shelf: b, table: spool.table, over: true, epoch: e})
	}
	r.backlog.Store(int64(len(r.old)))
	if o.Registry != nil {
		if err := r.register(o.Registry); err != nil {
			return nil, fmt.Errorf("register usage metrics: %w", err)
		}
	}
	return r, nil
}

// Run sends until ctx ends, and returns nil then. Whatever goes wrong is tried again; records wait in the spool.
func (r *Reporter) Run(ctx context.Context) error {
	var spares sync.WaitGroup
	defer spares.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	spares.Go(func() { r.keepSpare(ctx) })

	addresses := slices.Clone(r.o.Addresses)
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	turn, failed := 0, 0
	for r.await(ctx, true) {
		before := r.sent.Load()
		err := leader.Reach(ctx, addresses[turn%len(addresses)], r.session)
		if ctx.Err() != nil {
			break
		}
		if r.sent.Load() != before {
			failed = 0
		}
		r.failures.Add(1)
		// The first failure is news, the tenth in a row is not.
		level := slog.LevelDebug
		if failed == 0 {
			level = slog.LevelWarn
		}
		r.log.Log(ctx, level, "usage not reported, trying again", "error", err)
		if !r.pause(ctx, leader.Backoff(failed, r.o.MinBackoff, r.o.MaxBackoff)) {
			break
		}
		turn++
		failed++
	}
	return nil
}

// Flush waits until every record that was appended before it is on the books, and has them sent without delay. Run must
// be running. It fails when ctx ends before: what is left stays spooled for the next start.
func (r *Reporter) Flush(ctx context.Context) error {
	r.flushing.Add(1)
	defer r.flushing.Add(-1)
	want := r.spool.Spooled()
	signal(r.spool.wake)
	signal(r.hurry)
	for {
		r.mu.Lock()
		progress := r.progress
		r.mu.Unlock()
		acked := r.acked.Load()
		if acked >= want {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("flush usage: %d records stay spooled: %w", want-acked, context.Cause(ctx))
		}
	}
}

// keepSpare has the next segment ready before the current one is full.
func (r *Reporter) keepSpare(ctx context.Context) {
	for {
		select {
		case <-r.spool.low:
			r.spool.prepare()
		case <-ctx.Done():
			return
		}
	}
}

// await blocks until there is something to send and it has waited for others to go with, or ctx ends (false). idle says
// that what was there a moment ago could not be sent: a record that is just being written ends a batch.
func (r *Reporter) await(ctx context.Context, idle bool) bool {
	for ; ctx.Err() == nil; idle = true {
		delay := r.o.MaxDelay
		waiting := r.spool.Spooled() - r.acked.Load()
		if hurry := waiting >= uint64(r.o.MaxBatch) || waiting > 0 && r.flushing.Load() > 0; hurry || len(r.old) > 0 {
			if !idle || len(r.old) > 0 {
				return true
			}
			delay = min(delay, flushPoll)
		}
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-r.spool.wake:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() == nil && (len(r.old) > 0 || r.spool.Spooled() > r.acked.Load()) {
			return true
		}
	}
	return false
}

// pause waits, or until a Flush wants one more try at once; false = ctx ended.
func (r *Reporter) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.hurry:
	case <-ctx.Done():
		return false
	}
	return true
}

// advanced tells metrics and Flush what has been acknowledged.
func (r *Reporter) advanced(b *boot, records uint64) {
	r.sent.Add(records)
	if b != r.live {
		return
	}
	r.acked.Store(b.at.sequence)
	r.spool.acked.Store(b.at.sequence)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.progress)
	r.progress = make(chan struct{})
}
