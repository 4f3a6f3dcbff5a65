package journal

import "sync/atomic"

// cacheLine keeps what walks write apart from what the consumer writes; some processors fetch two lines of 64 bytes.
const cacheLine = 128

// Queue is a bounded queue of many producers and one consumer, after Dmitry Vyukov ("Bounded MPMC queue", 1024cores.net): a
// slot's sequence number says whose turn it is. A producer takes a slot with one compare-and-swap and fills it; nobody
// takes a lock. Put and Poke are safe for concurrent use; all else is the consumer's.
type Queue struct {
	slots  []slot
	bodies []*Bodies // beside the slots, which are nothing to the garbage collector; nil = there are none
	mask   uint64
	wake   chan struct{}
	idle   atomic.Bool // the consumer waits, and the next entry is to wake it

	_    [cacheLine]byte
	head atomic.Uint64 // the next slot to fill
	_    [cacheLine]byte
	tail uint64 // the next slot to take; the consumer's own
	// The entry that Next has given.
	entry Entry
	trail [MaxTrail]Attempt
}

type slot struct {
	// turn is n when the slot awaits its entry n, and n+1 when it holds that.
	turn atomic.Uint64
	line line
}

// NewQueue makes a queue of at least size entries, which takes about 4 KiB for each. One without bodies leaves them to
// who puts the entry.
func NewQueue(size int, bodies bool) *Queue {
	n := 16
	for n < size {
		n *= 2
	}
	q := &Queue{slots: make([]slot, n), mask: uint64(n - 1), wake: make(chan struct{}, 1)}
	for i := range q.slots {
		q.slots[i].turn.Store(uint64(i))
	}
	if bodies {
		q.bodies = make([]*Bodies, n)
	}
	return q
}

// Size is how many entries the queue holds.
func (q *Queue) Size() int { return len(q.slots) }

// Put copies the entry into the queue; it does not when that is full. It does not wait and does not allocate.
func (q *Queue) Put(e *Entry) bool {
	for {
		n := q.head.Load()
		s := &q.slots[n&q.mask]
		turn := s.turn.Load()
		if turn < n {
			return false // the entry that was put there one round ago is still to be taken
		}
		if turn > n || !q.head.CompareAndSwap(n, n+1) {
			continue // another producer was quicker
		}
		s.line.set(e)
		if q.bodies != nil {
			q.bodies[n&q.mask] = e.Bodies
		}
		s.turn.Store(n + 1)
		// A consumer that is awake gathers entries for a while before it looks again. Each quarter of the queue ends that.
		if quarter := q.mask >> 2; (q.idle.Load() && q.idle.CompareAndSwap(true, false)) || n&quarter == quarter {
			q.Poke()
		}
		return true
	}
}

// Poke has the consumer look.
func (q *Queue) Poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Woken tells the consumer to look.
func (q *Queue) Woken() <-chan struct{} { return q.wake }

// Idle says that the consumer waits for the next entry, or no more. Who says so looks once more before it waits: an entry
// that came before does not wake it.
func (q *Queue) Idle(yes bool) { q.idle.Store(yes) }

// Ready says whether there is an entry.
func (q *Queue) Ready() bool { return q.slots[q.tail&q.mask].turn.Load() == q.tail+1 }

// Next is the oldest entry, or nil; it and its strings stay as they are until Done is called.
func (q *Queue) Next() *Entry {
	if !q.Ready() {
		return nil
	}
	q.slots[q.tail&q.mask].line.view(&q.entry, &q.trail)
	if q.bodies != nil {
		q.entry.Bodies = q.bodies[q.tail&q.mask]
	}
	return &q.entry
}

// Done gives the slot of Next back to the producers, and its bodies to where they were taken.
func (q *Queue) Done() {
	if q.bodies != nil {
		q.bodies[q.tail&q.mask].Release()
		q.bodies[q.tail&q.mask] = nil
	}
	q.slots[q.tail&q.mask].turn.Store(q.tail + q.mask + 1)
	q.tail++
}
