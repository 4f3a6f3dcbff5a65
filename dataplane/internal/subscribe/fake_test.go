package subscribe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/testcert"
	"fairway/pkg/trust"
)

// authority is a control plane's CA.
type authority struct {
	*testcert.CA
	t       testing.TB
	lineage string
}

func newAuthority(t testing.TB, lineage string) *authority {
	t.Helper()
	return &authority{CA: testcert.NewCA(t), t: t, lineage: lineage}
}

// issue makes a certificate; old is how much of its hour is over.
func (a *authority) issue(pub any, role trust.Role, id string, old time.Duration) []byte {
	from := time.Now().Add(-old)
	der, err := a.Sign(pub, testcert.Leaf{
		NotBefore: from, NotAfter: from.Add(time.Hour), URI: trust.Identity{Lineage: a.lineage, Role: role, ID: id}.URI(),
	})
	if err != nil {
		a.t.Error(err)
	}
	return der
}

// fake is a strict control-plane replica: it checks what it is sent and does what the test says.
type fake struct {
	syncv1.UnimplementedStateSyncServiceServer
	syncv1.UnimplementedEnrollServiceServer
	t       testing.TB
	ca      *authority
	token   trust.JoinToken
	address string
	server  *grpc.Server

	// certAge is how old the certificates are that it issues.
	certAge time.Duration
	// script is run for each Sync stream, after Hello; n counts from 0. It may return, or wait for the stream's end.
	script func(n int, s *fakeStream) error

	mu      sync.Mutex
	hellos  []*syncv1.Hello
	acks    []*syncv1.Ack
	lookups []*syncv1.LookupResult
	enrolls int
	renews  int
}

type fakeStream struct {
	grpc.BidiStreamingServer[syncv1.SyncRequest, syncv1.SyncResponse]
	f     *fake
	hello *syncv1.Hello
}

func startFake(t *testing.T, ca *authority, address string, script func(int, *fakeStream) error) *fake {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, ca: ca, token: trust.NewJoinToken("t1", ca.Cert), address: ln.Addr().String(), script: script}
	key := testcert.NewKey(t)
	cert := &tls.Certificate{Certificate: [][]byte{ca.issue(&key.PublicKey, trust.RoleReplica, "r1", 0), ca.Cert.Raw}, PrivateKey: key}
	f.server = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(trust.ServerTLS(func() (*tls.Certificate, error) { return cert, nil }, ca.Pool))),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	syncv1.RegisterStateSyncServiceServer(f.server, f)
	syncv1.RegisterEnrollServiceServer(f.server, f)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = f.server.Serve(ln)
	}()
	t.Cleanup(func() {
		f.server.Stop()
		<-served
	})
	return f
}

func (f *fake) caller(ctx context.Context) (trust.Identity, error) {
	p, _ := peer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return trust.Identity{}, status.Error(codes.Unauthenticated, "no certificate")
	}
	id, err := trust.IdentityOf(info.State.PeerCertificates[0])
	if err != nil || id.Role != trust.RoleProxy {
		return trust.Identity{}, status.Error(codes.PermissionDenied, "not a proxy")
	}
	return id, nil
}

func (f *fake) certificate(csr []byte, id string) (*syncv1.Certificate, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil || req.CheckSignature() != nil {
		return nil, status.Error(codes.InvalidArgument, "bad request")
	}
	leaf := f.ca.issue(req.PublicKey, trust.RoleProxy, id, f.certAge)
	return &syncv1.Certificate{ProxyId: id, Leaf: leaf, Cas: [][]byte{f.ca.Cert.Raw}, NotAfter: timestamppb.Now()}, nil
}

func (f *fake) Enroll(_ context.Context, r *syncv1.EnrollRequest) (*syncv1.EnrollResponse, error) {
	if r.GetToken() != f.token.Encode() {
		return nil, status.Error(codes.Unauthenticated, "unknown token")
	}
	f.mu.Lock()
	f.enrolls++
	id := fmt.Sprint("p", f.enrolls)
	f.mu.Unlock()
	c, err := f.certificate(r.GetCsr(), id)
	return &syncv1.EnrollResponse{Certificate: c}, err
}

