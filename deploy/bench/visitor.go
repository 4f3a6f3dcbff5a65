package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// visitor is one client of a soak: it keeps a connection as long as it may, reads answers as strictly as clients should,
// and leaves when its scene says so. It belongs to one goroutine.
type visitor struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
}

// patience bounds one step of a scene: whoever waits longer has found a fault.
const patience = 30 * time.Second

// send writes a request, or a part of one, on the kept connection or on a new one.
func (v *visitor) send(ctx context.Context, request []byte) error {
	if v.conn == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", v.addr)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		v.conn, v.in = conn, bufio.NewReader(conn)
	}
	if err := v.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := v.conn.Write(request); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	return nil
}

// leave closes the connection, whatever is under way on it.
func (v *visitor) leave() {
	if v.conn != nil {
		v.conn.Close()
		v.conn, v.in = nil, nil
	}
}

// head reads the head of an answer. Its body must be read before the connection's next use.
func (v *visitor) head() (*http.Response, error) {
	r, err := http.ReadResponse(v.in, nil)
	if err != nil {
		return nil, fmt.Errorf("read an answer: %w", err)
	}
	return r, nil
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
	broken bool // the body ended before its framing did
}

// exchange sends a request and reads its answer. The error is nil for any answer, also for one that broke off.
func (v *visitor) exchange(ctx context.Context, request []byte) (reply, error) {
	if err := v.send(ctx, request); err != nil {
		v.leave()
		return reply{}, err
	}
	r, err := v.head()
	if err != nil {
		v.leave()
		return reply{}, err
	}
	return v.rest(r)
}

// rest reads an answer's body.
func (v *visitor) rest(r *http.Response) (reply, error) {
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	got := reply{status: r.StatusCode, header: r.Header, body: body, broken: err != nil}
	if err != nil || r.Close {
		v.leave()
	}
	if err != nil && isTimeout(err) {
		return got, fmt.Errorf("the answer stopped: %w", err)
	}
	return got, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (r reply) String() string {
	text := fmt.Sprintf("%d %.200q", r.status, r.body)
	if r.broken {
		text += " (broken off)"
	}
	return text
}

// refusalCode is the code in an error's body; empty when there is none.
func (r reply) refusalCode() string {
	_, after, found := strings.Cut(string(r.body), `"code":"`)
	if !found {
		return ""
	}
	code, _, _ := strings.Cut(after, `"`)
	return code
}

// whole says what keeps the answer from being the completion with this tag, to the byte.
func (r reply) whole(tag string) error {
	if r.status != http.StatusOK || r.broken || string(r.body) != tagged(completion, tag) {
		return fmt.Errorf("want the completion of %s, got %s", tag, r)
	}
	return nil
}

// wholeStream says what keeps the answer from being the stream with this tag and so many events, to the byte.
func (r reply) wholeStream(tag string, events int) error {
	if r.status != http.StatusOK || r.broken {
		return fmt.Errorf("want the stream of %s, got %s", tag, r)
	}
	want := strings.Repeat(tagged(contentData, tag), events) + tagged(finishData, tag) + doneData
	if got := string(r.body); got != want {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		return fmt.Errorf("the stream of %s has %d bytes instead of %d and differs at %d: %.200q", tag, len(got), len(want), at, got[at:])
	}
	return nil
}

// cutStream says what keeps the answer from being a stream that began well and was cut so that nobody takes it for
// complete.
func (r reply) cutStream(tag string) error {
	if r.status != http.StatusOK || !strings.HasPrefix(string(r.body), tagged(contentData, tag)) {
		return fmt.Errorf("want the beginning of the stream of %s, got %s", tag, r)
	}
	if strings.Contains(string(r.body), doneData) {
		return fmt.Errorf("a stream that its upstream cut ends like a complete one: %s", r)
	}
	return nil
}
