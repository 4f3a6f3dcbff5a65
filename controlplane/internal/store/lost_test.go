package store

import (
	"context"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

// lossy makes a store lose the answers of transactions: before the request was sent, or after it was applied.
type lossy struct {
	before, after atomic.Int32 // how many more to lose
	sent          atomic.Int32 // how many transactions reached the server
}

func (l *lossy) intercept(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if txn, ok := req.(*pb.TxnRequest); !ok || len(txn.Compare) == 0 {
		return next(ctx, method, req, reply, cc, opts...)
	}
	lost := status.Error(codes.Unavailable, "the connection was lost")
	if l.before.Add(-1) >= 0 {
		return lost
	}
	l.sent.Add(1)
	if err := next(ctx, method, req, reply, cc, opts...); err != nil {
		return err
	}
	if l.after.Add(-1) >= 0 {
		return lost
	}
	return nil
}

func openLossy(t *testing.T, endpoint string) (*Store, *lossy) {
	t.Helper()
	s, l := open(t, endpoint), &lossy{}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.intercept)},
	})
	if err != nil {
		t.Fatal(err)
	}
	plain := s.client
	s.client = client
	t.Cleanup(func() {
		s.client = plain
		_ = client.Close()
	})
	return s, l
}

func TestLostAnswersAreResolved(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	s, l := openLossy(t, endpoint)
	ctx := soon(t)
	c := create(t, s, channel(t, s, "c"))[0]

	tests := []struct {
		name          string
		before, after int32
	}{
		{"request lost", 2, 0},
		{"answer lost", 0, 1},
		{"answers lost again and again", 1, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l.before.Store(tt.before)
			l.after.Store(tt.after)
			l.sent.Store(0)
			revision := commit(t, s, Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Weight++ })}})
			now, err := s.Read(ctx, model.KindChannel, c.GetMetadata().GetId())
			if err != nil {
				t.Fatal(err)
			}
			if model.Version(now) != revision {
				t.Errorf("commit said revision %d, stored is %d", revision, model.Version(now))
			}
			if l.sent.Load() != tt.after+1 {
				t.Errorf("%d transactions were sent, want %d", l.sent.Load(), tt.after+1)
			}
			c, _ = now.(*resourcev1.Channel)
		})
	}
	records, _, err := s.Audit(ctx, AuditQuery{ResourceName: "c"})
	if err != nil || len(records) != 1+len(tests) {
		t.Errorf("%d audit records, want %d (%v)", len(records), 1+len(tests), err)
	}
	t.Run("a stale write stays stale", func(t *testing.T) {
		l.after.Store(1)
		_, err := s.Commit(ctx, Write{Puts: []Put{update(at(c, 1), func(*resourcev1.Channel) {})}})
		wantFault(t, err, fault.Stale, "")
	})
	t.Run("time over, but committed", func(t *testing.T) {
		l.after.Store(1000)
		defer l.after.Store(0)
		short, cancel := context.WithTimeout(ctx, attemptTimeout/20)
		defer cancel()
		if _, err := s.Commit(short, Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Weight = 9 })}}); err != nil {
			t.Fatalf("commit: %v", err)
		}
	})
	t.Run("time over, never sent", func(t *testing.T) {
		l.before.Store(1000)
		defer l.before.Store(0)
		short, cancel := context.WithTimeout(ctx, attemptTimeout/20)
		defer cancel()
		_, err := s.Commit(short, Write{Puts: []Put{{Resource: group(t, s, "g")}}})
		wantFault(t, err, fault.Deadline, "")
	})
}

func TestLostAnswersOfUsageAndTokens(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	s, l := openLossy(t, endpoint)
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	l.after.Store(2)
	totals := map[UsageKey]*adminv1.UsageCounters{{Hour: 1, Key: "k"}: {Requests: 1}}
	if err := s.CommitUsage(ctx, fence, "boot", 0, 5, totals, nil); err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.CommitUsage(ctx, fence, "boot", 0, 5, totals, nil), fault.Stale, "")
	l.after.Store(2)
	if err := s.CreateJoinToken(ctx, &adminv1.JoinToken{Id: "t"}, tester); err != nil {
		t.Fatal(err)
	}
	l.after.Store(1)
	if err := s.DeleteJoinToken(ctx, "t", tester); err != nil {
		t.Fatal(err)
	}
	l.after.Store(1)
	if v, err := s.CreateMeta(ctx, "m", []byte("1")); err != nil || string(v) != "1" {
		t.Fatalf("create meta: %q, %v", v, err)
	}
}
