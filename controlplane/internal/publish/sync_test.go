package publish

import (
	"context"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairway/controlplane/internal/model"
	"fairway/pkg/digest"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func diffHeld(t tb, w *world, s *proxyState) string {
	t.Helper()
	want := w.want(t)
	if maps.Equal(want, s.held) {
		return ""
	}
	return cmp.Diff(want, s.held, cmp.AllowUnexported(ref{}, content{}))
}

func TestFirstStateThenDeltas(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{Log: testLog(t)})
	defer r.close()
	p := connect(t, r.address, ca.proxy(t, "p1"), newProxyState(), "boot")
	defer p.close()
	// Connected before the first load: nothing comes until there is a state.
	w := newWorld(r.Publisher)
	p.until(w.state.Revision())
	if got := p.txns[0].GetReplacedBuckets(); got != allBuckets {
		t.Errorf("the first transaction replaces %x, want everything", got)
	}
	key := w.newKey("alice")
	p.until(w.change(nil, w.newChannel("c"), key))
	if got := p.txns[len(p.txns)-1]; got.GetReplacedBuckets() != 0 || len(got.GetChanges()) != 2 {
		t.Errorf("a change of two resources travels as %v", got)
	}
	p.until(w.change([]model.Resource{key}))
	p.until(w.idle())
	if len(p.progress) != 1 {
		t.Errorf("progress = %v, want one", p.progress)
	}
	if d := diffHeld(t, w, p.proxyState); d != "" {
		t.Error(d)
	}
}

func TestResumeFromTheRing(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	w.fill(300)
	s := newProxyState()
	p := connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	p.until(w.state.Revision())
	p.until(w.idle()) // the proxy is at a revision between two transactions
	p.close()

	w.change(nil, w.newKey("a"))
	p = connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	defer p.close()
	s.txns = nil
	p.until(w.change(nil, w.newKey("b")))
	for _, txn := range s.txns {
		if txn.GetReplacedBuckets() != 0 {
			t.Errorf("resuming replaced buckets %x", txn.GetReplacedBuckets())
		}
	}
	if d := diffHeld(t, w, s); d != "" {
		t.Error(d)
	}
}

// A proxy that comes back with what it should hold is told so at once.
func TestResumeWithNothingNew(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	s := newProxyState()
	p := connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	p.until(w.state.Revision())
	p.close()
	p = connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	defer p.close()
	if got := p.next().GetProgress().GetRevision(); got != w.state.Revision() {
		t.Errorf("progress to %d, want %d", got, w.state.Revision())
	}
	r.settled(t, w.state.Revision())
}

// A proxy that is beyond the ring gets the buckets that differ, and no others.
func TestRingOverflowSendsOnlyBucketsThatDiffer(t *testing.T) {
	ca := newAuthority(t)
	reg := prometheus.NewRegistry()
	r := newReplica(t, ca, Options{RingEntries: 1, Registry: reg})
	defer r.close()
	w := newWorld(r.Publisher)
	w.fill(2000)
	s := newProxyState()
	p := connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	p.until(w.state.Revision())
	p.close()
	before := s.sums

	gone, _ := w.state.ByName(model.KindKey, "key-id00000001")
	w.change([]model.Resource{gone})
	r.published(t, w.state.Revision())
	w.change(nil, w.newKey("a"))
	r.published(t, w.state.Revision())
	w.change(nil, w.newKey("b"))
	r.published(t, w.state.Revision())

	s.txns = nil
	p = connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	defer p.close()
	p.until(w.state.Revision())
	if len(s.txns) != 1 {
		t.Fatalf("%d chunks, want 1", len(s.txns))
	}
	differ := before.Differ(&s.sums)
	if got := s.txns[0].GetReplacedBuckets(); got != differ || bits.OnesCount64(got) > 3 {
		t.Errorf("replaced buckets %x, want those that differ: %x", got, differ)
	}
	for _, c := range s.txns[0].GetChanges() {
		if differ&(1<<digest.Bucket(int32(c.GetKind()), c.GetId())) == 0 {
			t.Errorf("%v %s travels although its bucket is equal", c.GetKind(), c.GetId())
		}
	}
	if d := diffHeld(t, w, s); d != "" {
		t.Error(d)
	}
	want := "# HELP fairway_sync_ring_entries Transactions kept for proxies that lag or resume.\n" +
		"# TYPE fairway_sync_ring_entries gauge\nfairway_sync_ring_entries 1\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "fairway_sync_ring_entries"); err != nil {
		t.Error(err)
	}
}

// published waits until a revision is in the ring.
func (r *replica) published(t tb, revision int64) {
	t.Helper()
	for {
		v := r.ring.view(0)
		if v.state != nil && v.state.revision >= revision {
			return
		}
		select {
		case <-v.wake:
		case <-time.After(time.Minute):
			t.Fatalf("revision %d is not published", revision)
		}
	}
}

