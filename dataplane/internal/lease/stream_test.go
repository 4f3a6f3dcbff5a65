package lease

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
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/limit"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// replica is a control-plane replica as far as leases go. It lends what is wanted, up to a limit for each boot.
type replica struct {
	syncv1.UnimplementedStateSyncServiceServer
	leader string // "" = it leads; else where the leader is
	term   int64
	limit  int64
	mute   bool // it takes everything in and says nothing

	asked chan *syncv1.LeaseRequest

	ln     *bufconn.Listener
	server *grpc.Server
}

func newReplica(t *testing.T, r *replica) *replica {
	t.Helper()
	r.asked, r.ln, r.server = make(chan *syncv1.LeaseRequest, 10_000), bufconn.Listen(1<<20), grpc.NewServer()
	syncv1.RegisterStateSyncServiceServer(r.server, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.server.Serve(r.ln) })
	t.Cleanup(func() {
		r.server.Stop()
		serving.Wait()
	})
	return r
}

func (r *replica) Lease(stream grpc.BidiStreamingServer[syncv1.LeaseRequest, syncv1.LeaseResponse]) error {
	if r.leader != "" {
		s, err := status.New(codes.FailedPrecondition, "not the leader").WithDetails(&syncv1.NotLeader{LeaderSyncAddress: r.leader})
		if err != nil {
			return err
		}
		return s.Err()
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case r.asked <- m:
		default: // nobody looks any more
		}
		if r.mute || m.GetMore() {
			continue
		}
		answer := &syncv1.LeaseResponse{
			Term: r.term, Sequence: m.GetSequence(), Ttl: durationpb.New(10 * time.Second), BookedTtl: durationpb.New(time.Minute), Proxies: 1,
		}
		for _, h := range m.GetHoldings() {
			more := min(max(h.GetWant()-(h.GetGranted()-h.GetReturned()-h.GetUsed()), 0), r.limit-h.GetGranted())
			answer.Grants = append(answer.Grants, &syncv1.Grant{
				Limit: h.GetLimit(), Window: 1, State: syncv1.GrantState_GRANT_STATE_OPEN, Granted: h.GetGranted() + max(more, 0),
				Left: max(r.limit-h.GetGranted()-more, 0),
			})
		}
		if err := stream.Send(answer); err != nil {
			return err
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

// next is the next request that satisfies what.
func next(t *testing.T, from *replica, what func(*syncv1.LeaseRequest) bool) *syncv1.LeaseRequest {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case m := <-from.asked:
			if err := protovalidate.Validate(m); err != nil {
				t.Fatalf("a request against the contract: %v", err)
			}
			if what(m) {
				return m
			}
		case <-timeout:
			t.Fatal("no such request came")
		}
	}
}

func full(m *syncv1.LeaseRequest) bool { return m.GetFull() }

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// run runs a client of a new keeper, and returns what ends it.
func run(t *testing.T, o Options) (k *limit.Keeper, end func()) {
	t.Helper()
	k = limit.New(limit.Options{BootID: "me", Wait: 20 * time.Second}) // slow machines are not what is tested
	o.MinBackoff, o.MaxBackoff = time.Millisecond, 10*time.Millisecond
	c, err := New(k, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return k, func() {
		cancel()
		running.Wait()
	}
}

// TestStream: a limit is used through another replica's word where the leader is; after the leader was killed the next one
// hears first what is held; and the last words give it back.
func TestStream(t *testing.T) {
	n := &network{replicas: map[string]*replica{}}
	first := newReplica(t, &replica{term: 1, limit: 100})
	n.set("leader", first)
	n.set("other", newReplica(t, &replica{leader: "leader"}))
	k, end := run(t, Options{Dial: n.dial, Addresses: []string{"other"}})

	s := limit.Scopes{limit.Key: limit.NewTerms(limit.Key, "k", limit.Rules{Limits: []limit.Limit{{What: limit.Tokens, Over: limit.Minute, Amount: 100}}})}
	var r limit.Reservation
	if f := k.Admit(t.Context(), &r, &s, limit.Estimate{Tokens: 30}); f != nil {
		t.Fatalf("refused: %+v", f)
	}
	if m := next(t, first, full); m.GetBootId() != "me" || m.GetSequence() < 1 {
		t.Errorf("first words: %v", m)
	}

	n.set("leader", nil)
	first.server.Stop()
	eventually(t, "the loss of the leader is not seen", func() bool { return !k.Connected() })
	k.Settle(&r, limit.Usage{Tokens: 20}, time.Now()) // nothing waits
	second := newReplica(t, &replica{term: 2, limit: 100})
	n.set("leader", second)
	m := next(t, second, full)
	if len(m.GetHoldings()) != 1 || m.GetHoldings()[0].GetUsed() != 20 || m.GetTerm() != 1 {
		t.Errorf("the new leader hears %v", m)
	}
	eventually(t, "the new leader is not heard", k.Connected)

	end()
	last := next(t, second, (*syncv1.LeaseRequest).GetLeaving)
	if h := last.GetHoldings(); len(h) != 1 || h[0].GetGranted()-h[0].GetReturned() != h[0].GetUsed() {
		t.Errorf("last words: %v", last)
	}
	if k.Connected() {
		t.Error("still connected")
	}
}

// TestSilence: a leader that says nothing is left.
func TestSilence(t *testing.T) {
	n := &network{replicas: map[string]*replica{}}
	mute := newReplica(t, &replica{term: 1, mute: true})
	n.set("leader", mute)
	_, end := run(t, Options{Dial: n.dial, Addresses: []string{"leader"}, Timeout: 20 * time.Millisecond})
	defer end()
	for range 3 {
		next(t, mute, full) // of another stream each
	}
}

// TestManyAtOnce: a thousand wait for the same few answers, and exactly as many are let in as are lent.
func TestManyAtOnce(t *testing.T) {
	n := &network{replicas: map[string]*replica{}}
	n.set("leader", newReplica(t, &replica{term: 1, limit: 10}))
	k, end := run(t, Options{Dial: n.dial, Addresses: []string{"leader"}})
	s := limit.Scopes{limit.Key: limit.NewTerms(limit.Key, "k", limit.Rules{Limits: []limit.Limit{{What: limit.Cost, Amount: 10}}})}
	var mu sync.Mutex
	let, refused := 0, 0
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			var r limit.Reservation
			f := k.Admit(t.Context(), &r, &s, limit.Estimate{Cost: 1})
			mu.Lock()
			defer mu.Unlock()
			if f == nil {
				let++
				k.Settle(&r, limit.Usage{Cost: 1}, time.Now())
			} else if refused++; f.Cause != limit.Spent {
				t.Errorf("refused: %+v", f)
			}
		})
	}
	all.Wait()
	end()
	if let != 10 || refused != 990 {
		t.Errorf("%d let in, %d refused", let, refused)
	}
}

func TestNewNeedsALeader(t *testing.T) {
	if _, err := New(limit.New(limit.Options{}), Options{}); err == nil {
		t.Error("a client that can dial nobody")
	}
}
