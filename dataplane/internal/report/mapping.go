package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// segment is a mapped segment of the running boot.
//
// Slots are reserved in memory, in one word: bit 63 sealed, 32-62 slots taken, 0-31 bytes of payload taken. Only the
// index in the file says what is complete, so a killed process leaves nothing that would have to be repaired.
type segment struct {
	number   uint64
	path     string
	image    []byte
	pages    pages
	reserved atomic.Uint64
}

const sealed = 1 << 63

func slotsTaken(reserved uint64) int { return int(reserved &^ sealed >> 32) }
func bytesTaken(reserved uint64) int { return int(uint32(reserved)) }

// segmentName is the file name of the nth segment, n from 1.
func segmentName(number uint64) string { return fmt.Sprintf("%08d%s", number, segmentSuffix) }

const (
	segmentSuffix = ".seg"
	partSuffix    = ".part"
)

// createSegment makes the file, allocates and maps it. It has its final name only once its header is complete.
func createSegment(dir string, number uint64, size int) (_ *segment, err error) {
	path := filepath.Join(dir, segmentName(number))
	part := path + partSuffix
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create usage segment: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(part)
		}
	}()
	if err := allocate(f, size); err != nil {
		return nil, fmt.Errorf("allocate usage segment: %w", err)
	}
	image, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, mapFlags)
	if err != nil {
		return nil, fmt.Errorf("map usage segment: %w", err)
	}
	l := layoutOf(size)
	putHeader(image, l)
	if err := os.Rename(part, path); err != nil {
		_ = unix.Munmap(image)
		return nil, fmt.Errorf("name usage segment: %w", err)
	}
	return &segment{number: number, path: path, image: image, pages: pages{
		// The index starts on a page, so its words are aligned.
		index: unsafe.Slice((*uint64)(unsafe.Pointer(&image[headerSize])), l.slots),
		data:  image[l.data:],
	}}, nil
}

// reserve takes a slot and room for size bytes, or says that the segment is full or sealed.
func (s *segment) reserve(size int) (slot, offset int, ok bool) {
	room := (size + slotAlign - 1) &^ (slotAlign - 1)
	for {
		old := s.reserved.Load()
		slot, offset = slotsTaken(old), bytesTaken(old)
		if old&sealed != 0 || slot == len(s.pages.index) || offset+room > len(s.pages.data) {
			return 0, 0, false
		}
		if s.reserved.CompareAndSwap(old, old+1<<32+uint64(room)) {
			return slot, offset, true
		}
	}
}

// commit writes a record to what reserve gave and publishes it.
func (s *segment) commit(r *Record, slot, offset, size int, table *crc32.Table) {
	payload := s.pages.data[offset : offset+size : offset+size]
	encode(payload, r)
	atomic.StoreUint64(&s.pages.index[slot], uint64(newWord(offset, size, crc32.Checksum(payload, table))))
}

// seal ends reservations.
func (s *segment) seal() { s.reserved.Or(sealed) }

// putBefore notes how many records come before this segment. It never fails but by a fault.
func (s *segment) putBefore(n uint64) error {
	binary.NativeEndian.PutUint64(s.image[offsetBase:], n+1)
	return nil
}

// setBefore is putBefore, on disk when it returns.
func (s *segment) setBefore(n uint64) error {
	binary.NativeEndian.PutUint64(s.image[offsetBase:], n+1)
	if err := unix.Msync(s.image[:headerSize], unix.MS_SYNC); err != nil {
		return fmt.Errorf("sync usage segment: %w", err)
	}
	return nil
}

// complete says that every reserved slot is committed, so that nobody writes to the mapping any more.
func (s *segment) complete() bool {
	taken := slotsTaken(s.reserved.Load())
	for n := range taken {
		if atomic.LoadUint64(&s.pages.index[n]) == 0 {
			return false
		}
	}
	return true
}

// unmap must be called on a sealed and complete segment only.
func (s *segment) unmap() error {
	if err := unix.Munmap(s.image); err != nil {
		return fmt.Errorf("unmap usage segment: %w", err)
	}
	return nil
}

// writeZeros allocates by writing, where the file system cannot do it otherwise.
func writeZeros(f *os.File, size int) error {
	zeros := make([]byte, 64<<10)
	for at := 0; at < size; {
		n, err := f.WriteAt(zeros[:min(len(zeros), size-at)], int64(at))
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}
