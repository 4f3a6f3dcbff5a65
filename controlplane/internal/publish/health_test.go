package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

type (
	recvHealth = func() (*syncv1.HealthReport, error)
	sendHealth = func(*syncv1.HealthUpdate) error
)

// health is what a test makes of it.
type health struct {
	serve func(ctx context.Context, proxyID, bootID string, recv recvHealth, send sendHealth) error
	view  func() (*adminv1.FleetHealth, error)
}

func (h health) Serve(ctx context.Context, proxyID, bootID string, recv recvHealth, send sendHealth) error {
	return h.serve(ctx, proxyID, bootID, recv, send)
}

func (h health) View(context.Context) (*adminv1.FleetHealth, error) { return h.view() }

// echo answers each report with its sequence.
func echo(_ context.Context, proxyID, bootID string, recv recvHealth, send sendHealth) error {
	for {
		r, err := recv()
		if err != nil {
			return err
		}
		if err := send(&syncv1.HealthUpdate{Term: proxyID + " " + bootID, Revision: r.GetSequence()}); err != nil {
			return err
		}
	}
}

func healthReport(sequence uint64) *syncv1.ReportRequest {
	return &syncv1.ReportRequest{BootId: "b", FirstSequence: 1, Health: &syncv1.HealthReport{Sequence: sequence}}
}

// reporter opens Report streams of the proxy p1.
func reporter(t *testing.T, ca *authority, r *replica) func() syncv1.StateSyncService_ReportClient {
	t.Helper()
	conn := dial(t, r.address, ca.proxy(t, "p1"))
	t.Cleanup(func() { _ = conn.Close() })
	return func() syncv1.StateSyncService_ReportClient {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		stream, err := syncv1.NewStateSyncServiceClient(conn).Report(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
}

func TestHealthTravelsOnItsOwnStream(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{Health: health{serve: echo}, Books: &books{}})
	defer r.close()
	open := reporter(t, ca, r)
	usage, stream := open(), open()
	for i := range uint64(3) {
		if err := stream.Send(healthReport(i + 1)); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		want := &syncv1.ReportResponse{BootId: "b", Health: &syncv1.HealthUpdate{Term: "p1 b", Revision: i + 1}}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Error(d)
		}
		// Usage goes its own way meanwhile.
		if err := usage.Send(&syncv1.ReportRequest{BootId: "b", FirstSequence: i + 1, Records: []*syncv1.UsageRecord{{}}}); err != nil {
			t.Fatal(err)
		}
		if got, err := usage.Recv(); err != nil || got.GetWatermark() != i+1 || got.GetHealth() != nil {
			t.Errorf("usage: %v, %v", got, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end of a stream: %v, want EOF", err)
	}
}

func TestHealthStreamRefuses(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{Health: health{serve: echo}})
	defer r.close()
	without := newReplica(t, ca, Options{ReplicaID: "r2"})
	defer without.close()
	elsewhere := newReplica(t, ca, Options{ReplicaID: "r3", Health: health{
		serve: func(context.Context, string, string, recvHealth, sendHealth) error {
			return notLeaderError{address: "10.0.0.1:8082"}
		},
	}})
	defer elsewhere.close()
	changed := func(change func(*syncv1.ReportRequest)) *syncv1.ReportRequest {
		m := healthReport(2)
		change(m)
		return m
	}
	usage := &syncv1.ReportRequest{BootId: "b", FirstSequence: 1}
	many := make([]*syncv1.AccountDelta, 20001)
	for i := range many {
		many[i] = &syncv1.AccountDelta{AccountId: "a"}
	}
	delta := func(change func(*syncv1.AccountDelta)) *syncv1.ReportRequest {
		d := &syncv1.AccountDelta{AccountId: "a"}
		change(d)
		return changed(func(m *syncv1.ReportRequest) { m.Health.Accounts = []*syncv1.AccountDelta{d} })
	}
	tests := []struct {
		name string
		at   *replica
		send []*syncv1.ReportRequest
		want codes.Code
	}{
		{"good", r, []*syncv1.ReportRequest{healthReport(1), healthReport(2)}, codes.OK},
		{"usage in it", r, []*syncv1.ReportRequest{changed(func(m *syncv1.ReportRequest) { m.Records = []*syncv1.UsageRecord{{}} })}, codes.InvalidArgument},
		{"usage after it", r, []*syncv1.ReportRequest{healthReport(1), usage}, codes.InvalidArgument},
		{"after usage", r, []*syncv1.ReportRequest{usage, healthReport(1)}, codes.InvalidArgument},
		{"another boot", r, []*syncv1.ReportRequest{healthReport(1), changed(func(m *syncv1.ReportRequest) { m.BootId = "c" })}, codes.InvalidArgument},
		{"no sequence", r, []*syncv1.ReportRequest{healthReport(0)}, codes.InvalidArgument},
		{"too many accounts", r, []*syncv1.ReportRequest{changed(func(m *syncv1.ReportRequest) { m.Health.Accounts = many })}, codes.InvalidArgument},
		{"no account", r, []*syncv1.ReportRequest{delta(func(d *syncv1.AccountDelta) { d.AccountId = "" })}, codes.InvalidArgument},
		{"long reason", r, []*syncv1.ReportRequest{delta(func(d *syncv1.AccountDelta) { d.RestReason = strings.Repeat("x", 65) })}, codes.InvalidArgument},
		{"larger than a message", r, []*syncv1.ReportRequest{changed(func(m *syncv1.ReportRequest) {
			m.Health.Latencies = []*syncv1.LatencySums{{Model: strings.Repeat("m", 5<<20)}}
		})}, codes.ResourceExhausted},
		{"not kept here", without, []*syncv1.ReportRequest{healthReport(1)}, codes.Unimplemented},
		{"another leads", elsewhere, []*syncv1.ReportRequest{healthReport(1)}, codes.FailedPrecondition},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream := reporter(t, ca, tt.at)()
			for _, m := range tt.send {
				_ = stream.Send(m) // Recv says why it failed
			}
			_ = stream.CloseSend()
			var err error
			for err == nil {
				_, err = stream.Recv()
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if got := status.Code(err); got != tt.want {
				t.Errorf("code = %v, want %v (%v)", got, tt.want, err)
			}
			if tt.want != codes.FailedPrecondition {
				return
			}
			details := status.Convert(err).Details()
			if len(details) != 1 {
				t.Fatalf("details = %v", details)
			}
			if l, ok := details[0].(*syncv1.NotLeader); !ok || l.GetLeaderSyncAddress() != "10.0.0.1:8082" {
				t.Errorf("detail = %v", details[0])
			}
		})
	}
}

