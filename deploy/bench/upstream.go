package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// upstream is a provider that does as little as it can: it costs less than what is measured and finds fault with
// nothing.
type upstream struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	over  bool
	wg    sync.WaitGroup
}

func newUpstream() *upstream { return &upstream{conns: map[net.Conn]struct{}{}} }

// serve answers on a listener until it is closed.
func (u *upstream) serve(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if !u.add(c) {
			c.Close()
			continue
		}
		go func() {
			defer u.remove(c)
			// How a connection ends is the client's business.
			_ = (&visit{conn: c, buf: make([]byte, 4<<10)}).run()
		}()
	}
}

func (u *upstream) add(c net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	u.wg.Add(1)
	u.conns[c] = struct{}{}
	return true
}

func (u *upstream) remove(c net.Conn) {
	c.Close()
	u.mu.Lock()
	delete(u.conns, c)
	u.mu.Unlock()
	u.wg.Done()
}

// close ends every connection and waits for that.
func (u *upstream) close() {
	u.mu.Lock()
	u.over = true
	for c := range u.conns {
		c.Close()
	}
	u.mu.Unlock()
	u.wg.Wait()
}

// visit is one connection's requests.
type visit struct {
	conn net.Conn
	buf  []byte
	n    int // bytes in buf

	claude bool // the request under way is in Anthropic's dialect
}

func (v *visit) run() error {
	for {
		s, usage, err := v.request()
		if err != nil {
			return err
		}
		if err := v.answer(s, usage); err != nil {
			return err
		}
	}
}

// request reads one request. usage says whether a stream shall end with its usage.
func (v *visit) request() (s script, usage bool, err error) {
	head := 0
	for head == 0 {
		if i := bytes.Index(v.buf[:v.n], []byte("\r\n\r\n")); i >= 0 {
			head = i + 4
			break
		}
		if err := v.more(); err != nil {
			return s, false, err
		}
	}
	length, err := strconv.Atoi(headerValue(v.buf[:head], "Content-Length"))
	if err != nil {
		return s, false, fmt.Errorf("a request without a length: %w", err)
	}
	text := headerValue(v.buf[:head], scriptHeader)
	if v.claude = bytes.HasPrefix(v.buf[:head], []byte("POST /v1/messages ")); v.claude {
		text = headerValue(v.buf[:head], toldHeader)
	}
	if s, err = parseScript(text); err != nil {
		return s, false, err
	}
	if s.Events == 0 {
		return s, false, v.discard(head + length)
	}
	for v.n < head+length {
		if err := v.more(); err != nil {
			return s, false, err
		}
	}
	usage = bytes.Contains(v.buf[head:head+length], []byte(`"include_usage":true`))
	return s, usage, v.discard(head + length)
}

// more reads into the buffer, which grows when it is full.
func (v *visit) more() error {
	if v.n == len(v.buf) {
		v.buf = append(v.buf, make([]byte, len(v.buf))...)
	}
	n, err := v.conn.Read(v.buf[v.n:])
	v.n += n
	return err
}

