package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"fairway/pkg/clientkey"
)

// scene is one kind of traffic of a soak: so many clients at once, each with a pause between its requests. play makes one
// request and says how it ended; an error is an ending that the request must not have.
type scene struct {
	name   string
	actors int
	pause  time.Duration // give or take half of it
	books  ledger
	play   func(ctx context.Context, a *actor) (ending, error)
}

// actor is a client that plays one scene over and over.
type actor struct {
	visitor
	keys [ledgers]string
	turn int
}

// scenes are all traffic of a soak: a moderate load of what clients, bad clients and bad upstreams do.
func scenes() []scene {
	all := []scene{
		{"plain", 6, 20 * time.Millisecond, ledgerSteady, steady(modelPlain, smallBody, script{})},
		{"slow completion", 8, 50 * time.Millisecond, ledgerSteady, steady(modelPlain, smallBody, script{Hold: 300 * time.Millisecond})},
		{"stream", 50, 200 * time.Millisecond, ledgerSteady, steady(modelPlain, smallBody, script{Events: 60, Every: 50 * time.Millisecond})},
		{"stream at once", 2, 100 * time.Millisecond, ledgerSteady, steady(modelPlain, smallBody, script{Events: 400})},
		{"body of 100 KiB", 2, 100 * time.Millisecond, ledgerSteady, steady(modelPlain, middleBody, script{})},
		{"body of 3 MiB", 1, time.Second, ledgerSteady, steady(modelPlain, 3<<20, script{})},
		{"idle connection", 50, 8 * time.Second, ledgerSteady, steady(modelPlain, smallBody, script{})},
		{"TLS upstream", 2, 50 * time.Millisecond, ledgerSteady, steady(modelTLS, smallBody, script{})},
		{"stream, TLS upstream", 10, 200 * time.Millisecond, ledgerSteady, steady(modelTLS, smallBody, script{Events: 60, Every: 50 * time.Millisecond})},
		{"new connection", 2, 50 * time.Millisecond, ledgerSteady, newConnection},
		{"slow reader", 4, 500 * time.Millisecond, ledgerSteady, slowReader},
		{"bad request", 2, 50 * time.Millisecond, ledgerNone, badRequest},
		{"unknown key", 1, 100 * time.Millisecond, ledgerNone, unknownKey},
		{"leaves while waiting", 3, 100 * time.Millisecond, ledgerLeaving, leaveWaiting},
		{"leaves between events", 3, 100 * time.Millisecond, ledgerLeaving, leaveBetween},
		{"leaves during upload", 2, 100 * time.Millisecond, ledgerNone, leaveUploading},
	}
	for _, f := range allFaults() {
		all = append(all,
			scene{"upstream: " + string(f), 1, 200 * time.Millisecond, ledgerFaulty, upstreamFault(f, 0)},
			scene{"upstream: " + string(f) + " at times", 1, 100 * time.Millisecond, ledgerFaulty, upstreamFault(f, 30)})
	}
	return all
}

// faultModel is the model whose channel only ever meets this fault: accounts that rest because of one do not serve others.
func faultModel(f fault) string { return "soak-" + string(f) }

// tag is a name that no other request has, so that nobody can get another's answer unnoticed.
func tag() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// steady requests are answered, to the byte, whatever else goes on.
func steady(model string, size int, s script) func(context.Context, *actor) (ending, error) {
	return func(ctx context.Context, a *actor) (ending, error) {
		s := s
		s.Tag = tag()
		r, err := a.exchange(ctx, requestBytes(a.keys[ledgerSteady], model, s, size))
		if err == nil && s.Events > 0 {
			err = r.wholeStream(s.Tag, s.Events)
		} else if err == nil {
			err = r.whole(s.Tag)
		}
		return ending{kind: answered, booked: true}, err
	}
}

func newConnection(ctx context.Context, a *actor) (ending, error) {
	a.leave()
	return steady(modelPlain, smallBody, script{})(ctx, a)
}

