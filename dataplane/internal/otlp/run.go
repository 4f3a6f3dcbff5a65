package otlp

import (
	"context"
	"strings"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	// gatherTime is how long requests gather before they are looked at. A queue that fills meanwhile ends the wait.
	gatherTime = time.Second
	// batchSpans is how many spans are sent at once, or a few more.
	batchSpans = 512
	// maxBatches is how many batches wait behind the one that is being sent.
	maxBatches = 8
	// flushTime bounds what is sent at the end.
	flushTime = 5 * time.Second
	// warnEvery is how often the log says that sending fails.
	warnEvery = time.Minute
)

// Run exports until ctx ends, then what is left, for five seconds at most.
func (x *Exporter) Run(ctx context.Context) error {
	if !x.On() {
		<-ctx.Done()
		return nil
	}
	defer x.client.CloseIdleConnections()
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	batches, looked := make(chan []sdktrace.ReadOnlySpan, maxBatches), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(looked)
		x.look(ctx, batches)
	})
	group.Go(func() { x.sendSpans(sending, batches) })
	group.Go(func() { x.sendMetrics(sending, looked) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		group.Wait()
	}()
	<-ctx.Done()
	last := time.AfterFunc(flushTime, stop)
	defer last.Stop()
	<-ended
	return nil
}

// look makes spans and metrics of what comes, until ctx ends and nothing is left. It waits for nobody else.
func (x *Exporter) look(ctx context.Context, batches chan<- []sdktrace.ReadOnlySpan) {
	defer close(batches)
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	facts := context.WithoutCancel(ctx) // what has ended tells nothing to the SDK
	for {
		x.idle(ctx)
		timer.Reset(gatherTime)
		select {
		case <-x.queue.Woken():
		case <-timer.C:
		case <-ctx.Done():
		}
		// Asked before the last look, so that nothing put before the end is missed.
		last := ctx.Err() != nil
		x.drain(facts, batches)
		if last {
			return
		}
	}
}

// idle returns when there is something to look at.
func (x *Exporter) idle(ctx context.Context) {
	x.queue.Idle(true)
	defer x.queue.Idle(false)
	if x.queue.Ready() {
		return
	}
	select {
	case <-x.queue.Woken():
	case <-ctx.Done():
	}
}

// drain looks at what is in the queue, at most one round of it, so that it ends.
func (x *Exporter) drain(ctx context.Context, batches chan<- []sdktrace.ReadOnlySpan) {
	for range x.queue.Size() {
		e := x.queue.Next()
		if e == nil {
			break
		}
		if x.metrics != nil {
			x.metrics.add(ctx, e)
		}
		if x.spans != nil && x.sampled(e) {
			x.spans.add(ctx, e)
		}
		x.queue.Done()
		if x.spans != nil && len(x.spans.made) >= batchSpans {
			x.pass(batches)
		}
	}
	if x.spans != nil && len(x.spans.made) > 0 {
		x.pass(batches)
	}
}

// pass gives the spans that were made to who sends them, or drops them.
func (x *Exporter) pass(batches chan<- []sdktrace.ReadOnlySpan) {
	made := x.spans.take()
	select {
	case batches <- made:
	default:
		x.crowded.Add(uint64(len(made)))
	}
}

// sendSpans sends batches until there are no more, or ctx ends.
func (x *Exporter) sendSpans(ctx context.Context, batches <-chan []sdktrace.ReadOnlySpan) {
	if x.spans != nil {
		defer func() { _ = x.spans.exporter.Shutdown(ctx) }()
	}
	for batch := range batches {
		one, cancel := context.WithTimeout(ctx, sendTime)
		err := x.spans.exporter.ExportSpans(one, batch)
		cancel()
		if err == nil {
			x.sent.Add(uint64(len(batch)))
			continue
		}
		x.refused.Add(uint64(len(batch)))
		x.failed(traces, "traces", err)
	}
}

// sendMetrics exports metrics from time to time, and once more at the end. What one export does not bring, the next does:
// they are sums from the start.
func (x *Exporter) sendMetrics(ctx context.Context, looked <-chan struct{}) {
	if x.metrics == nil {
		return
	}
	defer func() { _ = x.metrics.exporter.Shutdown(ctx) }()
	every := time.NewTicker(x.every)
	defer every.Stop()
	for last := false; !last; {
		select {
		case <-every.C:
		case <-looked:
			last = true
		}
		one, cancel := context.WithTimeout(ctx, sendTime)
		if err := x.metrics.export(one); err != nil {
			x.failed(histograms, "metrics", err)
		}
		cancel()
	}
}

// failed counts a failure, and says so once in a while. What a collector says may be long.
func (x *Exporter) failed(signal int, name string, err error) {
	x.failures[signal].Add(1)
	now := time.Now()
	if before := x.warned[signal]; !before.IsZero() && now.Sub(before) < warnEvery {
		return
	}
	x.warned[signal] = now
	text := err.Error()
	for _, secret := range x.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	x.log.Warn("otlp export fails", "signal", name, "error", text[:min(len(text), 300)],
		"dropped_spans", x.refused.Load()+x.crowded.Load(), "dropped_requests", x.overflowed.Load())
}
