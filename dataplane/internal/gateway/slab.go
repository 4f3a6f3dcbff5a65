package gateway

import "sync"

// slabSizes are the sizes of memory that is kept for reuse. What is larger comes from the allocator and goes back to it.
var slabSizes = [...]int{1 << 10, 4<<10 - 64, 16 << 10, 64 << 10, 256 << 10, 1 << 20} //nolint:gochecknoglobals // a constant table; Go has no constant of this type

// piece is the smallest slab: with chunk framing it fits one write of ingress.
const pieceSize = 4<<10 - 64

// slab is a piece of memory that belongs to whoever holds it.
type slab struct {
	b     []byte
	class int // of slabSizes; len(slabSizes) = none
}

func (b *slab) bytes() []byte {
	if b == nil {
		return nil
	}
	return b.b
}

type slabs struct{ pools [len(slabSizes)]sync.Pool }

// get returns an empty slab with room for n bytes.
func (s *slabs) get(n int) *slab {
	for class, size := range slabSizes {
		if n > size {
			continue
		}
		if b, ok := s.pools[class].Get().(*slab); ok {
			b.b = b.b[:0]
			return b
		}
		return &slab{b: make([]byte, 0, size), class: class}
	}
	return &slab{b: make([]byte, 0, n), class: len(slabSizes)}
}

// put takes a slab back; nil is nothing.
func (s *slabs) put(b *slab) {
	if b != nil && b.class < len(slabSizes) && cap(b.b) >= slabSizes[b.class] {
		s.pools[b.class].Put(b)
	}
}

// growsTo is from which size on a slab grows to all that may come, so that little is copied and left to the collector.
const growsTo = 1 << 20

// grow returns a slab with the bytes of b and room for more than it had, most at most; b is taken back.
func (s *slabs) grow(b *slab, most int) *slab {
	room := min(4*cap(b.b), most)
	if cap(b.b) >= growsTo {
		room = most
	}
	next := s.get(room)
	next.b = append(next.b, b.b...)
	s.put(b)
	return next
}
