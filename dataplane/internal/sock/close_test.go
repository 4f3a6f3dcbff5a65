package sock

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// closer closes its connection where it takes what came.
type closer struct {
	*gathering
	c     *Conn
	reset bool
}

func (c *closer) Take(n int, err error) bool {
	if err == nil && n > 0 {
		if c.reset {
			c.c.Reset()
		} else {
			_ = c.c.Close()
		}
	}
	return c.gathering.Take(n, err)
}

// Who closes within a sitting must not wait for the sitting to end: that is where it is.
func TestCloseWithinEach(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		for _, reset := range []bool{false, true} {
			c, other := pair(t, l, nil)
			taker := &closer{gathering: newGathering(64), c: c, reset: reset}
			ended := make(chan struct{})
			go func() { defer close(ended); c.Each(c, taker) }()
			_, _ = other.Write([]byte("x"))
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("Each did not end")
			}
			if !errors.Is(taker.err, net.ErrClosed) {
				t.Errorf("last error %v", taker.err)
			}
			if _, err := other.Read(make([]byte, 1)); err == nil {
				t.Errorf("reset %v: the other side sees nothing", reset)
			}
			if _, err := c.Write([]byte("x")); err == nil {
				t.Error("a closed connection writes")
			}
		}
	})
}

// panicking is a taker with a bug.
type panicking struct{ *gathering }

func (panicking) Take(int, error) bool { panic("boom") }

// A panic ends the sitting: the descriptor is free for Close.
func TestPanicWithinEach(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		c, other := pair(t, l, nil)
		_, _ = other.Write([]byte("x"))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			c.Each(c, panicking{newGathering(8)})
		}()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection is still there: %v", err)
		}
	})
}

// stuck holds a sitting up until it is let go.
type stuck struct {
	*gathering
	in, out chan struct{}
}

func (s *stuck) Take(n int, err error) bool {
	if err == nil && n > 0 {
		close(s.in)
		<-s.out
	}
	return s.gathering.Take(n, err)
}

// Who closes from elsewhere must not wait either, however long the sitting is held up; the other side sees it at once.
func TestCloseWhileEachIsHeldUp(t *testing.T) {
	c, other := pair(t, lookout(t), nil)
	if !c.Watched() {
		t.Skip("no sittings on this system")
	}
	taker := &stuck{gathering: newGathering(64), in: make(chan struct{}), out: make(chan struct{})}
	ended := make(chan struct{})
	go func() { defer close(ended); c.Each(c, taker) }()
	_, _ = other.Write([]byte("x"))
	<-taker.in
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("the other side sees nothing")
	}
	close(taker.out)
	<-ended
	if !errors.Is(taker.err, net.ErrClosed) {
		t.Errorf("last error %v", taker.err)
	}
}

func TestCloseWhileAskWaits(t *testing.T) {
	l := lookout(t)
	for range 200 {
		c, other := pair(t, l, nil)
		failed := make(chan error, 1)
		go func() {
			_, err := c.Ask(c, []byte("x"), c, make([]byte, 1))
			failed <- err
		}()
		_, _ = io.ReadFull(other, make([]byte, 1))
		c.Reset()
		if err := <-failed; err == nil {
			t.Fatal("Ask succeeded on a closed connection")
		}
		_ = other.Close()
	}
}
