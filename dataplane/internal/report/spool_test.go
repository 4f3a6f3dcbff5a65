package report

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestAppendIsReadInOrder(t *testing.T) {
	s := open(t, t.TempDir(), "boot", SpoolOptions{SegmentBytes: minSegmentBytes})
	const n = 2000
	appendNumbers(t, s, 1, n)
	if files := segmentFiles(t, s.dir); len(files) < 3 {
		t.Fatalf("%d segments: the test needs several", len(files))
	}
	var want []Record
	for i := int64(1); i <= n; i++ {
		want = append(want, numbered(i))
	}
	if diff := cmp.Diff(want, all(t, liveBoot(s))); diff != "" {
		t.Error(diff)
	}
	if got := s.Spooled(); got != n {
		t.Errorf("Spooled = %d, want %d", got, n)
	}
}

// A record that does not fit into what is left of a segment goes into the next one.
func TestLongRecordsCrossNoSegment(t *testing.T) {
	s := open(t, t.TempDir(), "boot", SpoolOptions{SegmentBytes: minSegmentBytes})
	var want []Record
	for i := range 400 {
		r := numbered(int64(i))
		r.Model = strings.Repeat("m", (i*37)%(maxModel+1))
		if err := s.Append(&r); err != nil {
			t.Fatal(err)
		}
		want = append(want, r)
	}
	if diff := cmp.Diff(want, all(t, liveBoot(s))); diff != "" {
		t.Error(diff)
	}
}

