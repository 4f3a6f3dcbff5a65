package sim

import "time"

// Result is what a run came to. Shares are 0 to 1.
type Result struct {
	Name, Strategy string
	Seed           uint64
	Requests       uint64
	Rate           float64   // requests a second that were meant to come
	Failed         float64   // share of requests without a whole answer
	Broken         float64   // likewise, of those that had a part of it
	Over           float64   // share of first attempts at an account that was full
	Rejected       float64   // share of attempts that were answered 429 for that
	Retries        float64   // per request
	Panicked       float64   // share of attempts
	Dropped        uint64    // attempts that ended with their proxy
	Utilisation    float64   // of all accounts that were there
	Uneven         float64   // the busiest account over the mean, each by its own mean over the time
	Peak           float64   // the busiest account over the mean at a moment, on average over moments
	Price          float64   // mean price ratio of attempts
	TTFT           float64   // mean time to the first byte, in ms
	Shares         []float64 `json:",omitempty"` // of attempts, by account
	Events         []Event   `json:",omitempty"`

	seconds []second
	tries   [][]uint32
	weights []float64
	warm    int
	length  int
}

func (t *tally) result() *Result {
	w, c := t.world, t.counts
	b := t.before
	share := func(a, b uint64) float64 {
		if b == 0 {
			return 0
		}
		return float64(a) / float64(b)
	}
	attempts := c.attempts - b.attempts
	r := &Result{
		Name: w.setup.Name, Strategy: strategyName(w.setup.Strategy), Seed: w.setup.Seed, Rate: w.rate,
		Requests: c.requests - b.requests, Failed: share(c.failed-b.failed, c.requests-b.requests),
		Broken: share(c.broken-b.broken, c.requests-b.requests),
		Over:   share(c.firstOver-b.firstOver, c.first-b.first), Rejected: share(c.rejected-b.rejected, attempts),
		Retries: share(c.retries-b.retries, c.requests-b.requests), Panicked: share(c.panicked-b.panicked, attempts),
		Dropped: c.dropped - b.dropped, Events: t.events,
		seconds: t.seconds, tries: t.tries, warm: int(w.setup.Warm / time.Second), length: int(w.setup.Length / time.Second),
	}
	if attempts > 0 {
		r.Price = (c.price - b.price) / float64(attempts)
	}
	if n := c.answers - b.answers; n > 0 {
		r.TTFT = float64((c.ttft - b.ttft).Milliseconds()) / float64(n)
	}
	if w.setup.Rival != 0 {
		r.Strategy = w.setup.Rival.String()
	}
	n := float64(max(t.samples, 1))
	r.Peak = t.peaks / n
	var most, sum, total float64
	there := 0
	for i, u := range w.accounts {
		if !u.there {
			r.weights = append(r.weights, 0)
			continue
		}
		there++
		use := t.carried[i] / n
		most = max(most, use)
		sum += use
		total += float64(u.capacity)
		r.weights = append(r.weights, float64(u.capacity))
	}
	for i := range r.weights {
		r.weights[i] /= total
	}
	r.Utilisation = sum / float64(there)
	if sum > 0 {
		r.Uneven = most / r.Utilisation
	}
	return r
}

// Share is the part of the attempts in [from, to) seconds of the measured time that went to accounts.
func (r *Result) Share(from, to int, accounts ...int) float64 {
	var mine, all float64
	for s := r.warm + from; s < min(r.warm+to, len(r.seconds)); s++ {
		for _, a := range accounts {
			mine += float64(r.tries[a][s])
		}
		all += float64(r.seconds[s].attempts)
	}
	if all == 0 {
		return 0
	}
	return mine / all
}

// Of is Share over what the accounts' weights give them.
func (r *Result) Of(from, to int, accounts ...int) float64 {
	var weight float64
	for _, a := range accounts {
		weight += r.weights[a]
	}
	return r.Share(from, to, accounts...) / weight
}

// FailedIn is the share of requests that ended without a whole answer in [from, to), of those that came then.
func (r *Result) FailedIn(from, to int) float64 {
	var failed, all float64
	for s := r.warm + from; s < min(r.warm+to, len(r.seconds)); s++ {
		failed += float64(r.seconds[s].failed)
		all += float64(r.seconds[s].requests)
	}
	if all == 0 {
		return 0
	}
	return failed / all
}

// When is the time of the first decision about an account from a second on that led to a state; negative = none did.
func (r *Result) When(from float64, account int, state string) float64 {
	for _, e := range r.Events {
		if e.At >= from && e.Account == account && e.State == state {
			return e.At
		}
	}
	return -1
}
