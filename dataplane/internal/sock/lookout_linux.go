package sock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lookout notices hang-ups on all connections that it was given, by one epoll that asks for nothing else: a busy
// connection costs it nothing.
type Lookout struct {
	epoll *os.File
	raw   syscall.RawConn

	mu   sync.Mutex
	seen map[int32]*Conn // by descriptor
	next int32           // generation
}

// ticket tells a connection from an earlier one that had the same descriptor.
type ticket struct{ fd, generation int32 }

// NewLookout returns a lookout, which notices as long as Run runs. Close frees it.
func NewLookout() (*Lookout, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	// Go's own poller wakes Run: no thread is blocked while nobody hangs up.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	l := &Lookout{epoll: os.NewFile(uintptr(fd), "lookout"), seen: make(map[int32]*Conn)}
	if l.raw, err = l.epoll.SyscallConn(); err != nil {
		_ = l.epoll.Close()
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	return l, nil
}

// Run tells connections that the other side has hung up, until ctx ends.
func (l *Lookout) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = l.epoll.Close() })
	defer stop()
	var events [128]unix.EpollEvent
	for ctx.Err() == nil {
		n := 0
		var failed error
		err := l.raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events[:], 0)
			if errors.Is(failed, unix.EINTR) {
				n, failed = 0, nil
			}
			return n > 0 || failed != nil
		})
		if err = errors.Join(err, failed); err != nil {
			if ctx.Err() != nil {
				break
			}
			return fmt.Errorf("look out for hang-ups: %w", err)
		}
		for _, e := range events[:n] {
			if c := l.find(ticket{e.Fd, e.Pad}); c != nil {
				c.hungUp()
			}
		}
	}
	return nil
}

// Close frees a lookout whose Run has not been called.
func (l *Lookout) Close() error { return l.epoll.Close() }

func (l *Lookout) find(t ticket) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.seen[t.fd]
	if c == nil || c.ticket != t {
		return nil // it was closed meanwhile
	}
	return c
}

// add begins to look out for c; false = that is not possible.
func (l *Lookout) add(c *Conn) bool {
	added := false
	err := c.raw.Control(func(fd uintptr) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.next++
		c.ticket = ticket{int32(fd), l.next}
		l.seen[c.ticket.fd] = c
		event := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: c.ticket.fd, Pad: c.ticket.generation}
		err := l.raw.Control(func(epoll uintptr) {
			added = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(fd), &event) == nil
		})
		if added = added && err == nil; !added {
			delete(l.seen, c.ticket.fd)
		}
	})
	return err == nil && added
}

// remove forgets c, which is about to be closed; closing takes it out of the epoll.
func (l *Lookout) remove(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[c.ticket.fd] == c {
		delete(l.seen, c.ticket.fd)
	}
}
