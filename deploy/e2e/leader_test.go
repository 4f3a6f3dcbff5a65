package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fairway/dataplane"
	"fairway/pkg/testkit/fakellm"
)

// gauge is a provider that knows how many requests with one credential are there at once.
type gauge struct {
	http.Handler
	credential string

	mu              sync.Mutex
	now, most, came int
}

func (g *gauge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "Bearer "+g.credential {
		g.mu.Lock()
		g.now++
		g.came++
		g.most = max(g.most, g.now)
		g.mu.Unlock()
		defer func() {
			g.mu.Lock()
			g.now--
			g.mu.Unlock()
		}()
	}
	g.Handler.ServeHTTP(w, r)
}

// start serves until the test ends.
func (g *gauge) start(t testing.TB) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return "http://" + ln.Addr().String()
}

// begin counts anew, once nobody is there.
func (g *gauge) begin(t testing.TB) {
	t.Helper()
	eventually(t, "nobody is there", func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.now > 0 {
			return fmt.Errorf("%d are", g.now)
		}
		g.most, g.came = 0, 0
		return nil
	})
}

// more waits until so many more have come, and says how many there were at most at once since begin.
func (g *gauge) more(t testing.TB, n int) (most int) {
	t.Helper()
	read := func() (int, int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.came, g.most
	}
	from, _ := read()
	eventually(t, "the account is tried", func() error {
		came, now := read()
		if most = now; came < from+n {
			return fmt.Errorf("%d times of %d", came-from, n)
		}
		return nil
	})
	return most
}

// sibling starts a second replica of the control plane.
func (in *installation) sibling(etcd *etcdCluster) *installation {
	in.t.Helper()
	ports := freePorts(in.t, 3)
	second := &installation{t: in.t, dataDir: filepath.Join(in.t.TempDir(), "data"), admin: ports[0], sync: ports[1], control: ports[2]}
	if err := os.MkdirAll(second.dataDir, 0o700); err != nil {
		in.t.Fatal(err)
	}
	for _, file := range []string{"kek", "operator.token"} {
		raw, err := os.ReadFile(filepath.Join(in.dataDir, file))
		if err != nil {
			in.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(second.dataDir, file), raw, 0o600); err != nil {
			in.t.Fatal(err)
		}
	}
	second.startControlPlane(etcd)
	return second
}

// inside runs so many proxies in this process: real ones, with real connections, that cost less than as many processes.
func (in *installation) inside(n int, controlPlane ...string) (all []*proxy) {
	in.t.Helper()
	ctx, end := context.WithCancel(context.WithoutCancel(in.t.Context()))
	var wg sync.WaitGroup
	in.t.Cleanup(func() {
		end()
		wg.Wait()
	})
	at := make(chan dataplane.Addresses, n)
	for range n {
		c := dataplane.Config{
			ControlPlane: controlPlane, JoinTokenFile: filepath.Join(in.dataDir, "join.token"), StateDir: filepath.Join(in.t.TempDir(), "state"),
			Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", UpstreamAllowCIDRs: []string{"127.0.0.0/8"}, DrainTimeout: time.Second,
			Listening: func(a dataplane.Addresses) { at <- a },
		}
		wg.Go(func() {
			if err := dataplane.Run(ctx, c); err != nil && ctx.Err() == nil {
				in.t.Errorf("a proxy ended: %v", err)
			}
		})
	}
	for range n {
		select {
		case a := <-at:
			all = append(all, &proxy{addr: a.Proxy, ops: a.Ops})
		case <-time.After(patience):
			in.t.Fatalf("%d of %d proxies serve", len(all), n)
		}
	}
	for _, p := range all {
		eventually(in.t, "proxy is ready", func() error { _, err := get("http://"+p.ops+"/readyz", 200); return err })
	}
	return all
}

