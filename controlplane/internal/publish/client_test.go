package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

type content struct {
	version int64
	body    string
}

// proxyState is a reference implementation of the proxy's side, written from the comments of the proto files. It
// outlives its connections, as a proxy's snapshot does.
type proxyState struct {
	lineage  string
	revision int64
	held     map[ref]content
	sums     digest.Sums

	chunks []*syncv1.Txn // of the Txn under way; lost with the connection

	// What has come in, for tests.
	txns     []*syncv1.Txn // all chunks
	progress []int64
}

func newProxyState() *proxyState { return &proxyState{held: map[ref]content{}} }

func (s *proxyState) hello(boot string) *syncv1.SyncRequest {
	h := &syncv1.Hello{BootId: boot, Version: "test", Hostname: "localhost"}
	if s.revision > 0 {
		h.Lineage, h.Revision, h.BucketDigests = s.lineage, s.revision, s.sums[:]
	}
	return &syncv1.SyncRequest{Message: &syncv1.SyncRequest_Hello{Hello: h}}
}

func (s *proxyState) ack() *syncv1.SyncRequest {
	return &syncv1.SyncRequest{Message: &syncv1.SyncRequest_Ack{Ack: &syncv1.Ack{Revision: s.revision, Digest: s.sums.Root()}}}
}

// take handles one message and says whether an Ack is due.
func (s *proxyState) take(m *syncv1.SyncResponse) (ack bool, err error) {
	switch m := m.GetMessage().(type) {
	case *syncv1.SyncResponse_Progress:
		if len(s.chunks) > 0 {
			return false, fmt.Errorf("progress in the middle of a transaction")
		}
		if m.Progress.GetRevision() < s.revision {
			return false, fmt.Errorf("progress to %d at %d", m.Progress.GetRevision(), s.revision)
		}
		s.revision = m.Progress.GetRevision()
		s.progress = append(s.progress, s.revision)
		return true, nil
	case *syncv1.SyncResponse_Txn:
		s.txns = append(s.txns, m.Txn)
		if size := proto.Size(m.Txn); size > maxChunk+200 && len(m.Txn.GetChanges()) > 1 {
			return false, fmt.Errorf("a chunk of %d bytes with %d changes", size, len(m.Txn.GetChanges()))
		}
		s.chunks = append(s.chunks, m.Txn)
		if !m.Txn.GetLast() {
			return false, nil
		}
		return true, s.apply()
	}
	return false, nil
}

func (s *proxyState) apply() error {
	first := s.chunks[0]
	full := first.GetReplacedBuckets() == allBuckets
	if first.GetBaseRevision() == 0 && !full {
		return fmt.Errorf("a change of nothing")
	}
	if first.GetBaseRevision() != 0 && (first.GetBaseRevision() != s.revision || first.GetLineage() != s.lineage) {
		return fmt.Errorf("base %s/%d at %s/%d", first.GetLineage(), first.GetBaseRevision(), s.lineage, s.revision)
	}
	for r, c := range s.held {
		if first.GetReplacedBuckets() == 0 {
			break
		}
		if first.GetReplacedBuckets()&(1<<digest.Bucket(int32(r.kind), r.id)) != 0 {
			s.remove(r, c)
		}
	}
	for _, chunk := range s.chunks {
		if chunk.GetRevision() != first.GetRevision() || chunk.GetBaseRevision() != first.GetBaseRevision() ||
			chunk.GetReplacedBuckets() != first.GetReplacedBuckets() || chunk.GetLineage() != first.GetLineage() {
			return fmt.Errorf("chunks of different transactions: %v and %v", first, chunk)
		}
		for _, c := range chunk.GetChanges() {
			r := ref{c.GetKind(), c.GetId()}
			if old, ok := s.held[r]; ok {
				s.remove(r, old)
			} else if c.GetDeleted() {
				return fmt.Errorf("deletes what is not there: %v", r)
			}
			if !c.GetDeleted() {
				s.held[r] = content{c.GetVersion(), string(c.GetBody())}
				s.sums.Add(int32(r.kind), r.id, c.GetVersion(), c.GetBody())
			}
		}
	}
	last := s.chunks[len(s.chunks)-1]
	s.chunks = nil
	s.lineage, s.revision = first.GetLineage(), first.GetRevision()
	if s.sums.Root() != last.GetDigest() {
		return fmt.Errorf("digest %x after revision %d, want %x", s.sums.Root(), s.revision, last.GetDigest())
	}
	return nil
}

func (s *proxyState) remove(r ref, c content) {
	delete(s.held, r)
	s.sums.Remove(int32(r.kind), r.id, c.version, []byte(c.body))
}

// proxy is one connection of a reference proxy.
type proxy struct {
	*proxyState
	t      tb
	conn   *grpc.ClientConn
	stream syncv1.StateSyncService_SyncClient
	cancel context.CancelFunc
}

func dial(t tb, address string, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// connect opens a stream and says hello with what the state holds.
func connect(t tb, address string, config *tls.Config, s *proxyState, boot string) *proxy {
	t.Helper()
	return connectWith(t, dial(t, address, config), s, boot)
}

func connectWith(t tb, conn *grpc.ClientConn, s *proxyState, boot string) *proxy {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a test that hangs ends with an error
	stream, err := syncv1.NewStateSyncServiceClient(conn).Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{proxyState: s, t: t, conn: conn, stream: stream, cancel: cancel}
	s.chunks = nil
	// EOF: the stream was refused already, and Recv says why.
	if err := stream.Send(s.hello(boot)); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return p
}

func (p *proxy) close() {
	p.cancel()
	_ = p.conn.Close()
}

// next handles one message and acknowledges it if that is due.
func (p *proxy) next() *syncv1.SyncResponse {
	p.t.Helper()
	m, err := p.stream.Recv()
	if err != nil {
		p.t.Fatalf("receive: %v", err)
	}
	ack, err := p.take(m)
	if err != nil {
		p.t.Fatalf("server breaks the contract: %v", err)
	}
	if ack {
		if err := p.stream.Send(p.ack()); err != nil {
			p.t.Fatalf("acknowledge: %v", err)
		}
	}
	return m
}

// until handles messages until the revision is applied.
func (p *proxy) until(revision int64) {
	p.t.Helper()
	for p.revision < revision {
		p.next()
	}
}

// background is a proxy that goes on by itself until it is closed.
func background(p *proxy) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := p.stream.Recv()
			if err != nil {
				return
			}
			ack, err := p.take(m)
			if err != nil {
				p.t.Errorf("server breaks the contract: %v", err)
				return
			}
			if ack && p.stream.Send(p.ack()) != nil {
				return
			}
		}
	})
	return func() {
		p.close()
		wg.Wait()
	}
}
