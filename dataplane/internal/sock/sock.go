// Package sock is a connection as a relay wants it: a write goes out at once and touches no deadline unless it has to wait,
// and whoever waits for an answer, or for one arrival after the other, pays one read for each.
//
// A plain Read of Go asks the kernel, is told that nothing is there, parks, and asks again: two system calls for every
// arrival. Ask and Each wait first. That is safe only with somebody who sees the one thing a waiting reader could miss, an
// end that came together with the data before it: the Lookout, one epoll for all connections, which also notices clients
// that hang up without reading a byte of theirs.
//
// It refuses to know what the bytes mean, to own a goroutine but the Lookout's Run, and to do anything clever where the
// kernel is not Linux: there Ask and Each are the plain calls in a row.
package sock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrWrite marks an error of Ask's writing half.
var ErrWrite = errors.New("write")

// Hanger is told, at most once, that the other side is gone. It is called on the Lookout's goroutine and must not block.
type Hanger interface{ HungUp() }

// Conn is a net.Conn. One goroutine may read while another writes; Close and deadlines may come from anywhere.
type Conn struct {
	net.Conn
	raw syscall.RawConn // nil = nothing that the kernel knows as a socket

	lookout *Lookout // nil = nobody looks out
	ticket  ticket
	hanger  Hanger
	gone    atomic.Bool // the other side hung up
	state   atomic.Int32

	timeout time.Duration // of writes without progress; 0 = none
	out     writing
	writeFn func(fd uintptr) bool

	// The reader's.
	sitting bool // within Ask or Each: Read does not block
	dry     bool // while sitting: what had come was read
	fd      int  // while sitting
	ask     asking
	askFn   func(fd uintptr) bool
	each    taking
	eachFn  func(fd uintptr) bool
	probe   probing
	probeFn func(fd uintptr)
}

// New wraps nc, which belongs to the Conn from here on.
func New(nc net.Conn) *Conn {
	c := &Conn{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok && direct {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.writeFn, c.askFn, c.eachFn, c.probeFn = c.writeStep, c.askStep, c.eachStep, c.probeStep
		}
	}
	return c
}

// SetWriteTimeout bounds each stretch of a write in which nothing could be written; 0 = no bound.
func (c *Conn) SetWriteTimeout(d time.Duration) { c.timeout = d }

// Watch has l look out for the other side's hang-up, and tell h if it is not nil. It is called once, before anything is
// read. A nil Lookout is nobody.
func (c *Conn) Watch(l *Lookout, h Hanger) {
	if l == nil || c.raw == nil {
		return
	}
	c.hanger = h
	if l.add(c) {
		c.lookout = l
	}
}

// Watched says whether somebody looks out for the other side's hang-up.
func (c *Conn) Watched() bool { return c.lookout != nil }

// HungUp says whether the other side was seen to hang up: it has stopped sending, or reset the connection. What it sent
// before can still be read.
func (c *Conn) HungUp() bool { return c.gone.Load() }

// Read is net.Conn's.
func (c *Conn) Read(p []byte) (int, error) {
	if c.sitting {
		return c.readNow(p)
	}
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !c.nudged(err) {
			return n, err
		}
	}
}

// nudged says whether err is nothing but the lookout's nudge, and takes that back. After a hang-up no read waits, so no
// deadline of anybody else can have passed.
func (c *Conn) nudged(err error) bool {
	if !c.gone.Load() || c.closed() || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	return c.SetReadDeadline(time.Time{}) == nil
}

// hungUp is called by the lookout. The order matters: whoever sets a deadline looks at gone afterwards.
func (c *Conn) hungUp() {
	if c.gone.Swap(true) {
		return
	}
	_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes who waits
	if c.hanger != nil {
		c.hanger.HungUp()
	}
}

// Bits of a connection's state.
const (
	inUse    = 1 << iota // somebody sits in Ask or Each
	isClosed             // Close was called
)

func (c *Conn) closed() bool { return c.state.Load()&isClosed != 0 }

// sit begins an Ask or an Each; false = the connection is closed.
func (c *Conn) sit() bool {
	if !c.state.CompareAndSwap(0, inUse) {
		return false
	}
	c.sitting = true
	return true
}

// whileSitting runs step whenever there is something to read, until it is done. Also a panic in it ends the sitting.
func (c *Conn) whileSitting(step func(fd uintptr) bool) error {
	defer c.stand()
	return c.raw.Read(step)
}

// stand ends what sit began, and what Close left to be done.
func (c *Conn) stand() {
	c.sitting = false
	if c.state.And(^int32(inUse))&isClosed != 0 {
		_ = c.Conn.Close()
	}
}

// Close closes the connection, and never waits: also not for who sits in Ask or Each and may be this very goroutine, or one
// that a slow reader elsewhere holds up. Then both directions end at once, and the sitting's end is the connection's.
func (c *Conn) Close() error {
	was := c.state.Or(isClosed)
	if was&isClosed != 0 {
		return net.ErrClosed
	}
	if c.lookout != nil {
		c.lookout.remove(c)
	}
	if was&inUse == 0 {
		return c.Conn.Close()
	}
	_ = c.raw.Control(shutFD)
	return c.SetReadDeadline(time.Unix(1, 0)) // wakes who sits
}

// CloseWrite tells the other side that nothing more comes.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("close for writing: %w", errors.ErrUnsupported)
	}
	return half.CloseWrite()
}

// Reset closes the connection so that the other side learns of it even if it has stopped reading.
func (c *Conn) Reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// errDry is what a sitting Read says when nothing is there yet. crypto/tls forgets errors that are Temporary.
var errDry error = dry{}

type dry struct{}

func (dry) Error() string   { return "nothing to read yet" }
func (dry) Timeout() bool   { return false }
func (dry) Temporary() bool { return true }

// readNow reads what is there. A read that did not fill p has taken everything, so the next one need not ask; only after
// a hang-up there is an end to be read, too.
func (c *Conn) readNow(p []byte) (int, error) {
	if c.closed() {
		return 0, net.ErrClosed
	}
	if c.dry {
		return 0, errDry
	}
	n, err := readFD(c.fd, p)
	for errors.Is(err, syscall.EINTR) {
		n, err = readFD(c.fd, p)
	}
	switch {
	case errors.Is(err, syscall.EAGAIN):
		c.dry = true
		return 0, errDry
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	c.dry = n < len(p) && !c.gone.Load()
	return n, nil
}