// TestLeaderDies: fifty proxies, one account that is half open again and again, and one whose credential was refused. Never
// do two proxies try the first at once, also not while the leader is killed and another one takes over. No client sees any
// of it, and what was decided stands.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	const proxies = 50
	in, etcd := fleet(t, 0)
	second := in.sibling(etcd)
	for range 2 {
		in.addProxy("--control-plane", second.sync)
	}
	in.proxies = append(in.proxies, in.inside(proxies-len(in.proxies), in.sync, second.sync)...)
	second.quick()

	credentials := map[string]string{"sick": "sk-sick", "revoked": "sk-revoked", "well": "sk-well", "well-2": "sk-well-2", "well-3": "sk-well-3"}
	o := fakellm.Options{Accounts: map[string]fakellm.Behaviour{}, Models: []string{"m1"}}
	for _, c := range credentials {
		o.Accounts[c] = fakellm.Healthy()
	}
	fake := fakellm.New(o)
	g := &gauge{Handler: fake.Handler(), credential: credentials["sick"]}
	url := g.start(t)
	second.channel("well", url, credentials["well"], "m1", "--wait")
	for name, c := range credentials {
		if name == "well" {
			continue
		}
		if _, errs, err := second.run(c, nil, "account", "create", name, "--channel", "well", "--secret-stdin", "--wait"); err != nil {
			t.Fatalf("account create: %v %s", err, errs)
		}
	}
	key := second.key("alice")
	seen := second.watch()
	l := begin(t, in.proxies, key, "m1")
	l.more(2 * proxies)

	dead := fakellm.Status(500, "", 0)
	dead.Delay = 300 * time.Millisecond // so that two at once would meet
	fake.SetBehaviour(credentials["sick"], dead)
	fake.SetBehaviour(credentials["revoked"], fakellm.Status(401, "invalid_api_key", 0))
	_, sickAt := seen.wait(t, "sick", 0, "open", func(h accountHealth) bool { return h.State == "open" })
	decided, revokedAt := seen.wait(t, "revoked", 0, "disabled", func(h accountHealth) bool { return h.State == "disabled" })
	var before *view
	eventually(t, "all proxies report", func() (err error) {
		if before, err = second.top(); err == nil && len(before.Health.Proxies) != proxies {
			err = fmt.Errorf("%d of %d do", len(before.Health.Proxies), proxies)
		}
		return err
	})
	second.must("group", "update", "default", "--description", "all proxies have what came before", "--wait")
	g.begin(t)
	if most := g.more(t, 2); most > 1 {
		t.Errorf("%d proxies tried the account at once", most)
	}

	in.server.kill()
	eventually(t, "the other replica leads the whole fleet", func() error {
		now, err := second.top()
		switch {
		case err != nil:
			return err
		case now.Health.Leader == before.Health.Leader:
			return errors.New("the dead one leads")
		case len(now.Health.Proxies) != proxies:
			return fmt.Errorf("%d of %d proxies report", len(now.Health.Proxies), proxies)
		}
		return nil
	})
	if most := g.more(t, 2); most > 1 {
		t.Errorf("after the leader's death %d proxies tried the account at once", most)
	}
	if now, err := second.accounts(); err != nil || now["revoked"] != decided {
		t.Errorf("the refused credential is %+v, was %+v (%v)", now["revoked"], decided, err)
	}

	fake.SetBehaviour(credentials["sick"], fakellm.Healthy())
	fake.SetBehaviour(credentials["revoked"], fakellm.Healthy())
	second.must("account", "enable", "revoked", "--wait")
	seen.wait(t, "sick", sickAt, "closed", func(h accountHealth) bool { return h.State == "closed" })
	seen.wait(t, "revoked", revokedAt, "closed", func(h accountHealth) bool { return h.State == "closed" })
	for _, name := range []string{"sick", "revoked"} {
		from := fake.Books().Credentials[credentials[name]].Finished
		eventually(t, name+" serves", func() error {
			if n := fake.Books().Credentials[credentials[name]].Finished - from; n < 5 {
				return fmt.Errorf("%d answers since", n)
			}
			return nil
		})
	}
	l.stop()
	if bad, cuts := l.failures(); len(bad)+len(cuts) > 0 {
		t.Errorf("%d requests failed, %d streams were cut, such as %v", len(bad), len(cuts), append(bad, cuts...)[0])
	}
	t.Logf("%d requests by way of %d proxies", l.made.Load(), proxies)
	for _, v := range fake.Violations() {
		t.Errorf("the provider was sent what it must not be: %s", v)
	}
}
