package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
)

// A segment file, in the byte order of the machine unless said otherwise (spools do not travel; the magic number tells
// a foreign order):
//
//	0     magic (8), version (4), size of the file (4)
//	16    number of slots (4), zero (4)
//	24    1 + how many records of the boot come before this segment (8); 0 = not known yet
//	4096  index: one word of 8 bytes per slot
//	...   payloads, each at a multiple of 8
//
// A word of the index is 0 until its record is complete. It is written in one atomic store after the payload, and says
// all about it, from the lowest bit: offset in units of 8 bytes from the end of the index (19 bits), length (13), CRC-32C
// of the payload (32). The index is apart from the payloads so that no record's text can pass for another record, and a
// slot that a killed process reserved and never filled hides nothing behind it.
const (
	segmentMagic   = 0x6661697277617931 // "fairway1", big-endian
	segmentVersion = 1

	headerSize  = 4096
	offsetSize  = 12
	offsetSlots = 16
	offsetBase  = 24

	slotAlign       = 8
	bytesPerSlot    = 128 // of the file, per word of the index
	minSegmentBytes = 64 << 10
	maxSegmentBytes = 4 << 20 // what 19 bits of offset can reach
)

var (
	errForeign = errors.New("not a segment of this format version and machine")
	errDamaged = errors.New("damaged segment header")
)

// layout says where things are in a segment of some size.
type layout struct {
	size, slots, data int
}

func layoutOf(size int) layout {
	slots := size / bytesPerSlot
	return layout{size: size, slots: slots, data: headerSize + 8*slots}
}

// word is an entry of the index.
type word uint64

func newWord(offset, length int, crc uint32) word {
	return word(uint64(crc)<<32 | uint64(length)<<19 | uint64(offset/slotAlign))
}

func (w word) offset() int { return int(w&(1<<19-1)) * slotAlign }
func (w word) length() int { return int(w >> 19 & (1<<13 - 1)) }
func (w word) crc() uint32 { return uint32(w >> 32) }

// pages are a segment's index and payloads. The index of a live segment changes under its readers; entries go from 0 to
// their value once.
type pages struct {
	index []uint64
	data  []byte
}

// slotState is what is in a slot.
type slotState uint8

const (
	slotEmpty slotState = iota
	slotGood
	slotCorrupt
)

// slot reads slot n, which must be in the index.
func (p pages) slot(n int, table *crc32.Table) (Record, slotState) {
	w := word(atomic.LoadUint64(&p.index[n]))
	if w == 0 {
		return Record{}, slotEmpty
	}
	from, length := w.offset(), w.length()
	if from+length > len(p.data) {
		return Record{}, slotCorrupt
	}
	payload := p.data[from : from+length]
	if crc32.Checksum(payload, table) != w.crc() {
		return Record{}, slotCorrupt
	}
	r, ok := decode(payload)
	if !ok {
		return Record{}, slotCorrupt
	}
	return r, slotGood
}

// used is the number of slots up to the last that is not empty.
func (p pages) used() int {
	for n := len(p.index); n > 0; n-- {
		if atomic.LoadUint64(&p.index[n-1]) != 0 {
			return n
		}
	}
	return 0
}

// putHeader writes the header of a new segment, without its place.
func putHeader(image []byte, l layout) {
	ne := binary.NativeEndian
	ne.PutUint64(image, segmentMagic)
	ne.PutUint32(image[8:], segmentVersion)
	ne.PutUint32(image[offsetSize:], uint32(l.size))
	ne.PutUint32(image[offsetSlots:], uint32(l.slots))
}

// checkHead checks the header of a segment file of some size.
func checkHead(head []byte, size int64) error {
	ne := binary.NativeEndian
	if len(head) < headerSize {
		return fmt.Errorf("%w: %d bytes", errDamaged, len(head))
	}
	if magic, version := ne.Uint64(head), ne.Uint32(head[8:]); magic != segmentMagic || version != segmentVersion {
		if magic == 0 && version == 0 {
			return fmt.Errorf("%w: it is empty", errDamaged)
		}
		return fmt.Errorf("%w: magic %#x, version %d", errForeign, magic, version)
	}
	if size < minSegmentBytes || size > maxSegmentBytes || size%headerSize != 0 ||
		int64(ne.Uint32(head[offsetSize:])) != size || int64(ne.Uint32(head[offsetSlots:])) != size/bytesPerSlot {
		return fmt.Errorf("%w: sizes disagree", errDamaged)
	}
	return nil
}

// parseSegment reads a whole segment file. before is how many records of the boot precede it, if known.
func parseSegment(image []byte) (p pages, before uint64, known bool, err error) {
	if err := checkHead(image[:min(len(image), headerSize)], int64(len(image))); err != nil {
		return pages{}, 0, false, err
	}
	l := layoutOf(len(image))
	p = pages{index: make([]uint64, l.slots), data: image[l.data:]}
	for n := range p.index {
		p.index[n] = binary.NativeEndian.Uint64(image[headerSize+8*n:])
	}
	if base := binary.NativeEndian.Uint64(image[offsetBase:]); base > 0 {
		return p, base - 1, true, nil
	}
	return p, 0, false, nil
}
