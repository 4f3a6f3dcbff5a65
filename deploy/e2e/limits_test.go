package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairway/pkg/testkit/fakellm"
)

// cent is what each request of these tests costs, whatever its tokens: so estimates are exact.
const cent = 10_000_000

// priced creates a channel whose requests cost a cent each.
func (in *installation) priced(url, credential string, models ...string) {
	in.t.Helper()
	in.channel("main", url, credential, strings.Join(models, ","))
	for _, m := range models {
		in.must("model", "set", m, "--input", "0", "--output", "0", "--request", "0.01", "--wait")
	}
}

// crowd asks n times at once, of one proxy after another, and says how many were served. Everybody else was told that a limit
// is reached, or that the control plane is away, and when to come back unless that is never.
func crowd(t *testing.T, proxies []*proxy, key, model string, n int) (served int) {
	t.Helper()
	transport := &http.Transport{MaxConnsPerHost: 200}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			a := proxies[i%len(proxies)].ask(t.Context(), client, key, model, "openai", i%2 == 0, "one two")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.whole():
				served++
			case !refused(a):
				t.Errorf("a client sees %v", a)
			}
		})
	}
	all.Wait()
	return served
}

// refused says whether an answer is one that limits give.
func refused(a *asked) bool {
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	switch {
	case a.status == http.StatusTooManyRequests && strings.Contains(a.body, "insufficient_quota"):
		return true
	case a.status == http.StatusTooManyRequests:
		return strings.Contains(a.body, "rate_limit_exceeded") && err == nil && wait > 0
	case a.status == http.StatusServiceUnavailable:
		return strings.Contains(a.body, "limits_unavailable") && err == nil && wait > 0
	}
	return false
}

