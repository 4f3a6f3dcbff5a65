package fakellm

import (
	"maps"
	"slices"
	"sync"
)

// Counters are what the provider did for a credential or a model. Tokens are those of finished requests only.
type Counters struct {
	// Started requests passed every check and named a known credential and a served model. In a realtime session each
	// response is a request.
	Started int64
	// Finished requests are those whose whole, successful response was written without an error. Errors that an
	// account was told to answer do not finish.
	Finished int64
	// Input includes Cached.
	Input, Cached, Output int64
}

// Books are the counters by credential, and by model.
type Books struct {
	Total       Counters
	Credentials map[string]Counters
	Models      map[string]Counters
}

// Request is one request as the provider saw it.
type Request struct {
	// Sequence counts requests from 1, in order of arrival.
	Sequence   uint64
	Path       string
	Credential string
	Model      string
	Stream     bool
	// BodyBytes is the size of the request's body; 0 if it was not read.
	BodyBytes int
}

// books keep counters. A request is booked as finished just before its last byte is written, and the booking is taken
// back if that write fails: so whoever read the last byte finds the booking.
type books struct {
	mu          sync.Mutex
	total       Counters
	credentials map[string]Counters
	models      map[string]Counters
	ring        []Request
	limit       int
	next        int // where in a full ring the oldest is
}

func newBooks(remember int) *books {
	return &books{credentials: map[string]Counters{}, models: map[string]Counters{}, limit: remember}
}

func (b *books) start(r Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(r, Counters{Started: 1})
	if b.limit < 0 {
		return
	}
	if len(b.ring) < b.limit {
		b.ring = append(b.ring, r)
		return
	}
	b.ring[b.next] = r
	b.next = (b.next + 1) % b.limit
}

func (b *books) finish(r Request, u usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(r, Counters{Finished: 1, Input: u.input, Cached: u.cached, Output: u.output})
}

func (b *books) unfinish(r Request, u usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(r, Counters{Finished: -1, Input: -u.input, Cached: -u.cached, Output: -u.output})
}

func (b *books) add(r Request, c Counters) {
	b.total = b.total.plus(c)
	b.credentials[r.Credential] = b.credentials[r.Credential].plus(c)
	b.models[r.Model] = b.models[r.Model].plus(c)
}

func (b *books) snapshot() Books {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Books{Total: b.total, Credentials: maps.Clone(b.credentials), Models: maps.Clone(b.models)}
}

func (b *books) requests() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Concat(b.ring[b.next:], b.ring[:b.next])
}

func (c Counters) plus(d Counters) Counters {
	return Counters{
		Started:  c.Started + d.Started,
		Finished: c.Finished + d.Finished,
		Input:    c.Input + d.Input,
		Cached:   c.Cached + d.Cached,
		Output:   c.Output + d.Output,
	}
}
