package leader

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// maxRedirects is how many replicas in a row may name another leader before Reach gives up.
const maxRedirects = 3

// Follower stays with whoever leads, over all changes. All fields are needed.
type Follower struct {
	// Addresses are the replicas that are known from the start; the leader may be at another.
	Addresses []string
	// MinBackoff and MaxBackoff bound the wait after a failure; see Backoff.
	MinBackoff, MaxBackoff time.Duration
	// Stream speaks over one connection until something fails or ctx ends. heard says whether a leader was believed.
	Stream func(ctx context.Context, address string) (heard bool, err error)
	// Failed hears why that ended, and how many had failed in a row before, none of which heard a leader.
	Failed func(err error, heard bool, before int)
}

// Follow holds a stream with the leader, again and again until ctx ends.
func (f *Follower) Follow(ctx context.Context) {
	addresses := slices.Clone(f.Addresses)
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	for turn, failed := 0, 0; ctx.Err() == nil; turn++ {
		heard := false
		err := Reach(ctx, addresses[turn%len(addresses)], func(ctx context.Context, address string) (err error) {
			heard, err = f.Stream(ctx, address)
			return err
		})
		if ctx.Err() != nil {
			return
		}
		if heard {
			failed = 0
		}
		f.Failed(err, heard, failed)
		wait := time.NewTimer(Backoff(failed, f.MinBackoff, f.MaxBackoff))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
		failed++
	}
}

// Reach does something at a replica, or at the leader that it names, and returns why that ended.
func Reach(ctx context.Context, address string, do func(ctx context.Context, address string) error) error {
	for redirects := 0; ; redirects++ {
		err := do(ctx, address)
		known, moved := Of(err)
		if !moved || known == "" || known == address || redirects == maxRedirects || ctx.Err() != nil {
			return fmt.Errorf("at %s: %w", address, err)
		}
		address = known
	}
}

// Backoff is how long to wait after a failure before which so many had failed in a row: drawn from 0 to a bound that doubles
// with each of them, from least to most. Full jitter, so that a fleet that lost its leader does not come back as one.
func Backoff(failed int, least, most time.Duration) time.Duration {
	for range min(failed, 30) {
		if least = min(2*least, most); least == most {
			break
		}
	}
	return rand.N(least + 1)
}
