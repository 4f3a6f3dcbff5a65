package store

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 50 * time.Millisecond
	backoffLast  = 2 * time.Second
)

// backoff doubles from backoffFirst to backoffLast; each wait is drawn between half of it and the whole.
type backoff struct {
	next time.Duration
}

func newBackoff() *backoff { return &backoff{next: backoffFirst} }

func (b *backoff) reset() { b.next = backoffFirst }

// sleep waits once; the error is that of ctx.
func (b *backoff) sleep(ctx context.Context) error {
	wait := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, backoffLast)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
