// Package etcdtest gives tests a real etcd inside the test process: one member, or a cluster whose members can be
// stopped and started again. Everything ends with the test.
//
// It refuses to be used outside of tests: data is not synced to disk, and elections are quick.
package etcdtest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const (
	startTimeout = 60 * time.Second
	stopGrace    = 100 * time.Millisecond
)

// New starts one member for the test and returns its endpoint.
func New(t testing.TB) string {
	t.Helper()
	return Start(t, 1).Endpoints()[0]
}

// Cluster is a set of members in this process. Its methods are for the test's own goroutine.
type Cluster struct {
	t       testing.TB
	dir     string
	initial string
	token   string
	members []*member
}

// member is one server. Its addresses stay over restarts.
type member struct {
	name   string
	client url.URL
	peer   url.URL
	etcd   *embed.Etcd // nil while stopped

	mu   sync.Mutex
	grpc *grpc.Server // guarded by mu
}

// Start starts n members and waits until they serve.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	// Not t.TempDir: the test's name would make the sockets' paths too long.
	dir, err := os.MkdirTemp("", "etcdtest")
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("etcdtest: %v", err)
		}
	})
	c := &Cluster{t: t, dir: dir, token: filepath.Base(dir)}
	for i := range n {
		name := "m" + strconv.Itoa(i)
		m := &member{
			name:   name,
			client: url.URL{Scheme: "unix", Path: filepath.Join(dir, name+".sock")},
			peer:   url.URL{Scheme: "http", Host: "127.0.0.1:2380"},
		}
		if n > 1 {
			m.peer.Host = freePort(t)
		}
		if i > 0 {
			c.initial += ","
		}
		c.initial += name + "=" + m.peer.String()
		c.members = append(c.members, m)
	}
	t.Cleanup(func() {
		for i := range c.members {
			c.Stop(i)
		}
	})
	var all []int
	for i := range c.members {
		all = append(all, i)
	}
	c.Restart(all...)
	return c
}

func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// Endpoints returns the members' client addresses, stopped ones included.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, m.client.String())
	}
	return out
}

// Dir is where the members keep their data, by names m0, m1 and so on.
func (c *Cluster) Dir() string { return c.dir }

// Stop stops a member; stopping a stopped one does nothing. Its data stays.
func (c *Cluster) Stop(i int) {
	m := c.members[i]
	if m.etcd == nil {
		return
	}
	m.mu.Lock()
	g := m.grpc
	m.mu.Unlock()
	if g != nil {
		stopGRPC(g)
	}
	m.etcd.Close()
	m.etcd = nil
}

// stopGRPC does not wait for watches as long as the server would.
func stopGRPC(g *grpc.Server) {
	timer := time.AfterFunc(stopGrace, g.Stop)
	defer timer.Stop()
	g.GracefulStop()
}

// Restart starts stopped members and waits until they all serve; a majority of the cluster must be among them or
// running.
func (c *Cluster) Restart(members ...int) {
	c.t.Helper()
	for _, i := range members {
		if c.members[i].etcd == nil {
			c.start(c.members[i])
		}
	}
	timeout := time.After(startTimeout)
	for _, i := range members {
		select {
		case <-c.members[i].etcd.Server.ReadyNotify():
		case err := <-c.members[i].etcd.Err():
			c.t.Fatalf("etcdtest: member %d: %v", i, err)
		case <-timeout:
			c.t.Fatalf("etcdtest: member %d does not serve", i)
		}
	}
}

func (c *Cluster) start(m *member) {
	c.t.Helper()
	cfg := embed.NewConfig()
	cfg.Name = m.name
	cfg.Dir = filepath.Join(c.dir, m.name)
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{m.client}, []url.URL{m.client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, []url.URL{m.peer}
	cfg.TickMs, cfg.ElectionMs = 10, 100
	if len(c.members) > 1 {
		cfg.ListenPeerUrls = []url.URL{m.peer}
		// Slower: under the race detector on a busy machine heartbeats are late.
		cfg.TickMs, cfg.ElectionMs = 50, 500
	}
	cfg.InitialCluster = c.initial
	cfg.InitialClusterToken = c.token
	cfg.BcryptCost = 4 // The least there is.
	cfg.UnsafeNoFsync = true
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.ServiceRegister = func(g *grpc.Server) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.grpc = g
	}
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		c.t.Fatalf("etcdtest: start %s: %v", m.name, err)
	}
	m.etcd = etcd
}

// Leader returns the member that leads; it waits for one.
func (c *Cluster) Leader() int {
	c.t.Helper()
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		for i, m := range c.members {
			if m.etcd != nil && m.etcd.Server.Leader() == m.etcd.Server.MemberID() {
				return i
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("etcdtest: no leader")
	return -1
}

// StopLeader stops the member that leads and returns which it was.
func (c *Cluster) StopLeader() int {
	c.t.Helper()
	i := c.Leader()
	c.Stop(i)
	return i
}

// Client returns a plain client of the endpoints, for what a test wants to see or break behind the store's back.
func Client(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Dump returns every key and value of the data set, for tests that search it for what must not be there.
func Dump(t testing.TB, endpoint string) map[string]string {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	defer func() { _ = client.Close() }()
	dump, err := dumpAll(client)
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	return dump
}

func dumpAll(client *clientv3.Client) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	resp, err := client.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	out := make(map[string]string, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		out[string(kv.Key)] = string(kv.Value)
	}
	return out, nil
}
