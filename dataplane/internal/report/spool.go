package report

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// What Append may return. The record is then dropped and counted; nothing else is lost.
var (
	// ErrFull: the disk, or the share of it that MaxBytes allows, is full.
	ErrFull = errors.New("usage spool is full")
	// ErrFailed: a write to a segment faulted, because the disk failed or somebody cut the file. It stays so until the
	// process starts again; what was appended before is still sent.
	ErrFailed = errors.New("usage spool has failed")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("usage spool is closed")
)

// SpoolOptions configure a Spool.
type SpoolOptions struct {
	// SegmentBytes is the size of a file; 0 = 4 MiB, which is also the most. Rounded down to 4 KiB; at least 64 KiB.
	SegmentBytes int
	// MaxBytes bounds the files of all boots together; 0 = 1 GiB. Records that would need more are dropped.
	MaxBytes int64
	// Log gets what an operator must know; nil = nothing is logged.
	Log *slog.Logger
	// Now times retries after a full disk; nil = time.Now.
	Now func() time.Time
}

const (
	defaultMaxBytes = 1 << 30
	// retryFull is how long Append drops without asking the disk again.
	retryFull = time.Second
	// wakeEvery is after how many records of a segment the Reporter is woken before its time.
	wakeEvery = 2048
)

// Spool holds the records of this boot that are not on the books yet. Append may be called from any goroutine.
type Spool struct {
	id    string
	dir   string
	size  int
	limit int64
	log   *slog.Logger
	now   func() time.Time
	table *crc32.Table

	current atomic.Pointer[segment]
	retryAt atomic.Int64 // Unix nanoseconds; no segment is tried before
	failed  atomic.Bool
	acked   atomic.Uint64 // records that the books have, as the Reporter says
	disk    atomic.Int64  // bytes of all boots' files
	drops   [dropReasons]atomic.Uint64
	wake    chan struct{} // many records are waiting
	low     chan struct{} // the current segment is half full: a spare is wanted

	lock *lock
	old  []*oldBoot

	mu       sync.Mutex // guards what follows
	closed   bool
	live     []*segment // kept, oldest first; the last may be current
	spare    *segment
	next     uint64 // number of the next segment
	released uint64 // records in segments that are gone
}

// OpenSpool takes the directory <dir>/spool for this process and starts a spool for the boot in it. What earlier boots
// left is found and kept for the Reporter. The boot id must be new with each start: 1 to 40 letters, digits, '-', '_'.
//
// It fails if another process holds the directory, or it cannot be written. A full disk is no failure: the spool then
// drops records until there is room.
func OpenSpool(dir, bootID string, o SpoolOptions) (*Spool, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = maxSegmentBytes
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	size := o.SegmentBytes &^ (headerSize - 1)
	if size < minSegmentBytes || size > maxSegmentBytes {
		return nil, fmt.Errorf("usage segments of %d bytes: want %d to %d", o.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	}
	if !validBootID(bootID) {
		return nil, fmt.Errorf("boot id %q: want 1 to %d letters, digits, '-' or '_'", bootID, maxBootID)
	}
	root := filepath.Join(dir, "spool")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("create usage spool: %w", err)
	}
	l, err := acquire(filepath.Join(root, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Spool{
		id: bootID, dir: filepath.Join(root, bootID), size: size, limit: o.MaxBytes, log: o.Log, now: o.Now,
		table: crc32.MakeTable(crc32.Castagnoli), lock: l, next: 1,
		wake: make(chan struct{}, 1), low: make(chan struct{}, 1),
	}
	if err := s.open(root); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return s, nil
}

func (s *Spool) open(root string) error {
	old, err := findOldBoots(root, s.id, s.log)
	if err != nil {
		return err
	}
	s.old = old
	for _, b := range old {
		s.disk.Add(b.bytes)
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return fmt.Errorf("create usage spool of boot %s: %w", s.id, err)
	}
	// Without room the spool starts full, and says so when that is found out.
	_ = s.rotate(nil)
	return nil
}

// BootID is the id that OpenSpool was given.
func (s *Spool) BootID() string { return s.id }

// Append spools a record. Once it returns nil, the record survives the end of the process. It takes no lock and
// allocates nothing, but for one append in thousands that goes on to the next file. The record may be reused.
func (s *Spool) Append(r *Record) error {
	size := payloadSize(r)
	for {
		seg := s.current.Load()
		if seg == nil {
			if err := s.rotate(nil); err != nil {
				return err
			}
			continue
		}
		slot, offset, ok := seg.reserve(size)
		if !ok {
			if err := s.rotate(seg); err != nil {
				return err
			}
			continue
		}
		if !s.write(seg, r, slot, offset, size) {
			return s.fail(seg)
		}
		if (slot+1)%wakeEvery == 0 {
			signal(s.wake)
		}
		if half := len(seg.pages.data) / 2; (offset < half && offset+size >= half) || slot == len(seg.pages.index)/2 {
			signal(s.low)
		}
		return nil
	}
}

// write commits a record; false = the mapping faulted (SIGBUS: the file was cut, or the disk failed).
func (s *Spool) write(seg *segment, r *Record, slot, offset, size int) (ok bool) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if ok {
			return
		}
		if p := recover(); !isFault(p) {
			panic(p)
		}
	}()
	seg.commit(r, slot, offset, size, s.table)
	return true
}

