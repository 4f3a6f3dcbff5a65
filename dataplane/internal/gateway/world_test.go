package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/report"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/sock"
	"fairway/dataplane/internal/upstream"
	"fairway/pkg/clientkey"
	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

func TestMain(m *testing.M) {
	// genai, a client in tests, starts it and has no way to end it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// books is a Sink that remembers.
type books struct {
	mu      sync.Mutex
	records []report.Record
	came    chan report.Record
}

func (b *books) Append(r *report.Record) error {
	c := *r
	// The record is the exchange's, strings included.
	c.Model = strings.Clone(c.Model)
	b.mu.Lock()
	b.records = append(b.records, c)
	b.mu.Unlock()
	select {
	case b.came <- c:
	default:
	}
	return nil
}

func (b *books) all() []report.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]report.Record(nil), b.records...)
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// last is the log's end.
func (l *lockedBuffer) last() string {
	s := l.String()
	return s[max(0, len(s)-2000):]
}

// world is a proxy with everything around it: a state, a provider, a listener.
type world struct {
	t        testing.TB
	gateway  *Gateway
	holder   *snapshot.Holder
	replica  *snapshot.Replica
	provider *fakellm.Provider
	upstream string // base URL of the provider
	addr     string
	books    *books
	log      *lockedBuffer
	registry *prometheus.Registry
	key      string

	revision int64
	items    map[string]*syncv1.Change
	settings *syncv1.SettingsState
}

const (
	secretA = "sk-upstream-aaaaaaaaaaaa"
	secretB = "sk-upstream-bbbbbbbbbbbb"
	secretC = "sk-upstream-cccccccccccc"
)

var pepper = []byte("a pepper of at least thirty-two bytes")

// newWorld starts a proxy in front of a provider with the accounts a, b and c (secretA …), which are healthy. The state
// has the group "default" and the key; channels are the test's to add.
func newWorld(t testing.TB, changeOptions ...func(*Options, *ingress.Options)) *world {
	t.Helper()
	w := &world{
		t:        t,
		holder:   snapshot.NewHolder(),
		replica:  snapshot.NewReplica(),
		books:    &books{came: make(chan report.Record, 4096)},
		log:      &lockedBuffer{},
		registry: prometheus.NewRegistry(),
		items:    make(map[string]*syncv1.Change),
		provider: fakellm.New(fakellm.Options{
			Accounts: map[string]fakellm.Behaviour{
				secretA: fakellm.Healthy(), secretB: fakellm.Healthy(), secretC: fakellm.Healthy(),
			},
			Models: []string{"gpt-x", "gpt-y", "embed-x", "up-z", "o-think", "claude-sonnet-4-5", "gemini-3-pro", "o-azure",
				"anthropic.claude-sonnet-4-5-v1", "amazon.nova-pro-v1", "c-plain"},
		}),
	}
	fake, err := w.provider.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.upstream = fake.URL()

	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	lookout, err := sock.NewLookout()
	if err != nil {
		lookout = nil // not on this system
	}
	pool := upstream.New(upstream.Options{
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Log: log, Lookout: lookout,
	})
	var options Options
	ingressOptions := ingress.Options{Log: log, Registry: w.registry, WatchAfter: time.Millisecond, Grace: 5 * time.Second, Lookout: lookout}
	for _, change := range changeOptions {
		change(&options, &ingressOptions)
	}
	w.gateway = New(Deps{
		Snapshots: w.holder, Upstream: pool, Sink: w.books, Log: log, Registry: w.registry,
	}, options)
	server := ingress.New(w.gateway.Serve, ingressOptions)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Run(ctx, ln); err != nil {
			t.Errorf("ingress: %v", err)
		}
	})
	running.Go(func() { _ = pool.Run(ctx) })
	if lookout != nil {
		running.Go(func() {
			if err := lookout.Run(ctx); err != nil {
				t.Errorf("lookout: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = fake.Close()
		if v := w.provider.Violations(); len(v) > 0 {
			t.Errorf("the provider saw what it must not see: %q", v)
		}
		for _, canary := range []string{secretA, secretB, secretC, w.key} {
			if strings.Contains(w.log.String(), canary) {
				t.Errorf("the log has a secret in it:\n%s", w.log.String())
			}
		}
	})

	w.settings = &syncv1.SettingsState{MaxAttempts: 3, RetryBudgetPercent: 20, RetryBudgetMin: 3, Pepper: pepper}
	w.key = clientkey.New().Reveal()
	w.put(syncv1.Kind_KIND_SETTINGS, "settings", w.settings)
	w.put(syncv1.Kind_KIND_GROUP, "g1", &syncv1.GroupState{Name: "default", Strategy: 1, PriceRatioPpm: 2_000_000})
	w.put(syncv1.Kind_KIND_KEY, "k1", keyState(w.key, "g1"))
	w.publish()
	return w
}

func keyState(key, group string) *syncv1.KeyState {
	mac := clientkey.NewHasher(pepper).Sum([]byte(key))
	return &syncv1.KeyState{Name: "key", GroupId: group, Mac: mac[:]}
}

// debug makes answers to the key say who served.
func (w *world) debug() {
	w.t.Helper()
	key := keyState(w.key, "g1")
	key.DebugHeaders = true
	w.put(syncv1.Kind_KIND_KEY, "k1", key)
	w.publish()
}

// put changes the state; publish makes it known.
func (w *world) put(kind syncv1.Kind, id string, m proto.Message) {
	w.t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.items[fmt.Sprint(kind, id)] = &syncv1.Change{Kind: kind, Id: id, Version: w.revision + 1, Body: body}
}

func (w *world) publish() {
	w.t.Helper()
	w.revision++
	txn := &syncv1.Txn{Lineage: "L", Revision: w.revision, ReplacedBuckets: ^uint64(0), Last: true}
	var sums digest.Sums
	for _, c := range w.items {
		txn.Changes = append(txn.Changes, c)
		sums.Add(int32(c.GetKind()), c.GetId(), c.GetVersion(), c.GetBody())
	}
	txn.Digest = sums.Root()
	if _, err := w.replica.Receive(txn); err != nil {
		w.t.Fatal(err)
	}
	if ack := w.replica.Ack(); len(ack.GetRejects()) > 0 {
		w.t.Fatalf("rejected: %v", ack.GetRejects())
	}
	w.holder.Publish(w.replica.Snapshot(), time.Now())
}

// channel adds a channel "ch-<id>" to the provider, with accounts of secrets. It is not published.
func (w *world) channel(id string, priority int32, secrets ...string) *syncv1.ChannelState {
	w.t.Helper()
	ch := &syncv1.ChannelState{
		Name: "ch-" + id, Provider: 1, BaseUrl: w.upstream, Models: []string{"gpt-x", "gpt-y", "embed-x", "alias-z"},
		ModelMapping: map[string]string{"alias-z": "up-z"}, GroupIds: []string{"g1"}, Priority: priority, Weight: 100,
		PriceRatioPpm: 1_000_000,
	}
	w.put(syncv1.Kind_KIND_CHANNEL, "c-"+id, ch)
	for i, s := range secrets {
		name := fmt.Sprintf("%s%d", id, i)
		w.put(syncv1.Kind_KIND_ACCOUNT, "a-"+name, &syncv1.AccountState{
			Name: "acc-" + name, ChannelId: "c-" + id, Secret: s, Weight: 100,
		})
	}
	return ch
}

// tiers makes one channel per secret, the first of the highest priority: so the order of attempts is certain.
func (w *world) tiers(secrets ...string) {
	w.t.Helper()
	for i, s := range secrets {
		w.channel(string(rune('a'+i)), int32(100-i), s)
	}
	w.publish()
}

func (w *world) cell(account string) *snapshot.Cell { return w.candidate(account).Cell }

func (w *world) candidate(account string) *snapshot.Candidate {
	w.t.Helper()
	s := w.holder.Current()
	g, _ := s.Group("g1")
	p, ok := s.Pool(g, "gpt-x")
	if !ok {
		w.t.Fatal("no pool")
	}
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				if r.Candidates[j].Account.Name == account {
					return &r.Candidates[j]
				}
			}
		}
	}
	w.t.Fatalf("no account %q", account)
	return nil
}