// TestLimits: eight proxies. Never is more let in than a budget, a limit of requests at once or one per minute allows, and
// in the end a budget is used to the last cent.
func TestLimits(t *testing.T) {
	t.Parallel()
	in := up(t)
	in.proxies = append(in.proxies, in.inside(7, in.sync)...)
	slow := fakellm.Healthy()
	slow.Delay = 50 * time.Millisecond
	fake := fakellm.New(fakellm.Options{
		Accounts: map[string]fakellm.Behaviour{"sk-limits": fakellm.Healthy(), "sk-slots": slow}, Models: []string{"m1", "slow"},
	})
	g := &gauge{Handler: fake.Handler(), credential: "sk-slots"}
	url := g.start(t)
	in.priced(url, "sk-limits", "m1")
	if out, errs, err := in.run("", []string{"CRED=sk-slots"}, "channel", "create", "slow", "--provider", "openai", "--base-url", url,
		"--models", "slow", "--secret-env", "CRED", "--wait"); err != nil {
		t.Fatalf("channel create: %v\n%s%s", err, out, errs)
	}
	for name, proxies := range map[string][]*proxy{"one": in.proxies[:1], "eight": in.proxies} {
		t.Run("a budget for ten over "+name, func(t *testing.T) {
			t.Parallel()
			mine := *in
			mine.t = t
			key := mine.key(name, "--budget", "0.10/total")
			served := crowd(t, proxies, key, "m1", 1000)
			t.Logf("%d of 1000 at once were served", served)
			eventually(t, "the budget is used", func() error {
				if served += crowd(t, proxies, key, "m1", len(proxies)); served < 10 {
					return fmt.Errorf("%d requests were served", served)
				}
				return nil
			})
			served += crowd(t, proxies, key, "m1", 100)
			if served != 10 {
				t.Errorf("%d were served with a budget for 10", served)
			}
			eventually(t, "it is on the books, and counted", func() error {
				_, total, err := mine.usage("--key", name)
				if err != nil {
					return err
				}
				if total.CostNanoUSD != int64(served)*cent {
					return fmt.Errorf("%d nano-USD are on the books", total.CostNanoUSD)
				}
				reply, err := mine.call("LimitService/GetLimits", map[string]any{"scope": "key", "name": name})
				if err == nil && !strings.Contains(fmt.Sprint(reply), fmt.Sprintf("used:%d", served*cent)) {
					err = fmt.Errorf("the limit is %v", reply)
				}
				return err
			})
		})
	}
	t.Run("five at once", func(t *testing.T) {
		t.Parallel()
		mine := *in
		mine.t = t
		key := mine.key("slots", "--concurrency", "5")
		served := 0
		for range 3 {
			served += crowd(t, in.proxies, key, "slow", 100)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.most > 5 || g.most == 0 || served < 15 {
			t.Errorf("%d were under way at once of 5, and %d were served", g.most, served)
		}
	})
	t.Run("thirty a minute", func(t *testing.T) {
		t.Parallel()
		mine := *in
		mine.t = t
		key := mine.key("minute", "--rpm", "30")
		first := time.Now().Unix() / 60
		served := crowd(t, in.proxies, key, "m1", 200)
		minutes := int(time.Now().Unix()/60 - first + 1)
		if served > 30*minutes || served == 0 {
			t.Errorf("%d were served in %d minutes of 30", served, minutes)
		}
	})
}

// TestLimitsOutliveKills: under load the leader, a proxy and a member of etcd are killed at a random moment. What the proxy served is on the
// books when it is back; nothing is there twice, nothing that a client saw is missing, and the budget is exceeded by no more
// than the published bound: what the killed proxy had been lent, which is not more than it served.
func TestLimitsOutliveKills(t *testing.T) {
	t.Parallel()
	const budget = 300
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	in, etcd := fleet(t, 0)
	second := in.sibling(etcd)
	models := []string{"p0", "p1", "p2"} // one for each proxy, so that the books tell them apart
	for range models {
		in.addProxy("--control-plane", second.sync)
	}
	fake, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-kills": fakellm.Healthy()}, Models: models})
	second.priced(url, "sk-kills", models...)
	key := second.key("alice", "--budget", fmt.Sprintf("%g/total", float64(budget)/100))

	ctx, end := context.WithCancel(t.Context())
	defer end()
	seen := make([]atomic.Int64, len(models)) // answers that clients got to their end
	var workers sync.WaitGroup
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	for i, p := range in.proxies {
		workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if a := p.ask(context.WithoutCancel(ctx), client, key, models[i], "openai", n%2 == 0, "one two"); a.whole() {
					seen[i].Add(1)
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	eventually(t, "every proxy serves", func() error {
		for i := range seen {
			if seen[i].Load() == 0 {
				return fmt.Errorf("%s does not yet", models[i])
			}
		}
		return nil
	})
	victim, member := random.IntN(len(models)), random.IntN(len(etcd.members))
	time.Sleep(time.Duration(200+random.IntN(1500)) * time.Millisecond)
	var kills sync.WaitGroup
	kills.Go(in.server.kill)
	kills.Go(in.proxies[victim].process.kill)
	kills.Go(etcd.members[member].process.kill)
	kills.Wait()
	time.Sleep(2 * time.Second)
	end()
	workers.Wait()
	in.proxies[victim].start(t)

	booked := map[string]int64{}
	eventually(t, "everything that clients saw is on the books", func() error {
		rows, _, err := second.usage("--by", "model")
		if err != nil {
			return err
		}
		clear(booked)
		for _, r := range rows {
			booked[r.Model] = r.Requests - r.Errors
		}
		for i, m := range models {
			if booked[m] < seen[i].Load() {
				return fmt.Errorf("%s: %d of %d are on the books", m, booked[m], seen[i].Load())
			}
		}
		return nil
	})
	finished := fake.Books().Models
	var spent int64
	for i, m := range models {
		spent += booked[m]
		if booked[m] > finished[m].Finished {
			t.Errorf("%s: %d are on the books, the provider finished %d, clients saw %d", m, booked[m], finished[m].Finished, seen[i].Load())
		}
	}
	t.Logf("on the books are %v, of a budget for %d", booked, budget)
	if spent > budget+booked[models[victim]] {
		t.Errorf("%d were served of %d, %d of them by the proxy that was killed", spent, budget, booked[models[victim]])
	}
}

// TestLimitsAlone: the control plane is killed. A proxy spends what it was lent; when its lease has ended, keys with the
// closed policy are refused and told when to come back, and keys with the open one are served.
func TestLimitsAlone(t *testing.T) {
	t.Parallel()
	in := up(t)
	p := in.addProxy()
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-alone": fakellm.Healthy()}, Models: []string{"m1"}})
	in.channel("main", url, "sk-alone", "m1", "--wait")
	keys := map[string]string{}
	for _, policy := range []string{"closed", "open"} {
		keys[policy] = in.key(policy, "--rpm", "1000", "--limit-fallback", policy)
	}
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	ask := func(policy string) *asked {
		return p.ask(t.Context(), client, keys[policy], "m1", "openai", false, "one two")
	}
	for policy := range keys {
		if a := ask(policy); !a.whole() || a.header.Get("X-Ratelimit-Limit-Requests") != "1000" {
			t.Errorf("%s, before: %v", policy, a)
		}
	}
	in.server.kill()
	const lease = 10 * time.Second // of limits per minute
	ends := time.Now().Add(lease)
	eventually(t, "the lease ends", func() error {
		a := ask("closed")
		switch {
		case !a.whole() && !refused(a):
			t.Fatalf("closed: %v", a)
		case time.Now().Before(ends):
			return errors.New("until then it may be served, also again: the next minute's share may have been lent")
		case a.status != http.StatusServiceUnavailable:
			return fmt.Errorf("closed: %v", a)
		}
		return nil
	})
	for range 20 {
		if a := ask("closed"); a.status != http.StatusServiceUnavailable || !refused(a) {
			t.Errorf("closed: %v", a)
		}
		if a := ask("open"); !a.whole() {
			t.Errorf("open: %v", a)
		}
	}
}
