package accesslog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/journal"
	"fairway/pkg/money"
)

func TestWants(t *testing.T) {
	if l := prepare(t, Options{File: "-", Sample: .25}); !l.Wants(false, 1<<62-1) || l.Wants(false, 1<<62) {
		t.Error("a quarter of all numbers is not what is wanted")
	}
	const draws = 100_000
	var none *Log
	tests := []struct {
		name         string
		log          *Log
		failed, good int // wanted of draws
	}{
		{"none", none, 0, 0},
		{"off", prepare(t, Options{Sample: 1}).Log, 0, 0},
		{"failures only", prepare(t, Options{File: "-"}).Log, draws, 0},
		{"all", prepare(t, Options{File: "-", Sample: 1}).Log, draws, draws},
		{"a tenth", prepare(t, Options{File: "-", Sample: .1}).Log, draws, draws / 10},
		{"nearly all", prepare(t, Options{File: "-", Sample: math.Nextafter(1, 0)}).Log, draws, draws},
		{"half", prepare(t, Options{File: "-", Sample: .5}).Log, draws, draws / 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var failed, good int
			for range draws {
				if tt.log.Wants(true, rand.Uint64()) {
					failed++
				}
				if tt.log.Wants(false, rand.Uint64()) {
					good++
				}
			}
			// Eight standard deviations of a fair draw.
			const slack = 8 * 158
			exact := tt.good == 0 || tt.good == draws
			if failed != tt.failed || good < tt.good-slack || good > tt.good+slack || (exact && good != tt.good) {
				t.Errorf("wanted %d failed and %d good, want %d and about %d", failed, good, tt.failed, tt.good)
			}
		})
	}
}

// Whoever has no access log calls the same methods.
func TestOff(t *testing.T) {
	for name, l := range map[string]*Log{"nil": nil, "no file": prepare(t, Options{Sample: 1}).Log} {
		f := &fixture{Log: l, ended: make(chan error, 1)}
		f.run(t)
		e := full()
		l.Record(&e)
		l.Reopen()
		select {
		case err := <-f.ended:
			t.Errorf("%s: Run ended by itself: %v", name, err)
		default:
		}
		f.end(t)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string // in the error; empty = none
	}{
		{Options{}, ""},
		{Options{Sample: 1, Buffer: maxBuffer, Keep: maxKeep, MaxSize: -1}, ""},
		{Options{Sample: -.1}, "-0.1"},
		{Options{Sample: 1.1}, "1.1"},
		{Options{Sample: math.NaN()}, "NaN"},
		{Options{Buffer: -1}, "-1 lines"},
		{Options{Buffer: maxBuffer + 1}, "lines"},
		{Options{Keep: -2}, "-2 old files"},
		{Options{MaxBody: -1}, "-1 bytes"},
		{Options{Bodies: true}, "no file"},
		{Options{Keep: -2, Sample: 7}, "7, want 0 to 1\n-2 old files"},
	} {
		err := tt.o.Check()
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
		if _, newErr := New(tt.o); (newErr == nil) != (err == nil) {
			t.Errorf("%+v: New says %v", tt.o, newErr)
		}
	}
	_, err := New(Options{File: filepath.Join(t.TempDir(), "none", "access.log")})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file in no directory: %v", err)
	}
}

// A line is there soon after it was recorded, and lines that come together are written together.
func TestGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out text
		f := start(t, Options{File: "-", Stdout: &out, Buffer: 1024})
		synctest.Wait()
		for i := range 100 {
			f.Record(&journal.Entry{RequestID: strconv.Itoa(i)})
		}
		synctest.Wait()
		if out.count() != 0 {
			t.Error("the first line was written alone")
		}
		time.Sleep(gatherTime)
		synctest.Wait()
		if got := ids(t, out.String()); len(got) != 100 || out.count() != 1 {
			t.Errorf("%d lines in %d writes", len(got), out.count())
		}
		// And again, from rest.
		time.Sleep(time.Hour)
		f.Record(&journal.Entry{RequestID: "later"})
		time.Sleep(gatherTime)
		synctest.Wait()
		if got := ids(t, out.String()); len(got) != 101 || got[100] != "later" {
			t.Errorf("lines: %q", got[100:])
		}
		f.end(t)
		f.wantCounts(t, 101, 0, 0, 0)
	})
}

// A burst does not have to wait for the end of the gathering.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out text
		f := start(t, Options{File: "-", Stdout: &out, Buffer: 64})
		for i := range 1000 {
			f.Record(&journal.Entry{RequestID: strconv.Itoa(i)})
			if i%32 == 31 {
				synctest.Wait() // no time passes
			}
		}
		f.end(t)
		if got := ids(t, out.String()); len(got) != 1000 {
			t.Errorf("%d lines of 1000", len(got))
		}
		f.wantCounts(t, 1000, 0, 0, 0)
	})
}

