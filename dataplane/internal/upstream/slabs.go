package upstream

import "sync"

const (
	tinySize = 1 << 10 // heads, which a response holds until it is closed
	midSize  = 2 << 10 // heads with a content policy, or cookies
	slabSize = 4 << 10 // what a waiting response holds, and what a body is read into
)

// slabs are the buffers of connections at work, and of heads.
type slabs struct {
	tiny, mid, small, large sync.Pool
}

func newSlabs() *slabs {
	sized := func(n int) func() any {
		return func() any { b := make([]byte, n); return &b }
	}
	s := new(slabs)
	s.tiny.New, s.mid.New = sized(tinySize), sized(midSize)
	s.small.New, s.large.New = sized(slabSize), sized(maxHead)
	return s
}

// fitting returns the smallest buffer for n bytes, which are at most maxHead.
func (s *slabs) fitting(n int) *[]byte {
	switch {
	case n <= tinySize:
		return s.tiny.Get().(*[]byte)
	case n <= midSize:
		return s.mid.Get().(*[]byte)
	case n <= slabSize:
		return s.small.Get().(*[]byte)
	default:
		return s.large.Get().(*[]byte)
	}
}

// put takes a buffer back; nil is none.
func (s *slabs) put(b *[]byte) {
	if b == nil {
		return
	}
	switch len(*b) {
	case tinySize:
		s.tiny.Put(b)
	case midSize:
		s.mid.Put(b)
	case slabSize:
		s.small.Put(b)
	default:
		s.large.Put(b)
	}
}