// isFault knows the panics that debug.SetPanicOnFault makes of faults.
func isFault(p any) bool {
	_, fault := p.(interface{ Addr() uintptr })
	return fault
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fail ends the spool after a fault. The slot stays empty, so the reader stops there and no sequence shifts.
func (s *Spool) fail(seg *segment) error {
	if !s.failed.Swap(true) {
		s.log.Error("usage spool failed, records are dropped until the process starts again", "segment", seg.path)
	}
	seg.seal()
	return s.drop(dropFailed, ErrFailed)
}

// rotate makes a new current segment unless another caller has done so since from was current.
func (s *Spool) rotate(from *segment) error {
	if s.failed.Load() {
		return s.drop(dropFailed, ErrFailed)
	}
	if from == nil && s.now().UnixNano() < s.retryAt.Load() {
		return s.drop(dropFull, ErrFull)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.drop(dropClosed, ErrClosed)
	}
	if s.current.Load() != from {
		return nil
	}
	if from == nil && s.now().UnixNano() < s.retryAt.Load() {
		return s.drop(dropFull, ErrFull)
	}
	if from != nil {
		from.seal()
	}
	next := s.spare
	s.spare = nil
	if next == nil {
		var err error
		if next, err = s.create(); err != nil {
			s.log.Warn("no room for usage records, they are dropped", "error", err)
			s.retryAt.Store(s.now().Add(retryFull).UnixNano())
			s.current.Store(nil)
			return s.drop(dropFull, ErrFull)
		}
	}
	// A reader that has deleted all before this segment has no other way to know its place.
	if err := guarded(func() error { return next.putBefore(s.spooled()) }); err != nil {
		s.failed.Store(true)
		return s.drop(dropFailed, ErrFailed)
	}
	s.live = append(s.live, next)
	s.current.Store(next)
	return nil
}

// create makes the next segment; s.mu is held.
func (s *Spool) create() (*segment, error) {
	size := int64(s.size)
	if s.disk.Add(size) > s.limit {
		s.disk.Add(-size)
		return nil, fmt.Errorf("%w: bound of %d bytes", ErrFull, s.limit)
	}
	seg, err := createSegment(s.dir, s.next, s.size)
	if err != nil {
		s.disk.Add(-size)
		return nil, err
	}
	s.next++
	return seg, nil
}

// prepare makes a spare segment, so that rotate need not wait for the disk.
func (s *Spool) prepare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.spare != nil || s.failed.Load() {
		return
	}
	// If there is no room, rotate will find that out and say so.
	if spare, err := s.create(); err == nil {
		s.spare = spare
	}
}

// freed tells the spool that bytes of files are gone.
func (s *Spool) freed(bytes int64) {
	s.disk.Add(-bytes)
	s.retryAt.Store(0)
}

// Spooled is how many records this boot has taken.
func (s *Spool) Spooled() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spooled()
}

func (s *Spool) spooled() uint64 {
	n := s.released
	for _, seg := range s.live {
		n += uint64(slotsTaken(seg.reserved.Load()))
	}
	return n
}

// Acked is how many of them the books have.
func (s *Spool) Acked() uint64 { return s.acked.Load() }

// Close ends the spool: Append fails from now on. What is not acknowledged stays on disk for the next start; if all is,
// nothing stays. The Reporter must have returned before.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	s.current.Store(nil)
	for _, seg := range s.live {
		seg.seal()
	}
	done := s.acked.Load() >= s.spooled() && !s.failed.Load()
	for _, seg := range s.live {
		if done {
			errs = append(errs, os.Remove(seg.path))
		}
		// A mapping with a writer in it is left for the end of the process.
		if s.complete(seg) {
			errs = append(errs, seg.unmap())
		}
	}
	if s.spare != nil {
		errs = append(errs, os.Remove(s.spare.path), s.spare.unmap())
	}
	if done {
		errs = append(errs, clearDir(s.dir))
	}
	return errors.Join(append(errs, s.lock.release())...)
}

// complete is segment.complete; a mapping that faults is not.
func (s *Spool) complete(seg *segment) bool {
	if s.failed.Load() {
		return false
	}
	return seg.complete()
}
