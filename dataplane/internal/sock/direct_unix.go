//go:build unix && !linux

package sock

import (
	"golang.org/x/sys/unix"
)

// direct says that descriptors can be read and written without Go's poller in between.
const direct = true

func readFD(fd int, p []byte) (int, error) { return unix.Read(fd, p) }

func writeFD(fd int, a, b []byte) (int, error) {
	if len(b) == 0 {
		return unix.Write(fd, a)
	}
	return unix.Writev(fd, [][]byte{a, b})
}

func pollFD(p *unix.PollFd) (int, error) { return unix.Poll([]unix.PollFd{*p}, 0) }
