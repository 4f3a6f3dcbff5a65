package report

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestReportsAndFlushes(t *testing.T) {
	b := newBooks()
	n := newNetwork(t, map[string]*replica{"leader": {books: b}})
	s := open(t, t.TempDir(), "boot", SpoolOptions{SegmentBytes: minSegmentBytes})
	// Records would wait an hour; Flush does not.
	r, stop := run(t, s, n, Options{MaxDelay: time.Hour})
	appendNumbers(t, s, 1, 700)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.check(t, 700)
	stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a spool with nothing in it stays on disk: %v", err)
	}
}

// Streams break before and after commits, commits are partial, and the process stops and starts: every record is
// counted once.
func TestExactlyOnce(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := newBooks()
			var mu sync.Mutex
			rng := rand.New(rand.NewPCG(seed, 2))
			n := newNetwork(t, map[string]*replica{"leader": {books: b, fault: unreliable(seed, 4), partial: func() int {
				mu.Lock()
				defer mu.Unlock()
				return 1 + rng.IntN(120)
			}}})
			dir := t.TempDir()
			const boots, each = 4, 1200
			for boot := range boots {
				s, err := OpenSpool(dir, fmt.Sprintf("boot-%d", boot), SpoolOptions{SegmentBytes: minSegmentBytes})
				if err != nil {
					t.Fatal(err)
				}
				r, stop := run(t, s, n, Options{MaxBatch: 100})
				from := int64(boot * each)
				var writers sync.WaitGroup
				for w := range int64(4) {
					writers.Go(func() { appendNumbers(t, s, from+w*each/4+1, from+(w+1)*each/4) })
				}
				writers.Wait()
				if boot == boots-1 {
					b.wait(t, boots*each)
					if err := r.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				} else {
					b.wait(t, int(from)/2+each/4)
				}
				stop()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			b.check(t, boots*each)
		})
	}
}

// What kill -9 left is reported by the next process, once, next to its own records.
func TestKilledProcessIsReported(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, childDir+"_BOOT=killed")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pipe := bufio.NewReader(out)
	accepted := readNumbers(pipe, 2000)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	accepted = append(accepted, readNumbers(pipe, 1<<30)...)
	_ = child.Wait()

	b := newBooks()
	n := newNetwork(t, map[string]*replica{"leader": {books: b, fault: unreliable(1, 5)}})
	s := open(t, dir, "next", SpoolOptions{})
	const own = int64(1) << 40
	appendNumbers(t, s, own+1, own+100)
	r, _ := run(t, s, n, Options{})
	b.wait(t, len(accepted)+100)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if spooled, acked := s.Spooled(), s.Acked(); spooled != 100 || acked != 100 {
		t.Errorf("of this boot, %d records are spooled and %d on the books, want 100", spooled, acked)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, number := range accepted {
		if b.times[number] != 1 {
			t.Errorf("record %d counted %d times", number, b.times[number])
		}
	}
	for number := own + 1; number <= own+100; number++ {
		if b.times[number] != 1 {
			t.Errorf("own record %d counted %d times", number-own, b.times[number])
		}
	}
	for number, times := range b.times {
		if times != 1 {
			t.Errorf("record %d counted %d times", number, times)
		}
	}
	if b.watermark["killed"] < uint64(len(accepted)) || b.watermark["next"] != 100 {
		t.Errorf("watermarks %v", b.watermark)
	}
}

func TestFollowsTheLeader(t *testing.T) {
	b := newBooks()
	leader := "leader"
	n := newNetwork(t, map[string]*replica{
		"follower": {books: newBooks(), leader: &leader},
		"leader":   {books: b},
	})
	s := open(t, t.TempDir(), "boot", SpoolOptions{})
	r, _ := run(t, s, n, Options{Addresses: []string{"follower"}})
	appendNumbers(t, s, 1, 10)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.check(t, 10)
	n.mu.Lock()
	defer n.mu.Unlock()
	if diff := cmp.Diff([]string{"follower", "leader"}, n.dials); diff != "" {
		t.Error(diff)
	}
}

// Replicas that point at each other, know no leader, or are away do not keep the reporter from the one that leads.
func TestLostAmongReplicas(t *testing.T) {
	b := newBooks()
	one, two, none := "one", "two", ""
	n := newNetwork(t, map[string]*replica{
		"one":    {books: newBooks(), leader: &two},
		"two":    {books: newBooks(), leader: &one},
		"three":  {books: newBooks(), leader: &none},
		"leader": {books: b},
	})
	s := open(t, t.TempDir(), "boot", SpoolOptions{})
	r, _ := run(t, s, n, Options{Addresses: []string{"one", "away", "three", "leader"}})
	appendNumbers(t, s, 1, 10)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.check(t, 10)
	n.mu.Lock()
	defer n.mu.Unlock()
	if most := 4*(3+1) + 4; len(n.dials) > most { // three redirects after each address
		t.Errorf("%d dials, want at most %d", len(n.dials), most)
	}
}

