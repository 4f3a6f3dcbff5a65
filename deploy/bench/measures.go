package main

import (
	"context"
	"fmt"
	"time"
)

const (
	smallBody  = 1 << 10
	middleBody = 100 << 10
	largeBody  = 12 << 20

	eventsEvery = 20 * time.Millisecond
)

// pace is how long and how much; -quick asks for less.
type pace struct {
	warm, window time.Duration
	streams      int
	idle         int
	settle       time.Duration // after idle streams were opened
	back         time.Duration // how long memory may take to return
	benchtime    string        // of each Go benchmark
}

func fullPace() pace {
	return pace{warm: time.Second, window: 4 * time.Second, streams: 500, idle: 5000, settle: 3 * time.Second, back: 4 * time.Minute, benchtime: "200ms"}
}

func quickPace() pace {
	return pace{warm: 200 * time.Millisecond, window: 800 * time.Millisecond, streams: 100, idle: 500, settle: 500 * time.Millisecond, back: 2 * time.Second, benchtime: "20ms"}
}

// measure is one row of the table.
type measure struct {
	name  string
	title string
	unit  string
	bar   float64 // of the ratio to nginx; of the value itself where there is no nginx
	fresh bool    // every round has a proxy of its own
	alone bool    // nginx is not asked, and the bar is on the value
	round func(context.Context, *bench, *target) (float64, error)
}

func measures() []measure {
	return []measure{
		{name: "request", title: "CPU per request, 1 KiB body", unit: "µs", bar: 1.5, round: requestCPU("plain", smallBody)},
		{name: "event", title: "CPU per SSE event", unit: "µs", bar: 1.3, round: eventCPU("plain")},
		{name: "tls-request", title: "CPU per request, TLS upstream", unit: "µs", bar: 1.5, round: requestCPU("tls", smallBody)},
		{name: "tls-event", title: "CPU per SSE event, TLS upstream", unit: "µs", bar: 1.5, round: eventCPU("tls")},
		{name: "body-100k", title: "CPU per request, 100 KiB body", unit: "µs", bar: 1.5, round: requestCPU("plain", middleBody)},
		{name: "idle", title: "memory per idle stream", unit: "kB", bar: 1.5, fresh: true, round: idleMemory},
		{name: "told-event", title: "CPU that converting an event adds", unit: "µs", bar: 6, alone: true, round: toldCPU},
		{name: "told-idle", title: "memory that a converted stream adds", unit: "kB", bar: 4.096, alone: true, fresh: true, round: toldMemory},
		{name: "allocations", title: "allocations per request", bar: 10, alone: true, round: allocations},
	}
}

// task is a round of load on a target, by way of the plain or the TLS upstream.
func (b *bench) task(kind, over string, t *target) task {
	k := task{Kind: kind, Addr: t.plain, Key: b.rig.key, Model: modelPlain, Body: smallBody, Conns: 8,
		Warm: b.pace.warm, Window: b.pace.window, Watch: t.pids}
	if over == "tls" {
		k.Addr, k.Model = t.tls, modelTLS
	}
	return k
}

func requestCPU(over string, body int) func(context.Context, *bench, *target) (float64, error) {
	return func(ctx context.Context, b *bench, t *target) (float64, error) {
		k := b.task("closed", over, t)
		k.Body = body
		o, err := b.load(ctx, k)
		if err != nil {
			return 0, err
		}
		b.note("%-8s %7.0f requests/s%s", t.name, float64(o.Count)/o.Seconds, calls(t, o))
		return o.CPU / float64(o.Count) * 1e6, nil
	}
}

// calls are the system calls of a round. nginx uses others than those that are counted.
func calls(t *target, o outcome) string {
	if t.name == "nginx" || o.Reads == 0 {
		return ""
	}
	return fmt.Sprintf(", %.2f reads and %.2f writes each", o.Reads, o.Writes)
}

