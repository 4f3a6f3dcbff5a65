package accesslog

import (
	"context"
	"errors"
	"time"
)

const (
	// gatherTime is how long lines gather for one write. A ring that fills meanwhile ends the wait.
	gatherTime = 100 * time.Millisecond
	// batchSize is how many bytes are written at once, or a little more.
	batchSize = 64 << 10
	// flushTime bounds the last write.
	flushTime = 2 * time.Second
	// warnEvery is how often the log says that lines are lost.
	warnEvery = time.Minute
)

var errStuck = errors.New("access log: what was left is lost, because a write did not end")

// Run writes lines until ctx ends, then those that are left, and closes the file. When the last write does not end within
// two seconds, because it waits for the reader of a pipe or for a disk, it returns an error and leaves the write behind.
func (l *Log) Run(ctx context.Context) error {
	if l == nil || !l.on {
		<-ctx.Done()
		return nil
	}
	w := &writer{Log: l, redactor: newRedactor()}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	<-ctx.Done()
	timer := time.NewTimer(flushTime)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return errStuck
	}
}

// writer is the goroutine that writes.
type writer struct {
	*Log
	batch   []byte
	pending int // lines in batch

	warned   time.Time
	reported uint64 // lines that had found the queue full at the last warning
	redactor *redactor
}

func (w *writer) run(ctx context.Context) {
	defer w.out.close()
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	for {
		w.idle(ctx)
		// Few writes of many lines cost less than many of one.
		timer.Reset(gatherTime)
		select {
		case <-w.queue.Woken():
		case <-timer.C:
		case <-ctx.Done():
		}
		// Asked before the last look, so that nothing put before the end is missed.
		last := ctx.Err() != nil
		if w.reopen.Swap(false) {
			w.report(w.out.reopen())
		}
		w.drain()
		w.warn(nil)
		if last {
			return
		}
	}
}

// idle returns when there is something to do.
func (w *writer) idle(ctx context.Context) {
	w.queue.Idle(true)
	defer w.queue.Idle(false)
	// Looked at after that: who puts an entry later sees that the writer is idle.
	if w.queue.Ready() || w.reopen.Load() {
		return
	}
	select {
	case <-w.queue.Woken():
	case <-ctx.Done():
	}
}

// drain writes what is in the queue, at most one round of it, so that it ends.
func (w *writer) drain() {
	for range w.queue.Size() {
		e := w.queue.Next()
		if e == nil {
			break
		}
		before := len(w.batch)
		w.redactor.redact(e.Bodies)
		w.batch = appendLine(w.batch, e)
		w.queue.Done()
		if line := w.batch[before:]; w.out.full(before, len(line)) {
			w.flush(w.batch[:before])
			w.report(w.out.rotate())
			w.batch = w.batch[:copy(w.batch, line)]
		}
		w.pending++
		if len(w.batch) >= batchSize {
			w.flush(w.batch)
			w.batch = w.batch[:0]
		}
	}
	w.flush(w.batch)
	w.batch = w.batch[:0]
}

// flush writes whole lines; all that are pending.
func (w *writer) flush(lines []byte) {
	if w.pending == 0 {
		return
	}
	n, err := w.out.write(lines)
	w.lines.Add(uint64(n))
	w.unwritten.Add(uint64(w.pending - n))
	w.pending = 0
	w.report(err)
}

// report counts a failure and says so, if there is one.
func (w *writer) report(err error) {
	if err != nil {
		w.failures.Add(1)
		w.warn(err)
	}
}

// warn says that something fails or that lines were lost, once in a while.
func (w *writer) warn(err error) {
	overflowed := w.overflowed.Load()
	if err == nil && overflowed == w.reported {
		return
	}
	now := time.Now()
	if !w.warned.IsZero() && now.Sub(w.warned) < warnEvery {
		return
	}
	w.warned, w.reported = now, overflowed
	if err != nil {
		w.log.Warn("access log fails", "error", err, "dropped", overflowed+w.unwritten.Load())
	} else {
		w.log.Warn("access log is slower than the requests", "dropped", overflowed)
	}
}