// client is the official SDK, without retries of its own.
func (w *world) client(o ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL("http://" + w.addr + "/v1"),
		option.WithAPIKey(w.key),
		option.WithMaxRetries(0),
	}, o...)...)
}

// dial opens a raw connection.
func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// raw sends bytes and returns all that comes back until the proxy closes; so they should say "Connection: close".
func (w *world) raw(request string) string {
	w.t.Helper()
	c := w.dial()
	if _, err := io.WriteString(c, request); err != nil {
		w.t.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		w.t.Fatalf("after %q: %v", out, err)
	}
	return string(out)
}

// post is a raw request with a body that closes its connection.
func (w *world) post(path, body string, headers ...string) string {
	w.t.Helper()
	return w.raw(request(path, w.key, body, append(headers, "Connection: close")...))
}

func request(path, key, body string, headers ...string) string {
	h := "POST " + path + " HTTP/1.1\r\nHost: proxy\r\nContent-Type: application/json\r\nAuthorization: Bearer " + key +
		fmt.Sprintf("\r\nContent-Length: %d\r\n", len(body))
	for _, line := range headers {
		h += line + "\r\n"
	}
	return h + "\r\n" + body
}

// record waits for the next usage record.
func (w *world) record() report.Record {
	w.t.Helper()
	select {
	case r := <-w.books.came:
		return r
	case <-time.After(time.Minute):
		w.t.Fatalf("no usage record came; log:\n%s", w.log)
	}
	return report.Record{}
}

func wait[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("%s did not happen", what)
	}
	panic("unreachable")
}

// status is the status of a raw response.
func status(response string) string {
	_, rest, _ := strings.Cut(response, " ")
	code, _, _ := strings.Cut(rest, " ")
	return code
}