func TestSlowProxyLosesItsHealthStream(t *testing.T) {
	ca := newAuthority(t)
	var blocked atomic.Bool
	r := newReplica(t, ca, Options{SendTimeout: 50 * time.Millisecond, Health: health{
		serve: func(ctx context.Context, _, _ string, _ recvHealth, send sendHealth) error {
			sending := make(chan error, 1)
			go func() {
				u := &syncv1.HealthUpdate{Term: strings.Repeat("x", 1<<20)}
				for {
					if err := send(u); err != nil {
						sending <- err
						return
					}
				}
			}()
			<-ctx.Done()
			blocked.Store(true)
			return context.Cause(ctx)
		},
	}})
	defer r.close()
	stream := reporter(t, ca, r)()
	if err := stream.Send(healthReport(1)); err != nil {
		t.Fatal(err)
	}
	for !blocked.Load() { // nothing is read until the server gives up
		time.Sleep(time.Millisecond)
	}
	var err error
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error = %v, want deadline exceeded", err)
	}
}

func TestStopAndDrainEndHealthStreams(t *testing.T) {
	waits := health{serve: func(ctx context.Context, _, _ string, recv recvHealth, send sendHealth) error {
		if _, err := recv(); err != nil {
			return err
		}
		if err := send(&syncv1.HealthUpdate{}); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}}
	for name, end := range map[string]func(*replica){
		"stop":  func(r *replica) { r.close() },
		"drain": func(r *replica) { r.Drain(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			r := newReplica(t, ca, Options{Health: waits})
			defer r.close()
			open := reporter(t, ca, r)
			stream := open()
			if err := stream.Send(healthReport(1)); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			end(r)
			if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("error = %v, want unavailable", err)
			}
			if name == "stop" {
				return
			}
			late := open()
			_ = late.Send(healthReport(1))
			if _, err := late.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("a new stream: %v, want unavailable", err)
			}
		})
	}
}

