package upstream

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// afterFailure is how long an answer may still come when a body could not be sent: an upstream that has refused it
// closes right behind its reason.
const afterFailure = time.Second

// uploadGrace is how long a connection whose response has ended waits for its request to have been sent.
const uploadGrace = 20 * time.Millisecond

// upload writes a large or streamed request while the response is awaited, because an upstream may answer before it has
// read everything. Its goroutine ends with the connection: whoever starts one waits for done.
type upload struct {
	done chan struct{}
	err  error // after done

	mu     sync.Mutex
	headed bool // the response's head has come: the read deadline is the reader's
}

// startUpload takes over the connection's write side, and its read deadline until head is called: nothing limits the
// wait for the response while the upload makes progress.
func startUpload(c *conn, s *slabs, req *Request, firstByte time.Duration) *upload {
	u := &upload{done: make(chan struct{})}
	_ = c.armRead(time.Time{})
	go func() {
		defer close(u.done)
		u.err = send(c, s, req, firstByte)
		u.mu.Lock()
		defer u.mu.Unlock()
		if !u.headed {
			limit := firstByte
			if u.err != nil {
				limit = afterFailure
			}
			_ = c.tcp.SetReadDeadline(time.Now().Add(limit))
		}
	}()
	return u
}

// head says that the response's head has come.
func (u *upload) head() {
	u.mu.Lock()
	u.headed = true
	u.mu.Unlock()
}

// complete says whether all was sent, and waits up to grace for it.
func (u *upload) complete(grace time.Duration) bool {
	select {
	case <-u.done:
		return u.err == nil
	default:
	}
	if grace == 0 {
		return false
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-u.done:
		return u.err == nil
	case <-timer.C:
		return false
	}
}

// failed returns the error that ended the upload, nil while it runs.
func (u *upload) failed() error {
	select {
	case <-u.done:
		return u.err
	default:
		return nil
	}
}

// send writes the request in pieces, each within limit.
func send(c *conn, s *slabs, req *Request, limit time.Duration) error {
	put := func(b []byte) error {
		if err := c.tcp.SetWriteDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		_, err := c.nc.Write(b)
		return err
	}
	if err := put(req.Head); err != nil {
		return err
	}
	if req.BodyStream == nil {
		for b := req.Body; len(b) > 0; {
			n := min(len(b), inlineBody)
			if err := put(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
	buf := s.large.Get().(*[]byte)
	defer s.put(buf)
	for left := req.BodySize; left > 0; {
		n, err := req.BodyStream.Read((*buf)[:min(left, int64(len(*buf)))])
		if n > 0 {
			if err := put((*buf)[:n]); err != nil {
				return err
			}
			left -= int64(n)
		}
		if err == io.EOF && left > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && left > 0 {
			return fmt.Errorf("request body: %w", err)
		}
	}
	return nil
}