// slowReader takes a stream of some MiB in sips, with little room in its socket: more than all buffers on the way hold.
func slowReader(ctx context.Context, a *actor) (ending, error) {
	s := script{Events: 12000, Tag: tag()}
	a.leave() // the next connection's buffer is small from the start
	if err := a.send(ctx, nil); err != nil {
		return ending{}, err
	}
	defer a.leave()
	if err := a.conn.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		return ending{}, err
	}
	a.in.Reset(sipping{a.conn})
	r, err := a.exchange(ctx, requestBytes(a.keys[ledgerSteady], modelPlain, s, smallBody))
	if err == nil {
		err = r.wholeStream(s.Tag, s.Events)
	}
	return ending{kind: answered, booked: true}, err
}

// sipping reads little, and then nothing for a while.
type sipping struct{ io.Reader }

func (s sipping) Read(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return s.Reader.Read(p)
}

// bad is a request that must be refused, and how.
type bad struct {
	name   string
	status []int
	bytes  func(key string) []byte
}

func badRequests() []bad {
	edit := func(from, to string) func(string) []byte {
		return func(key string) []byte {
			return bytes.Replace(requestBytes(key, modelPlain, script{}, smallBody), []byte(from), []byte(to), 1)
		}
	}
	return []bad{
		{"no JSON", []int{400}, edit(`{"model"`, `["model"`)},
		{"no model", []int{400}, edit(`"model"`, `"modal"`)},
		{"two models", []int{400}, edit(`"temperature":0.7`, `"model":"another"`)},
		{"unknown model", []int{404}, edit(`"model":"bench"`, `"model":"x-nch"`)},
		{"unknown path", []int{404, 405}, edit("/v1/chat/completions", "/v1/chat/complications")},
		{"wrong type", []int{415}, edit("Content-Type: application/json", "Content-Type: text/plain")},
		{"no key", []int{401}, edit("Authorization:", "X-Authorization:")},
		{"malformed key", []int{401}, edit("Bearer sk-fw-", "Bearer sk-fx-")},
		{"two lengths", []int{400}, edit("Content-Length:", "Content-Length: 3\r\nContent-Length:")},
		{"length and chunks", []int{400}, edit("Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:")},
		{"no HTTP", []int{400}, func(string) []byte { return []byte("\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03 hello\r\n\r\n") }},
		{"head too large", []int{400, 413, 431}, edit("Accept:", "X-Bomb: "+strings.Repeat("b", 60<<10)+"\r\nAccept:")},
		{"body too large", []int{413}, func(key string) []byte {
			return bytes.Replace(requestBytes(key, modelPlain, script{}, middleBody), []byte("Content-Length: 102400"), []byte("Content-Length: 1073741824"), 1)
		}},
	}
}

func badRequest(ctx context.Context, a *actor) (ending, error) {
	all := badRequests()
	b := all[a.turn%len(all)]
	r, err := a.exchange(ctx, b.bytes(a.keys[ledgerNone]))
	if err != nil {
		return ending{}, fmt.Errorf("%s: %w", b.name, err)
	}
	if !slices.Contains(b.status, r.status) {
		return ending{}, fmt.Errorf("%s: want %v, got %s", b.name, b.status, r)
	}
	return ending{kind: refused}, nil
}

// unknownKey presents keys of the right form that nobody made: each might be one that the proxy does not know yet.
func unknownKey(ctx context.Context, a *actor) (ending, error) {
	r, err := a.exchange(ctx, requestBytes(clientkey.New().Reveal(), modelPlain, script{}, smallBody))
	if err == nil && r.status != 401 {
		err = fmt.Errorf("want 401, got %s", r)
	}
	return ending{kind: refused}, err
}

// leaveWaiting hangs up while the upstream thinks, or before that has the request.
func leaveWaiting(ctx context.Context, a *actor) (ending, error) {
	defer a.leave()
	err := a.send(ctx, requestBytes(a.keys[ledgerLeaving], modelPlain, script{Hold: 2 * time.Second, Tag: tag()}, smallBody))
	if err == nil {
		time.Sleep(rand.N(200 * time.Millisecond))
	}
	return ending{kind: left, may: true}, err
}

