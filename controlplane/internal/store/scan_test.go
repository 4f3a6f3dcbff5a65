package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

// fill writes n keys (the resources) with large transactions, past all guards.
func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	const perTxn = 100
	ctx := soon(t)
	for i := 0; i < n; i += perTxn {
		var ops []clientv3.Op
		for j := i; j < min(i+perTxn, n); j++ {
			k := &resourcev1.Key{Metadata: meta(t, s, fmt.Sprintf("key-%06d", j))}
			value, err := encode(k)
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, clientv3.OpPut(resourceKey(model.KindKey, k.Metadata.Id), string(value)))
		}
		if _, err := s.client.Txn(ctx).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStreamAndPagesReadTheSame(t *testing.T) {
	t.Parallel()
	const keys = 20_000
	s := open(t, etcdtest.New(t))
	fill(t, s, keys)
	ctx := soon(t)
	head, err := s.client.Get(ctx, lineageKey)
	if err != nil {
		t.Fatal(err)
	}
	revision := head.Header.Revision
	// Written later, so it must not be seen.
	create(t, s, group(t, s, "later"))
	read := func(scan func(context.Context, string, string, int64, func(*kv) error) error) map[string]int64 {
		out := map[string]int64{}
		last := ""
		err := scan(ctx, resourcePrefix, prefixEnd(resourcePrefix), revision, func(kv *kv) error {
			if key := string(kv.GetKey()); key <= last {
				t.Fatalf("%s came after %s", key, last)
			} else {
				last = key
			}
			out[last] = kv.GetModRevision()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	streamed, paged := read(s.scanStream), read(s.scanPages)
	if len(streamed) != keys+len(model.Initial()) {
		t.Errorf("%d keys came, want %d", len(streamed), keys+len(model.Initial()))
	}
	if diff := cmp.Diff(paged, streamed); diff != "" {
		t.Errorf("(-pages +stream):\n%s", diff)
	}
	follow(t, s)
	if n := s.State().Len(model.KindKey); n != keys {
		t.Errorf("%d keys loaded, want %d", n, keys)
	}
}

// faultyStream changes what a range stream delivers.
type faultyStream struct {
	grpc.ClientStream
	sent int
	mode string
}

func (f *faultyStream) RecvMsg(m any) error {
	if err := f.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	resp, ok := m.(*pb.RangeStreamResponse)
	if !ok {
		return nil
	}
	f.sent++
	switch {
	case f.mode == "end before the last message" && resp.RangeResponse.GetHeader() != nil:
		return io.EOF
	case f.mode == "lose a message" && f.sent == 1:
		return f.ClientStream.RecvMsg(m)
	}
	return nil
}

func TestTruncatedStreamIsAnError(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"end before the last message", "lose a message"} {
		t.Run(mode, func(t *testing.T) {
			endpoint := etcdtest.New(t)
			s := open(t, endpoint)
			fill(t, s, 200) // Several messages: the first carries ten keys.
			client, err := clientv3.New(clientv3.Config{
				Endpoints: []string{endpoint}, Logger: zap.NewNop(),
				DialOptions: []grpc.DialOption{grpc.WithChainStreamInterceptor(func(
					ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption,
				) (grpc.ClientStream, error) {
					stream, err := next(ctx, desc, cc, method, opts...)
					return &faultyStream{ClientStream: stream, mode: mode}, err
				})},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			broken := &Store{client: client, log: quiet}
			head, err := client.Get(soon(t), lineageKey)
			if err != nil {
				t.Fatal(err)
			}
			err = broken.scan(soon(t), resourcePrefix, prefixEnd(resourcePrefix), head.Header.Revision, func(*kv) error { return nil })
			if !errors.Is(err, errTruncated) {
				t.Fatalf("scan: %v, want %v", err, errTruncated)
			}
		})
	}
}

func TestScanStopsAtTheCallersError(t *testing.T) {
	s := open(t, etcdtest.New(t))
	fill(t, s, 5000)
	head, err := s.client.Get(soon(t), lineageKey)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	seen := 0
	err = s.scan(soon(t), resourcePrefix, prefixEnd(resourcePrefix), head.Header.Revision, func(*kv) error {
		seen++
		return stop
	})
	if !errors.Is(err, stop) || seen != 1 {
		t.Fatalf("scan: %v after %d keys", err, seen)
	}
}
