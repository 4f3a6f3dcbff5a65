package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// costs are what one request or event costs a proxy in counts, which no other load on the machine changes.
type costs struct {
	allocs, reads, writes float64
}

func (c costs) String() string {
	return fmt.Sprintf("%.2f allocations, %.2f reads and %.2f writes", c.allocs, c.reads, c.writes)
}

func (c costs) minus(other costs, times float64) costs {
	return costs{c.allocs - times*other.allocs, c.reads - times*other.reads, c.writes - times*other.writes}
}

func (c costs) each(n float64) costs { return costs{c.allocs / n, c.reads / n, c.writes / n} }

// counter counts a proxy's costs. What the proxy does by itself, and what being looked at costs, is subtracted.
type counter struct {
	target  *target
	looking costs // of one look
	idle    costs // of one second
}

// spent is what a proxy had spent at one moment.
type spent struct {
	costs
	at    time.Time
	lag   float64 // usage records that are not on the books yet
	looks float64 // that it took
}

// newCounter watches a proxy for a second in which nobody uses it.
func newCounter(ctx context.Context, t *target) (*counter, error) {
	c := &counter{target: t}
	before, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	const times = 4
	after := before
	for range times {
		if after, err = c.look(ctx); err != nil {
			return nil, err
		}
	}
	c.looking = after.minus(before.costs, 1).each(times)
	time.Sleep(time.Second)
	last, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	c.idle = last.minus(after.costs, 1).minus(c.looking, 1).each(last.at.Sub(after.at).Seconds())
	return c, nil
}

func (c *counter) look(ctx context.Context) (spent, error) {
	m, err := metricsOf(ctx, c.target.ops)
	if err != nil {
		return spent{}, err
	}
	allocs, err := mallocsOf(ctx, c.target.ops)
	reads, writes := callsOf(c.target.pids)
	return spent{costs{allocs, float64(reads), float64(writes)}, time.Now(), m.sum("fairway_usage_lag_records"), 1}, err
}

// mallocsOf is how many objects a process has allocated. The metric of that name counts whole spans, off by thousands; the
// heap's profile has it exactly.
func mallocsOf(ctx context.Context, ops string) (float64, error) {
	raw, err := page(ctx, "http://"+ops+"/debug/pprof/heap?debug=1")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(raw) {
		if text, found := bytes.CutPrefix(bytes.TrimSpace(line), []byte("# Mallocs = ")); found {
			return strconv.ParseFloat(string(text), 64)
		}
	}
	return 0, errors.New("the heap's profile does not say how many objects were allocated")
}

// settled looks until the usage of all requests is reported: that is part of what they cost.
func (c *counter) settled(ctx context.Context) (spent, error) {
	const longest = 20
	for looks := 1; ; looks++ {
		got, err := c.look(ctx)
		if err != nil || got.lag == 0 {
			got.looks = float64(looks)
			return got, err
		}
		if looks == longest {
			return got, fmt.Errorf("%.0f usage records stay unreported", got.lag)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// of is what each unit of work costs; work says how many units it did.
func (c *counter) of(ctx context.Context, work func() (int64, error)) (costs, error) {
	before, err := c.settled(ctx)
	if err != nil {
		return costs{}, err
	}
	n, err := work()
	if err != nil {
		return costs{}, err
	}
	if n == 0 {
		return costs{}, errors.New("nothing was done")
	}
	after, err := c.settled(ctx)
	if err != nil {
		return costs{}, err
	}
	seconds := after.at.Sub(before.at).Seconds()
	return after.minus(before.costs, 1).minus(c.looking, after.looks).minus(c.idle, seconds).each(float64(n)), nil
}

// requests sends so many requests on each connection of a task.
func requests(ctx context.Context, t task, each int) (int64, error) {
	request := requestBytes(t.Key, t.Model, script{}, t.Body)
	c := newCrew(ctx)
	c.start(t.Conns, func(ctx context.Context, _ int) error {
		cl, done, err := dial(ctx, t.Addr)
		if err != nil {
			return err
		}
		defer done()
		for range each {
			if err := cl.exchange(request); err != nil {
				return err
			}
		}
		return nil
	})
	c.wg.Wait()
	return int64(t.Conns * each), c.stop()
}

// events takes a stream of so many events on each connection of a task, all at the same time.
func events(ctx context.Context, t task, each int) (int64, error) {
	var count atomic.Int64
	c := newCrew(ctx)
	err := openStreams(c, t, script{Events: each, Every: t.Every}, &count)
	if err == nil {
		c.wg.Wait()
	}
	if stopErr := c.stop(); err == nil {
		err = stopErr
	}
	return count.Load(), err
}

// allocations is the measure of what a request allocates.
func allocations(ctx context.Context, b *bench, t *target) (float64, error) {
	k := b.task("closed", "plain", t)
	each := int(1000 * max(1, b.pace.window/time.Second))
	if _, err := requests(ctx, k, 100); err != nil {
		return 0, err
	}
	c, err := newCounter(ctx, t)
	if err != nil {
		return 0, err
	}
	got, err := c.of(ctx, func() (int64, error) { return requests(ctx, k, each) })
	b.note("%-8s %s each", t.name, got)
	return max(0, got.allocs), err
}
