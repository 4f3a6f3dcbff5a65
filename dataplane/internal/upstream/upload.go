package upstream

import (
	"fmt"
	"io"
	"time"
)

// afterFailure is how long an answer may still come when a body could not be sent: an upstream that has refused it
// closes right behind its reason.
const afterFailure = time.Second

// uploadGrace is how long a connection whose response has ended waits for its request to have been sent.
const uploadGrace = 20 * time.Millisecond

// upload writes what of a request does not go out at once, while the response is awaited. Its goroutine ends with the
// connection: whoever starts one waits for done. A nil upload is one that was not needed.
type upload struct {
	done chan struct{}
	err  error // after done
	seen bool  // the reader knows that it has ended
}

// startUpload takes over the connection's write side, sent bytes of the request having been written.
func startUpload(c *conn, s *slabs, req *Request, sent int) *upload {
	u := &upload{done: make(chan struct{})}
	go func() {
		u.err = send(c, s, req, sent)
		close(u.done)
		if u.err != nil {
			_ = c.sock.SetReadDeadline(time.Unix(1, 0)) // wakes the reader, who then waits for afterFailure
		}
	}()
	return u
}

// judged says that the upload has no say in how long the response is awaited.
func (u *upload) judged() bool { return u == nil || u.seen }

// result says whether the upload has ended, and its error.
func (u *upload) result() (ended bool, err error) {
	select {
	case <-u.done:
		return true, u.err
	default:
		return false, nil
	}
}

// complete says whether all was sent, and waits up to grace for it.
func (u *upload) complete(grace time.Duration) bool {
	if u == nil {
		return true
	}
	if ended, err := u.result(); ended || grace == 0 {
		return ended && err == nil
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

// send writes the request but for its first sent bytes. The connection bounds each stretch without progress.
func send(c *conn, s *slabs, req *Request, sent int) error {
	head := req.Head[min(sent, len(req.Head)):]
	body := req.Body[max(0, sent-len(req.Head)):]
	if !c.secured() && len(body) > 0 {
		return c.sock.WriteBoth(head, body)
	}
	for _, part := range [2][]byte{head, body} {
		if len(part) == 0 {
			continue
		}
		if _, err := c.rw.Write(part); err != nil {
			return err
		}
	}
	if req.BodyStream == nil {
		return nil
	}
	buf := s.large.Get().(*[]byte)
	defer s.put(buf)
	for left := req.BodySize; left > 0; {
		n, err := req.BodyStream.Read((*buf)[:min(left, int64(len(*buf)))])
		if n > 0 {
			if _, err := c.rw.Write((*buf)[:n]); err != nil {
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