// Without a writer the ring fills; what is too much is counted, and the oldest are written later.
func TestOverflow(t *testing.T) {
	var out text
	f := prepare(t, Options{File: "-", Stdout: &out, Buffer: 10})
	var want []string
	for i := range 20 {
		f.Record(&journal.Entry{RequestID: strconv.Itoa(i)})
		if i < 16 {
			want = append(want, strconv.Itoa(i))
		}
	}
	f.wantCounts(t, 0, 4, 0, 0)
	f.run(t)
	f.end(t)
	if diff := cmp.Diff(want, ids(t, out.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.wantCounts(t, 16, 4, 0, 0)
	if got := f.logged.String(); !strings.Contains(got, "slower than the requests") || !strings.Contains(got, "dropped=4") {
		t.Errorf("logged %q", got)
	}
}

// Many requests at once, and a writer: every line is written once, whole, in its producer's order, or counted.
func TestProducers(t *testing.T) {
	const producers, each = 8, 5000
	var out text
	f := start(t, Options{File: "-", Stdout: &out, Buffer: 256})
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", p, i)
				f.Record(&journal.Entry{RequestID: id, Model: strings.Repeat(id, 1+i%20), Tokens: money.Tokens{Input: int64(p), Output: int64(i)}})
			}
		})
	}
	wg.Wait()
	f.end(t)
	last := map[string]int{}
	got := ids(t, out.String())
	for i, l := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		p, n, _ := strings.Cut(got[i], "-")
		k, _ := strconv.Atoi(n)
		if before, ok := last[p]; ok && before >= k {
			t.Fatalf("producer %s: %d after %d", p, k, before)
		}
		last[p] = k
		model := strings.Repeat(got[i], 1+k%20)
		if !strings.Contains(l, fmt.Sprintf(`"model":"%s","`, model)) || !strings.Contains(l, fmt.Sprintf(`"input_tokens":%s,"cached_tokens":0,"output_tokens":%s,`, p, n)) {
			t.Fatalf("mixed up: %s", l)
		}
	}
	dropped := f.count(t, "dropped_total", "full")
	if len(got)+dropped != producers*each || dropped == producers*each {
		t.Errorf("%d written and %d dropped of %d", len(got), dropped, producers*each)
	}
}

// A writer that never returns: requests go on, lines are dropped, and the end does not wait for ever.
func TestStuckWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := start(t, Options{File: "-", Stdout: writerFunc(func(p []byte) (int, error) {
			<-release
			return len(p), nil
		}), Buffer: 16})
		for i := range 100 {
			f.Record(&journal.Entry{RequestID: strconv.Itoa(i)})
			time.Sleep(2 * gatherTime)
		}
		// One line is with the writer, sixteen wait.
		f.wantCounts(t, 0, 83, 0, 0)
		begin := time.Now()
		f.stop()
		if err := <-f.ended; !errors.Is(err, errStuck) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin); took != flushTime {
			t.Errorf("the end took %v", took)
		}
		close(release)
	})
}

// A writer that fails is told of once a minute, and used again when it works again.
func TestFailingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out text
		var broken bool
		f := start(t, Options{File: "-", Stdout: writerFunc(func(p []byte) (int, error) {
			if broken {
				return 0, errors.New("the pipe is clogged")
			}
			return out.Write(p)
		})})
		record := func(id string) {
			f.Record(&journal.Entry{RequestID: id})
			time.Sleep(time.Second)
			synctest.Wait()
		}
		record("before")
		broken = true
		for i := range 150 { // two and a half minutes
			record(strconv.Itoa(i))
		}
		if got := strings.Count(f.logged.String(), "the pipe is clogged"); got != 3 {
			t.Errorf("%d warnings in 2.5 minutes, want 3", got)
		}
		broken = false
		record("after")
		if diff := cmp.Diff([]string{"before", "after"}, ids(t, out.String())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		f.end(t)
		f.wantCounts(t, 2, 0, 150, 150)
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRecordAllocatesNothing(t *testing.T) {
	f := prepare(t, Options{File: "-", Stdout: &text{}, Buffer: 16})
	e := full()
	for name, n := range map[string]float64{
		"there is room": testing.AllocsPerRun(10, func() { f.Record(&e) }),
		"it is full":    testing.AllocsPerRun(100, func() { f.Record(&e) }),
		"not wanted":    testing.AllocsPerRun(100, func() { f.Wants(false, 1) }),
	} {
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
