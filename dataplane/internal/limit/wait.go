package limit

import "time"

// Client is who waits for a request. A context is one.
type Client interface {
	// Done is closed when the client leaves. It is asked for only when there is something to wait for.
	Done() <-chan struct{}
}

// Admit is Reserve for a request that can wait: where the leader's answer is on its way it waits for that, 250 ms at most,
// and tries again. It ends when the client leaves, with a refusal.
func (k *Keeper) Admit(c Client, r *Reservation, s *Scopes, e Estimate) *Refusal {
	f := k.reserve(r, s, e, k.reading(k.o.Now()), k.o.Wait < 0)
	if f != nil && f.Cause == Pending {
		f = k.linger(c.Done(), r, s, e)
	}
	if f != nil {
		k.meter.refuse(f)
	}
	return f
}

// linger waits for answers until one is enough. A request that lacks a slot waits as well for one that comes back here.
func (k *Keeper) linger(left <-chan struct{}, r *Reservation, s *Scopes, e Estimate) *Refusal {
	late := time.NewTimer(k.o.Wait)
	defer late.Stop()
	k.meter.waits.Inc()
	for heard := false; ; heard = true {
		w, p := r.waits, r.purse
		news := k.join(w, p)
		if news == nil {
			return k.reserve(r, s, e, k.reading(k.o.Now()), true)
		}
		// The answer may have come before the wait began.
		f := k.reserve(r, s, e, k.reading(k.o.Now()), false)
		if f == nil || f.Cause != Pending {
			k.part(w, p)
			p.nudge(p.current.Load()) // one was told of a slot, and there may be more
			return f
		}
		if r.waits != w || r.purse != p {
			k.part(w, p) // by now it is another's answer that is needed
			continue
		}
		select {
		case <-news:
		case <-p.freed:
		case <-late.C:
			k.part(w, p)
			if !heard {
				k.inVain(w, p)
			}
			return k.reserve(r, s, e, k.reading(k.o.Now()), true)
		case <-left:
			k.part(w, p)
			return &r.refusal
		}
		k.part(w, p)
	}
}

// join is what an answer about the wallet closes; nil = too many wait for that.
func (k *Keeper) join(w *wallet, p *purse) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w.waiters >= maxWaiters {
		return nil
	}
	w.waiters++
	p.queue.Add(1)
	if w.news == nil {
		w.news = make(chan struct{})
	}
	return w.news
}

// part ends a request's wait.
func (k *Keeper) part(w *wallet, p *purse) {
	p.queue.Add(-1)
	k.mu.Lock()
	defer k.mu.Unlock()
	w.waiters--
}

// inVain lets nobody else wait for a while, and those who do no longer.
func (k *Keeper) inVain(w *wallet, p *purse) {
	p.quiet.Store(k.reading(k.o.Now()) + calm)
	k.mu.Lock()
	defer k.mu.Unlock()
	w.tell()
}

// tell ends the waits. The caller holds Keeper.mu.
func (w *wallet) tell() {
	if w.news != nil {
		close(w.news)
		w.news = nil
	}
}
