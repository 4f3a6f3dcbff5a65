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

// linger waits for answers until one is enough.
func (k *Keeper) linger(left <-chan struct{}, r *Reservation, s *Scopes, e Estimate) *Refusal {
	late := time.NewTimer(k.o.Wait)
	defer late.Stop()
	k.meter.waits.Inc()
	for heard := false; ; heard = true {
		w, p := r.waits, r.purse
		news := k.join(w)
		if news == nil {
			return k.reserve(r, s, e, k.reading(k.o.Now()), true)
		}
		// The answer may have come before the wait began.
		f := k.reserve(r, s, e, k.reading(k.o.Now()), false)
		if f == nil || f.Cause != Pending {
			k.part(w)
			return f
		}
		if r.waits != w {
			k.part(w) // by now it is another's answer that is needed
			continue
		}
		select {
		case <-news:
			k.part(w)
		case <-late.C:
			k.part(w)
			if !heard {
				k.inVain(w, p)
			}
			return k.reserve(r, s, e, k.reading(k.o.Now()), true)
		case <-left:
			k.part(w)
			return &r.refusal
		}
	}
}

// join is what an answer about the wallet closes; nil = too many wait for that.
func (k *Keeper) join(w *wallet) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w.waiters >= maxWaiters {
		return nil
	}
	w.waiters++
	if w.news == nil {
		w.news = make(chan struct{})
	}
	return w.news
}

// part ends a request's wait.
func (k *Keeper) part(w *wallet) {
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
