package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a control plane's admin side as it runs: real etcd, real store, real HTTP.
type world struct {
	t       *testing.T
	etcd    string
	store   *store.Store
	service *Service
	fleet   *fakeFleet
	usage   *fakeUsage
	tokens  *fakeTokens
	health  *fakeHealth
	lookups *fakeLookups
	limits  *fakeLimits
	log     *safeBuffer
	replies *safeBuffer // every byte that the server ever answered
	url     string
	file    string // of the first owner's token
	owner   string // the token
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, etcd: etcdtest.New(t), fleet: &fakeFleet{}, usage: &fakeUsage{}, tokens: &fakeTokens{},
		health: &fakeHealth{}, lookups: &fakeLookups{}, limits: &fakeLimits{},
		log: &safeBuffer{}, replies: &safeBuffer{}, file: filepath.Join(t.TempDir(), "operator.token"),
	}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, store.Config{Endpoints: []string{w.etcd}}, log)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := st.Run(ctx, func(*model.State, []model.Change) {}); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("store: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = st.Close()
	})
	if err := st.WaitLoaded(ctx); err != nil {
		t.Fatalf("load: %v", err)
	}
	w.store = st
	created, err := Bootstrap(ctx, st, w.file, time.Now())
	if err != nil || !created {
		t.Fatalf("Bootstrap = %v, %v", created, err)
	}
	w.owner = tokenOf(t, w.file).Reveal()

	id, key := secret.NewDataKey()
	ring, err := secret.NewKeyring(id, map[string][]byte{id: key})
	if err != nil {
		t.Fatal(err)
	}
	w.service, err = New(Deps{
		Store: st, Keyring: ring, Pepper: []byte("pepper"), Fleet: w.fleet, Usage: w.usage, Tokens: w.tokens, Log: log,
		Health: w.health, Lookups: w.lookups, Limits: w.limits,
	})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	w.service.SetServing(true)
	server := httptest.NewUnstartedServer(w.service.Handler())
	server.Config.Protocols = bothProtocols()
	server.Listener = &tapListener{server.Listener, w.replies}
	server.Start()
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func bothProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// httpClient speaks HTTP/1.1, or HTTP/2 without TLS.
func (w *world) httpClient(h2 bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	tr := &http.Transport{Protocols: p, DisableCompression: true}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// clients are the services as one operator sees them.
type clients struct {
	channels    adminv1connect.ChannelServiceClient
	accounts    adminv1connect.AccountServiceClient
	groups      adminv1connect.GroupServiceClient
	tenants     adminv1connect.TenantServiceClient
	limits      adminv1connect.LimitServiceClient
	keys        adminv1connect.KeyServiceClient
	models      adminv1connect.ModelServiceClient
	operators   adminv1connect.OperatorServiceClient
	settings    adminv1connect.SettingsServiceClient
	fleet       adminv1connect.FleetServiceClient
	usage       adminv1connect.UsageServiceClient
	audit       adminv1connect.AuditServiceClient
	diagnostics adminv1connect.DiagnosticsServiceClient
}

func (w *world) as(token string, options ...connecthttp.Option) clients {
	w.t.Helper()
	bearer := func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			if info, ok := connect.CallInfoForClientContext(ctx); ok && token != "" {
				info.RequestHeader().Set("Authorization", "Bearer "+token)
			}
			return next(ctx, spec)
		}
	}
	// Nothing is compressed, so that the tap sees what is sent.
	options = append([]connecthttp.Option{connecthttp.WithCompressors()}, options...)
	c := connect.NewClient(connecthttp.NewTransport(w.httpClient(true), w.url, options...), bearer)
	return clients{
		channels: adminv1connect.NewChannelServiceClient(c), accounts: adminv1connect.NewAccountServiceClient(c),
		tenants: adminv1connect.NewTenantServiceClient(c), limits: adminv1connect.NewLimitServiceClient(c),
		groups: adminv1connect.NewGroupServiceClient(c), keys: adminv1connect.NewKeyServiceClient(c),
		models: adminv1connect.NewModelServiceClient(c), operators: adminv1connect.NewOperatorServiceClient(c),
		settings: adminv1connect.NewSettingsServiceClient(c), fleet: adminv1connect.NewFleetServiceClient(c),
		usage: adminv1connect.NewUsageServiceClient(c), audit: adminv1connect.NewAuditServiceClient(c),
		diagnostics: adminv1connect.NewDiagnosticsServiceClient(c),
	}
}