// A claim that the ring cannot confirm is not built upon.
func TestWrongClaims(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	w.fill(100)
	good := newProxyState()
	p := connect(t, r.address, ca.proxy(t, "p1"), good, "boot")
	p.until(w.state.Revision())
	p.close()
	tests := []struct {
		name  string
		spoil func(*proxyState)
		full  bool
	}{
		{"another lineage", func(s *proxyState) { s.lineage = "other" }, true},
		{"content that was never published", func(s *proxyState) {
			for r, c := range s.held {
				if r.kind == syncv1.Kind_KIND_KEY {
					s.remove(r, c)
					break
				}
			}
		}, false},
		{"an unknown revision", func(s *proxyState) { s.revision-- }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newProxyState()
			s.lineage, s.revision, s.sums = good.lineage, good.revision, good.sums
			for r, c := range good.held {
				s.held[r] = c
			}
			tt.spoil(s)
			p := connect(t, r.address, ca.proxy(t, "p2"), s, "boot")
			defer p.close()
			p.until(w.change(nil, w.newKey(tt.name[:1]+w.id())))
			if got := s.txns[0:min(1, len(s.txns))]; tt.full && (len(got) == 0 || got[0].GetReplacedBuckets() != allBuckets) {
				t.Errorf("no full state, but %v", got)
			}
			if d := diffHeld(t, w, s); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	p := &Publisher{o: Options{Lineage: lineage}}
	good := func() *syncv1.Hello {
		return &syncv1.Hello{Lineage: lineage, Revision: 5, BucketDigests: make([]uint64, digest.Buckets)}
	}
	if got := p.claim(good()); got.sums == nil || got.revision != 5 || got.lineage != lineage {
		t.Errorf("a whole claim became %v", got)
	}
	for name, spoil := range map[string]func(*syncv1.Hello){
		"no lineage":      func(h *syncv1.Hello) { h.Lineage = "" },
		"another lineage": func(h *syncv1.Hello) { h.Lineage = "other" },
		"no revision":     func(h *syncv1.Hello) { h.Revision = 0 },
		"no digests":      func(h *syncv1.Hello) { h.BucketDigests = nil },
	} {
		h := good()
		spoil(h)
		if got := p.claim(h); got.sums != nil {
			t.Errorf("%s: %v is taken for held", name, got)
		}
	}
}

// Half a transaction and a cut stream change nothing; the proxy goes on from where it was.
func TestCutInTheMiddle(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	s := newProxyState()
	p := connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	p.until(w.state.Revision())
	before := w.want(t)

	w.fat(1000) // several chunks
	for len(s.chunks) == 0 {
		p.next()
	}
	if s.chunks[0].GetLast() {
		t.Fatal("one chunk only; the test needs more")
	}
	p.close()
	if d := cmp.Diff(before, s.held, cmp.AllowUnexported(ref{}, content{})); d != "" {
		t.Errorf("half a transaction was applied: %s", d)
	}
	p = connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	defer p.close()
	p.until(w.state.Revision())
	if d := diffHeld(t, w, s); d != "" {
		t.Error(d)
	}
}

// A wrong digest brings a full state once, and then the end of the stream.
func TestWrongDigest(t *testing.T) {
	ca := newAuthority(t)
	reg := prometheus.NewRegistry()
	r := newReplica(t, ca, Options{Registry: reg})
	defer r.close()
	w := newWorld(r.Publisher)
	s := newProxyState()
	p := connect(t, r.address, ca.proxy(t, "p1"), s, "boot")
	defer p.close()
	p.until(w.state.Revision())
	r.settled(t, w.state.Revision())

	lie := func(revision int64) {
		t.Helper()
		m := &syncv1.SyncRequest{Message: &syncv1.SyncRequest_Ack{Ack: &syncv1.Ack{Revision: revision, Digest: 1}}}
		if err := p.stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() *syncv1.Txn {
		t.Helper()
		m, err := p.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.take(m); err != nil {
			t.Fatal(err)
		}
		return m.GetTxn()
	}
	revision := w.change(nil, w.newKey("a"))
	receive()
	lie(revision)
	if got := receive().GetReplacedBuckets(); got != allBuckets {
		t.Fatalf("after a wrong digest came %x, want a full state", got)
	}
	// What was under way when the digest went wrong does not count twice; the full state's Ack does.
	if err := p.stream.Send(p.ack()); err != nil {
		t.Fatal(err)
	}
	r.settled(t, revision)
	revision = w.change(nil, w.newKey("b"))
	receive()
	lie(revision)
	if _, err := p.stream.Recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("error = %v, want failed precondition", err)
	}
	if got := testutil.ToFloat64(r.metrics.mismatches); got != 2 {
		t.Errorf("mismatches = %v, want 2", got)
	}
	if got := testutil.ToFloat64(r.metrics.resends); got != 1 {
		t.Errorf("resends = %v, want 1", got)
	}
}

// settled waits until all connected proxies have applied the revision.
func (r *replica) settled(t tb, revision int64) {
	t.Helper()
	answer, err := r.WaitForRevision(context.Background(), revision, time.Minute)
	if err != nil || !answer.GetApplied() {
		t.Fatalf("not settled: %v, %v", answer, err)
	}
}

// arrived waits until a proxy connected here has applied the revision.
func (r *replica) arrived(t tb, proxy string, revision int64) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		changed := r.fleet.changes()
		if slices.ContainsFunc(r.local(), func(p *adminv1.Proxy) bool { return p.GetId() == proxy && p.GetRevision() >= revision }) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s has not applied revision %d", proxy, revision)
		}
	}
}

