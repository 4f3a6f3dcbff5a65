package upstream

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"fairway/pkg/h1"
)

// Bounds of an encoded content. A decoder holds 8 MiB and a little at most (zstd; gzip needs 32 KiB), and what comes out is
// beyond the first 4 MiB at most 100 times what came in: text that repeats itself, as events do, stays below 30.
const (
	maxWindow   = 8 << 20
	freeContent = 4 << 20
	maxRatio    = 100
)

// coding is what a content is wrapped in.
type coding uint8

const (
	unwrapped coding = iota // also those that nobody here knows: whoever reads the field sees them
	gzipped
	zstandard
)

// codingOf reads a Content-Encoding.
func codingOf(v []byte) coding {
	switch {
	case h1.Is(v, "gzip"), h1.Is(v, "x-gzip"):
		return gzipped
	case h1.Is(v, "zstd"):
		return zstandard
	}
	return unwrapped
}

// content decodes a content while it arrives: what the upstream has flushed comes out at once.
type content struct {
	encoded encoded
	gzip    *gzip.Reader
	zstd    *zstd.Decoder
	open    bool  // gzip has begun
	out     int64 // bytes that came out
	err     error // what every further Read returns
}

// decode has the body decoded. Who reads the response does not learn that it was encoded.
func (r *Response) decode(c coding) {
	r.hide("content-encoding")
	if r.body.ended {
		return
	}
	r.hide("content-length")
	r.ContentLength = -1
	d := &content{encoded: encoded{r: r}}
	r.content = d
	if c == gzipped {
		d.gzip = r.pool.inflaters.Get().(*gzip.Reader)
		return
	}
	d.zstd, d.err = zstd.NewReader(&d.encoded, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
}

// Read is Response.Read.
func (d *content) Read(p []byte) (n int, err error) {
	for n == 0 && d.err == nil && len(p) > 0 {
		n, err = d.step(p)
		d.out += int64(n)
		if d.out > freeContent && d.out/maxRatio > d.encoded.in {
			n, err = 0, fmt.Errorf("decoded content: %w", ErrTooLarge)
		}
		if err != nil {
			d.err = d.verdict(err)
		}
	}
	return n, d.err
}

func (d *content) step(p []byte) (int, error) {
	if d.zstd != nil {
		return d.zstd.Read(p)
	}
	if !d.open {
		if err := d.gzip.Reset(&d.encoded); err != nil {
			return 0, err
		}
		d.open = true
	}
	return d.gzip.Read(p)
}

// verdict says what a decoder's error means. What it says of the bytes is kept back.
func (d *content) verdict(err error) error {
	r := d.encoded.r
	switch {
	case r.err != nil && !errors.Is(r.err, io.EOF): // the body's own end was worse
		return r.err
	case errors.Is(err, io.EOF):
		if r.c != nil && r.up.complete(0) {
			r.giveBack()
		}
		return io.EOF
	case errors.Is(err, ErrTooLarge):
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("window of the encoded content: %w", ErrTooLarge)
	default:
		err = malformed("encoded content")
	}
	return r.fail(err)
}

// each is Response.Each.
func (d *content) each(s *slabs, take func(piece []byte) bool) error {
	for more := true; more; {
		slab := s.small.Get().(*[]byte)
		n, err := d.Read(*slab)
		if n > 0 {
			more = take((*slab)[:n])
		}
		s.put(slab)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// close gives the decoder back.
func (d *content) close(p *Pool) {
	if d.gzip != nil {
		p.inflaters.Put(d.gzip)
	}
	if d.zstd != nil {
		d.zstd.Close() // it may hold a large window
	}
	p.slabs.put(d.encoded.slab)
	*d = content{err: ErrClosed}
}

// encoded is what a decoder reads: a response's body as it came, byte by byte too.
type encoded struct {
	r    *Response
	slab *[]byte
	left []byte // of the slab
	in   int64  // bytes that came
}

func (e *encoded) fill() error {
	if len(e.left) > 0 {
		return nil
	}
	if e.slab == nil {
		e.slab = e.r.pool.slabs.small.Get().(*[]byte)
	}
	n, err := e.r.read(*e.slab)
	e.in += int64(n)
	if e.left = (*e.slab)[:n]; n > 0 {
		return nil // an error comes again
	}
	return err
}

// Read implements io.Reader.
func (e *encoded) Read(p []byte) (int, error) {
	if err := e.fill(); err != nil {
		return 0, err
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

// ReadByte implements io.ByteReader.
func (e *encoded) ReadByte() (byte, error) {
	if err := e.fill(); err != nil {
		return 0, err
	}
	b := e.left[0]
	e.left = e.left[1:]
	return b, nil
}
