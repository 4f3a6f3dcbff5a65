package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

// TestWhoMayCallWhat walks every RPC with every sort of certificate.
func TestWhoMayCallWhat(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	newWorld(r.Publisher)
	identity := func(lineage string, role trust.Role) *tls.Config {
		return ca.client(ca.issue(t, trust.Identity{Lineage: lineage, Role: role, ID: "x"}))
	}
	// A certificate of somebody else, presented to our server by a client that trusts our server.
	foreign := ca.client(stranger.issue(t, trust.Identity{Lineage: lineage, Role: trust.RoleProxy, ID: "x"}))
	callers := map[string]*tls.Config{
		"nobody": ca.client(nil), "proxy": identity(lineage, trust.RoleProxy), "replica": identity(lineage, trust.RoleReplica),
		"proxy of another lineage": identity("other", trust.RoleProxy), "stranger": foreign,
	}
	type call func(ctx context.Context, c *tls.Config) error
	calls := map[string]call{
		"Sync": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			stream, err := syncv1.NewStateSyncServiceClient(conn).Sync(ctx)
			if err != nil {
				return err
			}
			if err := stream.Send(newProxyState().hello("b")); err != nil {
				return errors.Join(err, stream.RecvMsg(&syncv1.SyncResponse{}))
			}
			_, err = stream.Recv()
			return err
		},
		"Report": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			stream, err := syncv1.NewStateSyncServiceClient(conn).Report(ctx)
			if err != nil {
				return err
			}
			_ = stream.Send(&syncv1.ReportRequest{BootId: "b", FirstSequence: 1})
			_, err = stream.Recv()
			return err
		},
		"Lease": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			stream, err := syncv1.NewStateSyncServiceClient(conn).Lease(ctx)
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
		"Enroll": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			_, err := syncv1.NewEnrollServiceClient(conn).Enroll(ctx, &syncv1.EnrollRequest{Token: "t", Csr: []byte("c")})
			return err
		},
		"Renew": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			_, err := syncv1.NewEnrollServiceClient(conn).Renew(ctx, &syncv1.RenewRequest{Csr: []byte("c")})
			return err
		},
		"ListProxies": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			_, err := syncv1.NewPeerServiceClient(conn).ListProxies(ctx, &syncv1.ListProxiesRequest{})
			return err
		},
		"GetFleetHealth": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			_, err := syncv1.NewPeerServiceClient(conn).GetFleetHealth(ctx, &syncv1.GetFleetHealthRequest{})
			return err
		},
		"GetLimits": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			_, err := syncv1.NewPeerServiceClient(conn).GetLimits(ctx, &syncv1.GetLimitsRequest{Scope: syncv1.LimitScope_LIMIT_SCOPE_KEY, Id: "k"})
			return err
		},
		"FindDecision": func(ctx context.Context, c *tls.Config) error {
			conn := dial(t, r.address, c)
			defer conn.Close()
			_, err := syncv1.NewPeerServiceClient(conn).FindDecision(ctx, &syncv1.FindDecisionRequest{RequestId: "x"})
			return err
		},
	}
	may := map[string]map[string]codes.Code{
		"Sync": {"proxy": codes.OK}, "Report": {"proxy": codes.OK}, "Renew": {"proxy": codes.OK},
		"Lease":          {"proxy": codes.Unimplemented},
		"ListProxies":    {"replica": codes.OK},
		"GetFleetHealth": {"replica": codes.Unimplemented},
		"GetLimits":      {"replica": codes.Unimplemented},
		"FindDecision":   {"replica": codes.NotFound},
		"Enroll": {
			"nobody": codes.OK, "proxy": codes.OK, "replica": codes.OK, "proxy of another lineage": codes.OK,
		},
	}
	for rpc, call := range calls {
		for caller, config := range callers {
			t.Run(rpc+" by "+caller, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := call(ctx, config)
				want, allowed := may[rpc][caller]
				if !allowed {
					want = codes.Unauthenticated
				}
				got := status.Code(err)
				if caller == "stranger" {
					// Refused in the handshake already.
					if err == nil || got == codes.OK {
						t.Error("a stranger's certificate was accepted")
					}
					return
				}
				if got != want {
					t.Errorf("code = %v, want %v (%v)", got, want, err)
				}
			})
		}
	}
}

