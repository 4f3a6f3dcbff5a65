package health

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// book is a bounded table of what is counted by name. Reading and adding take no lock; only adding allocates. Nothing is
// taken out: whoever owns it begins a new one when it is full of what nobody asks for.
type book[T any] struct {
	seed  maphash.Seed
	most  int32
	pages atomic.Int32
	slots []atomic.Pointer[page[T]] // a power of two of them, twice most or more
}

type page[T any] struct {
	channel, model string
	value          T
}

// probes is how far from its place a page may be.
const probes = 32

func newBook[T any](most int) *book[T] {
	n := 1
	for n < 2*most {
		n *= 2
	}
	return &book[T]{seed: maphash.MakeSeed(), most: int32(most), slots: make([]atomic.Pointer[page[T]], n)}
}

// at is the value for a channel and a model, new if need be; nil = the book is full. The names are copied when they are
// kept.
func (b *book[T]) at(channel, model string) *T {
	mask := uint64(len(b.slots) - 1)
	h := maphash.String(b.seed, model)
	if channel != "" {
		h ^= maphash.String(b.seed, channel) * 0x9e3779b97f4a7c15
	}
	var added *page[T]
	for i := range uint64(probes) {
		slot := &b.slots[(h+i)&mask]
		p := slot.Load()
		if p == nil {
			if added == nil {
				if b.pages.Add(1) > b.most {
					b.pages.Add(-1)
					return nil
				}
				added = &page[T]{channel: strings.Clone(channel), model: strings.Clone(model)}
			}
			if slot.CompareAndSwap(nil, added) {
				return &added.value
			}
			p = slot.Load()
		}
		if p.model == model && p.channel == channel {
			if added != nil {
				b.pages.Add(-1)
			}
			return &p.value
		}
	}
	if added != nil {
		b.pages.Add(-1)
	}
	return nil
}

// each visits what is in the book, in no order.
func (b *book[T]) each(visit func(channel, model string, value *T)) {
	for i := range b.slots {
		if p := b.slots[i].Load(); p != nil {
			visit(p.channel, p.model, &p.value)
		}
	}
}

// crowded says whether it is time to begin a new one.
func (b *book[T]) crowded() bool { return b.pages.Load() > b.most*3/4 }
