package sock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// asking is one Ask under way.
type asking struct {
	w    io.Writer
	out  []byte
	r    io.Reader
	in   []byte
	sent bool
	n    int
	err  error
}

// Ask writes out through w, waits until there is something to read, and reads once from r into in. w and r are c itself, or
// the TLS connection on top of it. It is for those who know that nothing can have come before they asked; Pending tells.
// Errors are those of Write, marked by ErrWrite, and of Read.
func (c *Conn) Ask(w io.Writer, out []byte, r io.Reader, in []byte) (int, error) {
	if c.lookout == nil || c.gone.Load() || !c.sit() {
		if _, err := w.Write(out); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrWrite, err)
		}
		return r.Read(in)
	}
	c.ask = asking{w: w, out: out, r: r, in: in}
	err := c.whileSitting(c.askFn)
	a := c.ask
	c.ask = asking{}
	switch {
	case c.closed():
		if !a.sent {
			return 0, fmt.Errorf("%w: %w", ErrWrite, net.ErrClosed)
		}
		return 0, net.ErrClosed
	case !a.sent && err != nil: // the deadline had passed, or the connection was closed
		return 0, fmt.Errorf("%w: %w", ErrWrite, err)
	case err == nil && a.err == nil, a.n > 0:
		return a.n, nil // an error comes again
	case err == nil:
		return 0, a.err
	case c.nudged(err):
		return r.Read(in)
	}
	return 0, err
}

func (c *Conn) askStep(fd uintptr) bool {
	a := &c.ask
	c.fd = int(fd)
	if !a.sent {
		a.sent = true
		if _, err := a.w.Write(a.out); err != nil {
			a.err = fmt.Errorf("%w: %w", ErrWrite, err)
			return true
		}
		if !c.gone.Load() {
			return false
		}
	}
	c.dry = false
	a.n, a.err = a.r.Read(a.in)
	return !isDry(a.err)
}

// isDry says whether a read found nothing; crypto/tls may have wrapped it.
func isDry(err error) bool { return err != nil && errors.Is(err, errDry) }

// isDeadline says whether err is a deadline that has passed.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
