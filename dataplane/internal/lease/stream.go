package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// tickEvery is how often the purses look for what no request has asked for.
	tickEvery = 50 * time.Millisecond
	// farewell bounds the last words.
	farewell = time.Second
	// maxAnswer bounds an answer: the grants of thousands of limits are some megabytes.
	maxAnswer = 64 << 20
)

var (
	errSilent = errors.New("the leader does not answer")
	errLeft   = errors.New("the process leaves")
)

// stream speaks over one connection until something fails or ctx ends. heard says whether the leader was believed.
func (c *Client) stream(ctx context.Context, address string) (heard bool, err error) {
	// The last words are said after ctx has ended.
	streaming, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	late := time.AfterFunc(c.o.Timeout, func() { cancel(errSilent) })
	defer late.Stop()
	stop := context.AfterFunc(ctx, func() { late.Reset(farewell) })
	defer stop()
	conn, closer, err := c.o.Dial(streaming, address)
	if err != nil {
		return false, fmt.Errorf("dial: %w", err)
	}
	if closer != nil {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	s, err := syncv1.NewStateSyncServiceClient(conn).Lease(streaming, grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return false, fmt.Errorf("open stream: %w", err)
	}
	c.purses.Connect()
	answered := make(chan struct{}, 1)
	var speaking sync.WaitGroup
	speaking.Go(func() { c.speak(ctx, streaming, s, answered, late, cancel) })
	defer func() {
		cancel(nil)
		speaking.Wait()
		c.purses.Lost(c.o.Now())
		if cause := context.Cause(streaming); errors.Is(cause, errSilent) || errors.Is(cause, errLeft) {
			err = errors.Join(cause, err)
		}
	}()
	for {
		answer, err := s.Recv()
		if err != nil {
			return heard, fmt.Errorf("receive: %w", err)
		}
		heard = c.purses.Apply(answer, c.o.Now()) || heard
		select {
		case answered <- struct{}{}:
		default:
		}
	}
}

// speak says what there is to say whenever the last question was answered, until the stream ends.
func (c *Client) speak(
	ctx, streaming context.Context, s grpc.BidiStreamingClient[syncv1.LeaseRequest, syncv1.LeaseResponse],
	answered <-chan struct{}, late *time.Timer, cancel context.CancelCauseFunc,
) {
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	for {
		if !c.purses.Waiting() {
			requests := c.purses.Ask(c.o.Now())
			for _, r := range requests {
				// An error of Send is io.EOF; Recv has the reason.
				if s.Send(r) != nil {
					return
				}
			}
			if len(requests) > 0 {
				late.Reset(c.o.Timeout)
			} else {
				late.Stop()
			}
		}
		select {
		case <-ticks.C:
			c.purses.Tick(c.o.Now())
		case <-c.purses.Wake():
		case <-answered:
		case <-ctx.Done():
			c.leave(streaming, s, answered)
			cancel(errLeft)
			return
		case <-streaming.Done():
			return
		}
	}
}

// leave says that the process leaves, and waits until that was heard.
func (c *Client) leave(
	streaming context.Context, s grpc.BidiStreamingClient[syncv1.LeaseRequest, syncv1.LeaseResponse], answered <-chan struct{},
) {
	bound := time.NewTimer(farewell)
	defer bound.Stop()
	last := c.purses.Leave(c.o.Now())
	if last == nil || s.Send(last) != nil {
		return
	}
	for c.purses.Waiting() {
		select {
		case <-answered:
		case <-bound.C:
			return
		case <-streaming.Done():
			return
		}
	}
}
