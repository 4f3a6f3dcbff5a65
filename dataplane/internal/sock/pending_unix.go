//go:build unix

package sock

import (
	"errors"

	"golang.org/x/sys/unix"
)

// probing is one look at what there is to read.
type probing struct {
	fd    unix.PollFd
	ready bool
}

// Pending says, without waiting, whether there is something to read: data, or an end. It is false where that cannot be
// told.
func (c *Conn) Pending() bool {
	if c.raw == nil {
		return false
	}
	c.probe.ready = true
	if err := c.raw.Control(c.probeFn); err != nil {
		return true
	}
	return c.probe.ready
}

func (c *Conn) probeStep(fd uintptr) {
	c.probe.fd = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := pollFD(&c.probe.fd)
	c.probe.ready = n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
}

// shutFD ends both directions of a connection, for who waits on it and for the other side.
func shutFD(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) }
