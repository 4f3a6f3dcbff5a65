package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
)

// client is an HTTP/1.1 client that reads no more of an answer than a measure needs: the status, where the answer ends,
// and how many events went by.
type client struct {
	conn net.Conn
	buf  []byte
	n    int // bytes in buf that are not looked at yet
}

func newClient(conn net.Conn) *client { return &client{conn: conn, buf: make([]byte, 4<<10)} }

// head sends a request and reads the head of its answer, which must be a success.
func (c *client) head(request []byte) (head []byte, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return nil, fmt.Errorf("send a request: %w", err)
	}
	c.n = 0
	for {
		n, err := c.conn.Read(c.buf[c.n:])
		c.n += n
		if end := bytes.Index(c.buf[:c.n], []byte("\r\n\r\n")); end >= 0 {
			head = c.buf[:end+4]
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read an answer: %w", err)
		}
		if c.n == len(c.buf) {
			return nil, errors.New("the head of an answer is too large")
		}
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return nil, fmt.Errorf("not a success: %.600q", c.buf[:c.n])
	}
	return head, nil
}

// exchange sends a request and reads its answer, which must have a length.
func (c *client) exchange(request []byte) error {
	head, err := c.head(request)
	if err != nil {
		return err
	}
	length, err := strconv.Atoi(headerValue(head, "Content-Length"))
	if err != nil {
		return fmt.Errorf("an answer without a length: %.300q", head)
	}
	for left := len(head) + length - c.n; left != 0; {
		if left < 0 {
			return errors.New("more came than the answer is long")
		}
		n, err := c.conn.Read(c.buf)
		left -= n
		if err != nil {
			return fmt.Errorf("read an answer: %w", err)
		}
	}
	return nil
}

// openStream sends a request and reads its answer up to and with the first bytes of the body.
func (c *client) openStream(request []byte) error {
	head, err := c.head(request)
	if err != nil {
		return err
	}
	c.n = copy(c.buf, c.buf[len(head):c.n])
	for c.n == 0 {
		if c.n, err = c.conn.Read(c.buf); err != nil {
			return fmt.Errorf("read a stream: %w", err)
		}
	}
	return nil
}

// readStream counts events as they come, to the end of a stream, which must be a clean one.
func (c *client) readStream(count *atomic.Int64) error {
	const tailSize = 64 // holds the last event and the last chunk
	var tail []byte
	newline := false // the byte before was one
	for {
		p := c.buf[:c.n]
		c.n = 0
		// The framing of chunks has no two newlines in a row, so these are the ends of events.
		events := bytes.Count(p, []byte("\n\n"))
		if len(p) > 0 {
			if newline && p[0] == '\n' {
				events++
			}
			newline = p[len(p)-1] == '\n'
			tail = append(tail, p...)
			tail = append(tail[:0], tail[max(0, len(tail)-tailSize):]...)
		}
		if events > 0 {
			count.Add(int64(events))
		}
		if bytes.HasSuffix(tail, []byte("\r\n"+lastChunk)) {
			if !bytes.Contains(tail, []byte("[DONE]")) {
				return fmt.Errorf("a stream ended with %q", tail)
			}
			return nil
		}
		n, err := c.conn.Read(c.buf)
		c.n = n
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read a stream: %w", err)
		}
	}
}