// discard drops n bytes, which may not have come yet.
func (v *visit) discard(n int) error {
	if n <= v.n {
		v.n = copy(v.buf, v.buf[n:v.n])
		return nil
	}
	left := n - v.n
	v.n = 0
	const large = 64 << 10
	if left > len(v.buf) && len(v.buf) < large {
		v.buf = make([]byte, large)
	}
	for left > 0 {
		got, err := v.conn.Read(v.buf[:min(left, len(v.buf))])
		left -= got
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	completion = `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","system_fingerprint":"fp_bench",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog, and then it does so again.","refusal":null},` +
		`"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":230,"completion_tokens":17,"total_tokens":247,` +
		`"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}}`
	chunkStart  = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench","system_fingerprint":"fp_bench",`
	contentData = chunkStart + `"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	finishData  = chunkStart + `"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}` + "\n\n"
	usageData   = chunkStart + `"choices":[],"usage":{"prompt_tokens":230,"completion_tokens":17,"total_tokens":247}}` + "\n\n"
	doneData    = "data: [DONE]\n\n"
	streamHead  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
	lastChunk   = "0\r\n\r\n"
)

// The same in Anthropic's dialect.
const (
	claudeMessage = `{"id":"msg_bench","type":"message","role":"assistant","model":"bench","content":[{"type":"text","text":"The quick brown fox jumps over the lazy dog."}],` +
		`"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":230,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":17}}`
	claudeStart = "event: message_start\n" + `data: {"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant","model":"bench","content":[],` +
		`"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":230,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}` + "\n\n" +
		"event: content_block_start\n" + `data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}` + "\n\n"
	claudeDelta = "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}` + "\n\n"
	claudeEnd   = "event: content_block_stop\n" + `data: {"type":"content_block_stop","index":0}` + "\n\n" +
		"event: message_delta\n" + `data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":17}}` + "\n\n" +
		"event: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"
)

func plainAnswer(tag string) string {
	return plain(tagged(completion, tag))
}

func plain(body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req_bench\r\n" + contentLength(body) + "\r\n\r\n" + body
}

func contentLength(body string) string { return "Content-Length: " + strconv.Itoa(len(body)) }

// tagged puts a script's tag into the id of an answer or event.
func tagged(text, tag string) string {
	if tag == "" {
		return text
	}
	return strings.Replace(text, "chatcmpl-bench", "chatcmpl-"+tag, 1)
}

func chunk(data string) string {
	return strconv.FormatInt(int64(len(data)), 16) + "\r\n" + data + "\r\n"
}

func (v *visit) answer(s script, usage bool) error {
	if s.meets() {
		return v.fail(s)
	}
	if s.Events == 0 {
		if s.Hold > 0 {
			time.Sleep(s.Hold)
		}
		answer := plainAnswer(s.Tag)
		if v.claude {
			answer = plain(claudeMessage)
		}
		_, err := io.WriteString(v.conn, answer)
		return err
	}
	return v.stream(s, usage)
}

// stream sends events at a pace that does not slip, each stream with a phase of its own.
func (v *visit) stream(s script, usage bool) error {
	content := []byte(chunk(tagged(contentData, s.Tag)))
	opening := streamHead
	if v.claude {
		content, opening = []byte(chunk(claudeDelta)), streamHead+chunk(claudeStart)
	}
	if _, err := v.conn.Write(append([]byte(opening), content...)); err != nil {
		return err
	}
	next := time.Now().Add(rand.N(max(s.Every, 1)))
	for range s.Events - 1 {
		if err := v.pause(time.Until(next)); err != nil {
			return err
		}
		if _, err := v.conn.Write(content); err != nil {
			return err
		}
		next = next.Add(s.Every)
	}
	if v.claude {
		_, err := io.WriteString(v.conn, chunk(claudeEnd)+lastChunk)
		return err
	}
	end := chunk(tagged(finishData, s.Tag))
	if usage {
		end += chunk(usageData)
	}
	_, err := io.WriteString(v.conn, end+chunk(doneData)+lastChunk)
	return err
}

// pause waits. A long one ends when the client goes away; after a short one the write tells.
func (v *visit) pause(d time.Duration) error {
	if d < time.Second {
		time.Sleep(d)
		return nil
	}
	if err := v.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	var b [1]byte
	_, err := v.conn.Read(b[:])
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		return errors.Join(errors.New("the client left, or sent what it should not"), err)
	}
	return v.conn.SetReadDeadline(time.Time{})
}

// headerValue finds a header in a raw head; empty when there is none.
func headerValue(head []byte, name string) string {
	for line := range bytes.Lines(head) {
		n, value, found := bytes.Cut(line, []byte{':'})
		if found && len(n) == len(name) && bytes.EqualFold(n, []byte(name)) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// upstreamPlaces is where the upstream role listens.
type upstreamPlaces struct {
	Plain []string `json:"plain"`
	TLS   string   `json:"tls"`
}

// upstreamOrder is what the upstream role gets as its argument.
type upstreamOrder struct {
	Ports             int // plain listeners
	CertFile, KeyFile string
}

// upstreamRole is the upstream as a process: it says where it listens, and ends when its standard input does.
func upstreamRole(argument string) error {
	var o upstreamOrder
	if err := json.Unmarshal([]byte(argument), &o); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return err
	}
	u := newUpstream()
	var at upstreamPlaces
	var listeners []net.Listener
	for range o.Ports + 1 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listeners = append(listeners, ln)
	}
	for _, ln := range listeners[:o.Ports] {
		at.Plain = append(at.Plain, ln.Addr().String())
	}
	at.TLS = listeners[o.Ports].Addr().String()
	listeners[o.Ports] = tls.NewListener(listeners[o.Ports], &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})

	failed := make(chan error, len(listeners)+1)
	for _, ln := range listeners {
		go func() { failed <- u.serve(ln) }()
	}
	if err := json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	err = <-failed
	for _, ln := range listeners {
		ln.Close()
	}
	u.close()
	return err
}
