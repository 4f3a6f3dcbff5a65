package publish

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"fairway/controlplane/internal/build"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// fleet is the subscribers of this replica and those who wait for them to get somewhere.
type fleet struct {
	hurry chan struct{} // one slot: somebody began to wait

	mu       sync.Mutex
	sequence uint64
	subs     map[*subscriber]struct{}
	// latest is the newest connection of each proxy. An older one is most often dead without having noticed; if two
	// processes share an identity, both are served and the newest is shown.
	latest  map[string]*subscriber
	waiting map[*int64]struct{} // revisions
	changed chan struct{}       // closed when a proxy came, went or applied something
}

func newFleet() *fleet {
	return &fleet{
		hurry:   make(chan struct{}, 1),
		subs:    make(map[*subscriber]struct{}),
		latest:  make(map[string]*subscriber),
		waiting: make(map[*int64]struct{}),
		changed: make(chan struct{}),
	}
}

func (f *fleet) join(s *subscriber) {
	f.mu.Lock()
	f.sequence++
	s.sequence = f.sequence
	f.subs[s] = struct{}{}
	f.latest[s.proxyID] = s
	f.mu.Unlock()
	f.moved()
}

func (f *fleet) leave(s *subscriber) {
	f.mu.Lock()
	delete(f.subs, s)
	if f.latest[s.proxyID] == s {
		delete(f.latest, s.proxyID)
		for other := range f.subs {
			if l := f.latest[s.proxyID]; other.proxyID == s.proxyID && (l == nil || l.sequence < other.sequence) {
				f.latest[s.proxyID] = other
			}
		}
	}
	f.mu.Unlock()
	f.moved()
}

// moved wakes all who wait.
func (f *fleet) moved() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// changes returns a channel that is closed at the next change. Take it before looking.
func (f *fleet) changes() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fleet) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

// newest returns the newest connection of each proxy, ordered by the proxies' ids.
func (f *fleet) newest() []*subscriber {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.latest), func(a, b *subscriber) int {
		return strings.Compare(a.proxyID, b.proxyID)
	})
}

// anyBehind says whether a proxy has not applied the revision, not counting those that moved has a place for.
func (f *fleet) anyBehind(revision int64, moved func(proxyID string) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, s := range f.latest {
		if s.verifiedRevision() < revision && !moved(id) {
			return true
		}
	}
	return false
}

// rejects counts the quarantined resources of all proxies.
func (f *fleet) rejects() int {
	n := 0
	for _, s := range f.newest() {
		s.mu.Lock()
		n += len(s.rejected)
		s.mu.Unlock()
	}
	return n
}

// await registers somebody who waits for a revision, until done is called.
func (f *fleet) await(revision int64) (done func()) {
	f.mu.Lock()
	f.waiting[&revision] = struct{}{}
	f.mu.Unlock()
	select {
	case f.hurry <- struct{}{}:
	default:
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.waiting, &revision)
	}
}

// awaited says whether somebody waits for a revision after the first and up to the second.
func (f *fleet) awaited(after, upTo int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.waiting {
		if *r > after && *r <= upTo {
			return true
		}
	}
	return false
}

// local returns the proxies of this replica.
func (p *Publisher) local() []*adminv1.Proxy {
	subs := p.fleet.newest()
	list := make([]*adminv1.Proxy, 0, len(subs))
	for _, s := range subs {
		proxy, rejects := s.proxy()
		proxy.ReplicaId = p.o.ReplicaID
		for _, r := range rejects {
			proxy.Rejections = append(proxy.Rejections, &adminv1.Rejection{
				Kind: string(build.StoredKind(r.GetKind())), Name: p.name(r.GetKind(), r.GetId()), Reason: r.GetReason(),
			})
		}
		list = append(list, proxy)
	}
	return list
}

// Status returns the proxies of all replicas, ordered by id, and the ids of the replicas that did not answer. It fails
// only when it cannot be learned which replicas there are.
func (p *Publisher) Status(ctx context.Context) (proxies []*adminv1.Proxy, unreachable []string, err error) {
	remote, unreachable, err := p.peers.ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	return merge(p.local(), remote), unreachable, nil
}

// WaitForRevision returns as soon as every proxy of every replica has applied the revision, or with those that have not
// when the timeout is over. With no proxy connected there is nothing to wait for.
func (p *Publisher) WaitForRevision(
	ctx context.Context, revision int64, timeout time.Duration,
) (*adminv1.WaitForRevisionResponse, error) {
	defer p.fleet.await(revision)()
	end := time.Now().Add(timeout)
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	var (
		remote      []*adminv1.Proxy
		unreachable []string
		err         error
		poll        <-chan time.Time
		pause       = 2 * time.Millisecond
		ask         = true
	)
	for {
		changed := p.fleet.changes()
		if ask {
			// A question takes no longer than the caller waits, but is always given a chance.
			asking, cancel := context.WithTimeout(ctx, max(time.Until(end), 200*time.Millisecond))
			remote, unreachable, err = p.peers.ask(asking)
			cancel()
			if err != nil {
				return nil, err
			}
			ask = false
			if p.peers.any() {
				poll = time.After(pause)
				pause = min(2*pause, 100*time.Millisecond)
			}
		}
		// Looked at with each Ack of each proxy; the lists are made only when it may be the last one.
		if !p.fleet.anyBehind(revision, connectedTo(remote)) {
			if answer := judge(merge(p.local(), remote), unreachable, revision); answer.GetApplied() {
				return answer, nil
			}
		}
		select {
		case <-changed:
		case <-poll:
			ask = true
		case <-deadline.C:
			return judge(merge(p.local(), remote), unreachable, revision), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// connectedTo says of a proxy's id whether it is in the list.
func connectedTo(list []*adminv1.Proxy) func(string) bool {
	return func(id string) bool {
		return slices.ContainsFunc(list, func(p *adminv1.Proxy) bool { return p.GetId() == id })
	}
}

func judge(proxies []*adminv1.Proxy, unreachable []string, revision int64) *adminv1.WaitForRevisionResponse {
	answer := &adminv1.WaitForRevisionResponse{UnreachableReplicas: unreachable}
	for _, proxy := range proxies {
		if proxy.GetRevision() >= revision {
			answer.AppliedProxies++
		} else {
			answer.Behind = append(answer.Behind, proxy)
		}
	}
	answer.Applied = len(answer.GetBehind()) == 0 && len(unreachable) == 0
	return answer
}

// merge puts lists together; of a proxy that is in both, because it has just moved, the newer connection counts.
func merge(lists ...[]*adminv1.Proxy) []*adminv1.Proxy {
	byID := make(map[string]*adminv1.Proxy)
	for _, proxy := range slices.Concat(lists...) {
		other, ok := byID[proxy.GetId()]
		if !ok || proxy.GetConnectTime().AsTime().After(other.GetConnectTime().AsTime()) {
			byID[proxy.GetId()] = proxy
		}
	}
	merged := make([]*adminv1.Proxy, 0, len(byID))
	for _, proxy := range byID {
		merged = append(merged, proxy)
	}
	slices.SortFunc(merged, func(a, b *adminv1.Proxy) int { return strings.Compare(a.GetId(), b.GetId()) })
	return merged
}
