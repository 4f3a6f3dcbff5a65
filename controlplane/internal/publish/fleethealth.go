package publish

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// revisionsTime bounds the question which proxy has applied what: the view is of use without it.
const revisionsTime = 200 * time.Millisecond

// FleetHealth returns what the leader knows, wherever it is, a second old at most, with what each proxy has applied where
// that is known. It fails with Unavailable while nobody leads, or the leader does not answer.
func (p *Publisher) FleetHealth(ctx context.Context) (*adminv1.FleetHealth, error) {
	if p.o.Health == nil {
		return nil, errNoHealth()
	}
	var (
		wg      sync.WaitGroup
		proxies = map[string]*adminv1.Proxy{}
	)
	wg.Go(func() {
		asking, cancel := context.WithTimeout(ctx, revisionsTime)
		defer cancel()
		list := p.local()
		if remote, _, err := p.peers.ask(asking); err == nil {
			list = merge(list, remote)
		}
		for _, proxy := range list {
			proxies[proxy.GetId()] = proxy
		}
	})
	view, err := p.leadersView(ctx)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	return withProxies(view, proxies), nil
}

// leadersView asks here, and then where it is told to.
func (p *Publisher) leadersView(ctx context.Context) (*adminv1.FleetHealth, error) {
	view, err := p.o.Health.View(ctx)
	if err != nil {
		err = p.askLeader(ctx, err, func(ctx context.Context, c syncv1.PeerServiceClient) error {
			got, err := c.GetFleetHealth(ctx, &syncv1.GetFleetHealthRequest{}, grpc.WaitForReady(true))
			view = got.GetHealth()
			return err
		})
	}
	return view, err
}

// withProxies returns a view with what the replicas know of the proxies. The view itself is shared and stays as it is.
func withProxies(view *adminv1.FleetHealth, proxies map[string]*adminv1.Proxy) *adminv1.FleetHealth {
	filled := &adminv1.FleetHealth{
		Time: view.GetTime(), Leader: view.GetLeader(), LeadingSince: view.GetLeadingSince(), Accounts: view.GetAccounts(),
		Proxies: make([]*adminv1.ProxyHealth, 0, len(view.GetProxies())),
	}
	for _, h := range view.GetProxies() {
		if proxy, ok := proxies[h.GetId()]; ok {
			if copied, ok := proto.Clone(h).(*adminv1.ProxyHealth); ok {
				h = copied
			}
			h.Revision = proxy.GetRevision()
			if h.GetHostname() == "" {
				h.Hostname = proxy.GetHostname()
			}
		}
		filled.Proxies = append(filled.Proxies, h)
	}
	return filled
}
