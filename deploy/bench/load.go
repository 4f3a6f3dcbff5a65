package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// task is one round of load against one address, and which processes to watch meanwhile.
type task struct {
	Kind   string // see loads
	Addr   string
	Key    string
	Model  string
	Body   int // bytes
	Conns  int // connections, each with one request or stream at a time
	Rate   float64
	Every  time.Duration // between events
	Script script        // of an overload's requests
	Warm   time.Duration // before the window
	Window time.Duration // what is measured
	Watch  []int
}

// outcome is what a round came to. Only the window counts, and CPU and count are of the same moments.
type outcome struct {
	Count   int64    `json:"count"` // requests or events
	Seconds float64  `json:"seconds"`
	CPU     float64  `json:"cpu_seconds"` // of the watched processes
	P50     float64  `json:"p50_us"`
	P99     float64  `json:"p99_us"`
	Reads   float64  `json:"reads"` // system calls of the watched processes for each request or event
	Writes  float64  `json:"writes"`
	RSS     [3]int64 `json:"rss"` // bytes before, at the highest, and after
	Back    float64  `json:"back_seconds"`
	Shed    int64    `json:"shed"`  // refused with the time to come back
	Reset   int64    `json:"reset"` // refused without a word
}

// loads are the kinds of load.
func loads() map[string]func(context.Context, task) (outcome, error) {
	return map[string]func(context.Context, task) (outcome, error){
		"closed":   closedLoop,
		"paced":    pacedLoop,
		"events":   eventStreams,
		"idle":     idleStreams,
		"bodies":   largeBodies,
		"overload": overloaded,
	}
}

