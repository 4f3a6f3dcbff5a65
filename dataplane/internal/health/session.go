package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/leader"
)

const (
	tickEvery   = 250 * time.Millisecond
	reportEvery = time.Second
	// reportSoon is how soon after something urgent a report goes; what happens at the same time goes with it.
	reportSoon = 50 * time.Millisecond
	// warnAt is how many failures in a row before this one make it worth a warning.
	warnAt = 4
	// openTimeout bounds the time until a stream is open.
	openTimeout = 10 * time.Second
	// silence is how long a leader may say nothing: then all that it said has faded. One that has nothing to say is asked
	// anew, which costs a full update; one whose machine is gone is found out.
	silence = 2 * factTime * time.Millisecond
	// maxUpdate bounds an update: the facts of a hundred thousand accounts are some megabytes.
	maxUpdate = 64 << 20
)

var errSilent = errors.New("the leader does not answer")

// Run ticks, reports and applies what the leader says until ctx ends, and returns nil then. Whatever goes wrong with the
// leader is tried again; requests never wait for it.
func (k *Keeper) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if k.o.Dial != nil && len(k.o.Addresses) > 0 {
		parts.Go(func() { k.connect(ctx) })
	}
	if k.o.Probe != nil {
		parts.Go(func() { k.tryPermits(ctx) })
	}
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			now := k.o.Now()
			k.Tick(now)
			if k.o.OnTick != nil {
				k.o.OnTick(now)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// connect holds a stream with the leader, again and again.
func (k *Keeper) connect(ctx context.Context) {
	f := leader.Follower{
		Addresses: k.o.Addresses, MinBackoff: k.o.MinBackoff, MaxBackoff: k.o.MaxBackoff, Stream: k.stream,
		Failed: func(err error, _ bool, before int) {
			// A start and a change of leaders take a moment; what lasts is news, once.
			if before == warnAt {
				k.log.Warn("no leader looks after the fleet's health, trying again", "error", err)
			} else {
				k.log.Debug("no leader looks after the fleet's health, trying again", "error", err)
			}
		},
	}
	f.Follow(ctx)
}

// stream reports over one connection until something fails or ctx ends. heard says whether the leader spoke.
func (k *Keeper) stream(ctx context.Context, address string) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(openTimeout, func() { cancel(errSilent) })
	defer late.Stop()
	conn, closer, err := k.o.Dial(ctx, address)
	if err != nil {
		return false, fmt.Errorf("dial: %w", err)
	}
	if closer != nil {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	s, err := syncv1.NewStateSyncServiceClient(conn).Report(ctx, grpc.MaxCallRecvMsgSize(maxUpdate))
	if err != nil {
		return false, fmt.Errorf("open stream: %w", err)
	}
	late.Reset(silence)
	k.mu.Lock()
	k.whole = true
	k.mu.Unlock()

	var sending sync.WaitGroup
	sending.Go(func() { k.send(ctx, s) })
	defer func() {
		cancel(nil)
		sending.Wait()
		k.connected.Store(false)
		if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(cause, errSilent) {
			err = cause
		}
	}()
	for {
		answer, err := s.Recv()
		if err != nil {
			return heard, fmt.Errorf("receive: %w", err)
		}
		if answer.GetHealth() == nil {
			continue
		}
		late.Reset(silence)
		heard = true
		k.connected.Store(true)
		k.Apply(answer.GetHealth(), k.o.Now())
	}
}

// send reports each second, and soon when something is urgent. A report that is not sent is lost, as all that it counts is
// soft.
func (k *Keeper) send(ctx context.Context, s grpc.BidiStreamingClient[syncv1.ReportRequest, syncv1.ReportResponse]) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-k.news:
			t.Reset(reportSoon)
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
		// An error of Send is io.EOF; Recv has the reason.
		if s.Send(&syncv1.ReportRequest{BootId: k.o.BootID, FirstSequence: 1, Health: k.Report(k.o.Now())}) != nil {
			return
		}
		t.Reset(reportEvery)
	}
}
