package accesslog

import "sync/atomic"

// cacheLine keeps what requests write apart from what the writer writes; some processors fetch two lines of 64 bytes.
const cacheLine = 128

// ring is a bounded queue of many producers and one consumer, after Dmitry Vyukov ("Bounded MPMC queue", 1024cores.net): a
// slot's sequence number says whose turn it is. A producer takes a slot with one compare-and-swap and fills it; nobody
// takes a lock.
type ring struct {
	slots []slot
	mask  uint64
	wake  chan struct{}
	idle  atomic.Bool // the consumer waits, and the next line is to wake it

	_    [cacheLine]byte
	head atomic.Uint64 // the next slot to fill
	_    [cacheLine]byte
	tail uint64 // the next slot to take; the consumer's own
}

type slot struct {
	// turn is n when the slot awaits its line n, and n+1 when it holds that.
	turn atomic.Uint64
	line line
}

// init makes a ring of at least size slots.
func (r *ring) init(size int) {
	n := 16
	for n < size {
		n *= 2
	}
	r.slots, r.mask, r.wake = make([]slot, n), uint64(n-1), make(chan struct{}, 1)
	for i := range r.slots {
		r.slots[i].turn.Store(uint64(i))
	}
}

// put copies the entry into the ring; it does not when that is full.
func (r *ring) put(e *Entry) bool {
	for {
		n := r.head.Load()
		s := &r.slots[n&r.mask]
		turn := s.turn.Load()
		if turn < n {
			return false // the line that was put there one round ago is still to be written
		}
		if turn > n || !r.head.CompareAndSwap(n, n+1) {
			continue // another producer was quicker
		}
		s.line.set(e)
		s.turn.Store(n + 1)
		// A consumer that is awake gathers lines for a while before it looks again. Each quarter of the ring ends that.
		if quarter := r.mask >> 2; (r.idle.Load() && r.idle.CompareAndSwap(true, false)) || n&quarter == quarter {
			r.poke()
		}
		return true
	}
}

// poke has the consumer look.
func (r *ring) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// next is the oldest line, or nil; it stays as it is until done is called. For the consumer.
func (r *ring) next() *line {
	s := &r.slots[r.tail&r.mask]
	if s.turn.Load() != r.tail+1 {
		return nil
	}
	return &s.line
}

// done gives the slot of next back to the producers.
func (r *ring) done() {
	r.slots[r.tail&r.mask].turn.Store(r.tail + r.mask + 1)
	r.tail++
}
