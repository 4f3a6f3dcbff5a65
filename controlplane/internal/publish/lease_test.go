package publish

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/pkg/bank"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

type (
	receiveLease = func() (*syncv1.LeaseRequest, error)
	sendLease    = func(*syncv1.LeaseResponse) error
)

// lender is what a test makes of it.
type lender struct {
	lease  func(ctx context.Context, proxyID string, receive receiveLease, send sendLease) error
	status func(scope bank.Scope, id string) ([]*adminv1.LimitStatus, error)
}

func (l lender) Lease(ctx context.Context, proxyID string, receive receiveLease, send sendLease) error {
	return l.lease(ctx, proxyID, receive, send)
}

func (l lender) Status(_ context.Context, scope bank.Scope, id string) ([]*adminv1.LimitStatus, error) {
	return l.status(scope, id)
}

// parrot answers each request with its sequence, as the length of the proxy's id.
func parrot(_ context.Context, proxyID string, receive receiveLease, send sendLease) error {
	for {
		r, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(&syncv1.LeaseResponse{Term: int64(len(proxyID)), Sequence: r.GetSequence()}); err != nil {
			return err
		}
	}
}

func leaseStream(t *testing.T, ca *authority, r *replica) syncv1.StateSyncService_LeaseClient {
	t.Helper()
	conn := dial(t, r.address, ca.proxy(t, "p1"))
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := syncv1.NewStateSyncServiceClient(conn).Lease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestLeaseStream(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{Lender: lender{lease: parrot}})
	defer r.close()
	stream := leaseStream(t, ca, r)
	for i := range uint64(3) {
		if err := stream.Send(&syncv1.LeaseRequest{BootId: "b", Sequence: i + 1}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&syncv1.LeaseResponse{Term: 2, Sequence: i + 1}, got, protocmp.Transform()); d != "" {
			t.Error(d)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end of a stream: %v, want EOF", err)
	}
}

func TestLeaseStreamRefuses(t *testing.T) {
	ca := newAuthority(t)
	for name, tt := range map[string]struct {
		lender Lender
		send   *syncv1.LeaseRequest
		want   codes.Code
		leader string
	}{
		"no lender":              {nil, &syncv1.LeaseRequest{BootId: "b", Sequence: 1}, codes.Unimplemented, ""},
		"no boot":                {lender{lease: parrot}, &syncv1.LeaseRequest{Sequence: 1}, codes.InvalidArgument, ""},
		"a boot that is no name": {lender{lease: parrot}, &syncv1.LeaseRequest{BootId: strings.Repeat("b", 65), Sequence: 1}, codes.InvalidArgument, ""},
		"a negative holding": {lender{lease: parrot}, &syncv1.LeaseRequest{BootId: "b", Sequence: 1, Holdings: []*syncv1.Holding{{
			Limit: &syncv1.LimitRef{Scope: 1, Id: "k", What: 1, Period: 1}, Used: -1,
		}}}, codes.InvalidArgument, ""},
		"not the leader": {
			lender{lease: func(context.Context, string, receiveLease, sendLease) error {
				return notLeaderError{address: "10.0.0.1:8082"}
			}},
			&syncv1.LeaseRequest{BootId: "b", Sequence: 1}, codes.FailedPrecondition, "10.0.0.1:8082",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplica(t, ca, Options{Lender: tt.lender})
			defer r.close()
			stream := leaseStream(t, ca, r)
			_ = stream.Send(tt.send)
			_, err := stream.Recv()
			if status.Code(err) != tt.want {
				t.Fatalf("error = %v, want %v", err, tt.want)
			}
			if tt.leader == "" {
				return
			}
			details := status.Convert(err).Details()
			if len(details) != 1 {
				t.Fatalf("details = %v", details)
			}
			if l, ok := details[0].(*syncv1.NotLeader); !ok || l.GetLeaderSyncAddress() != tt.leader {
				t.Errorf("detail = %v, want the leader's address", details[0])
			}
		})
	}
}

func TestLeaseStreamsEnd(t *testing.T) {
	for name, end := range map[string]func(*replica){
		"stop":  func(r *replica) { r.close() },
		"drain": func(r *replica) { r.Drain(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			r := newReplica(t, ca, Options{Lender: lender{lease: func(ctx context.Context, _ string, _ receiveLease, send sendLease) error {
				_ = send(&syncv1.LeaseResponse{})
				<-ctx.Done()
				return context.Cause(ctx)
			}}})
			defer r.close()
			stream := leaseStream(t, ca, r)
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			end(r)
			if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("error = %v, want unavailable", err)
			}
		})
	}
}

// A proxy that takes nothing loses its stream.
func TestSlowProxyLosesItsLeaseStream(t *testing.T) {
	ca := newAuthority(t)
	cause := make(chan error, 1)
	r := newReplica(t, ca, Options{SendTimeout: 50 * time.Millisecond, Lender: lender{
		lease: func(ctx context.Context, _ string, _ receiveLease, send sendLease) error {
			big := &syncv1.LeaseResponse{}
			for range 2000 {
				big.Grants = append(big.Grants, &syncv1.Grant{Limit: &syncv1.LimitRef{Id: strings.Repeat("x", 128)}})
			}
			go func() {
				for send(big) == nil {
				}
			}()
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return context.Cause(ctx)
		},
	}})
	defer r.close()
	leaseStream(t, ca, r)
	if err := <-cause; !errors.Is(err, errSlow) {
		t.Errorf("the stream ended with %v, want %v", err, errSlow)
	}
}

func TestGetLimits(t *testing.T) {
	ca := newAuthority(t)
	limits := []*adminv1.LimitStatus{{Scope: "group", Name: "g", What: "cost", Window: "day", Limit: 7, Used: 3}}
	var leaderAddress atomic.Pointer[string]
	var first, second *replica
	peers := func(context.Context) ([]*adminv1.Replica, error) {
		return []*adminv1.Replica{{Id: "r1", SyncAddress: first.address}, {Id: "r2", SyncAddress: second.address}}, nil
	}
	first = newReplica(t, ca, Options{ReplicaID: "r1", Peers: peers, Lender: lender{status: func(s bank.Scope, id string) ([]*adminv1.LimitStatus, error) {
		if s != bank.Group || id != "g" {
			return nil, fault.New(fault.Internal, "asked for %d %q", s, id)
		}
		return limits, nil
	}}})
	defer first.close()
	second = newReplica(t, ca, Options{ReplicaID: "r2", Peers: peers, PeerTimeout: time.Second, Lender: lender{
		status: func(bank.Scope, string) ([]*adminv1.LimitStatus, error) {
			return nil, notLeaderError{address: *leaderAddress.Load()}
		},
	}})
	defer second.close()
	leaderAddress.Store(&first.address)
	for name, r := range map[string]*replica{"at the leader": first, "elsewhere": second} {
		t.Run(name, func(t *testing.T) {
			got, err := r.GetLimits(t.Context(), syncv1.LimitScope_LIMIT_SCOPE_GROUP, "g")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(limits, got, protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
	for name, address := range map[string]string{"nobody leads": "", "the leader is away": "127.0.0.1:1", "wrongly told": second.address} {
		t.Run(name, func(t *testing.T) {
			leaderAddress.Store(&address)
			if _, err := second.GetLimits(t.Context(), syncv1.LimitScope_LIMIT_SCOPE_GROUP, "g"); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("error = %v, want unavailable", err)
			}
		})
	}
}