// hire creates an operator and returns its token.
func (w *world) hire(name string, role resourcev1.Role) string {
	w.t.Helper()
	res, err := w.as(w.owner).operators.CreateOperator(w.t.Context(), &adminv1.CreateOperatorRequest{
		Operator: &resourcev1.Operator{Metadata: named(name), Role: role},
	})
	if err != nil {
		w.t.Fatalf("create operator: %v", err)
	}
	return res.GetToken()
}

// channel creates one that is good enough.
func (w *world) channel(name string, accounts ...*resourcev1.Account) *resourcev1.Channel {
	w.t.Helper()
	res, err := w.as(w.owner).channels.CreateChannel(w.t.Context(), &adminv1.CreateChannelRequest{
		Channel: goodChannel(name), Accounts: accounts,
	})
	if err != nil {
		w.t.Fatalf("create channel: %v", err)
	}
	return res.GetChannel()
}

func goodChannel(name string) *resourcev1.Channel {
	return &resourcev1.Channel{
		Metadata: named(name), Provider: resourcev1.Provider_PROVIDER_OPENAI, BaseUrl: "https://llm.example/v1", Models: []string{"m"},
	}
}

// post sends JSON as curl does and returns status, headers and body.
func (w *world) post(token, procedure, body string) (int, http.Header, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+procedure, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := w.httpClient(false).Do(r)
	if err != nil {
		w.t.Fatalf("POST %s: %v", procedure, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("POST %s: %v", procedure, err)
	}
	return res.StatusCode, res.Header, string(raw)
}

// wantCode checks an error's code and returns its message.
func wantCode(t *testing.T, err error, code connect.Code) string {
	t.Helper()
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != code {
		t.Fatalf("error = %v, want code %v", err, code)
	}
	return ce.Message()
}

// currentEtag is the detail of a stale etag; empty when there is none.
func currentEtag(t *testing.T, err error) string {
	t.Helper()
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return ""
	}
	for _, d := range ce.Details() {
		var st adminv1.StaleEtag
		if d.Type == string(st.ProtoReflect().Descriptor().FullName()) {
			if err := proto.Unmarshal(d.Value, &st); err != nil {
				t.Fatal(err)
			}
			return st.GetCurrentEtag()
		}
	}
	return ""
}

type fakeFleet struct {
	waited func(revision int64, timeout time.Duration)
}

func (*fakeFleet) Status(context.Context) ([]*adminv1.Proxy, []string, error) {
	return []*adminv1.Proxy{{Id: "p"}}, []string{"away"}, nil
}

func (f *fakeFleet) WaitForRevision(_ context.Context, revision int64, timeout time.Duration) (*adminv1.WaitForRevisionResponse, error) {
	if f.waited != nil {
		f.waited(revision, timeout)
	}
	return &adminv1.WaitForRevisionResponse{Applied: true, AppliedProxies: 1}, nil
}

type fakeUsage struct {
	query     func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error)
	corrector store.Actor // of the last correction
}

func (f *fakeUsage) Correct(_ context.Context, a store.Actor, req *adminv1.CorrectUsageRequest) (*adminv1.CorrectUsageResponse, error) {
	f.corrector = a
	return &adminv1.CorrectUsageResponse{Correction: &adminv1.UsageCorrection{Operator: a.Operator, Delta: req.GetDelta()}}, nil
}

func (*fakeUsage) Corrections(context.Context, *adminv1.ListUsageCorrectionsRequest) (*adminv1.ListUsageCorrectionsResponse, error) {
	return &adminv1.ListUsageCorrectionsResponse{Corrections: []*adminv1.UsageCorrection{{Id: "one"}}}, nil
}

func (f *fakeUsage) Query(_ context.Context, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
	if f.query != nil {
		return f.query(req)
	}
	return &adminv1.QueryUsageResponse{Total: &adminv1.UsageCounters{Requests: 1}}, nil
}

