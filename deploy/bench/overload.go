package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// limit is one of the proxy's limits, set so low that a little load is too much.
type limit struct {
	flag   string // the proxy's; a proxy that does not have it is not measured
	what   string
	script script
}

// Each admitted request takes as long as the upstream takes, not as the machine: the limit is the capacity, and what the
// refused ones cost is not taken from the load or the upstream on the same cores.
func limits() []limit {
	const takes = 20 * time.Millisecond
	return []limit{
		{"--max-connections", "connections", script{Hold: takes}},
		{"--max-requests", "requests", script{Hold: takes}},
		{"--max-streams", "streams", script{Events: 10, Every: takes / 10}},
	}
}

const (
	admitted   = 32 // requests at once
	overloadBy = 3
	// overloadMemory is by how much resident memory may differ and still count as flat, MiB.
	overloadMemory = 16
)

// overload measures, for each limit, how many good answers a proxy gives to as many clients as it admits, and to three
// times as many; those that it does not admit must be told so.
func (b *bench) overload(ctx context.Context) ([]row, error) {
	// cobra prints its help on standard output.
	help, err := run(ctx, cleanEnv(), "", b.rig.proxyBinary, "--help")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, l := range limits() {
		if !strings.Contains(string(help), l.flag+" ") {
			b.note("this proxy has no %s", l.flag)
			continue
		}
		some, err := b.overloadOf(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.what, err)
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

func (b *bench) overloadOf(ctx context.Context, l limit) ([]row, error) {
	t, err := b.rig.fairway(ctx, fmt.Sprintf("%s=%d", l.flag, admitted))
	if err != nil {
		return nil, err
	}
	defer b.rig.end(t)
	var lost, grown []float64
	for range b.rounds {
		k := b.task("overload", "plain", t)
		k.Script, k.Conns = l.script, admitted
		peak, err := b.load(ctx, k)
		if err != nil {
			return nil, err
		}
		k.Conns = overloadBy * admitted
		over, err := b.load(ctx, k)
		if err != nil {
			return nil, err
		}
		if over.Shed == 0 {
			return nil, fmt.Errorf("nobody of %d clients was refused with %s %d", k.Conns, l.flag, admitted)
		}
		before, after := float64(peak.Count)/peak.Seconds, float64(over.Count)/over.Seconds
		b.note("%-8s %7.0f good answers/s; with %d times the clients %.0f, and %.0f refused/s (%d without a word)", t.name, before, overloadBy, after,
			float64(over.Shed)/over.Seconds, over.Reset)
		lost = append(lost, 100*(1-after/before))
		grown = append(grown, float64(over.RSS[1]-peak.RSS[1])/(1<<20))
	}
	return []row{
		{Name: "overload-" + l.what, Title: fmt.Sprintf("good answers lost at %dx the %s", overloadBy, l.what), Unit: "%", Bar: 10, Absolute: true, Fairway: spreadOf(lost)},
		{Name: "overload-" + l.what + "-memory", Title: fmt.Sprintf("growth at %dx the %s", overloadBy, l.what), Unit: "MiB", Bar: overloadMemory, Absolute: true, Fairway: spreadOf(grown)},
	}, nil
}

// overloaded is the load: each client sends its next request when the last was answered. One that was refused comes back
// with a new connection after as long as an answer takes, sooner than it was asked to. Count is good answers, Shed are
// refusals, and Reset are connections that ended without a word, as happens when a refusal meets a request under way.
func overloaded(ctx context.Context, t task) (outcome, error) {
	takes := t.Script.Hold + time.Duration(t.Script.Events)*t.Script.Every
	request := requestBytes(t.Key, t.Model, t.Script, t.Body)
	var good, shed, reset atomic.Int64
	c := newCrew(ctx)
	c.start(t.Conns, func(ctx context.Context, _ int) error {
		v := visitor{addr: t.Addr}
		defer v.leave()
		for ctx.Err() == nil {
			r, err := v.exchange(ctx, request)
			switch {
			case err != nil && isReset(err):
				reset.Add(1)
			case err != nil:
				return err
			case r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != "":
				shed.Add(1)
			case r.status == http.StatusOK && !r.broken:
				good.Add(1)
				continue
			default:
				return fmt.Errorf("neither an answer nor a refusal with Retry-After: %s", r)
			}
			v.leave()
			if err := c.sleep(takes); err != nil {
				return err
			}
		}
		return nil
	})
	err := c.sleep(t.Warm)
	var o outcome
	if err == nil {
		from, resets := shed.Load(), reset.Load()
		o, err = c.measure(t, &good)
		o.Shed, o.Reset = shed.Load()-from, reset.Load()-resets
	}
	if err == nil {
		_, o.RSS[1], err = usageOf(t.Watch)
	}
	return o, errors.Join(err, c.stop())
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