func eventCPU(over string) func(context.Context, *bench, *target) (float64, error) {
	return func(ctx context.Context, b *bench, t *target) (float64, error) {
		k := b.task("events", over, t)
		k.Conns, k.Every = b.pace.streams, eventsEvery
		o, err := b.load(ctx, k)
		if err != nil {
			return 0, err
		}
		rate, want := float64(o.Count)/o.Seconds, float64(b.pace.streams)/eventsEvery.Seconds()
		b.note("%-8s %7.0f events/s of %.0f%s", t.name, rate, want, calls(t, o))
		if rate < 0.9*want {
			return 0, fmt.Errorf("only %.0f of %.0f events/s came through: the machine is too busy to measure", rate, want)
		}
		return o.CPU / float64(o.Count) * 1e6, nil
	}
}

func idleMemory(ctx context.Context, b *bench, t *target) (float64, error) {
	k := b.task("idle", "plain", t)
	k.Model, k.Conns, k.Window = modelIdle, b.pace.idle, b.pace.settle
	o, err := b.load(ctx, k)
	if err != nil {
		return 0, err
	}
	b.note("%-8s %d idle streams: %.1f MiB more", t.name, k.Conns, float64(o.RSS[1]-o.RSS[0])/(1<<20))
	return float64(o.RSS[1]-o.RSS[0]) / float64(k.Conns) / 1e3, nil
}

// toldCPU is what an event of a stream costs more when it is converted between dialects.
func toldCPU(ctx context.Context, b *bench, t *target) (float64, error) {
	plain, err := eventCPU("plain")(ctx, b, t)
	if err != nil {
		return 0, err
	}
	k := b.task("events", "plain", t)
	k.Model, k.Conns, k.Every = modelTold, b.pace.streams, eventsEvery
	o, err := b.load(ctx, k)
	if err != nil {
		return 0, err
	}
	told := o.CPU / float64(o.Count) * 1e6
	b.note("%-8s %.1f µs an event passed through, %.1f µs converted", t.name, plain, told)
	return told - plain, nil
}

// toldMemory is what an idle stream holds more when it is converted: two proxies of their own, as large as they get. What
// they had before the streams came does not count: converting the first requests makes the heap larger, and that room
// is used afterwards.
func toldMemory(ctx context.Context, b *bench, t *target) (float64, error) {
	other, err := b.rig.fairway(ctx)
	if err != nil {
		return 0, err
	}
	defer b.rig.end(other)
	var resident [2]int64
	for i, one := range []struct {
		t     *target
		model string
	}{{other, modelIdle}, {t, modelToldIdle}} {
		k := b.task("idle", "plain", one.t)
		k.Model, k.Conns, k.Window = one.model, b.pace.idle, b.pace.settle
		o, err := b.load(ctx, k)
		if err != nil {
			return 0, err
		}
		resident[i] = o.RSS[1]
	}
	b.note("%-8s %d idle streams: %.1f MiB passed through, %.1f MiB converted", t.name, b.pace.idle,
		float64(resident[0])/(1<<20), float64(resident[1])/(1<<20))
	return float64(resident[1]-resident[0]) / float64(b.pace.idle) / 1e3, nil
}

const largeBodies16 = 16

// largeMemory is what 12 MiB bodies, 16 at once, do to resident memory: one round on a proxy of its own.
func (b *bench) largeMemory(ctx context.Context) ([]row, error) {
	t, err := b.rig.fairway(ctx)
	if err != nil {
		return nil, err
	}
	defer b.rig.end(t)
	k := b.task("bodies", "plain", t)
	k.Body, k.Conns, k.Window = largeBody, largeBodies16, b.pace.back
	o, err := b.load(ctx, k)
	if err != nil {
		return nil, err
	}
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	growth := row{Name: "body-12m", Title: "growth, 12 MiB bodies, 16 at once", Unit: "MiB", Bar: largeBodies16*13 + 32, Absolute: true,
		Fairway: spreadOf([]float64{mib(o.RSS[1] - o.RSS[0])})}
	back := row{Name: "body-12m-left", Title: fmt.Sprintf("of that left after %.0f s", o.Back), Unit: "MiB", Bar: memorySlack >> 20, Absolute: true,
		Fairway: spreadOf([]float64{mib(o.RSS[2] - o.RSS[0])})}
	return []row{growth, back}, nil
}

