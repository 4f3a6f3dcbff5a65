package sim

import "time"

// agenda is what is going to happen, by time; what is due at the same time happens in the order in which it was noted.
type agenda struct {
	now  time.Duration // since the world began
	last uint64
	heap []entry
}

type entry struct {
	at    time.Duration
	order uint64
	do    func()
}

func (e *entry) before(o *entry) bool {
	return e.at < o.at || e.at == o.at && e.order < o.order
}

// after notes something for d from now.
func (a *agenda) after(d time.Duration, do func()) { a.at(a.now+d, do) }

// at notes something for a time; one in the past is now.
func (a *agenda) at(t time.Duration, do func()) {
	a.last++
	a.heap = append(a.heap, entry{max(t, a.now), a.last, do})
	h := a.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// every notes something for each period, from first on.
func (a *agenda) every(first, period time.Duration, do func()) {
	var again func()
	again = func() {
		do()
		a.after(period, again)
	}
	a.at(first, again)
}

// run works off what is due until end.
func (a *agenda) run(end time.Duration) {
	for len(a.heap) > 0 && a.heap[0].at <= end {
		e := a.take()
		a.now = e.at
		e.do()
	}
	a.now = end
}

func (a *agenda) take() entry {
	h := a.heap
	first := h[0]
	n := len(h) - 1
	h[0], h[n] = h[n], entry{}
	h = h[:n]
	a.heap = h
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < n; child++ {
			if h[child].before(&h[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
