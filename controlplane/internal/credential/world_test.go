package credential

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/build"
	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/secret"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdtest.LeakOptions()...) }

// patience bounds waits for things that must happen; no test expects them to take it.
const patience = 60 * time.Second

const (
	google  = resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT
	entra   = resourcev1.ExchangeMethod_EXCHANGE_METHOD_ENTRA_CLIENT_SECRET
	assume  = resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE
	refresh = resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH
)

// world is a data set in a real etcd, a token endpoint, and a clock that can be set.
type world struct {
	t        *testing.T
	etcd     string
	ring     *secret.Keyring
	endpoint *endpoint
	ahead    atomic.Int64 // by how much the clock is ahead of the real one, ns
	log      lines
}

// replica is one control plane's part of it.
type replica struct {
	w         *world
	store     *store.Store
	exchanger *Exchanger
	registry  *prometheus.Registry
	stop      func() // leads no more
}

func newWorld(t *testing.T) *world {
	t.Helper()
	id, key := secret.NewDataKey()
	ring, err := secret.NewKeyring(id, map[string][]byte{id: key})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, etcd: etcdtest.New(t), ring: ring, endpoint: newEndpoint(t)}
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *world) soon() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// replica opens one that follows the data set and does not lead yet. change may change its exchanger.
func (w *world) replica(change ...func(*Exchanger)) *replica {
	w.t.Helper()
	s, err := store.Open(w.soon(), store.Config{Endpoints: []string{w.etcd}, LeaseTTL: 2 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	r := &replica{w: w, store: s, registry: prometheus.NewRegistry()}
	r.exchanger = New(s, w.ring, Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Now: w.now,
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Registry: r.registry,
	})
	r.exchanger.lookEvery, r.exchanger.firstPause, r.exchanger.settle = 5*time.Millisecond, 5*time.Millisecond, 0
	for _, c := range change {
		c(r.exchanger)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	w.run(func(ctx context.Context) error {
		return s.Run(ctx, func(_ *model.State, changes []model.Change) { r.exchanger.Observe(changes) })
	})
	if err := s.WaitLoaded(w.soon()); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// lead makes the replica lead, or wait for that, until stop is called or the test ends.
func (r *replica) lead() *replica {
	r.stop = r.w.run(func(ctx context.Context) error {
		return r.store.Lead(ctx, "test", "r", r.exchanger.Lead)
	})
	return r
}

// run runs fn until stop is called or the test ends.
func (w *world) run(fn func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// channel stores one.
func (r *replica) channel(name string, p resourcev1.Provider, region string) {
	r.w.t.Helper()
	r.put(nil, &resourcev1.Channel{Metadata: r.metadata(name), Provider: p, Region: region, BaseUrl: "https://llm.example"})
}

func (r *replica) metadata(name string) *resourcev1.Metadata {
	return &resourcev1.Metadata{Id: "id-" + name, Name: name}
}

func (r *replica) put(old, next model.Resource) int64 {
	r.w.t.Helper()
	revision, err := r.store.Commit(r.w.soon(), store.Write{Puts: []store.Put{{Resource: next, Old: old}}})
	if err != nil {
		r.w.t.Fatal(err)
	}
	if err := r.store.WaitRevision(r.w.soon(), revision); err != nil {
		r.w.t.Fatal(err)
	}
	return revision
}

// account stores one with a sealed secret; x's token URL is filled in.
func (r *replica) account(name, channel, plain string, x *resourcev1.Exchange) {
	r.w.t.Helper()
	if _, ok := r.store.State().ByName(model.KindChannel, channel); !ok {
		r.channel(channel, resourcev1.Provider_PROVIDER_OPENAI, "")
	}
	a := &resourcev1.Account{Metadata: r.metadata(name), Channel: channel, Secret: r.w.seal(name, plain), Exchange: x}
	if x.GetMethod() == assume {
		a.AccessKeyId = "AKIA" + name
	}
	if x != nil && x.GetMethod() != google && x.GetTokenUrl() == "" {
		x.TokenUrl = r.w.endpoint.url + map[resourcev1.ExchangeMethod]string{entra: "/entra", assume: "/sts", refresh: "/oauth"}[x.GetMethod()]
	}
	r.put(nil, a)
}

func (w *world) seal(name, plain string) *resourcev1.Secret {
	w.t.Helper()
	v, err := w.ring.Seal([]byte(plain), "account", "id-"+name, "secret")
	if err != nil {
		w.t.Fatal(err)
	}
	return &resourcev1.Secret{Sealed: v, Fingerprint: secret.Fingerprint(plain)}
}

// refreshed is an account whose secret is a refresh token of the endpoint's.
func (r *replica) refreshed(name string) {
	r.account(name, "c", "refresh-"+name+"-0", &resourcev1.Exchange{Method: refresh, ClientId: name})
}

// stored reads the account as it is.
func (r *replica) stored(name string) *resourcev1.Account {
	r.w.t.Helper()
	got, err := r.store.Read(r.w.soon(), model.KindAccount, "id-"+name)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return got.(*resourcev1.Account)
}

// built is what proxies get of an account, as the replica knows it.
func (r *replica) built(name string) *syncv1.AccountState {
	r.w.t.Helper()
	var a model.Resource
	r.w.until(func() string { // another replica may have written it just now
		var ok bool
		if a, ok = r.store.State().ByName(model.KindAccount, name); ok {
			return ""
		}
		return "there is no account " + name
	})
	b := &build.Builder{Open: func(v *resourcev1.SealedValue, kind, id, field string) (string, error) {
		plain, err := r.w.ring.Open(v, kind, id, field)
		return string(plain), err
	}}
	c, _, err := b.Change(r.store.State(), model.Change{Kind: model.KindAccount, ID: "id-" + name, New: a})
	if err != nil {
		r.w.t.Fatal(err)
	}
	var state syncv1.AccountState
	if err := proto.Unmarshal(c.GetBody(), &state); err != nil {
		r.w.t.Fatal(err)
	}
	return &state
}

// await waits until proxies get this secret; "" = none.
func (r *replica) await(name, want string) *syncv1.AccountState {
	r.w.t.Helper()
	var got *syncv1.AccountState
	r.w.until(func() string {
		got = r.built(name)
		if got.GetSecret() == want {
			return ""
		}
		return fmt.Sprintf("proxies get %q of %s, want %q", got.GetSecret(), name, want)
	})
	return got
}

// until polls what is missing until nothing is.
func (w *world) until(missing func() string) {
	w.t.Helper()
	ctx := w.soon()
	for {
		why := missing()
		if why == "" {
			return
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("in vain: %s\n%s", why, w.log.String())
		}
	}
}

// lines collects what several goroutines write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
