package snapshot

import (
	"sync"
	"sync/atomic"
	"time"
)

// Holder hands out the current snapshot. Its readers are safe for concurrent use; one subscriber writes.
type Holder struct {
	current   atomic.Pointer[Snapshot]
	state     atomic.Int32 // loadState
	newest    atomic.Int64
	connected atomic.Bool
	confirmed atomic.Int64 // unix ms when the control plane last said that the snapshot is current; 0 = never
	waits     atomic.Uint64

	mu      sync.Mutex
	news    chan struct{}      // closed and renewed with each new snapshot
	windows map[string]*window // causes that are waited for
	absent  map[string]bool    // causes that were waited for in vain at revision absentAt
	at      int64
}

type loadState int32

const (
	loadNone loadState = iota
	loadFile
	loadLive
)

// NewHolder returns a holder of an empty snapshot.
func NewHolder() *Holder {
	h := &Holder{news: make(chan struct{}), windows: make(map[string]*window), absent: make(map[string]bool)}
	h.current.Store(empty())
	return h
}

// Current is the newest snapshot; empty, never nil, before the first.
func (h *Holder) Current() *Snapshot { return h.current.Load() }

// Ready reports whether there is a snapshot to serve from, and whether it is the last-known-good one from disk that no
// control plane has confirmed yet.
func (h *Holder) Ready() (ready, fromFile bool) {
	s := loadState(h.state.Load())
	return s != loadNone, s == loadFile
}

// Newest is the newest revision heard of; it may be ahead of the current snapshot's.
func (h *Holder) Newest() int64 { return h.newest.Load() }

// Connected reports whether a control plane feeds this proxy now.
func (h *Holder) Connected() bool { return h.connected.Load() }

// Age is how long ago a control plane confirmed the snapshot; 0 while connected, and negative when there is none to
// speak of.
func (h *Holder) Age(now time.Time) time.Duration {
	if h.connected.Load() {
		return 0
	}
	at := h.confirmed.Load()
	if at == 0 {
		return -1
	}
	return max(0, now.Sub(time.UnixMilli(at)))
}

// Restore makes a snapshot from disk current; it was confirmed when it was saved.
func (h *Holder) Restore(s *Snapshot, saved time.Time) {
	h.confirmed.Store(saved.UnixMilli())
	h.publish(s, loadFile)
}

// Publish makes a snapshot that the control plane sent, or confirmed, the current one.
func (h *Holder) Publish(s *Snapshot, now time.Time) {
	h.confirmed.Store(now.UnixMilli())
	h.publish(s, loadLive)
}

// Heard notes that revision exists, though its state is not here yet.
func (h *Holder) Heard(revision int64) { raise(&h.newest, revision) }

// SetConnected notes whether a control plane feeds this proxy.
func (h *Holder) SetConnected(on bool, now time.Time) {
	if was := h.connected.Swap(on); was && !on {
		h.confirmed.Store(now.UnixMilli())
	}
}

func (h *Holder) publish(s *Snapshot, from loadState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.lineage != h.current.Load().lineage {
		h.newest.Store(s.revision) // revisions of another data set say nothing about this one
	} else {
		raise(&h.newest, s.revision)
	}
	h.current.Store(s)
	h.state.Store(int32(from))
	close(h.news)
	h.news = make(chan struct{})
}
