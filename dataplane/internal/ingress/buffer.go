package ingress

import "sync"

// bufferSize holds most requests whole, and a relayed piece of 4 KiB with its framing.
const bufferSize = 4<<10 + 256

// buffer is memory that a connection holds only while it needs it.
type buffer struct{ b []byte }

type buffers struct{ pool sync.Pool }

// get returns an empty buffer with room for bufferSize bytes.
func (p *buffers) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, bufferSize)}
}

// put takes a buffer back; nil is nothing. One that has grown is not kept.
func (p *buffers) put(b *buffer) {
	if b != nil && cap(b.b) == bufferSize {
		b.b = b.b[:0]
		p.pool.Put(b)
	}
}
