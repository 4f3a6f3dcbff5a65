package publish

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/build"
	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/testcert"
	"fairway/pkg/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lineage = "lineage-1"

// tb is what testing.TB and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// authority is a certificate authority of the tests' own.
type authority struct{ *testcert.CA }

func newAuthority(t tb) *authority {
	t.Helper()
	return &authority{testcert.NewCA(t)}
}

func (a *authority) issue(t tb, id trust.Identity) *tls.Certificate {
	t.Helper()
	cert := a.Issue(t, testcert.Leaf{URI: id.URI()})
	return &cert
}

// client is the TLS configuration of a process with that certificate, or none.
func (a *authority) client(cert *tls.Certificate) *tls.Config {
	return trust.ClientTLS(func() (*tls.Certificate, error) {
		if cert == nil {
			return &tls.Certificate{}, nil
		}
		return cert, nil
	}, a.Pool, trust.RoleReplica, "")
}

func (a *authority) proxy(t tb, id string) *tls.Config {
	return a.client(a.issue(t, trust.Identity{Lineage: lineage, Role: trust.RoleProxy, ID: id}))
}

// noBooks and noEnroller answer nothing.
type noBooks struct{}

func (noBooks) Report(context.Context, string, uint64, []*syncv1.UsageRecord) (uint64, error) {
	return 0, nil
}

type noEnroller struct{}

func (noEnroller) Enroll(context.Context, string, []byte, string) (*syncv1.Certificate, error) {
	return &syncv1.Certificate{ProxyId: "new"}, nil
}

func (noEnroller) Renew(_ context.Context, id trust.Identity, _ []byte) (*syncv1.Certificate, error) {
	return &syncv1.Certificate{ProxyId: id.ID}, nil
}

func newBuilder() *build.Builder {
	return &build.Builder{
		Open:   func(v *resourcev1.SealedValue, _, _, _ string) (string, error) { return string(v.GetCiphertext()), nil },
		Pepper: []byte("pepper"),
	}
}

// replica is a publisher with a server of its own on the loopback interface.
type replica struct {
	*Publisher
	address string
	close   func()
}

func newReplica(t tb, a *authority, o Options) *replica {
	t.Helper()
	if o.ReplicaID == "" {
		o.ReplicaID = "r1"
	}
	if o.Books == nil {
		o.Books = noBooks{}
	}
	o.Lineage, o.Enroller = lineage, noEnroller{}
	cert := a.issue(t, trust.Identity{Lineage: lineage, Role: trust.RoleReplica, ID: o.ReplicaID})
	if o.Peers != nil {
		o.PeerTLS = a.client(cert)
	}
	p, err := New(newBuilder(), o)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(ServerOptions(), grpc.Creds(credentials.NewTLS(
		trust.ServerTLS(func() (*tls.Certificate, error) { return cert, nil }, a.Pool))))...)
	p.Register(server)
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(ln) })
	wg.Go(func() { _ = p.Run(ctx) })
	return &replica{Publisher: p, address: ln.Addr().String(), close: sync.OnceFunc(func() {
		cancel()
		server.Stop()
		wg.Wait()
	})}
}

// world is the store: a state that tests change and publishers observe.
type world struct {
	state     *model.State
	observers []*Publisher
	ids       int
}

func newWorld(observers ...*Publisher) *world {
	w := &world{state: model.Empty(lineage), observers: observers}
	group := &resourcev1.Group{Metadata: &resourcev1.Metadata{Id: "g-default", Name: model.DefaultGroup}}
	w.change(nil, group)
	return w
}

// change commits resources (creating or replacing) and returns the revision.
func (w *world) change(deleted []model.Resource, put ...model.Resource) int64 {
	revision := w.state.Revision() + 1
	var changes []model.Change
	for _, r := range put {
		kind, id := model.KindOf(r), r.GetMetadata().GetId()
		model.SetVersion(r, revision)
		old, _ := w.state.Get(kind, id)
		changes = append(changes, model.Change{Kind: kind, ID: id, Old: old, New: r})
	}
	for _, r := range deleted {
		changes = append(changes, model.Change{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), Old: r})
	}
	w.state = w.state.Apply(revision, changes)
	for _, p := range w.observers {
		p.Observe(w.state, changes)
	}
	return revision
}

// idle moves the revision without a change.
func (w *world) idle() int64 { return w.change(nil) }

func (w *world) id() string {
	w.ids++
	return fmt.Sprintf("id%08d", w.ids)
}

func (w *world) newKey(name string) *resourcev1.Key {
	return &resourcev1.Key{
		Metadata: &resourcev1.Metadata{Id: w.id(), Name: name},
		Group:    model.DefaultGroup, Mac: make([]byte, 32),
	}
}

func (w *world) newChannel(name string) *resourcev1.Channel {
	return &resourcev1.Channel{
		Metadata: &resourcev1.Metadata{Id: w.id(), Name: name}, Provider: resourcev1.Provider_PROVIDER_OPENAI,
		BaseUrl: "https://api.example.com/v1", Models: []string{"m"},
	}
}

// fill creates n keys in one revision.
func (w *world) fill(n int) int64 {
	keys := make([]model.Resource, 0, n)
	for range n {
		keys = append(keys, w.newKey("key-"+w.id()))
	}
	return w.change(nil, keys...)
}

// fat creates n keys of about 2.5 kB in one revision.
func (w *world) fat(n int) int64 {
	keys := make([]model.Resource, 0, n)
	for range n {
		key := w.newKey("key-" + w.id())
		for i := range 10 {
			key.Models = append(key.Models, strings.Repeat("m", 240)+strconv.Itoa(i))
		}
		keys = append(keys, key)
	}
	return w.change(nil, keys...)
}

// want is what a proxy must hold of the world.
func (w *world) want(t tb) map[ref]content {
	t.Helper()
	b := newBuilder()
	want := map[ref]content{}
	settings, err := b.Settings(w.state)
	if err != nil {
		t.Fatal(err)
	}
	want[ref{syncv1.Kind_KIND_SETTINGS, build.SettingsID}] = content{settings.GetVersion(), string(settings.GetBody())}
	for _, k := range model.Kinds() {
		if k == model.KindSettings {
			continue
		}
		for r := range w.state.All(k) {
			c, ok, err := b.Change(w.state, model.Change{Kind: k, ID: r.GetMetadata().GetId(), New: r})
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				want[ref{c.GetKind(), c.GetId()}] = content{c.GetVersion(), string(c.GetBody())}
			}
		}
	}
	return want
}

func clone[R model.Resource](r R) R { return proto.Clone(r).(R) }

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