func TestFleetHealth(t *testing.T) {
	ca := newAuthority(t)
	view := &adminv1.FleetHealth{
		Leader:  "r1",
		Proxies: []*adminv1.ProxyHealth{{Id: "p1"}, {Id: "p2", Hostname: "told"}, {Id: "stranger"}},
		Accounts: []*adminv1.AccountHealthView{{
			Id: "a", Health: &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_OPEN, Reason: "rate_limit"},
		}},
	}
	var leaderAddress atomic.Pointer[string]
	var first, second *replica
	peers := func(context.Context) ([]*adminv1.Replica, error) {
		return []*adminv1.Replica{{Id: "r1", SyncAddress: first.address}, {Id: "r2", SyncAddress: second.address}}, nil
	}
	first = newReplica(t, ca, Options{ReplicaID: "r1", Peers: peers, Health: health{
		view: func() (*adminv1.FleetHealth, error) { return view, nil },
	}})
	defer first.close()
	second = newReplica(t, ca, Options{ReplicaID: "r2", Peers: peers, Health: health{
		view: func() (*adminv1.FleetHealth, error) { return nil, notLeaderError{address: *leaderAddress.Load()} },
	}, PeerTimeout: time.Second})
	defer second.close()
	w := newWorld(first.Publisher, second.Publisher)
	p1 := connect(t, first.address, ca.proxy(t, "p1"), newProxyState(), "boot")
	defer p1.close()
	p2 := connect(t, second.address, ca.proxy(t, "p2"), newProxyState(), "boot")
	defer p2.close()
	p1.until(w.state.Revision())
	p2.until(w.state.Revision())
	first.settled(t, w.state.Revision())
	second.settled(t, w.state.Revision())

	want := &adminv1.FleetHealth{
		Leader: "r1",
		Proxies: []*adminv1.ProxyHealth{
			{Id: "p1", Hostname: "localhost", Revision: w.state.Revision()}, {Id: "p2", Hostname: "told", Revision: w.state.Revision()},
			{Id: "stranger"},
		},
		Accounts: view.GetAccounts(),
	}
	leaderAddress.Store(&first.address)
	for name, r := range map[string]*replica{"at the leader": first, "elsewhere": second} {
		t.Run(name, func(t *testing.T) {
			got, err := r.FleetHealth(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
	if view.GetProxies()[0].GetRevision() != 0 {
		t.Error("the shared view was written to")
	}
	for name, address := range map[string]string{"nobody leads": "", "the leader is away": "127.0.0.1:1", "wrongly told": second.address} {
		t.Run(name, func(t *testing.T) {
			leaderAddress.Store(&address)
			if _, err := second.FleetHealth(t.Context()); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("error = %v, want unavailable", err)
			}
		})
	}
}

// answering is a proxy that goes on by itself and answers look-ups.
func answering(p *proxy, answer func(l *syncv1.Lookup) []*syncv1.LookupResult) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := p.stream.Recv()
			if err != nil {
				return
			}
			if ack, err := p.take(m); err == nil && ack {
				_ = p.stream.Send(p.ack())
			}
			if l := m.GetLookup(); l != nil {
				for _, r := range answer(l) {
					_ = p.stream.Send(&syncv1.SyncRequest{Message: &syncv1.SyncRequest_LookupResult{LookupResult: r}})
				}
			}
		}
	}()
	return func() {
		p.close()
		<-done
	}
}

func misses(l *syncv1.Lookup) []*syncv1.LookupResult {
	return []*syncv1.LookupResult{{Id: l.GetId()}}
}

// knows answers for one request.
func knows(requestID string, d *adminv1.Decision) func(l *syncv1.Lookup) []*syncv1.LookupResult {
	return func(l *syncv1.Lookup) []*syncv1.LookupResult {
		if l.GetRequestId() != requestID {
			return misses(l)
		}
		return []*syncv1.LookupResult{{Id: l.GetId(), Decision: d}}
	}
}

