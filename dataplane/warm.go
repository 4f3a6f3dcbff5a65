package dataplane

import (
	"context"
	"time"

	"fairway/dataplane/internal/gateway"
)

// warmPause is the least time between two looks at the state.
const warmPause = 250 * time.Millisecond

// keepWarm says, with each new state, where requests may go: connections to there are opened before a request needs one.
func (p *proxy) keepWarm(ctx context.Context) error {
	for {
		news := p.holder.News()
		p.upstream.Warm(gateway.Targets(p.holder.Current()), p.c.WarmConns)
		// What comes within the pause is taken together; the first change after it counts at once.
		select {
		case <-time.After(warmPause):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil
		}
	}
}
