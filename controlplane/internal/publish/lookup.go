package publish

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// maxLookups bounds the look-ups under way at once; each asks every proxy.
const maxLookups = 64

// lookups are the requests that proxies are being asked for.
type lookups struct {
	mu      sync.Mutex
	waiting map[string]*lookup
}

// lookup is one request that somebody looks for.
type lookup struct {
	requestID string
	asked     map[*subscriber]struct{} // that have not answered; under lookups.mu
	found     chan<- *adminv1.Decision // with room for the first
	unknown   func()                   // all have answered, and none knows it
}

// begin registers a look-up among the subscribers; ok is false when there are too many.
func (ls *lookups) begin(id string, l *lookup) (ok bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.waiting) >= maxLookups {
		return false
	}
	if ls.waiting == nil {
		ls.waiting = make(map[string]*lookup)
	}
	ls.waiting[id] = l
	return true
}

func (ls *lookups) forget(id string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.waiting, id)
}

// answered takes a proxy's answer. One that nobody waits for (any more), that comes from a proxy that was not asked or
// has answered, or that is about another request, tells nothing.
func (ls *lookups) answered(s *subscriber, r *syncv1.LookupResult) {
	d := r.GetDecision()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.waiting[r.GetId()]
	if l == nil {
		return
	}
	if _, ok := l.asked[s]; !ok {
		return
	}
	if d != nil && d.GetRequestId() == l.requestID {
		d.Proxy = s.proxyID // by its certificate, whatever it says itself
		delete(ls.waiting, r.GetId())
		l.found <- d
		return
	}
	ls.miss(l, s)
}

// gone notes that a subscriber cannot answer any more.
func (ls *lookups) gone(id string, s *subscriber) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.waiting[id]; l != nil {
		ls.miss(l, s)
	}
}

func (ls *lookups) miss(l *lookup, s *subscriber) {
	if _, ok := l.asked[s]; !ok {
		return
	}
	if delete(l.asked, s); len(l.asked) == 0 {
		l.unknown()
	}
}

func errUnknownRequest() error {
	return fault.New(fault.NotFound, "no proxy that could be asked knows this request").WithCode("request_not_found")
}

func errManyLookups() error {
	return fault.New(fault.Exhausted, "too many requests are looked up at once").WithRetryAfter(jitter(2 * time.Second))
}

// lookUp asks the proxies of this replica for a request. The first that knows it is believed. NotFound when none does in
// time.
func (p *Publisher) lookUp(ctx context.Context, requestID string) (*adminv1.Decision, error) {
	subs := p.fleet.newest()
	if len(subs) == 0 {
		return nil, errUnknownRequest()
	}
	id := rand.Text()
	body, err := proto.Marshal(&syncv1.SyncResponse{Message: &syncv1.SyncResponse_Lookup{Lookup: &syncv1.Lookup{
		Id: id, RequestId: requestID,
	}}})
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot encode the look-up").With(err)
	}
	// Cancelled when the last answer is in, whatever it is.
	asking, cancel := context.WithTimeout(ctx, p.o.LookupTimeout)
	defer cancel()
	found := make(chan *adminv1.Decision, 1)
	l := &lookup{requestID: requestID, asked: make(map[*subscriber]struct{}, len(subs)), found: found, unknown: cancel}
	for _, s := range subs {
		l.asked[s] = struct{}{}
	}
	if !p.seeks.begin(id, l) {
		return nil, errManyLookups()
	}
	defer p.seeks.forget(id)
	var wg sync.WaitGroup
	for _, s := range subs {
		// One that takes its time over something else makes no other one wait.
		wg.Go(func() {
			select {
			case s.extra <- body:
			case <-s.left:
			case <-asking.Done():
			}
			select {
			case <-s.left:
				p.seeks.gone(id, s)
			case <-asking.Done():
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	select {
	case d := <-found:
		return d, nil
	case <-asking.Done():
	}
	select {
	case d := <-found:
		return d, nil
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return nil, errUnknownRequest()
}

// FindDecision asks all proxies of all replicas how they decided a request, live or recorded. It fails with NotFound when
// none that answers in time knows it, and with Exhausted when too many such questions are under way.
func (p *Publisher) FindDecision(ctx context.Context, requestID string) (*adminv1.Decision, error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, p.o.LookupTimeout)
	defer cancel()
	type answer struct {
		d   *adminv1.Decision
		err error
	}
	// The first hit ends the other questions, which then report into the channel's room.
	answers := make(chan answer, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		d, err := p.lookUp(ctx, requestID)
		answers <- answer{d, err}
	})
	wg.Go(func() {
		d, err := p.peers.find(ctx, requestID)
		answers <- answer{d, err}
	})
	var failed error
	for range cap(answers) {
		a := <-answers
		if a.err == nil && a.d != nil {
			return p.named(a.d), nil
		}
		if k := fault.KindOf(a.err); a.err != nil && k != fault.NotFound && k != fault.Deadline && k != fault.Canceled {
			failed = a.err
		}
	}
	switch {
	case caller.Err() != nil:
		return nil, context.Cause(caller)
	case failed != nil:
		return nil, failed
	}
	return nil, errUnknownRequest()
}

// find asks the other replicas for a request; nil when none of them knows it.
func (p *peers) find(ctx context.Context, requestID string) (*adminv1.Decision, error) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	var (
		mu    sync.Mutex
		found *adminv1.Decision
		full  error
	)
	_, err := p.each(ctx, func(ctx context.Context, c syncv1.PeerServiceClient) error {
		got, err := c.FindDecision(ctx, &syncv1.FindDecisionRequest{RequestId: requestID}, grpc.WaitForReady(true))
		mu.Lock()
		defer mu.Unlock()
		switch code := status.Code(err); {
		case err == nil && got.GetDecision().GetRequestId() == requestID:
			found = got.GetDecision()
			done()
		case code == codes.NotFound, code == codes.Canceled && ctx.Err() != nil:
			return nil // it does not know, or somebody else did
		case code == codes.ResourceExhausted:
			full = errManyLookups()
			return nil
		}
		return err
	})
	if found != nil {
		return found, nil
	}
	if err == nil {
		err = full
	}
	return nil, err
}

// named gives a decision names where its proxy knew only ids.
func (p *Publisher) named(d *adminv1.Decision) *adminv1.Decision {
	d.Key, d.Group = p.nameIn(model.KindKey, d.GetKey()), p.nameIn(model.KindGroup, d.GetGroup())
	for _, c := range d.GetCandidates() {
		c.Channel, c.Account = p.nameIn(model.KindChannel, c.GetChannel()), p.nameIn(model.KindAccount, c.GetAccount())
	}
	for _, a := range d.GetAttempts() {
		a.Channel, a.Account = p.nameIn(model.KindChannel, a.GetChannel()), p.nameIn(model.KindAccount, a.GetAccount())
	}
	return d
}

// nameIn returns the name of the resource with this id, or what it was given: a name already, or an id that is gone.
func (p *Publisher) nameIn(k model.Kind, id string) string {
	s := p.stored.Load()
	if s == nil || id == "" {
		return id
	}
	if r, ok := s.Get(k, id); ok {
		return nameOf(r)
	}
	return id
}