// point is one rate of the sweep: each target's medians over its rounds.
type point struct {
	Fraction float64           `json:"fraction"` // of the peak
	Rate     float64           `json:"rate"`     // requests per second
	P50      map[string]spread `json:"p50_us"`
	P99      map[string]spread `json:"p99_us"`
	CPU      map[string]spread `json:"cpu_us"` // per request
}

const pacedConns = 32

// sweep measures latency and CPU at several rates. Full load is what the slower of the proxies can do, on this machine
// together with load and upstream. Half load is measured in as many rounds as everything else, the rest in one.
func (b *bench) sweep(ctx context.Context) ([]row, []point, error) {
	var peak float64
	for _, t := range b.proxies {
		o, err := b.load(ctx, b.task("closed", "plain", t))
		if err != nil {
			return nil, nil, err
		}
		if rate := float64(o.Count) / o.Seconds; peak == 0 || rate < peak {
			peak = rate
		}
	}
	b.note("full load is %.0f requests/s", peak)
	var points []point
	var rows []row
	for _, fraction := range []float64{0.1, 0.3, 0.5, 0.7, 0.9} {
		half := fraction == 0.5
		rounds := 1
		if half {
			rounds = b.rounds
		}
		p, added, err := b.at(ctx, fraction, fraction*peak, rounds)
		if err != nil {
			return nil, nil, err
		}
		points = append(points, p)
		if half {
			rows = added
		}
	}
	return rows, points, nil
}

// at measures one rate; the rows are what each proxy adds to the latency of the upstream itself.
func (b *bench) at(ctx context.Context, fraction, rate float64, rounds int) (point, []row, error) {
	p := point{Fraction: fraction, Rate: rate, P50: map[string]spread{}, P99: map[string]spread{}, CPU: map[string]spread{}}
	p50, p99, cpu := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	all := append([]*target{{name: "direct", plain: b.rig.at.Plain[0]}}, b.proxies...)
	for i := range rounds {
		for _, t := range inTurn(all, i) {
			k := b.task("paced", "plain", t)
			k.Rate, k.Conns = rate, pacedConns
			o, err := b.load(ctx, k)
			if err != nil {
				return p, nil, err
			}
			b.note("%-8s %7.0f requests/s: p50 %.0f µs, p99 %.0f µs", t.name, float64(o.Count)/o.Seconds, o.P50, o.P99)
			p50[t.name], p99[t.name] = append(p50[t.name], o.P50), append(p99[t.name], o.P99)
			cpu[t.name] = append(cpu[t.name], o.CPU/float64(o.Count)*1e6)
		}
	}
	for _, t := range all {
		p.P50[t.name], p.P99[t.name], p.CPU[t.name] = spreadOf(p50[t.name]), spreadOf(p99[t.name]), spreadOf(cpu[t.name])
	}
	added := func(of map[string][]float64, proxy string) []float64 {
		var out []float64
		for i, v := range of[proxy] {
			out = append(out, v-of["direct"][i])
		}
		return out
	}
	rows := []row{
		compare("latency-p50", "added latency p50 at half load", "µs", 1.5, added(p50, "nginx"), added(p50, "fairway")),
		compare("latency-p99", "added latency p99 at half load", "µs", 2, added(p99, "nginx"), added(p99, "fairway")),
	}
	return p, rows, nil
}

// inTurn is all in the order of a round: every other one goes backwards, so that nobody always follows the same.
func inTurn[T any](all []T, round int) []T {
	if round%2 == 0 {
		return all
	}
	out := make([]T, 0, len(all))
	for i := len(all) - 1; i >= 0; i-- {
		out = append(out, all[i])
	}
	return out
}