// An answer that is not about what was asked, or acknowledges nothing, is not believed, and the next one is.
func TestSenselessAnswers(t *testing.T) {
	tests := map[string]func(*syncv1.ReportResponse){
		"another boot":  func(r *syncv1.ReportResponse) { r.BootId = "other" },
		"ahead":         func(r *syncv1.ReportResponse) { r.Watermark = 1 << 40 },
		"no progress":   func(r *syncv1.ReportResponse) { r.Watermark = 0 },
		"ahead by one":  func(r *syncv1.ReportResponse) { r.Watermark++ },
		"largest there": func(r *syncv1.ReportResponse) { r.Watermark = 1<<64 - 1 },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBooks()
			answers := 0
			n := newNetwork(t, map[string]*replica{"leader": {books: b, answer: func(r *syncv1.ReportResponse) {
				if answers++; answers < 5 {
					spoil(r)
				}
			}}})
			s := open(t, t.TempDir(), "boot", SpoolOptions{})
			r, _ := run(t, s, n, Options{})
			appendNumbers(t, s, 1, 100)
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.check(t, 100)
			if r.failures.Load() == 0 {
				t.Error("the answer was believed")
			}
		})
	}
}

// Many records do not wait for the delay, nor for a Flush.
func TestFullBatchIsSentAtOnce(t *testing.T) {
	b := newBooks()
	n := newNetwork(t, map[string]*replica{"leader": {books: b}})
	s := open(t, t.TempDir(), "boot", SpoolOptions{})
	run(t, s, n, Options{MaxDelay: time.Hour})
	appendNumbers(t, s, 1, wakeEvery)
	b.wait(t, wakeEvery)
}

// A server that accepts and never answers is left after the timeout.
func TestSilentServer(t *testing.T) {
	b := newBooks()
	release := make(chan struct{})
	n := newNetwork(t, map[string]*replica{
		"silent": {books: newBooks(), fault: func(string) error { <-release; return errors.New("released") }},
		"leader": {books: b},
	})
	// Before the servers stop, which wait for their streams.
	t.Cleanup(func() { close(release) })
	s := open(t, t.TempDir(), "boot", SpoolOptions{})
	r, stop := run(t, s, n, Options{Addresses: []string{"silent", "leader"}, Timeout: 20 * time.Millisecond})
	appendNumbers(t, s, 1, 100)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	b.check(t, 100)
}

func TestFlushGivesUpWithItsContext(t *testing.T) {
	n := newNetwork(t, nil)
	s := open(t, t.TempDir(), "boot", SpoolOptions{})
	r, _ := run(t, s, n, Options{})
	appendNumbers(t, s, 1, 3)
	cause := errors.New("drain deadline")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	err := r.Flush(ctx)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "3 records") {
		t.Errorf("err = %v, want the cause and the number of records", err)
	}
}

// The control plane was restored from a backup: its watermark is before what is still here. Reporting goes on, and no
// record is counted twice.
func TestRestoredBooks(t *testing.T) {
	b := newBooks()
	n := newNetwork(t, map[string]*replica{"leader": {books: b}})
	dir := t.TempDir()
	s, err := OpenSpool(dir, "boot", SpoolOptions{SegmentBytes: minSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	r, stop := run(t, s, n, Options{})
	appendNumbers(t, s, 1, 2000)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.watermark["boot"] = 7
	b.mu.Unlock()
	appendNumbers(t, s, 2001, 2010)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// And the epoch outlives the process.
	stop()
	appendNumbers(t, s, 2011, 2020)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, dir, "next", SpoolOptions{})
	run(t, next, n, Options{})
	b.wait(t, 2020)
	b.check(t, 2020)
	b.mu.Lock()
	defer b.mu.Unlock()
	if diff := cmp.Diff(map[string]uint64{"boot": 7, "boot.2000": 20}, b.watermark); diff != "" {
		t.Error(diff)
	}
}

func TestMetrics(t *testing.T) {
	b := newBooks()
	n := newNetwork(t, map[string]*replica{"leader": {books: b}})
	registry := prometheus.NewPedanticRegistry()
	s := open(t, t.TempDir(), "boot", SpoolOptions{})
	r, _ := run(t, s, n, Options{Registry: registry})
	appendNumbers(t, s, 1, 5)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.drops[dropFull].Add(2)
	want := `
# HELP fairway_usage_acked_records_total Usage records that the books have, earlier processes' included.
# TYPE fairway_usage_acked_records_total counter
fairway_usage_acked_records_total 5
# HELP fairway_usage_backlog_boots Earlier processes whose usage is not all on the books.
# TYPE fairway_usage_backlog_boots gauge
fairway_usage_backlog_boots 0
# HELP fairway_usage_dropped_records_total Usage records that could not be spooled.
# TYPE fairway_usage_dropped_records_total counter
fairway_usage_dropped_records_total{reason="closed"} 0
fairway_usage_dropped_records_total{reason="failed"} 0
fairway_usage_dropped_records_total{reason="full"} 2
# HELP fairway_usage_lag_records Usage records of this process that the books do not have yet.
# TYPE fairway_usage_lag_records gauge
fairway_usage_lag_records 0
# HELP fairway_usage_spooled_records_total Usage records taken by this process.
# TYPE fairway_usage_spooled_records_total counter
fairway_usage_spooled_records_total 5
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"fairway_usage_acked_records_total", "fairway_usage_backlog_boots", "fairway_usage_dropped_records_total",
		"fairway_usage_lag_records", "fairway_usage_spooled_records_total"); err != nil {
		t.Error(err)
	}
	if _, err := New(s, Options{Dial: n.dial, Addresses: []string{"x"}, Registry: registry}); err == nil {
		t.Error("metrics registered twice without an error")
	}
}
