// Package accesslog writes one line of JSON for each request it is given: all that failed, and a share of the others.
// Requests only copy their facts into a queue; one goroutine turns them into lines and writes them. It refuses to make a
// request wait: when the queue is full or the disk is, lines are dropped and counted. It refuses secrets, for which an entry
// has no room, and prompts and answers, unless Options.Bodies asks for them; in those it masks what looks like a credential.
package accesslog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/journal"
)

// Options of a Log.
type Options struct {
	// File takes the lines; "-" = Stdout, empty = there is no access log.
	File string
	// Sample is the share of requests without a failure that get a line, 0 to 1; 0 = none of them.
	Sample float64
	// Buffer is how many lines may wait to be written, rounded up to a power of two; 0 = 4096. A line takes about 4 KiB.
	Buffer int
	// MaxSize is the size in bytes beyond which File becomes File.1, File.1 becomes File.2, and so on; 0 = 100 MiB,
	// negative = never.
	MaxSize int64
	// Keep is how many of those are kept; 0 = 5.
	Keep int
	// Bodies has lines hold what was said: the beginnings of a request's body and of its answer's.
	Bodies bool
	// MaxBody is how many bytes of each body; 0 = 16 KiB.
	MaxBody int
	// MaxBodies is how many bytes of all requests under way and of all lines that wait; beyond it lines come without bodies;
	// 0 = 64 MiB.
	MaxBodies int64
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

	defaultMaxBody   = 16 << 10
	maxMaxBody       = 1 << 20
	defaultMaxBodies = 64 << 20
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
	if o.MaxBody < 0 || o.MaxBody > maxMaxBody {
		problems = append(problems, fmt.Errorf("%d bytes of each body, want up to %d", o.MaxBody, maxMaxBody))
	}
	if o.Bodies && o.File == "" {
		problems = append(problems, errors.New("bodies are to be logged, but there is no file for lines"))
	}
	return errors.Join(problems...)
}

// Log is an access log. Wants, Record, Bodies and Reopen are safe for concurrent use, also on a nil Log, which is one that is off.
type Log struct {
	on     bool
	good   uint64 // a request without a failure gets a line when a random number is below; the highest = all
	queue  *journal.Queue
	room   *journal.Room // nil = no bodies
	out    *output
	log    *slog.Logger
	reopen atomic.Bool

	lines      atomic.Uint64 // written
	overflowed atomic.Uint64 // dropped because the queue was full
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
	l.queue = journal.NewQueue(o.Buffer, o.Bodies)
	if o.Bodies {
		if o.MaxBody == 0 {
			o.MaxBody = defaultMaxBody
		}
		if o.MaxBodies == 0 {
			o.MaxBodies = defaultMaxBodies
		}
		l.room = journal.NewRoom(o.MaxBody, o.MaxBodies)
	}
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

// On says whether there is a log.
func (l *Log) On() bool { return l != nil && l.on }

// Wants says whether a request gets a line. It is asked once for each request, with a random number that decides about those
// that did not fail: callers have a quicker source than one that all share.
func (l *Log) Wants(failed bool, lot uint64) bool {
	if l == nil {
		return false
	}
	return l.on && (failed || lot < l.good || l.good == math.MaxUint64)
}

// Bodies are where what is said in a request is to be kept; nil = nowhere. Who takes them gives them to Record with the
// entry, or releases them.
func (l *Log) Bodies() *journal.Bodies {
	if l == nil {
		return nil
	}
	return l.room.Take()
}

// Record takes an entry that Wants has wanted, and its bodies. It copies what it keeps, does not wait and does not allocate.
// A Log that is off drops it.
func (l *Log) Record(e *journal.Entry) {
	if l == nil || !l.on {
		e.Bodies.Release()
		return
	}
	if !l.queue.Put(e) {
		e.Bodies.Release()
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
	l.queue.Poke()
}