// loadRole is the load as a process: a task as its argument, the outcome on its standard output.
func loadRole(ctx context.Context, argument string) error {
	var t task
	if err := json.Unmarshal([]byte(argument), &t); err != nil {
		return err
	}
	run, ok := loads()[t.Kind]
	if !ok {
		return fmt.Errorf("no load of kind %q", t.Kind)
	}
	o, err := run(ctx, t)
	if err != nil {
		return fmt.Errorf("%s against %s: %w", t.Kind, t.Addr, err)
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

// crew runs one function for each connection; the first error ends all.
type crew struct {
	ctx    context.Context //nolint:containedctx // it is the crew's own and ends with it
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newCrew(ctx context.Context) *crew {
	ctx, cancel := context.WithCancelCause(ctx)
	return &crew{ctx: ctx, cancel: cancel}
}

func (c *crew) start(n int, work func(ctx context.Context, i int) error) {
	for i := range n {
		c.wg.Go(func() {
			if err := work(c.ctx, i); err != nil && c.ctx.Err() == nil {
				c.cancel(err)
			}
		})
	}
}

// sleep waits, and returns early with the reason when the crew has failed.
func (c *crew) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

var errStop = errors.New("the round is over")

// stop ends the work; an error that came before is the crew's.
func (c *crew) stop() error {
	c.cancel(errStop)
	c.wg.Wait()
	if err := context.Cause(c.ctx); !errors.Is(err, errStop) {
		return err
	}
	return nil
}

// measure takes the window: what count grew by and what the watched processes used meanwhile.
func (c *crew) measure(t task, count *atomic.Int64) (o outcome, err error) {
	before, _, err := usageOf(t.Watch)
	if err != nil {
		return o, err
	}
	readsBefore, writesBefore := callsOf(t.Watch)
	began, from := time.Now(), count.Load()
	if err := c.sleep(t.Window); err != nil {
		return o, err
	}
	o.Count, o.Seconds = count.Load()-from, time.Since(began).Seconds()
	after, _, err := usageOf(t.Watch)
	if err != nil {
		return o, err
	}
	o.CPU = (after - before).Seconds()
	if o.Count == 0 {
		return o, errors.New("nothing was answered in the whole window")
	}
	reads, writes := callsOf(t.Watch)
	o.Reads, o.Writes = float64(reads-readsBefore)/float64(o.Count), float64(writes-writesBefore)/float64(o.Count)
	return o, nil
}

// dial opens a connection that closes when ctx ends.
func dial(ctx context.Context, addr string) (*client, func(), error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return newClient(conn), func() { stop(); conn.Close() }, nil
}

// closedLoop sends the next request of a connection when the last was answered: as much as goes.
func closedLoop(ctx context.Context, t task) (outcome, error) {
	request := requestBytes(t.Key, t.Model, script{}, t.Body)
	var count atomic.Int64
	c := newCrew(ctx)
	c.start(t.Conns, func(ctx context.Context, _ int) error {
		cl, done, err := dial(ctx, t.Addr)
		if err != nil {
			return err
		}
		defer done()
		for ctx.Err() == nil {
			if err := cl.exchange(request); err != nil {
				return err
			}
			count.Add(1)
		}
		return nil
	})
	err := c.sleep(t.Warm)
	var o outcome
	if err == nil {
		o, err = c.measure(t, &count)
	}
	return o, errors.Join(err, c.stop())
}

// pacedLoop sends requests at a rate, whatever the answers do. Latency counts from the moment when a request was due if
// its connection was still busy then, so that a stall shows in every request that it held up.
func pacedLoop(ctx context.Context, t task) (outcome, error) {
	request := requestBytes(t.Key, t.Model, script{}, t.Body)
	interval := time.Duration(float64(t.Conns) / t.Rate * float64(time.Second))
	took := make([][]float64, t.Conns) // microseconds, by connection
	var count atomic.Int64
	var open atomic.Bool // the window
	start := time.Now().Add(50 * time.Millisecond)
	c := newCrew(ctx)
	c.start(t.Conns, func(ctx context.Context, i int) error {
		cl, done, err := dial(ctx, t.Addr)
		if err != nil {
			return err
		}
		defer done()
		for due := start.Add(interval * time.Duration(i) / time.Duration(t.Conns)); ctx.Err() == nil; due = due.Add(interval) {
			from := due
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
				from = time.Now()
			}
			if err := cl.exchange(request); err != nil {
				return err
			}
			if open.Load() {
				took[i] = append(took[i], float64(time.Since(from).Nanoseconds())/1e3)
			}
			count.Add(1)
		}
		return nil
	})
	err := c.sleep(time.Until(start) + t.Warm)
	var o outcome
	if err == nil {
		open.Store(true)
		o, err = c.measure(t, &count)
		open.Store(false)
	}
	if err = errors.Join(err, c.stop()); err != nil {
		return o, err
	}
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	o.P50, o.P99 = quantile(all, 0.5), quantile(all, 0.99)
	return o, nil
}

// openAtOnce bounds how many streams are being opened, so that a listener's backlog does not overflow.
const openAtOnce = 64

// openStreams starts t.Conns streams and returns when each has its first event.
func openStreams(c *crew, t task, s script, count *atomic.Int64) error {
	request := requestBytes(t.Key, t.Model, s, t.Body)
	gate := make(chan struct{}, openAtOnce)
	opened := make(chan struct{}, t.Conns)
	c.start(t.Conns, func(ctx context.Context, _ int) error {
		gate <- struct{}{}
		cl, done, err := dial(ctx, t.Addr)
		if err == nil {
			defer done()
			err = cl.openStream(request)
		}
		<-gate
		if err != nil {
			return err
		}
		opened <- struct{}{}
		return cl.readStream(count)
	})
	for range t.Conns {
		select {
		case <-opened:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	return nil
}

// openAllowance is how long the streams of a round may take to open; each is as long as that and the round.
const openAllowance = 2 * time.Second

// eventStreams counts the events of streams at a steady pace. All of them must end well, after the window.
func eventStreams(ctx context.Context, t task) (outcome, error) {
	s := script{Events: int((openAllowance + t.Warm + t.Window) / t.Every), Every: t.Every}
	var count atomic.Int64
	c := newCrew(ctx)
	began := time.Now()
	err := openStreams(c, t, s, &count)
	if took := time.Since(began); err == nil && took > openAllowance {
		err = fmt.Errorf("%d streams took %s to open", t.Conns, took)
	}
	if err == nil {
		err = c.sleep(t.Warm)
	}
	var o outcome
	if err == nil {
		o, err = c.measure(t, &count)
	}
	if err != nil {
		return o, errors.Join(err, c.stop())
	}
	ended := make(chan struct{})
	go func() { c.wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2*openAllowance + t.Window):
		c.cancel(errors.New("streams did not end when they should have"))
	case <-c.ctx.Done():
	}
	return o, c.stop()
}

// idleStreams opens streams that say nothing after their first event. Count is how many.
func idleStreams(ctx context.Context, t task) (outcome, error) {
	o := outcome{Count: int64(t.Conns)}
	if _, err := closedLoop(ctx, task{Addr: t.Addr, Key: t.Key, Model: t.Model, Body: t.Body, Conns: 8, Window: t.Warm, Watch: t.Watch}); err != nil {
		return o, err
	}
	var err error
	if _, o.RSS[0], err = usageOf(t.Watch); err != nil {
		return o, err
	}
	var count atomic.Int64
	c := newCrew(ctx)
	err = openStreams(c, t, script{Events: 2, Every: 10 * time.Minute}, &count)
	if err == nil {
		err = c.sleep(t.Window)
	}
	if err == nil {
		_, o.RSS[1], err = usageOf(t.Watch)
	}
	return o, errors.Join(err, c.stop())
}

// memorySlack is by how much resident memory may differ from before a load and still count as returned, bytes.
const memorySlack = 32 << 20

// largeBodies sends one large request on each connection at the same time; the upstream has them all before it answers
// one. It watches resident memory until it is back, for as long as t.Window.
func largeBodies(ctx context.Context, t task) (outcome, error) {
	o := outcome{Count: int64(t.Conns)}
	// What the first requests allocate once is none of the bodies' business.
	if _, err := closedLoop(ctx, task{Addr: t.Addr, Key: t.Key, Model: t.Model, Body: 1 << 10, Conns: t.Conns, Window: t.Warm, Watch: t.Watch}); err != nil {
		return o, err
	}
	var err error
	if _, o.RSS[0], err = usageOf(t.Watch); err != nil {
		return o, err
	}
	request := requestBytes(t.Key, t.Model, script{Hold: time.Second}, t.Body)
	c := newCrew(ctx)
	c.start(t.Conns, func(ctx context.Context, _ int) error {
		cl, done, err := dial(ctx, t.Addr)
		if err != nil {
			return err
		}
		defer done()
		return cl.exchange(request)
	})
	ended := make(chan struct{})
	go func() { c.wg.Wait(); close(ended) }()
	var answered time.Time
	for {
		_, rss, err := usageOf(t.Watch)
		if err != nil {
			return o, errors.Join(err, c.stop())
		}
		o.RSS[1], o.RSS[2] = max(o.RSS[1], rss), rss
		if !answered.IsZero() {
			o.Back = time.Since(answered).Seconds()
			if rss <= o.RSS[0]+memorySlack || time.Since(answered) > t.Window {
				return o, c.stop()
			}
			time.Sleep(100 * time.Millisecond)
			continue
		}
		select {
		case <-ended:
			answered = time.Now()
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return o, errors.Join(context.Cause(ctx), c.stop())
		}
	}
}
