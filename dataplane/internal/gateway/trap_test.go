package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// trap is an upstream on raw connections: what it says, and when it falls silent, is the test's.
type trap struct {
	t    testing.TB
	base string // for a channel's BaseUrl

	ln      net.Listener
	running sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	lines  int
	heard  []heard
	closed bool
	gone   chan struct{} // closed when the test ends
}

// heard is a request as net/http reads it at the upstream.
type heard struct {
	line    int // which connection it came on, from 0
	method  string
	target  string
	host    string
	header  http.Header
	trailer http.Header
	body    string
}

// newTrap starts an upstream that runs serve for each connection, which ends when serve returns.
func newTrap(t testing.TB, serve func(*line)) *trap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &trap{t: t, ln: ln, base: "http://" + ln.Addr().String(), open: make(map[net.Conn]struct{}), gone: make(chan struct{})}
	u.running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			l := &line{Conn: c, r: bufio.NewReader(c), trap: u, n: u.lines}
			u.lines++
			if !u.closed {
				u.open[c] = struct{}{}
			}
			closed := u.closed
			u.mu.Unlock()
			if closed {
				_ = c.Close()
				continue
			}
			u.running.Go(func() {
				defer func() {
					_ = c.Close()
					u.mu.Lock()
					delete(u.open, c)
					u.mu.Unlock()
				}()
				serve(l)
			})
		}
	})
	t.Cleanup(u.close)
	return u
}

func (u *trap) close() {
	_ = u.ln.Close()
	u.mu.Lock()
	u.closed = true
	close(u.gone)
	for c := range u.open {
		_ = c.Close()
	}
	u.mu.Unlock()
	u.running.Wait()
}

// requests are those that arrived whole, in order.
func (u *trap) requests() []heard {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]heard(nil), u.heard...)
}

// forget drops what was heard.
func (u *trap) forget() {
	u.mu.Lock()
	u.heard = nil
	u.mu.Unlock()
}

// connections is how many the proxy has opened so far.
func (u *trap) connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.lines
}

// line is one connection of a trap.
type line struct {
	net.Conn
	r    *bufio.Reader
	trap *trap
	n    int
}

// request reads one request, or says that the proxy has ended the connection. What no strict reader takes fails the test:
// the proxy must never send it.
func (l *line) request() (heard, bool) {
	return l.read(true)
}

// head reads only a request's head; its body stays unread.
func (l *line) head() (heard, bool) {
	return l.read(false)
}

func (l *line) read(body bool) (heard, bool) {
	r, err := http.ReadRequest(l.r)
	if err != nil {
		var ended net.Error
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) &&
			!errors.As(err, &ended) {
			l.trap.t.Errorf("the upstream cannot read what the proxy sent: %v", err)
		}
		return heard{}, false
	}
	h := heard{line: l.n, method: r.Method, target: r.RequestURI, host: r.Host, header: r.Header}
	if body {
		var all bytes.Buffer
		if _, err := all.ReadFrom(r.Body); err != nil {
			return heard{}, false
		}
		h.body, h.trailer = all.String(), r.Trailer
		l.trap.mu.Lock()
		l.trap.heard = append(l.trap.heard, h)
		l.trap.mu.Unlock()
	}
	return h, true
}

// say writes each part by itself.
func (l *line) say(parts ...string) {
	for i, part := range parts {
		if i > 0 {
			breathe()
		}
		if _, err := io.WriteString(l, part); err != nil {
			return
		}
	}
}

// breathe gives the other side the chance to read what was written by itself. Nothing depends on it.
func breathe() { time.Sleep(50 * time.Microsecond) }

// reset ends the connection so that what is unread on either side is lost.
func (l *line) reset() { reset(l.Conn) }

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// hush ends the upstream's half.
func (l *line) hush() { _ = l.Conn.(*net.TCPConn).CloseWrite() }

// awaitEnd reads until the proxy ends the connection.
func (l *line) awaitEnd() { _, _ = io.Copy(io.Discard, l.r) }

// always answers every request with parts, and keeps the connection.
func always(parts ...string) func(*line) {
	return func(l *line) {
		for {
			if _, ok := l.request(); !ok {
				return
			}
			l.say(parts...)
		}
	}
}

// lure makes a channel with one account of its own that serves model from base. It is not published.
func (w *world) lure(model, base string) {
	w.t.Helper()
	ch := w.channel(model, 100, secretA)
	ch.BaseUrl, ch.Models, ch.ModelMapping = base, []string{model}, nil
	w.put(1, "c-"+model, ch)
}

// caller is a client on a raw connection.
type caller struct {
	net.Conn
	r *bufio.Reader
}

func (w *world) caller() *caller {
	w.t.Helper()
	c := w.dial()
	return &caller{Conn: c, r: newReader(c)}
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

// reply is a response as net/http reads it.
type reply struct {
	status  int
	interim int // 1xx responses before it
	header  http.Header
	close   bool
	body    string
	broken  error // the body ended before its end, or there was no response at all
}

// good says that there is a whole response with status 200.
func (r *reply) good() bool { return r.status == 200 && r.broken == nil }

// String says what of a reply a failed test needs.
func (r reply) String() string {
	return fmt.Sprintf("status %d, %d bytes, %v: %.600q", r.status, len(r.body), r.broken, r.body)
}

// answer reads the next response.
func (c *caller) answer() reply {
	var out reply
	for {
		response, err := http.ReadResponse(c.r, nil)
		if err != nil {
			out.broken = err
			return out
		}
		if response.StatusCode < 200 {
			out.interim++
			continue
		}
		var body strings.Builder
		_, out.broken = io.Copy(&body, response.Body)
		_ = response.Body.Close()
		out.status, out.header, out.close, out.body = response.StatusCode, response.Header, response.Close, body.String()
		return out
	}
}

// over says that the proxy has ended the connection, without a further byte.
func (c *caller) over() bool {
	_, err := c.r.ReadByte()
	return err != nil && !tooLate(err)
}

// tooLate says that the test's patience has ended, and not the connection.
func tooLate(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}

// ask makes one request on a connection of its own.
func (w *world) ask(path, body string, headers ...string) reply {
	w.t.Helper()
	c := w.caller()
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, request(path, w.key, body, append(headers, "Connection: close")...))
	return c.answer()
}

const chatPath = "/v1/chat/completions"

// prompt is a chat request's body. text has nothing in it that JSON would escape.
func prompt(model, text string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":"`, model, stream) + text + `"}]}`
}

// sized frames a plain answer.
func sized(body string, headers ...string) string {
	return framed(body, append(headers, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))...)
}

func framed(body string, headers ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body
}

// eventHead is the head of a stream in chunks.
const eventHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

// chunk frames one piece.
func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

const lastChunk = "0\r\n\r\n"

// completion is a plain answer's body that says text.
func completion(text string) string {
	return fmt.Sprintf(`{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":%q},`+
		`"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}`, text)
}

// delta is an event that says text.
func delta(text string) string {
	return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", text)
}

const (
	usageEvent = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}\n\n"
	doneEvent  = "data: [DONE]\n\n"
)

// gauge reads a metric that has no labels.
func (w *world) gauge(name string) float64 {
	families, err := w.registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	panic("no metric " + name)
}

// quiet waits until no request is under way, as the metrics have it.
func (w *world) quiet() {
	w.t.Helper()
	w.eventually("requests end", func() bool { return w.gauge("fairway_requests_in_flight") == 0 })
}
