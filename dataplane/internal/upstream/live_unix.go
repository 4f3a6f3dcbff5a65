//go:build unix

package upstream

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// prober asks the kernel whether an idle connection has something to read: a close, or bytes nobody asked for.
type prober struct {
	raw   syscall.RawConn
	fds   [1]unix.PollFd
	ready bool
	probe func(fd uintptr)
}

func (p *prober) init(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	p.probe = func(fd uintptr) {
		p.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(p.fds[:], 0)
		p.ready = n > 0 || (err != nil && err != unix.EINTR)
	}
}

// readable says whether there is anything to read. It does not block.
func (p *prober) readable() bool {
	if p.raw == nil {
		return false
	}
	p.ready = true
	if err := p.raw.Control(p.probe); err != nil {
		return true
	}
	return p.ready
}
