package health

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// replica is a control-plane replica as far as health goes.
type replica struct {
	syncv1.UnimplementedStateSyncServiceServer
	leader  string // "" = it leads; else where the leader is
	reports chan *syncv1.ReportRequest
	updates chan *syncv1.HealthUpdate

	ln     *bufconn.Listener
	server *grpc.Server
}

func newReplica(t *testing.T, leader string) *replica {
	t.Helper()
	r := &replica{
		leader: leader, reports: make(chan *syncv1.ReportRequest, 1000), updates: make(chan *syncv1.HealthUpdate, 100),
		ln: bufconn.Listen(1 << 20), server: grpc.NewServer(),
	}
	syncv1.RegisterStateSyncServiceServer(r.server, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.server.Serve(r.ln) })
	t.Cleanup(func() {
		r.server.Stop()
		serving.Wait()
	})
	return r
}

func (r *replica) Report(stream grpc.BidiStreamingServer[syncv1.ReportRequest, syncv1.ReportResponse]) error {
	if r.leader != "" {
		s, err := status.New(codes.FailedPrecondition, "not the leader").WithDetails(&syncv1.NotLeader{LeaderSyncAddress: r.leader})
		if err != nil {
			return err
		}
		return s.Err()
	}
	ctx := stream.Context()
	var receiving sync.WaitGroup
	defer receiving.Wait()
	receiving.Go(func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case r.reports <- m:
			default: // nobody looks any more
			}
		}
	})
	for {
		select {
		case u := <-r.updates:
			if err := stream.Send(&syncv1.ReportResponse{Health: u}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// network dials replicas by their names.
type network struct {
	mu       sync.Mutex
	replicas map[string]*replica
}

func (n *network) dial(_ context.Context, address string) (grpc.ClientConnInterface, io.Closer, error) {
	n.mu.Lock()
	r := n.replicas[address]
	n.mu.Unlock()
	if r == nil {
		return nil, nil, errors.New("nobody is there")
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.ln.DialContext(ctx) }))
	return conn, conn, err
}

func (n *network) set(address string, r *replica) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.replicas[address] = r
}

// next is the next report that satisfies what.
func next(t *testing.T, from chan *syncv1.ReportRequest, what func(*syncv1.HealthReport) bool) *syncv1.HealthReport {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case m := <-from:
			if err := protovalidate.Validate(m); err != nil {
				t.Fatalf("a report against the contract: %v", err)
			}
			if m.GetBootId() != "me" || len(m.GetRecords()) > 0 || m.GetHealth() == nil {
				t.Fatalf("no report of health: %v", m)
			}
			if what(m.GetHealth()) {
				return m.GetHealth()
			}
		case <-timeout:
			t.Fatal("no such report came")
		}
	}
}

func any1(*syncv1.HealthReport) bool { return true }

func of(id string) func(*syncv1.HealthReport) bool {
	return func(r *syncv1.HealthReport) bool {
		for _, a := range r.GetAccounts() {
			if a.GetAccountId() == id {
				return true
			}
		}
		return false
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// TestStream: reports reach the leader though another replica was asked first, what the leader says is applied, and after
// the leader was killed the next one hears first all that still holds.
func TestStream(t *testing.T) {
	n := &network{replicas: map[string]*replica{}}
	first := newReplica(t, "")
	n.set("leader", first)
	n.set("other", newReplica(t, "leader"))
	w := newWorld(t, Options{
		Now: time.Now, Dial: n.dial, Addresses: []string{"other"}, MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
	}, "a", "b")
	w.now = time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.k.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	defer running.Wait()
	defer cancel()

	if r := next(t, first.reports, any1); r.GetSequence() == 0 || r.GetStats().GetUptime() == nil {
		t.Errorf("first report: %v", r)
	}
	first.updates <- &syncv1.HealthUpdate{Term: "1", Revision: 1, Full: true, Proxies: []string{"me"}}
	eventually(t, "the leader is not heard", w.k.connected.Load)

	w.fail("a", classify(429, ""), time.Hour)
	r := next(t, first.reports, of("a"))
	if a := r.GetAccounts()[0]; a.GetRest().AsDuration() < 59*time.Minute || !a.GetRestOrdered() || a.GetRestReason() != "rate_limit" {
		t.Errorf("reported: %v", a)
	}
	first.updates <- &syncv1.HealthUpdate{Term: "1", Revision: 2, Accounts: []*syncv1.AccountFacts{{AccountId: "b", Rest: dur(time.Hour)}}}
	eventually(t, "the leader's rest is not laid", func() bool { return w.candidate("b").Cell.CooldownUntil.Load() != 0 })

	// The leader is killed; its successor is at the same place.
	n.set("leader", nil)
	first.server.Stop()
	eventually(t, "the loss of the leader is not seen", func() bool { return !w.k.connected.Load() })
	w.ok("b") // nothing waits
	second := newReplica(t, "")
	n.set("leader", second)
	r = next(t, second.reports, any1)
	if !of("a")(r) {
		t.Fatalf("the new leader does not hear what holds: %v", r)
	}
	for _, a := range r.GetAccounts() {
		if a.GetAccountId() == "a" && (!a.GetRestOrdered() || a.GetRest().AsDuration() < 59*time.Minute) {
			t.Errorf("the new leader hears %v", a)
		}
	}
	second.updates <- &syncv1.HealthUpdate{Term: "2", Revision: 1, Full: true}
	eventually(t, "what the new leader does not name stays", func() bool { return w.candidate("b").Cell.CooldownUntil.Load() == 0 })
}

// TestReports: only what is new is told, once.
func TestReports(t *testing.T) {
	w := newWorld(t, Options{}, "a", "b")
	if r := w.k.Report(w.now); len(r.GetAccounts()) != 0 || r.GetSequence() != 1 {
		t.Errorf("nothing happened: %v", r)
	}
	w.ok("a")
	w.k.Spent(w.candidate("a").Account, 100)
	w.fail("a", classify(500, ""), 0)
	w.fail("a", classify(400, ""), 0)
	w.fail("a", classify(529, ""), 0)
	w.k.Began(w.candidate("b"), w.now.UnixMilli())
	w.k.Count(Requests, 3)
	r := w.k.Report(w.now)
	if len(r.GetAccounts()) != 2 || r.GetStats().GetRequests() != 3 || r.GetStats().GetAttempts() != 5 || r.GetStats().GetAttemptFailures() != 3 {
		t.Fatalf("report: %v", r)
	}
	for _, d := range r.GetAccounts() {
		if d.GetAccountId() == "b" {
			if d.GetInFlight() != 1 {
				t.Errorf("b: %v", d)
			}
			continue
		}
		unhealthy := map[string]bool{}
		for _, f := range d.GetFaults() {
			unhealthy[f.GetReason()] = f.GetUnhealthy()
		}
		if len(unhealthy) != 3 || !unhealthy["server_error"] || unhealthy["client"] || unhealthy["overloaded"] {
			t.Errorf("faults: %v", d.GetFaults())
		}
		if d.GetOk() != 1 || d.GetTokens() != 100 || len(d.GetFamilies()) != 1 || d.GetFamilies()[0].GetFamily() != "claude-3-5-sonnet" {
			t.Errorf("a: %v", d)
		}
	}
	w.pass(time.Minute)
	w.k.Tick(w.now)
	if r := w.k.Report(w.now); len(r.GetAccounts()) != 0 {
		t.Errorf("nothing new: %v", r.GetAccounts())
	}
}
