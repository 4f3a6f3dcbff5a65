package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"fairway/pkg/testkit/fakellm"
)

// etcdCluster is a real three-member cluster of etcd processes.
type etcdCluster struct {
	t       testing.TB
	members []*member
}

type member struct {
	name, dir, client, peer string
	args                    []string
	process                 *process
}

func startEtcd(t testing.TB) *etcdCluster {
	t.Helper()
	ports := freePorts(t, 6)
	c := &etcdCluster{t: t}
	var initial []string
	for i := range 3 {
		m := &member{name: fmt.Sprintf("m%d", i), dir: filepath.Join(t.TempDir(), "etcd"), client: "http://" + ports[2*i], peer: "http://" + ports[2*i+1]}
		initial = append(initial, m.name+"="+m.peer)
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		m.args = []string{"--name", m.name, "--data-dir", m.dir, "--log-level", "error", "--listen-client-urls", m.client, "--advertise-client-urls", m.client,
			"--listen-peer-urls", m.peer, "--initial-advertise-peer-urls", m.peer, "--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new"}
		m.start(t)
	}
	for _, m := range c.members {
		m.ready(t)
	}
	return c
}

func (m *member) start(t testing.TB) { m.process = start(t, "etcd "+m.name, binaries.etcd, m.args...) }

func (m *member) ready(t testing.TB) {
	t.Helper()
	eventually(t, "etcd "+m.name+" is healthy", func() error { _, err := get(m.client+"/health", 200); return err })
}

func (c *etcdCluster) endpoints() string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.client)
	}
	return strings.Join(all, ",")
}

func (c *etcdCluster) kill() {
	for _, m := range c.members {
		m.process.kill()
	}
}

func (c *etcdCluster) start() {
	for _, m := range c.members {
		m.start(c.t)
	}
	for _, m := range c.members {
		m.ready(c.t)
	}
}

// fleet is controlplane + n proxies + a three-member etcd cluster, each a process.
func fleet(t testing.TB, proxies int) (*installation, *etcdCluster) {
	t.Helper()
	etcd := startEtcd(t)
	ports := freePorts(t, 3)
	in := &installation{t: t, dataDir: filepath.Join(t.TempDir(), "data"), admin: ports[0], sync: ports[1], control: ports[2]}
	in.startControlPlane(etcd)
	for range proxies {
		in.addProxy()
	}
	return in, etcd
}

func (in *installation) startControlPlane(etcd *etcdCluster) {
	in.t.Helper()
	in.server = start(in.t, "controlplane", binaries.fairway, "controlplane", "--data-dir", in.dataDir, "--etcd-endpoints", etcd.endpoints(),
		"--admin-listen", in.admin, "--sync-listen", in.sync, "--ops-listen", in.control)
	proxies := in.proxies
	in.proxies = nil // theirs is not asked here
	in.ready()
	in.proxies = proxies
}

func TestFleet(t *testing.T) {
	in, etcd := fleet(t, 2)
	_, url := provider(t, fakellm.Options{
		Accounts: map[string]fakellm.Behaviour{"sk-fleet-1": fakellm.Healthy(), "sk-fleet-2": fakellm.Healthy()}, Models: []string{"m1", "m2"}})
	in.channel("main", url, "sk-fleet-1", "m1,m2", "--wait")
	if _, errs, err := in.run("sk-fleet-2\n", nil, "account", "create", "main-2", "--channel", "main", "--secret-stdin", "--wait"); err != nil {
		t.Fatalf("account create: %v %s", err, errs)
	}
	key := in.key("alice")
	var wanted int64
	for _, p := range in.proxies {
		wanted += journey(t, in, p, key) + 1
	}
	eventually(t, "usage of both proxies arrives", func() error {
		_, total, err := in.usage()
		if err == nil && total.Requests != wanted {
			err = fmt.Errorf("%d of %d requests are on the books", total.Requests, wanted)
		}
		return err
	})

	// A second replica shares the load and the truth; it takes over when the first dies.
	second := in.sibling(etcd)
	p := second.addProxy()
	if got := second.must("status"); strings.Count(got, "\n") < 6 || !strings.Contains(got, "leader") {
		t.Errorf("status of two replicas and three proxies:\n%s", got)
	}
	// Created on one replica, waited for there, used through a proxy of the other.
	fresh := in.key("bob")
	if _, err := p.client(fresh).Chat.Completions.New(t.Context(), chat("m1", "x")); err != nil {
		t.Errorf("a key that another replica created: %v", err)
	}
	wanted++
	in.server.kill()
	eventually(t, "the second replica leads and has the books", func() error {
		_, total, err := second.usage()
		if err == nil && total.Requests != wanted {
			err = fmt.Errorf("%d of %d requests are on the books", total.Requests, wanted)
		}
		return err
	})
}