func TestFindDecision(t *testing.T) {
	ca := newAuthority(t)
	var first, second *replica
	peers := func(context.Context) ([]*adminv1.Replica, error) {
		return []*adminv1.Replica{{Id: "r1", SyncAddress: first.address}, {Id: "r2", SyncAddress: second.address}}, nil
	}
	first = newReplica(t, ca, Options{ReplicaID: "r1", Peers: peers, Log: testLog(t)})
	defer first.close()
	second = newReplica(t, ca, Options{ReplicaID: "r2", Peers: peers})
	defer second.close()
	w := newWorld(first.Publisher, second.Publisher)
	key, channel := w.newKey("alice"), w.newChannel("main")
	account := &resourcev1.Account{Metadata: &resourcev1.Metadata{Id: w.id(), Name: "main-1"}, Channel: "main"}
	revision := w.change(nil, key, channel, account)
	id := func(r interface{ GetMetadata() *resourcev1.Metadata }) string { return r.GetMetadata().GetId() }
	told := &adminv1.Decision{
		RequestId: "req-1", Proxy: "somebody else", Key: id(key), Group: "g-default", Model: "m",
		Candidates: []*adminv1.DecisionCandidate{{Channel: id(channel), Account: id(account)}, {Channel: "main", Account: "gone"}},
		Attempts:   []*adminv1.DecisionAttempt{{Channel: "main", Account: id(account)}},
	}
	want := &adminv1.Decision{
		RequestId: "req-1", Proxy: "p3", Key: "alice", Group: "default", Model: "m",
		Candidates: []*adminv1.DecisionCandidate{{Channel: "main", Account: "main-1"}, {Channel: "main", Account: "gone"}},
		Attempts:   []*adminv1.DecisionAttempt{{Channel: "main", Account: "main-1"}},
	}
	// One that answers with what it was not asked for, and under ids that it cannot know.
	liar := func(l *syncv1.Lookup) []*syncv1.LookupResult {
		return []*syncv1.LookupResult{
			{Id: "guess", Decision: &adminv1.Decision{RequestId: l.GetRequestId()}},
			{Id: l.GetId(), Decision: &adminv1.Decision{RequestId: "req-other"}},
			{Id: l.GetId(), Decision: &adminv1.Decision{RequestId: l.GetRequestId(), Key: "late"}},
		}
	}
	for i, p := range []struct {
		at     *replica
		answer func(*syncv1.Lookup) []*syncv1.LookupResult
	}{
		{first, misses}, {first, liar}, {second, misses}, {second, knows("req-1", told)},
	} {
		stop := answering(connect(t, p.at.address, ca.proxy(t, fmt.Sprintf("p%d", i)), newProxyState(), "boot"), p.answer)
		defer stop()
	}
	for _, r := range []*replica{first, second} {
		for len(r.fleet.newest()) < 2 { // settled asks only of those who are there
			time.Sleep(time.Millisecond)
		}
		r.settled(t, revision)
	}
	for name, r := range map[string]*replica{"here": second, "at another replica": first} {
		t.Run(name, func(t *testing.T) {
			got, err := r.FindDecision(t.Context(), "req-1")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("nobody knows", func(t *testing.T) {
		if _, err := first.FindDecision(t.Context(), "req-2"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("error = %v, want not found", err)
		}
	})
	t.Run("caller gone", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := first.FindDecision(ctx, "req-1"); fault.KindOf(err) != fault.Canceled {
			t.Errorf("error = %v, want canceled", err)
		}
	})
	for _, r := range []*replica{first, second} {
		r.seeks.mu.Lock()
		if n := len(r.seeks.waiting); n != 0 {
			t.Errorf("%d look-ups are still waiting", n)
		}
		r.seeks.mu.Unlock()
	}
}

// TestLookupOfProxiesThatLeave: one that is gone is not waited for.
func TestLookupOfProxiesThatLeave(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{LookupTimeout: time.Hour})
	defer r.close()
	w := newWorld(r.Publisher)
	p := connect(t, r.address, ca.proxy(t, "p1"), newProxyState(), "boot")
	p.until(w.state.Revision())
	r.settled(t, w.state.Revision())
	stop := answering(p, func(*syncv1.Lookup) []*syncv1.LookupResult {
		p.cancel()
		return nil
	})
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // its end would be the answer otherwise
	defer cancel()
	if _, err := r.lookUp(ctx, "req"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("error = %v, want not found", err)
	}
}

func TestLookupsAreBounded(t *testing.T) {
	var ls lookups
	for i := range maxLookups {
		if !ls.begin(fmt.Sprint(i), &lookup{}) {
			t.Fatalf("look-up %d was refused", i)
		}
	}
	if ls.begin("one more", &lookup{}) {
		t.Error("there is no bound")
	}
	ls.forget("0")
	if !ls.begin("one more", &lookup{}) {
		t.Error("a place was not given back")
	}
}
