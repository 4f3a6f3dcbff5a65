//go:build unix

package sock

import (
	"errors"

	"golang.org/x/sys/unix"
)

// direct says that descriptors can be read and written without Go's poller in between.
const direct = true

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func writeFD(fd int, a, b []byte) (int, error) {
	if len(b) == 0 {
		return unix.Write(fd, a)
	}
	return unix.Writev(fd, [][]byte{a, b})
}

// probing is one look at what there is to read.
type probing struct {
	fds   [1]unix.PollFd
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
	c.probe.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(c.probe.fds[:], 0)
	c.probe.ready = n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
}
