// Package lease speaks with the control plane's leader about limits: it carries the questions and declarations of this
// process's purses to it, one at a time over one stream, and its grants back.
//
// It finds the leader by asking any replica, begins each stream with all that is held, renews leases before they end, and
// says so when the process leaves. Whatever goes wrong is tried again; requests never wait for it.
//
// It refuses to know what a limit is, to decide what is asked for or what becomes of an answer (the limit room does), and
// to have two questions under way: with one there is never a doubt which answer belongs to what.
package lease

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"fairway/dataplane/internal/limit"
	"fairway/pkg/leader"
)

// Options configure a Client. Dial and Addresses are needed, everything else has a default.
type Options struct {
	// Dial connects to a control-plane replica's sync listener. The closer ends the connection.
	Dial func(ctx context.Context, address string) (grpc.ClientConnInterface, io.Closer, error)
	// Addresses are the replicas that are known from the start; the leader may be at another.
	Addresses []string
	// Timeout bounds the opening of a stream, and the wait for one answer; 0 = 3s.
	Timeout time.Duration
	// MinBackoff and MaxBackoff bound the wait after a stream that failed, which is drawn from 0 to a limit that doubles
	// with each failure in a row; 0 = 50ms and 2s. Leases end in seconds, so a leader that is back is found soon.
	MinBackoff, MaxBackoff time.Duration
	// Log; nil = nothing is logged.
	Log *slog.Logger
	// Now is the clock of the purses; nil = time.Now.
	Now func() time.Time
}

// quietFailures is how many in a row need no word.
const quietFailures = 6

// Client speaks for the purses of one Keeper.
type Client struct {
	purses *limit.Keeper
	o      Options
	log    *slog.Logger
}

// New makes a Client. It does nothing until Run.
func New(purses *limit.Keeper, o Options) (*Client, error) {
	if o.Dial == nil || len(o.Addresses) == 0 {
		return nil, errors.New("lease client: Dial and Addresses are needed")
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = 50 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{purses: purses, o: o, log: o.Log}, nil
}

// Run holds a stream with the leader until ctx ends, and returns nil then. Requests must have ended by that time: it says
// that the process leaves, if nothing is under way, so that what it held is free at once.
func (c *Client) Run(ctx context.Context) error {
	f := leader.Follower{
		Addresses: c.o.Addresses, MinBackoff: c.o.MinBackoff, MaxBackoff: c.o.MaxBackoff, Stream: c.stream,
		Failed: func(err error, heard bool, before int) {
			// That a leader is lost is news, and that there is none for a second or two; not that a process which begins has none.
			level := slog.LevelDebug
			if heard || before == quietFailures {
				level = slog.LevelWarn
			}
			c.log.Log(ctx, level, "no leader lends credits of limits, trying again", "error", err)
		},
	}
	f.Follow(ctx)
	return nil
}