func TestAppendFromManyGoroutines(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSpool(dir, "one", SpoolOptions{SegmentBytes: minSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	const workers, each = 8, 1000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				r := numbered(int64(w*each + i))
				if err := s.Append(&r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	live := all(t, liveBoot(s))
	checkNumbers(t, live, workers*each)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The next process reads the same records with the same sequence numbers.
	next := open(t, dir, "two", SpoolOptions{})
	boots := oldBoots(next)
	if len(boots) != 1 {
		t.Fatalf("%d old boots, want 1", len(boots))
	}
	if diff := cmp.Diff(live, all(t, boots[0])); diff != "" {
		t.Error(diff)
	}
}

func checkNumbers(t *testing.T, records []Record, n int) {
	t.Helper()
	seen := map[int64]bool{}
	for _, r := range records {
		if diff := cmp.Diff(numbered(r.TimeMS), r); diff != "" {
			t.Fatal(diff)
		}
		if seen[r.TimeMS] {
			t.Fatalf("record %d twice", r.TimeMS)
		}
		seen[r.TimeMS] = true
	}
	if len(seen) != n {
		t.Fatalf("%d records, want %d", len(seen), n)
	}
}

// kill -9 while four goroutines append: what was accepted is there.
func TestKilledProcessLosesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, boot := range []string{"first", "second", "third"} {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir, childDir+"_BOOT="+boot)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		pipe := bufio.NewReader(out)
		accepted := readNumbers(pipe, 3000)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, readNumbers(pipe, 1<<30)...)
		_ = child.Wait()
		if len(accepted) < 3000 {
			t.Fatalf("child accepted %d records", len(accepted))
		}
		s, err := OpenSpool(dir, "reader-of-"+boot, SpoolOptions{})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.old, func(b *oldBoot) bool { return b.id == boot })
		if i < 0 {
			t.Fatalf("boot %s not found", boot)
		}
		found := map[int64]bool{}
		for _, r := range all(t, oldBoots(s)[i]) {
			if diff := cmp.Diff(numbered(r.TimeMS), r); diff != "" {
				t.Fatal(diff)
			}
			if found[r.TimeMS] {
				t.Errorf("record %d twice", r.TimeMS)
			}
			found[r.TimeMS] = true
		}
		for _, n := range accepted {
			if !found[n] {
				t.Errorf("record %d was accepted and is gone", n)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A slot that is reserved and not committed stops a reader of the living, and is skipped once its writer is dead.
func TestHole(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSpool(dir, "one", SpoolOptions{SegmentBytes: minSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	appendNumbers(t, s, 1, 3)
	seg := s.current.Load()
	hole := numbered(4)
	slot, offset, ok := seg.reserve(payloadSize(&hole))
	if !ok {
		t.Fatal("no room")
	}
	appendNumbers(t, s, 5, 900) // into the next segment
	if seg == s.current.Load() {
		t.Fatal("the test needs a second segment")
	}

	b := liveBoot(s)
	if got := len(all(t, b)); got != 3 {
		t.Errorf("reader of the living got %d records, want 3", got)
	}

	t.Run("writer lives", func(t *testing.T) {
		b := liveBoot(s)
		if err := b.seek(2); err != nil {
			t.Fatal(err)
		}
		got, to, err := b.next(10)
		if err != nil || len(got) != 1 || got[0].TimeMS != 3 || to.sequence != 3 {
			t.Errorf("next = %d records up to %d, %v; want record 3 alone", len(got), to.sequence, err)
		}
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	next := open(t, dir, "two", SpoolOptions{})
	records := all(t, oldBoots(next)[0])
	var got []int64
	for _, r := range records {
		got = append(got, r.TimeMS)
	}
	var want []int64
	for n := int64(1); n <= 900; n++ {
		if n != 4 {
			want = append(want, n)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Once the segment with the hole is gone, those after it still know their place.
	if err := oldBoots(next)[0].seek(880); err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(t, dir, "three", SpoolOptions{})
	i := slices.IndexFunc(third.old, func(b *oldBoot) bool { return b.id == "one" })
	if len(third.old[i].kept) != 1 {
		t.Fatalf("segments %v left, the test wants one", third.old[i].kept)
	}
	last := oldBoots(third)[i]
	if err := last.seek(880); err != nil {
		t.Fatal(err)
	}
	if left, to, err := last.next(1000); err != nil || len(left) != 19 || left[0].TimeMS != 882 || to.sequence != 899 {
		t.Errorf("%d records up to %d, %v; want 882 to 900 up to 899", len(left), to.sequence, err)
	}
	// The mapping was left to the writer.
	seg.commit(&hole, slot, offset, payloadSize(&hole), s.table)
	if err := seg.unmap(); err != nil {
		t.Error(err)
	}
}

// Bytes of the payload that changed on disk are noticed, and only that record is lost.
func TestCorruptRecordIsSkipped(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSpool(dir, "one", SpoolOptions{SegmentBytes: minSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	appendNumbers(t, s, 1, 3)
	path := s.current.Load().path
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, _, _, err := parseSegment(image)
	if err != nil {
		t.Fatal(err)
	}
	image[layoutOf(len(image)).data+word(p.index[1]).offset()+20] ^= 1
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	b := oldBoots(open(t, dir, "two", SpoolOptions{}))[0]
	got := all(t, b)
	if len(got) != 2 || got[0].TimeMS != 1 || got[1].TimeMS != 3 {
		t.Errorf("got %d records, want 1 and 3", len(got))
	}
	if b.corrupt == 0 {
		t.Error("corrupt record not counted")
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "one", SpoolOptions{})
	_, err := OpenSpool(dir, "two", SpoolOptions{})
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("err = %v, want ErrInUse", err)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("error %q does not name the directory", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, "two", SpoolOptions{})
}

func TestBootIDs(t *testing.T) {
	for _, id := range []string{"", "..", "a/b", "a.b", strings.Repeat("x", maxBootID+1), "a\x00", "é"} {
		if _, err := OpenSpool(t.TempDir(), id, SpoolOptions{}); err == nil {
			t.Errorf("boot id %q accepted", id)
		}
	}
}

// Beyond the bound records are dropped and counted; once files are gone, records are taken again.
func TestFullSpool(t *testing.T) {
	var clock atomic.Int64
	s := open(t, t.TempDir(), "boot", SpoolOptions{
		SegmentBytes: minSegmentBytes, MaxBytes: 2*minSegmentBytes + 100,
		Now: func() time.Time { return time.Unix(0, clock.Load()) },
	})
	var taken int64
	for r := numbered(1); ; r = numbered(taken + 1) {
		err := s.Append(&r)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken++
	}
	r := numbered(0)
	if err := s.Append(&r); !errors.Is(err, ErrFull) {
		t.Errorf("err = %v, want ErrFull", err)
	}
	if got := s.Dropped(); got != 2 {
		t.Errorf("Dropped = %d, want 2", got)
	}
	b := liveBoot(s)
	if err := b.seek(uint64(taken)); err != nil {
		t.Fatal(err)
	}
	if files := segmentFiles(t, s.dir); len(files) != 0 {
		t.Errorf("acknowledged segments still there: %v", files)
	}
	if err := s.Append(&r); err != nil {
		t.Fatalf("append after room was made: %v", err)
	}
	records, to, err := b.next(10)
	if err != nil || len(records) != 1 || to.sequence != uint64(taken)+1 {
		t.Errorf("next = %d records up to %d, %v; want 1 up to %d", len(records), to.sequence, err, taken+1)
	}
}

// A segment that begins after all others are acknowledged and gone knows its place before anybody has read it.
func TestFirstSegmentAfterAllAreGone(t *testing.T) {
	dir := t.TempDir()
	var clock atomic.Int64
	s, err := OpenSpool(dir, "one", SpoolOptions{
		SegmentBytes: minSegmentBytes, MaxBytes: minSegmentBytes,
		Now: func() time.Time { return time.Unix(0, clock.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var taken int64
	for r := numbered(1); s.Append(&r) == nil; r = numbered(taken + 1) {
		taken++
	}
	if err := liveBoot(s).seek(uint64(taken)); err != nil {
		t.Fatal(err)
	}
	appendNumbers(t, s, taken+1, taken+5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := oldBoots(open(t, dir, "two", SpoolOptions{}))[0]
	if err := old.seek(uint64(taken) + 2); err != nil {
		t.Fatal(err)
	}
	records, _, err := old.next(10)
	if err != nil || len(records) != 3 || records[0].TimeMS != taken+3 {
		t.Errorf("%d records, %v; want 3 from %d", len(records), err, taken+3)
	}
}

// A directory that cannot take a file, as with a full disk, costs records and nothing else.
func TestSegmentCannotBeCreated(t *testing.T) {
	var clock atomic.Int64
	dir := t.TempDir()
	s := open(t, dir, "boot", SpoolOptions{
		SegmentBytes: minSegmentBytes, Now: func() time.Time { return time.Unix(0, clock.Load()) },
	})
	// What is in the way of the second segment.
	blocker := filepath.Join(s.dir, segmentName(2)+partSuffix)
	if err := os.Mkdir(blocker, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	for n := int64(1); err == nil; n++ {
		r := numbered(n)
		err = s.Append(&r)
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("err = %v, want ErrFull", err)
	}
	if err := os.Remove(blocker); err != nil {
		t.Fatal(err)
	}
	r := numbered(1)
	if err := s.Append(&r); !errors.Is(err, ErrFull) {
		t.Errorf("the disk is asked again at once: %v", err)
	}
	clock.Add(int64(retryFull))
	if err := s.Append(&r); err != nil {
		t.Errorf("append after the disk has room: %v", err)
	}
}

// Somebody cuts the file under the mapping: SIGBUS for most programs, dropped records for this one.
func TestCutSegment(t *testing.T) {
	s := open(t, t.TempDir(), "boot", SpoolOptions{SegmentBytes: minSegmentBytes})
	appendNumbers(t, s, 1, 1)
	if err := os.Truncate(s.current.Load().path, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r := numbered(2)
		if err := s.Append(&r); !errors.Is(err, ErrFailed) {
			t.Fatalf("err = %v, want ErrFailed", err)
		}
	}
	if got := s.Dropped(); got != 3 {
		t.Errorf("Dropped = %d, want 3", got)
	}
	err := guarded(func() error {
		_, _, err := liveBoot(s).next(1)
		return err
	})
	if !errors.Is(err, ErrFailed) {
		t.Errorf("reading: err = %v, want ErrFailed", err)
	}
}

// The cursor's place survives in the files when the segments before are gone.
func TestDeletedSegmentsLeaveTheSequence(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSpool(dir, "one", SpoolOptions{SegmentBytes: minSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	appendNumbers(t, s, 1, 2000)
	before := len(segmentFiles(t, s.dir))
	b := liveBoot(s)
	if err := b.seek(1500); err != nil {
		t.Fatal(err)
	}
	if after := len(segmentFiles(t, s.dir)); after >= before {
		t.Errorf("%d of %d segments left after the watermark passed them", after, before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := oldBoots(open(t, dir, "two", SpoolOptions{}))[0]
	if err := old.seek(1500); err != nil {
		t.Fatal(err)
	}
	records, to, err := old.next(1)
	if err != nil || len(records) != 1 || records[0].TimeMS != 1501 || to.sequence != 1501 {
		t.Errorf("next = %+v, %+v, %v; want record 1501", records, to, err)
	}
	if err := old.seek(3); !errors.Is(err, errGap) {
		t.Errorf("seek before the oldest record: %v, want errGap", err)
	}
}

func TestForeignAndDamagedSpools(t *testing.T) {
	dir := t.TempDir()
	write := func(boot, name string, content []byte) string {
		path := filepath.Join(dir, "spool", boot, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	future := make([]byte, minSegmentBytes)
	putHeader(future, layoutOf(len(future)))
	future[8]++ // version
	newer := write("newer", segmentName(1), future)
	short := write("short", segmentName(1), []byte("x"))
	part := write("part", segmentName(1)+partSuffix, make([]byte, 10))
	s := open(t, dir, "boot", SpoolOptions{})
	if len(s.old) != 0 {
		t.Errorf("%d old boots, want none", len(s.old))
	}
	for path, want := range map[string]bool{newer: true, short: false, short + damagedSuffix: true, part: false} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s exists = %t, want %t", path, err == nil, want)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	s := open(t, t.TempDir(), "boot", SpoolOptions{})
	r := numbered(1)
	// Fewer than fill a segment.
	if n := testing.AllocsPerRun(5000, func() {
		if err := s.Append(&r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per Append", n)
	}
}

func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func BenchmarkAppend(b *testing.B) {
	b.Run("serial", func(b *testing.B) {
		s := open(b, b.TempDir(), "boot", SpoolOptions{MaxBytes: 16 << 30})
		r := numbered(1)
		b.ReportAllocs()
		for b.Loop() {
			if err := s.Append(&r); err != nil {
				b.Fatal(err)
			}
			discard(b, s)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		s := open(b, b.TempDir(), "boot", SpoolOptions{MaxBytes: 16 << 30})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			r := numbered(1)
			for pb.Next() {
				if err := s.Append(&r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// discard deletes full segments, so that a benchmark does not fill the disk.
func discard(b *testing.B, s *Spool) {
	if seg := s.current.Load(); slotsTaken(seg.reserved.Load()) != 1 || seg.number == 1 {
		return
	}
	for _, number := range (liveShelf{s}).numbers() {
		if number != s.current.Load().number {
			if err := (liveShelf{s}).drop(number); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkBatch is what the Reporter does with a full batch but for the wire: per record, the time is a 5000th.
func BenchmarkBatch(b *testing.B) {
	s := open(b, b.TempDir(), "boot", SpoolOptions{})
	for n := range int64(defaultBatch) {
		r := numbered(n)
		if err := s.Append(&r); err != nil {
			b.Fatal(err)
		}
	}
	live := liveBoot(s)
	if err := live.seek(0); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		records, _, err := live.next(defaultBatch)
		if err != nil || len(records) != defaultBatch {
			b.Fatal(len(records), err)
		}
		if _, err := proto.Marshal(&syncv1.ReportRequest{BootId: "boot", FirstSequence: 1, Records: messages(records)}); err != nil {
			b.Fatal(err)
		}
	}
}
