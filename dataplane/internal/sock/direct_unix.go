//go:build unix && (!linux || race)

package sock

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// direct says that descriptors can be read and written without Go's poller in between. The race detector knows these calls,
// and what they order.
const direct = true

func readFD(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func writeFD(fd int, a, b []byte) (int, error) {
	n, err := syscall.Write(fd, a)
	if err != nil || n < len(a) || len(b) == 0 {
		return n, err
	}
	m, err := syscall.Write(fd, b)
	if m < 0 {
		return n, nil // what went out counts; the error comes again
	}
	return n + m, err
}

func pollFD(p *unix.PollFd) (int, error) { return unix.Poll([]unix.PollFd{*p}, 0) }
