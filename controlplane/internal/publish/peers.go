package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// freshReplicas is how long the list of replicas is used before it is asked for again.
const freshReplicas = time.Second

// peers asks the other replicas for their proxies, over connections that it keeps.
type peers struct {
	self    string
	list    func(ctx context.Context) ([]*adminv1.Replica, error)
	tls     *tls.Config
	timeout time.Duration
	log     *slog.Logger

	mu     sync.Mutex
	known  []*adminv1.Replica // without this one
	listed time.Time
	conns  map[string]*grpc.ClientConn // by address; nil = closed for good
}

func newPeers(o Options) *peers {
	return &peers{
		self: o.ReplicaID, list: o.Peers, tls: o.PeerTLS, timeout: o.PeerTimeout, log: o.Log,
		conns: make(map[string]*grpc.ClientConn),
	}
}

// ask returns the proxies of all other replicas and the ids of those that did not answer in time.
func (p *peers) ask(ctx context.Context) (proxies []*adminv1.Proxy, unreachable []string, err error) {
	var mu sync.Mutex
	unreachable, err = p.each(ctx, func(ctx context.Context, c syncv1.PeerServiceClient) error {
		// WaitForReady: a connection that broke a moment ago is given the time of the call, not its back-off.
		answer, err := c.ListProxies(ctx, &syncv1.ListProxiesRequest{}, grpc.WaitForReady(true))
		mu.Lock()
		defer mu.Unlock()
		proxies = append(proxies, answer.GetProxies()...)
		return err
	})
	return proxies, unreachable, err
}

// each asks all other replicas at once, and returns the ids of those with which that failed. ctx bounds it, and the
// timeout of one question. It fails only when it cannot be learned which replicas there are.
func (p *peers) each(
	ctx context.Context, ask func(ctx context.Context, c syncv1.PeerServiceClient) error,
) (unreachable []string, err error) {
	replicas, err := p.replicas(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	for _, r := range replicas {
		wg.Go(func() {
			err := p.one(ctx, r.GetSyncAddress(), ask)
			if err == nil {
				return
			}
			p.log.Warn("replica does not answer", "replica", r.GetId(), "address", r.GetSyncAddress(), "error", err)
			mu.Lock()
			defer mu.Unlock()
			unreachable = append(unreachable, r.GetId())
		})
	}
	wg.Wait()
	slices.Sort(unreachable)
	return unreachable, nil
}

// one asks the replica at an address.
func (p *peers) one(ctx context.Context, address string, ask func(ctx context.Context, c syncv1.PeerServiceClient) error) error {
	conn, err := p.conn(address)
	if err != nil {
		return err
	}
	return ask(ctx, syncv1.NewPeerServiceClient(conn))
}

// any says whether there was another replica when last asked.
func (p *peers) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known) > 0
}

// replicas returns the other replicas. While they cannot be listed, those that were known last are still asked.
func (p *peers) replicas(ctx context.Context) ([]*adminv1.Replica, error) {
	if p.list == nil {
		return nil, nil
	}
	p.mu.Lock()
	known, fresh, first := p.known, time.Since(p.listed) < freshReplicas, p.listed.IsZero()
	p.mu.Unlock()
	if fresh && !first {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	all, err := p.list(ctx)
	if err != nil {
		if first {
			return nil, err
		}
		p.log.Warn("replicas cannot be listed; asking those known before", "error", err)
		return known, nil
	}
	others := slices.DeleteFunc(slices.Clone(all), func(r *adminv1.Replica) bool { return r.GetId() == p.self })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.listed = others, time.Now()
	for address, conn := range p.conns {
		if !slices.ContainsFunc(others, func(r *adminv1.Replica) bool { return r.GetSyncAddress() == address }) {
			_ = conn.Close()
			delete(p.conns, address)
		}
	}
	return others, nil
}

func (p *peers) conn(address string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return nil, errors.New("closed")
	}
	if conn, ok := p.conns[address]; ok {
		return conn, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(p.tls)),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second,
			},
			MinConnectTimeout: 2 * time.Second,
		}),
		// A fleet of thousands of proxies with many rejections each.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
	)
	if err != nil {
		return nil, err
	}
	p.conns[address] = conn
	return conn, nil
}

// close ends all connections for good.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}
