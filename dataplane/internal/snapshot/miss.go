package snapshot

import (
	"context"
	"time"
)

// missBound is the longest that a request waits for news after it found nothing.
const missBound = 250 * time.Millisecond

// maxCauses bounds the causes that are waited for, and those remembered as absent. Beyond it a miss is final at once.
const maxCauses = 4096

// window is the one wait for one cause.
type window struct {
	ends    time.Time
	waiters int
}

// Miss is called when a request found nothing in the snapshot `after`: an admin's write may be acknowledged before it
// reaches this proxy, and only news can tell. It waits until a current snapshot satisfies found and returns that with
// true, or returns the current snapshot with false: then the miss is final.
//
// It waits 250 ms at most, connected or not. All requests with one cause ("what is missing": choose it so that it is
// equal exactly when found is) share one wait. After a wait in vain the cause is absent for that revision: further
// misses are final at once until a newer revision arrives, so that a flood of requests for what does not exist costs
// one wait per revision. Unrelated news neither end a wait nor lengthen it. It is safe for concurrent use.
func (h *Holder) Miss(ctx context.Context, after *Snapshot, cause string, found func(*Snapshot) bool) (*Snapshot, bool) {
	s, news, w := h.join(after, cause, found)
	if w == nil {
		return s, s != after && found(s)
	}
	h.waits.Add(1)
	timer := time.NewTimer(time.Until(w.ends))
	defer timer.Stop()
	for {
		select {
		case <-news:
		case <-timer.C:
			h.leave(cause, w, true)
			s = h.Current()
			return s, found(s)
		case <-ctx.Done():
			h.leave(cause, w, false)
			return h.Current(), false
		}
		h.mu.Lock()
		s, news = h.current.Load(), h.news
		h.mu.Unlock()
		if found(s) {
			h.leave(cause, w, false)
			return s, true
		}
	}
}

// Waits is how many misses waited for news; the others were answered at once.
func (h *Holder) Waits() uint64 { return h.waits.Load() }

// join enters the wait for a cause. A nil window means that there is nothing to wait for.
func (h *Holder) join(after *Snapshot, cause string, found func(*Snapshot) bool) (*Snapshot, <-chan struct{}, *window) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.current.Load()
	if s != after && found(s) {
		return s, nil, nil
	}
	if h.at == s.revision && h.absent[cause] {
		return s, nil, nil
	}
	w := h.windows[cause]
	if w == nil {
		if len(h.windows) >= maxCauses {
			return s, nil, nil
		}
		w = &window{ends: time.Now().Add(missBound)}
		h.windows[cause] = w
	}
	w.waiters++
	return s, h.news, w
}

// leave ends a request's part in a wait. The first to see it run out marks the cause absent.
func (h *Holder) leave(cause string, w *window, ranOut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.waiters--
	if (ranOut || w.waiters == 0) && h.windows[cause] == w {
		delete(h.windows, cause)
	}
	if !ranOut {
		return
	}
	if now := h.current.Load().revision; h.at != now {
		clear(h.absent)
		h.at = now
	}
	if len(h.absent) < maxCauses {
		h.absent[cause] = true
	}
}