// fakeHealth is a leader's view, or the lack of one.
type fakeHealth struct {
	mu   sync.Mutex
	view *adminv1.FleetHealth // nil = nobody leads
}

func (f *fakeHealth) FleetHealth(context.Context) (*adminv1.FleetHealth, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.view == nil {
		return nil, fault.New(fault.Unavailable, "nobody leads")
	}
	return f.view, nil
}

// sees changes what the leader knows, of now on.
func (w *world) sees(accounts ...*adminv1.AccountHealthView) {
	w.health.mu.Lock()
	w.health.view = &adminv1.FleetHealth{Time: timestamppb.New(time.Now().Add(time.Minute)), Leader: "r", Accounts: accounts}
	w.health.mu.Unlock()
	w.service.views.forget()
}

// fakeLookups knows one request.
type fakeLookups struct{}

func (*fakeLookups) FindDecision(_ context.Context, requestID string) (*adminv1.Decision, error) {
	switch requestID {
	case "known":
		return &adminv1.Decision{RequestId: requestID, Proxy: "p", Status: 200, Outcome: "served"}, nil
	case "careless":
		return nil, nil
	default:
		return nil, fault.New(fault.NotFound, "no proxy knows a request %q", requestID)
	}
}

// decide writes a verdict as the leader would.
func (w *world) decide(account *resourcev1.Account, h *resourcev1.AccountHealth) {
	w.t.Helper()
	id := account.GetMetadata().GetId()
	put := store.Put{Resource: &resourcev1.Verdict{Metadata: &resourcev1.Metadata{Id: id, Name: id}, Health: h}}
	old, err := w.store.Read(w.t.Context(), model.KindVerdict, id)
	if err == nil {
		put.Old = old
	}
	revision, err := w.store.Commit(w.t.Context(), store.Write{Actor: store.Actor{Operator: "system"}, Puts: []store.Put{put}})
	if err != nil {
		w.t.Fatalf("decide: %v", err)
	}
	if err := w.store.WaitRevision(w.t.Context(), revision); err != nil {
		w.t.Fatal(err)
	}
}

// account is one as callers see it.
func (w *world) account(name string) *resourcev1.Account {
	w.t.Helper()
	got, err := w.as(w.owner).accounts.GetAccount(w.t.Context(), &adminv1.GetAccountRequest{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return got.GetAccount()
}

// fakeTokens keeps records with their hashes, as a careless implementation would hand them out.
type fakeTokens struct {
	mu      sync.Mutex
	records []*adminv1.JoinToken
	actors  []store.Actor
}

func (f *fakeTokens) Create(_ context.Context, ttl time.Duration, maxUses int32, actor store.Actor) (*adminv1.JoinToken, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &adminv1.JoinToken{Id: "j" + ttl.String(), MaxUses: maxUses, CreatedBy: actor.Operator, SecretHash: []byte("canary-join-hash")}
	f.records, f.actors = append(f.records, r), append(f.actors, actor)
	return r, "fwjoin-canary-shown-once", nil
}

func (f *fakeTokens) List(context.Context) ([]*adminv1.JoinToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.records, nil
}

func (f *fakeTokens) Delete(_ context.Context, id string, actor store.Actor) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.actors = append(f.actors, actor)
	if id == "none" {
		return fault.New(fault.NotFound, "there is no join token %q", id)
	}
	return nil
}

// safeBuffer collects what several goroutines write.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tapListener copies everything that the server sends.
type tapListener struct {
	net.Listener
	to io.Writer
}

func (l *tapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tapConn{c, l.to}, nil
}

type tapConn struct {
	net.Conn
	to io.Writer
}

func (c *tapConn) Write(p []byte) (int, error) {
	_, _ = c.to.Write(p)
	return c.Conn.Write(p)
}

// tokenOf reads a token file that must be there.
func tokenOf(t *testing.T, file string) secret.String {
	t.Helper()
	token, fresh, err := loadOrWriteToken(file)
	if err != nil || fresh {
		t.Fatalf("no token in %s: %v", file, err)
	}
	return token
}
