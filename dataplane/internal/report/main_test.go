package report

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// childDir makes the test binary a process that appends until it is killed.
const childDir = "FAIRWAY_REPORT_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		appendForever(dir, os.Getenv(childDir+"_BOOT"))
	}
	goleak.VerifyTestMain(m)
}

// appendForever appends numbered records from several goroutines. What Append has accepted goes to standard output, 8
// bytes each.
func appendForever(dir, boot string) {
	s, err := OpenSpool(dir, boot, SpoolOptions{SegmentBytes: minSegmentBytes})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	var number atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				r := numbered(number.Add(1))
				if err := s.Append(&r); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				// One write of 8 bytes to a pipe is whole or not at all.
				if _, err := os.Stdout.Write(binary.NativeEndian.AppendUint64(nil, uint64(r.TimeMS))); err != nil {
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
}

// numbered is a record that says which it is in every field that can.
func numbered(n int64) Record {
	return Record{
		TimeMS: n, KeyID: "key-" + strconv.FormatInt(n, 10), ChannelID: "channel", AccountID: "account",
		Model: "model-" + strconv.FormatInt(n%7, 10), Input: n, Output: 1, CostNanoUSD: 3 * n, PriceVersion: 1,
	}
}

func readNumbers(r *bufio.Reader, most int) []int64 {
	var out []int64
	for len(out) < most {
		var raw [8]byte
		if n, err := r.Read(raw[:1]); n == 0 || err != nil {
			return out
		}
		for at := 1; at < len(raw); {
			n, err := r.Read(raw[at:])
			if err != nil {
				return out
			}
			at += n
		}
		out = append(out, int64(binary.NativeEndian.Uint64(raw[:])))
	}
	return out
}

// all reads what a boot holds from the start.
func all(t testing.TB, b *boot) []Record {
	t.Helper()
	if err := b.seek(0); err != nil {
		t.Fatal(err)
	}
	var out []Record
	for {
		records, to, err := b.next(100)
		if err != nil {
			t.Fatal(err)
		}
		if want := b.at.sequence + uint64(len(records)); to.sequence != want {
			t.Fatalf("batch of %d ends at sequence %d, want %d", len(records), to.sequence, want)
		}
		if len(records) == 0 {
			return out
		}
		out = append(out, records...)
		// Not settled: reading deletes nothing.
		b.at = to
	}
}

func liveBoot(s *Spool) *boot {
	return &boot{id: s.id, dir: s.dir, shelf: liveShelf{s}, table: s.table}
}

func oldBoots(s *Spool) []*boot {
	var out []*boot
	for _, b := range s.old {
		out = append(out, &boot{id: b.id, dir: b.dir, shelf: b, table: s.table, over: true})
	}
	return out
}

func open(t testing.TB, dir, boot string, o SpoolOptions) *Spool {
	t.Helper()
	s, err := OpenSpool(dir, boot, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func appendNumbers(t testing.TB, s *Spool, from, to int64) {
	t.Helper()
	for n := from; n <= to; n++ {
		r := numbered(n)
		if err := s.Append(&r); err != nil {
			t.Fatalf("append %d: %v", n, err)
		}
	}
}
