package upstream

import "fairway/pkg/h1"

// maxKeptFields: the index of a response with more is left to the garbage collector, so that one such response does not
// make every later one hold as much.
const maxKeptFields = 64

// span is a part of a head.
type span struct{ at, size uint16 }

func (s span) of(b []byte) []byte { return b[s.at:][:s.size:s.size] }

// field is where a head's field is.
type field struct{ name, value span }

// header is what a Response and a Tunnel know of the head: a copy of its bytes, and where its fields are.
type header struct {
	slab   *[]byte
	fields []field
}

// Get returns the first value of a field, nil if there is none. The name is given in lower case. Values are valid, and not
// to be changed, until Close.
func (h *header) Get(lower string) []byte {
	for _, f := range h.fields {
		if int(f.name.size) == len(lower) && h1.Is(f.name.of(*h.slab), lower) {
			return f.value.of(*h.slab)
		}
	}
	return nil
}

// Fields yields all fields in order, as the upstream spelt them.
func (h *header) Fields(yield func(name, value []byte) bool) {
	for _, f := range h.fields {
		if !yield(f.name.of(*h.slab), f.value.of(*h.slab)) {
			return
		}
	}
}

// keep copies a head whose fields are known already.
func (h *header) keep(s *slabs, b []byte, fields []field) {
	h.slab = s.fitting(len(b))
	copy(*h.slab, b)
	h.fields = fields
}

// hide takes every field of a name out.
func (h *header) hide(lower string) {
	left := h.fields[:0]
	for _, f := range h.fields {
		if !h1.Is(f.name.of(*h.slab), lower) {
			left = append(left, f)
		}
	}
	h.fields = left
}

// forget gives the bytes back, and keeps what the next head can use.
func (h *header) forget(s *slabs) {
	s.put(h.slab)
	h.slab = nil
	if cap(h.fields) > maxKeptFields {
		h.fields = nil
	}
	h.fields = h.fields[:0]
}