// TestWithoutControlPlane: proofs 3. Control plane and etcd are killed; traffic goes on; a proxy that restarts meanwhile
// serves from its last-known-good state and says so; all converge when they return.
func TestWithoutControlPlane(t *testing.T) {
	in, etcd := fleet(t, 2)
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-lkg": fakellm.Healthy()}, Models: []string{"m1"}})
	in.channel("main", url, "sk-lkg", "m1", "--wait")
	key := in.key("alice")
	ask := func(p *proxy) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := p.client(key).Chat.Completions.New(ctx, chat("m1", "x"))
		return err
	}
	var wanted int64
	for _, p := range in.proxies {
		if err := ask(p); err != nil {
			t.Fatal(err)
		}
		wanted++
	}
	// The state is on disk within a second or so of its arrival.
	eventually(t, "the last-known-good state is on disk", func() error {
		files, err := filepath.Glob(filepath.Join(in.proxies[0].stateDir, "lastgood*"))
		if err == nil && len(files) == 0 {
			err = fmt.Errorf("no such file in %s", in.proxies[0].stateDir)
		}
		return err
	})
	first := in.proxies[0]
	in.server.kill()
	etcd.kill()
	for range 20 {
		for _, p := range in.proxies {
			if err := ask(p); err != nil {
				t.Fatalf("without a control plane: %v", err)
			}
			wanted++
		}
	}
	first.process.stop()
	first.start(t)
	said, err := get("http://"+first.ops+"/readyz", 200)
	if err != nil || !strings.Contains(said, "last-known-good") {
		t.Errorf("a proxy that restarted without a control plane says %q, %v", said, err)
	}
	metrics, err := get("http://"+first.ops+"/metrics", 200)
	if err != nil || !strings.Contains(metrics, "fairway_sync_connected 0") {
		t.Errorf("its metrics do not say that it is cut off: %v", err)
	}
	for range 20 {
		if err := ask(first); err != nil {
			t.Fatalf("from the last-known-good state: %v", err)
		}
		wanted++
	}
	etcd.start()
	in.startControlPlane(etcd)
	bob := ""
	eventually(t, "the control plane takes writes again", func() error {
		out, errs, err := in.run("", nil, "key", "create", "bob", "--wait", "-o", "json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, errs)
		}
		_, rest, _ := strings.Cut(out, `"secret": "`)
		bob, _, _ = strings.Cut(rest, `"`)
		return nil
	})
	for _, p := range in.proxies {
		eventually(t, "a proxy converges", func() error {
			_, err := p.client(bob).Chat.Completions.New(t.Context(), chat("m1", "x"))
			return err
		})
		wanted++
		if said, err := get("http://"+p.ops+"/readyz", 200); err != nil || strings.Contains(said, "last-known-good") {
			t.Errorf("after the return a proxy says %q, %v", said, err)
		}
	}
	eventually(t, "usage of the whole time is on the books", func() error {
		_, total, err := in.usage()
		if err == nil && total.Requests != wanted {
			err = fmt.Errorf("%d of %d requests are on the books", total.Requests, wanted)
		}
		return err
	})
	t.Logf("served %d requests, %d of them without control plane and etcd; all of them are on the books", wanted, 60)
}
