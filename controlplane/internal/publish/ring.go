package publish

import (
	"sync"
	"time"

	"fairway/pkg/digest"
)

// entry is one published Txn: the way from one content to the next. It is immutable.
type entry struct {
	// The content before was that of all revisions from since to base; sums are its digests.
	since, base int64
	before      *digest.Sums
	revision    int64
	root        uint64       // digest after
	after       *digest.Sums // digests after
	progress    frame        // Progress{base}, for a proxy that has not heard of base yet
	frames      []frame      // the Txn
	size        int          // bytes of frames
	observed    time.Time    // when the first of its changes came in
}

// view is what the ring shows to a subscriber at one moment.
type view struct {
	state *state        // nil before the first load
	entry *entry        // the one that was asked for; nil when it is not there (any more)
	wake  chan struct{} // closed when there is something new
}

// ring holds the current state and the newest entries on the way to it, bounded in bytes and number. Subscribers only
// read: each keeps the number of the entry that it wants next. It is safe for concurrent use; only one goroutine
// publishes.
type ring struct {
	maxBytes, maxEntries int

	mu      sync.Mutex
	state   *state
	entries []*entry
	first   uint64 // number of entries[0]
	bytes   int
	wake    chan struct{}
}

func newRing(maxBytes, maxEntries int) *ring {
	return &ring{maxBytes: maxBytes, maxEntries: maxEntries, wake: make(chan struct{})}
}

// reset starts over with a state that no entry leads to.
func (r *ring) reset(s *state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first += uint64(len(r.entries))
	r.entries, r.bytes = nil, 0
	s.next = r.first
	r.show(s)
}

// push adds the entry that leads from the current state to s.
func (r *ring) push(s *state, e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	r.bytes += e.size
	for len(r.entries) > 0 && (r.bytes > r.maxBytes || len(r.entries) > r.maxEntries) {
		r.bytes -= r.entries[0].size
		r.entries[0] = nil
		r.entries = r.entries[1:]
		r.first++
	}
	s.next = r.first + uint64(len(r.entries))
	r.show(s)
}

// progress says that the content holds at a later revision too.
func (r *ring) progress(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != nil && revision > r.state.revision {
		r.show(r.state.at(revision))
	}
}

// show must be called with the lock held.
func (r *ring) show(s *state) {
	r.state = s
	close(r.wake)
	r.wake = make(chan struct{})
}

// current returns the current state; nil before the first load.
func (r *ring) current() *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// view returns the current state and the entry with the given number.
func (r *ring) view(number uint64) view {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := view{state: r.state, wake: r.wake}
	if number >= r.first && number < r.first+uint64(len(r.entries)) {
		v.entry = r.entries[number-r.first]
	}
	return v
}

// locate returns the number of the entry that leads on from the content that a proxy holds at a revision; ok is false
// when the ring does not know that content at that revision. The number is that of the next entry to come when the
// proxy is up to date.
func (r *ring) locate(revision int64, sums *digest.Sums) (number uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == nil {
		return 0, false
	}
	if revision >= r.state.since && *sums == *r.state.sums {
		return r.state.next, true
	}
	for i := len(r.entries) - 1; i >= 0; i-- {
		e := r.entries[i]
		if e.since > revision {
			continue
		}
		return r.first + uint64(i), revision <= e.base && *sums == *e.before
	}
	return 0, false
}

// load returns how full the ring is.
func (r *ring) load() (entries, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries), r.bytes
}
