package publish

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// probes are the questions that proxies have not answered yet.
type probes struct {
	mu      sync.Mutex
	waiting map[string]waitingProbe
}

type waitingProbe struct {
	proxyID string
	answer  chan<- *syncv1.ProbeResult // with room for the answer
}

// answered hands a result to whoever waits for it. One that nobody waits for (any more), or that comes from another proxy
// than was asked, is dropped.
func (ps *probes) answered(proxyID string, r *syncv1.ProbeResult) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if w, ok := ps.waiting[r.GetId()]; ok && w.proxyID == proxyID {
		delete(ps.waiting, r.GetId())
		w.answer <- r
	}
}

func (ps *probes) ask(id, proxyID string) <-chan *syncv1.ProbeResult {
	answer := make(chan *syncv1.ProbeResult, 1)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.waiting == nil {
		ps.waiting = make(map[string]waitingProbe)
	}
	ps.waiting[id] = waitingProbe{proxyID: proxyID, answer: answer}
	return answer
}

func (ps *probes) forget(id string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.waiting, id)
}

// probeGrace is how much longer than its own timeout a probe may take, for the way to the proxy and back.
const probeGrace = 5 * time.Second

// Probe has a proxy of this replica try an account at its upstream, with a model as clients name it. It fails with
// Unavailable when no proxy is connected to this replica, and with Deadline when the proxy does not answer; what is wrong
// with the account is in the result.
func (p *Publisher) Probe(ctx context.Context, accountID, model string, timeout time.Duration) (*syncv1.ProbeResult, error) {
	subs := p.fleet.newest()
	if len(subs) == 0 {
		return nil, fault.New(fault.Unavailable, "no proxy is connected to this replica, and only proxies reach upstreams")
	}
	s := subs[0]
	for _, other := range subs {
		if other.verifiedRevision() > s.verifiedRevision() {
			s = other
		}
	}
	id := rand.Text()
	body, err := proto.Marshal(&syncv1.SyncResponse{Message: &syncv1.SyncResponse_Probe{Probe: &syncv1.Probe{
		Id: id, AccountId: accountID, Model: model, Timeout: durationpb.New(timeout),
	}}})
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot encode the probe").With(err)
	}
	answer := p.probes.ask(id, s.proxyID)
	defer p.probes.forget(id)
	late := time.NewTimer(timeout + probeGrace)
	defer late.Stop()
	select {
	case s.extra <- body:
	case <-late.C:
		return nil, fault.New(fault.Deadline, "the proxy %s does not take the probe", s.proxyID)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case r := <-answer:
		return r, nil
	case <-late.C:
		return nil, fault.New(fault.Deadline, "the proxy %s does not answer the probe", s.proxyID)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