func TestSyncRefusesBadMessages(t *testing.T) {
	ca := newAuthority(t)
	patient := newReplica(t, ca, Options{HelloTimeout: time.Hour})
	defer patient.close()
	newWorld(patient.Publisher)
	hasty := newReplica(t, ca, Options{HelloTimeout: 50 * time.Millisecond})
	defer hasty.close()
	newWorld(hasty.Publisher)
	hello := func(change func(*syncv1.Hello)) *syncv1.SyncRequest {
		m := newProxyState().hello("b")
		change(m.GetHello())
		return m
	}
	tests := []struct {
		name string
		at   *replica
		send []*syncv1.SyncRequest
		want codes.Code
	}{
		{"silence", hasty, nil, codes.DeadlineExceeded},
		{"nothing in it", patient, []*syncv1.SyncRequest{{}}, codes.InvalidArgument},
		{"ack first", patient, []*syncv1.SyncRequest{newProxyState().ack()}, codes.InvalidArgument},
		{"no boot id", patient, []*syncv1.SyncRequest{hello(func(h *syncv1.Hello) { h.BootId = "" })}, codes.InvalidArgument},
		{"63 digests", patient, []*syncv1.SyncRequest{hello(func(h *syncv1.Hello) { h.BucketDigests = make([]uint64, 63) })}, codes.InvalidArgument},
		{"two hellos", patient, []*syncv1.SyncRequest{hello(func(*syncv1.Hello) {}), hello(func(*syncv1.Hello) {})}, codes.InvalidArgument},
	}
	config := ca.proxy(t, "p1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := dial(t, tt.at.address, config)
			defer conn.Close()
			stream, err := syncv1.NewStateSyncServiceClient(conn).Sync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range tt.send {
				_ = stream.Send(m)
			}
			for err == nil {
				_, err = stream.Recv()
			}
			if got := status.Code(err); got != tt.want {
				t.Errorf("code = %v, want %v (%v)", got, tt.want, err)
			}
		})
	}
}

// books answers as told.
type books struct {
	watermark uint64
	err       error
}

func (b *books) Report(_ context.Context, _ string, first uint64, records []*syncv1.UsageRecord) (uint64, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.watermark = first + uint64(len(records)) - 1
	return b.watermark, nil
}

type notLeaderError struct{ address string }

func (notLeaderError) Error() string               { return "not the leader: internal detail" }
func (e notLeaderError) LeaderSyncAddress() string { return e.address }

