package report

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
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

// books are what the leader does with reports: counters and a watermark per boot, changed together. They refuse gaps.
type books struct {
	mu        sync.Mutex
	watermark map[string]uint64
	times     map[int64]int // how often the record of a time was counted
	total     int
	changed   chan struct{}
	violation string
}

func newBooks() *books {
	return &books{watermark: map[string]uint64{}, times: map[int64]int{}, changed: make(chan struct{})}
}

// commit takes at most limit records (0 = all).
func (b *books) commit(r *syncv1.ReportRequest, limit int) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := protovalidate.Validate(r); err != nil {
		b.violation = err.Error()
		return 0, status.Error(codes.InvalidArgument, err.Error())
	}
	at := b.watermark[r.GetBootId()]
	if len(r.GetRecords()) > 0 && r.GetFirstSequence() > at+1 {
		return 0, status.Errorf(codes.FailedPrecondition, "gap: first %d, watermark %d", r.GetFirstSequence(), at)
	}
	for i, record := range r.GetRecords() {
		if limit > 0 && i == limit {
			break
		}
		if sequence := r.GetFirstSequence() + uint64(i); sequence > at {
			at = sequence
			b.times[record.GetTimeMs()]++
			b.total++
		}
	}
	b.watermark[r.GetBootId()] = at
	close(b.changed)
	b.changed = make(chan struct{})
	return at, nil
}

// wait returns when so many records are counted.
func (b *books) wait(t *testing.T, total int) {
	t.Helper()
	for {
		b.mu.Lock()
		got, changed, violation := b.total, b.changed, b.violation
		b.mu.Unlock()
		if violation != "" {
			t.Fatal(violation)
		}
		if got >= total {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("%d records counted, want %d", got, total)
		}
	}
}

// check fails unless records 1 to n are counted once each.
func (b *books) check(t *testing.T, n int64) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := int64(1); i <= n; i++ {
		if b.times[i] != 1 {
			t.Errorf("record %d counted %d times", i, b.times[i])
		}
	}
	if len(b.times) != int(n) || b.total != int(n) {
		t.Errorf("%d records counted, %d different ones, want %d", b.total, len(b.times), n)
	}
}

// replica is a control-plane replica with faults.
type replica struct {
	syncv1.UnimplementedStateSyncServiceServer
	books *books
	// leader is where NotLeader points; nil = this one leads.
	leader *string
	// fault is asked before and after each commit; an error ends the stream with it.
	fault func(stage string) error
	// partial is how many records of a message are committed; nil = all.
	partial func() int
	// answer, when set, changes what is answered.
	answer func(*syncv1.ReportResponse)
}

func (r *replica) Report(stream grpc.BidiStreamingServer[syncv1.ReportRequest, syncv1.ReportResponse]) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.leader != nil {
			s, err := status.New(codes.FailedPrecondition, "not the leader").WithDetails(&syncv1.NotLeader{LeaderSyncAddress: *r.leader})
			if err != nil {
				return err
			}
			return s.Err()
		}
		if err := r.try("before"); err != nil {
			return err
		}
		limit := 0
		if r.partial != nil {
			limit = r.partial()
		}
		watermark, err := r.books.commit(request, limit)
		if err != nil {
			return err
		}
		if err := r.try("after"); err != nil {
			return err
		}
		answer := &syncv1.ReportResponse{BootId: request.GetBootId(), Watermark: watermark}
		if r.answer != nil {
			r.answer(answer)
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (r *replica) try(stage string) error {
	if r.fault == nil {
		return nil
	}
	return r.fault(stage)
}

// network connects names to in-process servers.
type network struct {
	mu    sync.Mutex
	ears  map[string]*bufconn.Listener
	dials []string
}

func newNetwork(t *testing.T, replicas map[string]*replica) *network {
	t.Helper()
	n := &network{ears: map[string]*bufconn.Listener{}}
	for name, r := range replicas {
		ear := bufconn.Listen(1 << 20)
		server := grpc.NewServer()
		syncv1.RegisterStateSyncServiceServer(server, r)
		var done sync.WaitGroup
		done.Go(func() { _ = server.Serve(ear) })
		t.Cleanup(func() {
			server.Stop()
			done.Wait()
		})
		n.ears[name] = ear
	}
	return n
}

func (n *network) dial(_ context.Context, address string) (grpc.ClientConnInterface, io.Closer, error) {
	n.mu.Lock()
	n.dials = append(n.dials, address)
	ear := n.ears[address]
	n.mu.Unlock()
	if ear == nil {
		return nil, nil, errors.New("no such host")
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ear.DialContext(ctx) }))
	if err != nil {
		return nil, nil, err
	}
	return conn, conn, nil
}

// run starts a reporter for a spool; stop ends it and waits.
func run(t *testing.T, s *Spool, n *network, o Options) (r *Reporter, stop func()) {
	t.Helper()
	o.Dial = n.dial
	if o.Addresses == nil {
		o.Addresses = []string{"leader"}
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = time.Millisecond
	}
	o.MinBackoff, o.MaxBackoff = time.Microsecond, time.Millisecond
	r, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
	})
	t.Cleanup(stop)
	return r, stop
}

// unreliable fails one in so many times at each stage.
func unreliable(seed uint64, oneIn int) func(string) error {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	return func(stage string) error {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(oneIn) == 0 {
			return status.Error(codes.Unavailable, "broken "+stage+" commit")
		}
		return nil
	}
}
