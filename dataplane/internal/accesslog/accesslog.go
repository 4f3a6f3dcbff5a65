// Package accesslog writes one line of JSON for each request it is given: all that failed, and a share of the others.
// Requests only copy their facts into a ring; one goroutine turns them into lines and writes them. It refuses to make a
// request wait: when the ring is full or the disk is, lines are dropped and counted. It refuses prompts, answers and
// secrets: an Entry has no room for them.
package accesslog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of a Log.
type Options struct {
	// File takes the lines; "-" = Stdout, empty = there is no access log.
	File string
	// Sample is the share of requests without a failure that get a line, 0 to 1; 0 = none of them.
	Sample float64
	// Buffer is how many lines may wait to be written, rounded up to a power of two; 0 = 4096. A line takes about 1 KiB.
	Buffer int
	// MaxSize is the size in bytes beyond which File becomes File.1, File.1 becomes File.2, and so on; 0 = 100 MiB,
	// negative = never.
	MaxSize int64
	// Keep is how many of those are kept; 0 = 5.
	Keep int
	// Stdout is where "-" goes; nil = the process's own.
	Stdout io.Writer
	// Log; nil = none.
	Log *slog.Logger
	// Registry for the metrics; nil = none.
	Registry prometheus.Registerer
}

const (
	defaultBuffer  = 4096
	maxBuffer      = 1 << 20
	defaultMaxSize = 100 << 20
	defaultKeep    = 5
	maxKeep        = 1000
)

// Check says what is wrong with the options. It touches nothing.
func (o Options) Check() error {
	var problems []error
	if !(o.Sample >= 0 && o.Sample <= 1) {
		problems = append(problems, fmt.Errorf("the share of requests that get a line is %v, want 0 to 1", o.Sample))
	}
	if o.Buffer < 0 || o.Buffer > maxBuffer {
		problems = append(problems, fmt.Errorf("the buffer has %d lines, want up to %d", o.Buffer, maxBuffer))
	}
	if o.Keep < 0 || o.Keep > maxKeep {
		problems = append(problems, fmt.Errorf("%d old files to keep, want up to %d", o.Keep, maxKeep))
	}
	return errors.Join(problems...)
}

// Log is an access log. Wants, Record and Reopen are safe for concurrent use, also on a nil Log, which is one that is off.
type Log struct {
	on     bool
	good   uint64 // a request without a failure gets a line when a random number is below; the highest = all
	ring   ring
	out    *output
	log    *slog.Logger
	reopen atomic.Bool

	lines      atomic.Uint64 // written
	overflowed atomic.Uint64 // dropped because the ring was full
	unwritten  atomic.Uint64 // dropped because writing failed
	failures   atomic.Uint64
}

// New opens the file; whatever is in it stays. A Log with an empty Options.File is off: it wants nothing.
func New(o Options) (*Log, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	l := &Log{log: o.Log}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if o.File == "" {
		return l, nil
	}
	out, err := openOutput(o)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	l.out = out
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	l.ring.init(o.Buffer)
	l.on, l.good = true, threshold(o.Sample)
	if o.Registry != nil {
		if err := l.register(o.Registry); err != nil {
			out.close()
			return nil, fmt.Errorf("access log: %w", err)
		}
	}
	return l, nil
}

// threshold is the number below which a share of all random numbers is.
func threshold(share float64) uint64 {
	if share >= 1 {
		return math.MaxUint64
	}
	return uint64(share * (1 << 63) * 2)
}

// Wants says whether a request gets a line. It is asked once for each request, with a random number that decides about those
// that did not fail: callers have a quicker source than one that all share.
func (l *Log) Wants(failed bool, lot uint64) bool {
	if l == nil {
		return false
	}
	return l.on && (failed || lot < l.good || l.good == math.MaxUint64)
}

// Record takes an entry that Wants has wanted. It copies what it keeps, does not wait and does not allocate. A Log that is
// off drops it.
func (l *Log) Record(e *Entry) {
	if l == nil || !l.on {
		return
	}
	if !l.ring.put(e) {
		l.overflowed.Add(1)
	}
}

// Reopen has the file closed and opened again by its name, as rotation from outside wants it, before the next line is
// written. It does not wait for that.
func (l *Log) Reopen() {
	if l == nil || !l.on {
		return
	}
	l.reopen.Store(true)
	l.ring.poke()
}