func TestReport(t *testing.T) {
	ca := newAuthority(t)
	b := &books{}
	r := newReplica(t, ca, Options{Books: b})
	defer r.close()
	conn := dial(t, r.address, ca.proxy(t, "p1"))
	defer conn.Close()
	open := func() syncv1.StateSyncService_ReportClient {
		t.Helper()
		stream, err := syncv1.NewStateSyncServiceClient(conn).Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	stream := open()
	for i := range uint64(3) {
		m := &syncv1.ReportRequest{BootId: "b", FirstSequence: 2*i + 1, Records: []*syncv1.UsageRecord{{}, {}}}
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		want := &syncv1.ReportResponse{BootId: "b", Watermark: 2*i + 2}
		if !proto.Equal(got, want) {
			t.Errorf("response = %v, want %v", got, want)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}

	refused := func(m *syncv1.ReportRequest) *status.Status {
		t.Helper()
		stream := open()
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
		_, err := stream.Recv()
		return status.Convert(err)
	}
	good := &syncv1.ReportRequest{BootId: "b", FirstSequence: 1}
	if s := refused(&syncv1.ReportRequest{BootId: "b"}); s.Code() != codes.InvalidArgument {
		t.Errorf("sequence 0: %v", s)
	}
	b.err = notLeaderError{address: "10.0.0.1:8082"}
	s := refused(good)
	if s.Code() != codes.FailedPrecondition || len(s.Details()) != 1 {
		t.Fatalf("not the leader: %v with %v", s, s.Details())
	}
	if got, ok := s.Details()[0].(*syncv1.NotLeader); !ok || got.GetLeaderSyncAddress() != "10.0.0.1:8082" {
		t.Errorf("detail = %v", s.Details()[0])
	}
	b.err = errors.New("password=hunter2")
	if s := refused(good); s.Code() != codes.Internal || s.Message() != "internal error" {
		t.Errorf("a foreign error became %v", s)
	}
}

func TestStatusShowsProxiesAndRejections(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	channel := w.newChannel("main")
	config := ca.proxy(t, "p1")
	old := connect(t, r.address, config, newProxyState(), "boot-1")
	defer old.close()
	old.until(w.change(nil, channel))
	p := connect(t, r.address, config, newProxyState(), "boot-2")
	defer p.close()
	for p.revision < w.state.Revision() {
		m, err := p.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.take(m); err != nil {
			t.Fatal(err)
		}
	}
	ack := p.ack()
	ack.GetAck().ApplyTime = durationpb.New(time.Millisecond)
	ack.GetAck().Rejects = []*syncv1.Reject{
		{Kind: syncv1.Kind_KIND_CHANNEL, Id: channel.GetMetadata().GetId(), Reason: "bad"},
		{Kind: syncv1.Kind_KIND_KEY, Id: "gone", Reason: "worse"},
	}
	if err := p.stream.Send(ack); err != nil {
		t.Fatal(err)
	}
	r.settled(t, w.state.Revision())
	// Both connections are served; the newest is shown.
	proxies, unreachable, err := r.Status(t.Context())
	if err != nil || len(proxies) != 1 || len(unreachable) != 0 {
		t.Fatalf("status = %v, %v, %v", proxies, unreachable, err)
	}
	got := proxies[0]
	if got.GetId() != "p1" || got.GetBootId() != "boot-2" || got.GetRevision() != w.state.Revision() ||
		got.GetReplicaId() != "r1" || got.GetApplyLag() == nil || got.GetRemoteAddress() == "" || got.GetConnectTime() == nil {
		t.Errorf("proxy = %v", got)
	}
	want := []*adminv1.Rejection{
		{Kind: "channel", Name: "main", Reason: "bad"}, {Kind: "key", Name: "gone", Reason: "worse"},
	}
	if d := cmp.Diff(want, got.GetRejections(), cmp.Comparer(proto.Equal)); d != "" {
		t.Error(d)
	}
	old.until(w.change(nil, w.newKey("a")))
}

func TestDrain(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	config := ca.proxy(t, "p1")
	p := connect(t, r.address, config, newProxyState(), "boot")
	defer p.close()
	p.until(w.state.Revision())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		r.Drain(ctx)
		close(drained)
	}()
	drain := p.next().GetDrain()
	if got := drain.GetGrace().AsDuration(); got <= 50*time.Second || got > time.Minute {
		t.Errorf("grace = %v, want a minute", got)
	}
	p.until(w.change(nil, w.newKey("a"))) // state flows on
	select {
	case <-drained:
		t.Error("drained while a proxy is connected")
	default:
	}
	late := connect(t, r.address, config, newProxyState(), "boot")
	defer late.close()
	if _, err := late.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a new stream while draining: %v, want unavailable", err)
	}
	if err := p.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	<-drained
}

func TestStopEndsStreams(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	w := newWorld(r.Publisher)
	p := connect(t, r.address, ca.proxy(t, "p1"), newProxyState(), "boot")
	defer p.close()
	p.until(w.state.Revision())
	r.close()
	if _, err := p.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v, want unavailable", err)
	}
}

func TestStatusOf(t *testing.T) {
	tests := []struct {
		name string
		err  error
		code codes.Code
		text string
	}{
		{"fault", fault.New(fault.Exhausted, "slow down").With(errors.New("hidden")), codes.ResourceExhausted, "slow down"},
		{"foreign", errors.New("hidden"), codes.Internal, "internal error"},
		{"context", context.Canceled, codes.Canceled, "canceled"},
		{"status", status.Error(codes.Aborted, "from grpc"), codes.Aborted, "from grpc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := status.Convert(statusOf(tt.err))
			if s.Code() != tt.code || s.Message() != tt.text {
				t.Errorf("status = %v, want %v %q", s, tt.code, tt.text)
			}
		})
	}
	if statusOf(nil) != nil {
		t.Error("nil became an error")
	}
}
