package subscribe

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = 5 * time.Second
	// steadyAfter is how long a connection must have lasted for the next failure to count as the first.
	steadyAfter = 5 * time.Second
	// mostRetryDelay bounds what a server may ask us to wait.
	mostRetryDelay = time.Minute
)

// pacing is full jitter: a random pause up to a bound that doubles with each round over all addresses.
type pacing struct{ failures int }

func (b *pacing) next(addresses int) time.Duration {
	round := b.failures / max(1, addresses)
	b.failures++
	bound := backoffMost
	if round < 16 {
		bound = min(backoffMost, backoffFirst<<round)
	}
	return rand.N(bound)
}

// retryDelay is what the server asked us to wait.
func retryDelay(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return min(mostRetryDelay, max(0, info.GetRetryDelay().AsDuration()))
		}
	}
	return 0
}

// sleep waits for d; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// rotation goes round the addresses from a random one on, so that a fleet spreads over the replicas.
type rotation struct {
	addresses []string
	at        int
}

func newRotation(addresses []string) *rotation {
	r := &rotation{addresses: addresses}
	if len(addresses) > 0 {
		r.at = rand.IntN(len(addresses))
	}
	return r
}

func (r *rotation) len() int { return len(r.addresses) }

func (r *rotation) next() string {
	a := r.addresses[r.at]
	r.at = (r.at + 1) % len(r.addresses)
	return a
}

// others are the addresses but one, in the order of their turn; that one itself when there is no other, for it may be
// a balancer's.
func (r *rotation) others(not string) []string {
	var list []string
	for i := range r.addresses {
		if a := r.addresses[(r.at+i)%len(r.addresses)]; a != not {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return []string{not}
	}
	return list
}

// quiet logs a failure that repeats once a minute only.
type quiet struct {
	log   *slog.Logger
	text  string
	since time.Time
}

func (q *quiet) warn(address string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == q.text && time.Since(q.since) < time.Minute {
		return
	}
	q.text, q.since = text, time.Now()
	q.log.Warn("control plane not connected", "address", address, "error", err)
}

// jitter is a random duration up to most.
func jitter(most time.Duration) time.Duration { return rand.N(most) }