// One that does not read costs the others nothing: they get everything while it is stuck.
func TestSlowSubscriber(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	slow := newProxyState()
	stuck := connect(t, r.address, ca.proxy(t, "slow"), slow, "boot")
	defer stuck.close()
	quick := connect(t, r.address, ca.proxy(t, "quick"), newProxyState(), "boot")
	defer quick.close()
	for range 20 {
		quick.until(w.fat(100)) // far more than the windows of a stream that nobody reads
	}
	quick.until(w.change(nil, w.newKey("last")))
	if d := diffHeld(t, w, quick.proxyState); d != "" {
		t.Error(d)
	}
	// And when it reads again it gets there too.
	stuck.until(w.state.Revision())
	if d := diffHeld(t, w, slow); d != "" {
		t.Error(d)
	}
}

func TestStuckSubscriberIsDropped(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{SendTimeout: 50 * time.Millisecond})
	defer r.close()
	w := newWorld(r.Publisher)
	p := connect(t, r.address, ca.proxy(t, "p"), newProxyState(), "boot")
	defer p.close()
	_, _ = p.stream.Recv() // it is connected, or so slow that it was dropped for it
	w.fat(5000)
	for changed := r.fleet.changes(); r.fleet.size() > 0; changed = r.fleet.changes() {
		<-changed
	}
}

func TestManyFullStatesAtOnce(t *testing.T) {
	ca := newAuthority(t)
	// Room for one at a time.
	r := newReplica(t, ca, Options{FullStateBytes: 1})
	defer r.close()
	w := newWorld(r.Publisher)
	w.fill(1000)
	var wg sync.WaitGroup
	for i := range 10 {
		config := ca.proxy(t, fmt.Sprintf("p%d", i))
		wg.Go(func() {
			s := newProxyState()
			p := connect(t, r.address, config, s, "boot")
			defer p.close()
			for s.revision < w.state.Revision() {
				m, err := p.stream.Recv()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := p.take(m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAdmissionSendsAwayWithADelay(t *testing.T) {
	ca := newAuthority(t)
	idle := newReplica(t, ca, Options{})
	defer idle.close()
	busy := newReplica(t, ca, Options{FullStateBytes: 1, AdmitTimeout: time.Millisecond})
	defer busy.close()
	w := newWorld(idle.Publisher, busy.Publisher)
	s := newProxyState()
	p := connect(t, idle.address, ca.proxy(t, "p1"), s, "boot")
	p.until(w.state.Revision())
	p.close()

	if err := busy.admits.Acquire(t.Context(), 1); err != nil { // somebody else's full state is under way
		t.Fatal(err)
	}
	p = connect(t, busy.address, ca.proxy(t, "p2"), newProxyState(), "boot")
	defer p.close()
	_, err := p.stream.Recv()
	if status.Code(err) != codes.ResourceExhausted || len(status.Convert(err).Details()) != 1 {
		t.Errorf("error = %v with %v, want resource exhausted with a delay", err, status.Convert(err).Details())
	}
	// A resume is not a full state.
	again := connect(t, busy.address, ca.proxy(t, "p1"), s, "boot")
	defer again.close()
	again.until(w.change(nil, w.newKey("a")))
}

// A replica that lags never takes a proxy back.
func TestReplicaBehindTheProxy(t *testing.T) {
	ca := newAuthority(t)
	patient := newReplica(t, ca, Options{BehindTimeout: time.Hour})
	defer patient.close()
	hasty := newReplica(t, ca, Options{BehindTimeout: 20 * time.Millisecond})
	defer hasty.close()
	w := newWorld(patient.Publisher, hasty.Publisher)
	w.fill(10)
	s := newProxyState()
	p := connect(t, patient.address, ca.proxy(t, "p1"), s, "boot")
	p.until(w.state.Revision())
	p.close()

	// Another replica has told the proxy that nothing changed since: it waits here.
	s.revision += 2
	p = connect(t, patient.address, ca.proxy(t, "p1"), s, "boot")
	w.idle()
	w.idle()
	p.until(w.change(nil, w.newKey("a")))
	p.close()
	if d := diffHeld(t, w, s); d != "" {
		t.Error(d)
	}

	// Another replica has told it of a change that this one does not know: it is sent on.
	s.revision++
	s.sums[3]++
	p = connect(t, hasty.address, ca.proxy(t, "p1"), s, "boot")
	defer p.close()
	if _, err := p.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v, want unavailable", err)
	}
}

func TestNewLineage(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	p := connect(t, r.address, ca.proxy(t, "p1"), newProxyState(), "boot")
	defer p.close()
	p.until(w.fill(10))

	restored := &world{state: model.Empty("lineage-2"), observers: w.observers}
	restored.change(nil, restored.newKey("only"))
	for p.lineage != "lineage-2" {
		p.next()
	}
	if n := len(p.held); n != 2 {
		t.Errorf("holds %d resources of the new lineage, want the key and the settings", n)
	}
}