func (f *fake) Renew(ctx context.Context, r *syncv1.RenewRequest) (*syncv1.RenewResponse, error) {
	who, err := f.caller(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.renews++
	f.certAge = 0
	f.mu.Unlock()
	c, err := f.certificate(r.GetCsr(), who.ID)
	return &syncv1.RenewResponse{Certificate: c}, err
}

func (f *fake) Sync(stream grpc.BidiStreamingServer[syncv1.SyncRequest, syncv1.SyncResponse]) error {
	if _, err := f.caller(stream.Context()); err != nil {
		return err
	}
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	h := m.GetHello()
	if h == nil || h.GetBootId() == "" || (len(h.GetBucketDigests()) != 0) != (h.GetRevision() != 0) {
		f.t.Errorf("the first message is %v", m)
	}
	f.mu.Lock()
	n := len(f.hellos)
	f.hellos = append(f.hellos, h)
	f.mu.Unlock()
	// Recv ends with the stream, which ends when this returns: nobody waits for the goroutine here.
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			f.mu.Lock()
			switch {
			case m.GetAck() != nil:
				f.acks = append(f.acks, m.GetAck())
			case m.GetLookupResult() != nil:
				f.lookups = append(f.lookups, m.GetLookupResult())
			default:
				f.t.Errorf("a further message is %v", m)
			}
			f.mu.Unlock()
		}
	}()
	return f.script(n, &fakeStream{stream, f, h})
}

// txns sends chunks.
func (s *fakeStream) txns(chunks ...*syncv1.Txn) {
	for _, c := range chunks {
		if err := s.Send(&syncv1.SyncResponse{Message: &syncv1.SyncResponse_Txn{Txn: c}}); err != nil {
			return
		}
	}
}

func (s *fakeStream) progress(revision int64) {
	_ = s.Send(&syncv1.SyncResponse{Message: &syncv1.SyncResponse_Progress{Progress: &syncv1.Progress{Revision: revision}}})
}

// stay waits until the proxy leaves.
func (s *fakeStream) stay() error {
	<-s.Context().Done()
	return nil
}

func (f *fake) helloCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.hellos)
}

func (f *fake) hello(i int) *syncv1.Hello {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hellos[i]
}

// acked reports whether a revision was acknowledged, and returns that Ack.
func (f *fake) acked(revision int64) (*syncv1.Ack, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.acks {
		if a.GetRevision() == revision {
			return a, true
		}
	}
	return nil, false
}

// results are the answers to lookups so far.
func (f *fake) results() []*syncv1.LookupResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*syncv1.LookupResult(nil), f.lookups...)
}

func (f *fake) counts() (enrolls, renews int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.enrolls, f.renews
}

// world is a control plane's state: groups g1..gn, by name.
type world struct {
	lineage  string
	revision int64
	changes  []*syncv1.Change
}

func (w *world) add(t testing.TB, id string) *syncv1.Change {
	t.Helper()
	b, err := proto.Marshal(&syncv1.GroupState{Name: id})
	if err != nil {
		t.Fatal(err)
	}
	w.revision++
	c := &syncv1.Change{Kind: syncv1.Kind_KIND_GROUP, Id: id, Version: w.revision, Body: b}
	w.changes = append(w.changes, c)
	return c
}

func (w *world) poison(id string) *syncv1.Change {
	w.revision++
	c := &syncv1.Change{Kind: syncv1.Kind_KIND_GROUP, Id: id, Version: w.revision, Body: []byte{0xff}}
	w.changes = append(w.changes, c)
	return c
}

func (w *world) root() uint64 {
	var sums digest.Sums
	for _, c := range w.changes {
		sums.Add(int32(c.GetKind()), c.GetId(), c.GetVersion(), c.GetBody())
	}
	return sums.Root()
}

// full is a full state, one change per chunk.
func (w *world) full() []*syncv1.Txn {
	var chunks []*syncv1.Txn
	for i, c := range w.changes {
		x := &syncv1.Txn{Lineage: w.lineage, Revision: w.revision, ReplacedBuckets: math.MaxUint64, Changes: []*syncv1.Change{c}}
		if i == len(w.changes)-1 {
			x.Last, x.Digest = true, w.root()
		}
		chunks = append(chunks, x)
	}
	return chunks
}

func (w *world) delta(base int64, changes ...*syncv1.Change) *syncv1.Txn {
	return &syncv1.Txn{Lineage: w.lineage, BaseRevision: base, Revision: w.revision, Changes: changes, Last: true, Digest: w.root()}
}

// proxy is a running subscriber.
type proxy struct {
	*Subscriber
	holder *snapshot.Holder
	dir    string
	stop   func()
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func startProxy(t *testing.T, dir, tokenFile string, addresses ...string) *proxy {
	t.Helper()
	p := &proxy{holder: snapshot.NewHolder(), dir: dir}
	p.Subscriber = New(p.holder, Options{
		Addresses: addresses, JoinTokenFile: tokenFile, StateDir: dir, Version: "v", Hostname: "host", BootID: "boot",
		Log: slog.New(slog.NewTextHandler(logWriter{t}, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

func writeToken(t testing.TB, path string, token trust.JoinToken) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(token.Encode()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func tokenFile(t testing.TB, f *fake) string {
	t.Helper()
	return writeToken(t, filepath.Join(t.TempDir(), "join.token"), f.token)
}

// eventually waits for what must come; how long that takes is not its business.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (p *proxy) has(id snapshot.GroupID) bool {
	_, ok := p.holder.Current().Group(id)
	return ok
}