// leaveBetween hangs up in the middle of a stream; some with answers in their socket that they have not read, which
// resets the connection.
func leaveBetween(ctx context.Context, a *actor) (ending, error) {
	s := script{Events: 1000, Every: 30 * time.Millisecond, Tag: tag()}
	if err := a.send(ctx, requestBytes(a.keys[ledgerLeaving], modelPlain, s, smallBody)); err != nil {
		return ending{}, err
	}
	r, err := a.head()
	if err != nil {
		return ending{}, err
	}
	defer r.Body.Close() // which would read the stream to its end, had the client not left before
	defer a.leave()
	want := strings.Repeat(tagged(contentData, s.Tag), 1+a.turn%5)
	some := make([]byte, len(want))
	if _, err := io.ReadFull(r.Body, some); err != nil {
		return ending{}, fmt.Errorf("read the beginning of a stream: %w", err)
	}
	if string(some) != want {
		return ending{}, fmt.Errorf("the stream of %s begins with %.200q", s.Tag, some)
	}
	time.Sleep(rand.N(100 * time.Millisecond))
	return ending{kind: left, booked: true}, nil
}

// leaveUploading promises a large body and leaves in its middle.
func leaveUploading(ctx context.Context, a *actor) (ending, error) {
	defer a.leave()
	request := requestBytes(a.keys[ledgerNone], modelPlain, script{}, 200<<10)
	err := a.send(ctx, request[:rand.IntN(len(request)-1)+1])
	if err == nil {
		time.Sleep(rand.N(50 * time.Millisecond))
	}
	return ending{kind: left}, err
}

// upstreamFault asks for a fault of the upstream, plain and streamed in turn. The client hears of it in the words of HTTP
// or of the stream, is never told that a part is the whole, and of the odds it may get the answer all the same.
func upstreamFault(f fault, odds int) func(context.Context, *actor) (ending, error) {
	return func(ctx context.Context, a *actor) (ending, error) {
		s := script{Fault: f, Odds: odds, Tag: tag()}
		if streams := f == faultEvent || f == faultStall; streams || f == faultCut && a.turn%2 == 0 {
			s.Events = 10
		}
		r, err := a.exchange(ctx, requestBytes(a.keys[ledgerFaulty], faultModel(f), s, smallBody))
		if err != nil {
			return ending{}, err
		}
		switch {
		case r.status == 200 && odds > 0 && s.Events == 0 && r.whole(s.Tag) == nil,
			r.status == 200 && odds > 0 && s.Events > 0 && r.wholeStream(s.Tag, s.Events) == nil:
			return ending{kind: answered, booked: true}, nil
		case r.status == 200 && (f == faultCut || f == faultStall):
			return ending{kind: "cut", booked: true}, r.cutStream(s.Tag)
		case slices.Contains(statusOf(f), r.status) && !r.broken:
			// All accounts may rest: then no upstream was asked, and nobody pays.
			return ending{kind: fmt.Sprint(r.status), booked: r.refusalCode() != "no_account_available"}, nil
		}
		return ending{}, fmt.Errorf("want %v, got %s", statusOf(f), r)
	}
}

// statusOf is what a client may be told of a fault; 503 with all of them, because accounts rest.
func statusOf(f fault) []int {
	switch f {
	case faultError, faultEvent:
		return []int{500, 502, 503}
	case faultLimit:
		return []int{429, 503}
	case faultHang:
		return []int{503, 504}
	case faultCut, faultStall, faultClose, faultGarbage:
	}
	return []int{502, 503}
}

// run plays a scene until ctx ends, then finishes what it is at. Connections outlive ctx for that.
func (s *scene) run(ctx context.Context, a *actor, t *tally) {
	defer a.leave()
	last := context.WithoutCancel(ctx)
	pause := rand.N(min(s.pause, time.Second)) // nobody waits long to begin
	for ; ; a.turn++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = s.pause/2 + rand.N(s.pause)
		e, err := s.play(last, a)
		if err != nil {
			a.leave()
			t.fault(s, err)
			continue
		}
		t.add(s, e)
	}
}
