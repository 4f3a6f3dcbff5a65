package sock

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// stretch is how much is written under one deadline when the kernel's buffer is full: what must be seen to go on.
const stretch = 64 << 10

// writing is one attempt to write.
type writing struct {
	a, b []byte
	n    int
	err  error
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.TryWriteBoth(p, nil)
	if err != nil || n == len(p) {
		return n, err
	}
	m, err := c.writeSlowly(p[n:])
	return n + m, err
}

// WriteHere is Write for the goroutine that reads. Within its own Ask or Each the connection cannot be closed for good by
// anybody, so the write takes no lock.
func (c *Conn) WriteHere(p []byte) (int, error) {
	if !c.sitting || c.closed() {
		return c.Write(p)
	}
	c.out = writing{a: p}
	c.writeStep(uintptr(c.fd))
	n, err := c.out.n, c.out.err
	c.out = writing{}
	if err != nil || n == len(p) {
		return n, err
	}
	m, err := c.writeSlowly(p[n:])
	return n + m, err
}

// WriteBoth writes all of a and then all of b, in one system call where the kernel takes both.
func (c *Conn) WriteBoth(a, b []byte) error {
	n, err := c.TryWriteBoth(a, b)
	if err == nil && n < len(a) {
		_, err = c.writeSlowly(a[n:])
		n = len(a)
	}
	if err == nil && n < len(a)+len(b) {
		_, err = c.writeSlowly(b[n-len(a):])
	}
	return err
}

// TryWriteBoth writes what the kernel takes of a and b right now, and says how much that was. It does not wait.
func (c *Conn) TryWriteBoth(a, b []byte) (int, error) {
	if c.raw == nil {
		return 0, nil
	}
	c.out = writing{a: a, b: b}
	err := c.raw.Write(c.writeFn)
	n := c.out.n
	if err == nil {
		err = c.out.err
	}
	c.out = writing{}
	return n, err
}

func (c *Conn) writeStep(fd uintptr) bool {
	w := &c.out
	for {
		n, err := writeFD(int(fd), w.a, w.b)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
		case err != nil:
			w.err = &net.OpError{Op: "write", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError("write", err)}
		default:
			w.n = n
		}
		return true
	}
}

// writeSlowly waits for the other side to take p, as long as it goes on taking.
func (c *Conn) writeSlowly(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if c.timeout > 0 {
			if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
				return n, err
			}
		}
		var m int
		m, err = c.Conn.Write(p[n:min(len(p), n+stretch)])
		n += m
	}
	if c.timeout > 0 && err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	return n, err
}
