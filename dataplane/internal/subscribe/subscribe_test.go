package subscribe

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/metrictest"
	"fairway/pkg/testkit/testcert"
	"fairway/pkg/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEnrollSyncRestart is a proxy's life: it waits for its token, enrolls, gets a full state in chunks, a change and a
// progress, acknowledges each, and after a restart resumes from what it has on disk.
func TestEnrollSyncRestart(t *testing.T) {
	w := &world{lineage: "L"}
	w.add(t, "g1")
	w.add(t, "g2")
	full := w.full()
	root1 := w.root()
	third := w.add(t, "g3")
	delta := w.delta(2, third)
	f := startFake(t, newAuthority(t, "L"), "", func(n int, s *fakeStream) error {
		if n == 0 {
			s.txns(full...)
			s.txns(delta)
		}
		s.progress(9)
		return s.stay()
	})
	dir := filepath.Join(t.TempDir(), "state")
	token := filepath.Join(t.TempDir(), "late.token")
	p := startProxy(t, dir, token, f.address)
	time.Sleep(100 * time.Millisecond) // a few attempts without a token
	writeToken(t, token, f.token)
	eventually(t, "revision 9 is acknowledged", func() bool { _, ok := f.acked(9); return ok })
	for revision, root := range map[int64]uint64{2: root1, 3: w.root(), 9: w.root()} {
		if a, ok := f.acked(revision); !ok || a.GetDigest() != root || a.GetApplyTime() == nil {
			t.Errorf("ack of revision %d is %v, want digest %x", revision, a, root)
		}
	}
	h := f.hello(0)
	if h.GetLineage() != "" || h.GetRevision() != 0 || h.GetBootId() != "boot" || h.GetVersion() != "v" || h.GetHostname() != "host" {
		t.Errorf("the first hello is %v", h)
	}
	if s := p.holder.Current(); !p.has("g3") || s.Lineage() != "L" || s.Revision() != 9 {
		t.Errorf("the snapshot is %s@%d", s.Lineage(), s.Revision())
	}
	if ready, file := p.holder.Ready(); !ready || file || !p.holder.Connected() || p.Address() != f.address {
		t.Errorf("ready %v, from file %v, connected %v to %q", ready, file, p.holder.Connected(), p.Address())
	}
	if id, ok := p.Identity(); !ok || id != (trust.Identity{Lineage: "L", Role: trust.RoleProxy, ID: "p1"}) || p.TLS() == nil {
		t.Errorf("identity is %v, %v", id, ok)
	}
	p.stop()
	if p.holder.Connected() || p.Address() != "" {
		t.Error("connected after the end")
	}
	info, err := os.Stat(filepath.Join(dir, identityName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("identity file: %v, %v", info, err)
	}

	p = startProxy(t, dir, "", f.address)
	eventually(t, "it resumes", func() bool { return f.helloCount() == 2 })
	// The last state that was written is that of the transaction; its content is that of revision 9.
	h = f.hello(1)
	if h.GetLineage() != "L" || h.GetRevision() < 3 || len(h.GetBucketDigests()) != 64 {
		t.Errorf("the second hello is %v", h)
	}
	eventually(t, "it is up to date", func() bool {
		_, file := p.holder.Ready()
		return p.has("g3") && !file && p.holder.Current().Revision() == 9
	})
	if enrolls, _ := f.counts(); enrolls != 1 {
		t.Errorf("it enrolled %d times", enrolls)
	}
}

// TestServesWithoutControlPlane: with nobody there it starts from disk, says so, and converges when somebody comes.
func TestServesWithoutControlPlane(t *testing.T) {
	w := &world{lineage: "L"}
	w.add(t, "g1")
	ca := newAuthority(t, "L")
	full := w.full()
	f := startFake(t, ca, "", func(_ int, s *fakeStream) error {
		s.txns(full...)
		return s.stay()
	})
	dir := t.TempDir()
	p := startProxy(t, dir, tokenFile(t, f), f.address)
	eventually(t, "state", func() bool { return p.has("g1") })
	p.stop()
	f.server.Stop()

	p = startProxy(t, dir, "", f.address)
	eventually(t, "last good state", func() bool { _, file := p.holder.Ready(); return file })
	if !p.has("g1") || p.holder.Connected() || p.holder.Age(time.Now()) < 0 {
		t.Error("it does not serve from the last good state, or does not say so")
	}
	change := w.add(t, "g2")
	delta := w.delta(1, change)
	startFake(t, ca, f.address, func(_ int, s *fakeStream) error {
		s.txns(delta)
		return s.stay()
	})
	eventually(t, "it converges", func() bool { _, file := p.holder.Ready(); return p.has("g2") && !file })
}

// TestMisfitsAreNotApplied: what does not fit changes nothing; the proxy says the truth about what it holds, and asks for
// everything when that does not help.
func TestMisfitsAreNotApplied(t *testing.T) {
	w := &world{lineage: "L"}
	w.add(t, "g1")
	good := w.full()
	second := w.add(t, "g2")
	full := w.full()
	bad := w.delta(1, second)
	bad.Digest++
	var applied atomic.Bool
	f := startFake(t, newAuthority(t, "L"), "", func(n int, s *fakeStream) error {
		switch n {
		case 0:
			s.txns(good...)
			s.txns(bad)
		case 1, 2:
			s.txns(bad)
		default:
			s.txns(full...)
		}
		return s.stay()
	})
	p := startProxy(t, t.TempDir(), tokenFile(t, f), f.address)
	eventually(t, "the full state", func() bool {
		if p.has("g2") && f.helloCount() < 3 {
			applied.Store(true)
		}
		_, ok := f.acked(2)
		return ok
	})
	if applied.Load() {
		t.Error("a transaction that does not fit was applied")
	}
	if h := f.hello(1); h.GetRevision() != 1 || h.GetLineage() != "L" {
		t.Errorf("after one misfit hello is %v, want revision 1", h)
	}
	if h := f.hello(2); h.GetRevision() != 0 || h.GetLineage() != "" || len(h.GetBucketDigests()) != 0 {
		t.Errorf("after two misfits hello is %v, want an empty one", h)
	}
}

// TestDrain: the proxy says hello elsewhere before it lets go.
func TestDrain(t *testing.T) {
	w := &world{lineage: "L"}
	w.add(t, "g1")
	full := w.full()
	ca := newAuthority(t, "L")
	left, greeted, both := make(chan struct{}), make(chan struct{}), make(chan bool, 2)
	script := func(f *atomic.Pointer[fake], other *atomic.Pointer[fake]) func(int, *fakeStream) error {
		return func(n int, s *fakeStream) error {
			if other.Load().helloCount() > 0 { // we are the second
				select {
				case <-left:
					both <- false
				default:
					both <- true
				}
				close(greeted)
				s.progress(1)
				return s.stay()
			}
			s.txns(full...)
			_ = s.Send(&syncv1.SyncResponse{Message: &syncv1.SyncResponse_Drain{Drain: &syncv1.Drain{Grace: durationpb.New(time.Minute)}}})
			<-greeted
			<-s.Context().Done()
			close(left)
			return nil
		}
	}
	var a, b atomic.Pointer[fake]
	a.Store(startFake(t, ca, "", script(&a, &b)))
	b.Store(startFake(t, ca, "", script(&b, &a)))
	// One token for both, as replicas of one control plane have.
	b.Load().token = a.Load().token
	p := startProxy(t, t.TempDir(), tokenFile(t, a.Load()), a.Load().address, b.Load().address)
	if !<-both {
		t.Error("the old stream was left before the new one stood")
	}
	<-left
	eventually(t, "it is fed by the other", func() bool { return p.holder.Connected() && p.Address() != "" })
	if n := a.Load().helloCount() + b.Load().helloCount(); n != 2 {
		t.Errorf("%d streams, want 2", n)
	}
}

// TestSilence: a replica that has nothing to add may say nothing.
func TestSilence(t *testing.T) {
	w := &world{lineage: "L"}
	w.add(t, "g1")
	full := w.full()
	f := startFake(t, newAuthority(t, "L"), "", func(n int, s *fakeStream) error {
		if n == 0 {
			s.txns(full...)
		}
		return s.stay()
	})
	dir := t.TempDir()
	p := startProxy(t, dir, tokenFile(t, f), f.address)
	eventually(t, "state", func() bool { return p.has("g1") })
	p.stop()
	p = startProxy(t, dir, "", f.address)
	eventually(t, "connected", func() bool { _, file := p.holder.Ready(); return p.holder.Connected() && !file })
	if n := f.helloCount(); n != 2 {
		t.Errorf("%d hellos, want 2", n)
	}
}

func TestRenewal(t *testing.T) {
	w := &world{lineage: "L"}
	w.add(t, "g1")
	full := w.full()
	f := startFake(t, newAuthority(t, "L"), "", func(_ int, s *fakeStream) error {
		s.txns(full...)
		return s.stay()
	})
	f.certAge = 50 * time.Minute // of 60
	dir := t.TempDir()
	p := startProxy(t, dir, tokenFile(t, f), f.address)
	eventually(t, "a renewed certificate on disk", func() bool {
		id, err := loadIdentity(dir)
		return err == nil && time.Until(id.cert.Leaf.NotAfter) > 30*time.Minute
	})
	id, _ := p.Identity()
	if enrolls, renews := f.counts(); enrolls != 1 || renews != 1 || id.ID != "p1" {
		t.Errorf("%d enrollments and %d renewals of %v, want one of each of p1", enrolls, renews, id)
	}
	if n := f.helloCount(); n != 1 {
		t.Errorf("%d streams, want 1: a renewal must not disturb it", n)
	}
}

// TestAnotherControlPlane: the data set was made anew, with another authority. A proxy with a new token joins it; one
// without goes on serving what it has.
func TestAnotherControlPlane(t *testing.T) {
	one, two := &world{lineage: "L1"}, &world{lineage: "L2"}
	one.add(t, "g1")
	two.add(t, "g2")
	full1, full2 := one.full(), two.full()
	f := startFake(t, newAuthority(t, "L1"), "", func(_ int, s *fakeStream) error {
		s.txns(full1...)
		return s.stay()
	})
	token, once := tokenFile(t, f), tokenFile(t, f)
	with, without := startProxy(t, t.TempDir(), token, f.address), startProxy(t, t.TempDir(), once, f.address)
	eventually(t, "state of the first", func() bool { return with.has("g1") && without.has("g1") })
	if err := os.Remove(once); err != nil {
		t.Fatal(err)
	}
	f.server.Stop()
	f2 := startFake(t, newAuthority(t, "L2"), f.address, func(_ int, s *fakeStream) error {
		s.txns(full2...)
		return s.stay()
	})
	writeToken(t, token, f2.token)
	eventually(t, "state of the second", func() bool { return with.has("g2") && !with.has("g1") })
	if s := with.holder.Current(); s.Lineage() != "L2" {
		t.Errorf("lineage is %s", s.Lineage())
	}
	if !without.has("g1") || without.has("g2") {
		t.Error("a proxy without a token took a stranger's state, or lost its own")
	}
}

func TestRejectsAreAcknowledged(t *testing.T) {
	w := &world{lineage: "L"}
	w.add(t, "g1")
	w.poison("bad")
	full := w.full()
	heal := w.add(t, "bad")
	w.changes = append(w.changes[:1], w.changes[2:]...)
	healed := make(chan struct{})
	f := startFake(t, newAuthority(t, "L"), "", func(_ int, s *fakeStream) error {
		s.txns(full...)
		<-healed
		s.txns(w.delta(2, heal))
		return s.stay()
	})
	p := startProxy(t, t.TempDir(), tokenFile(t, f), f.address)
	eventually(t, "ack of 2", func() bool { _, ok := f.acked(2); return ok })
	a, _ := f.acked(2)
	if r := a.GetRejects(); len(r) != 1 || r[0].GetId() != "bad" || r[0].GetKind() != syncv1.Kind_KIND_GROUP || r[0].GetVersion() != 2 || r[0].GetReason() == "" {
		t.Errorf("rejects = %v", r)
	}
	if got := testutil.ToFloat64(p.metrics.rejects); got != 1 || !p.has("g1") || p.has("bad") {
		t.Errorf("%v rejected by the metrics; g1 %v, bad %v", got, p.has("g1"), p.has("bad"))
	}
	close(healed)
	eventually(t, "ack of 3", func() bool { _, ok := f.acked(3); return ok })
	if a, _ := f.acked(3); len(a.GetRejects()) != 0 || !p.has("bad") {
		t.Errorf("after healing: rejects %v, bad %v", a.GetRejects(), p.has("bad"))
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := snapshot.NewHolder()
	New(h, Options{Addresses: []string{"x"}, Registry: reg})
	h.SetConnected(true, time.Now())
	for name, want := range map[string]float64{"fairway_sync_connected": 1, "fairway_snapshot_revision": 0, "fairway_snapshot_age_seconds": 0} {
		if got := metrictest.Value(t, reg, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"no address":              {StateDir: t.TempDir()},
		"a file as the state dir": {StateDir: file, Addresses: []string{"127.0.0.1:1"}},
	} {
		if err := New(snapshot.NewHolder(), o).Run(t.Context()); err == nil {
			t.Errorf("%s: Run returned nil", name)
		}
	}
}

func TestPacing(t *testing.T) {
	for range 200 {
		var p pacing
		for i := range 40 {
			limit := min(backoffMost, backoffFirst<<min(i/2, 16))
			if d := p.next(2); d < 0 || d >= limit {
				t.Fatalf("pause %d with two addresses is %v, want below %v", i, d, limit)
			}
		}
	}
	st, err := status.New(codes.ResourceExhausted, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	hour, err := status.New(codes.ResourceExhausted, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		err  error
		want time.Duration
	}{{nil, 0}, {errors.New("x"), 0}, {st.Err(), 3 * time.Second}, {hour.Err(), mostRetryDelay}} {
		if got := retryDelay(tt.err); got != tt.want {
			t.Errorf("retryDelay(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestRotation(t *testing.T) {
	r := newRotation([]string{"a", "b", "c"})
	seen := map[string]int{}
	for range 6 {
		seen[r.next()]++
	}
	if seen["a"] != 2 || seen["b"] != 2 || seen["c"] != 2 {
		t.Errorf("turns = %v", seen)
	}
	if o := r.others("b"); len(o) != 2 || o[0] == "b" || o[1] == "b" {
		t.Errorf("others of b = %v", o)
	}
	if o := newRotation([]string{"a"}).others("a"); len(o) != 1 || o[0] != "a" {
		t.Errorf("others of the only one = %v", o)
	}
}

func TestIdentityFile(t *testing.T) {
	ca := newAuthority(t, "L")
	key, other := testcert.NewKey(t), testcert.NewKey(t)
	cert := func(role trust.Role) *syncv1.Certificate {
		return &syncv1.Certificate{Leaf: ca.issue(&key.PublicKey, role, "x", 0), Cas: [][]byte{ca.Cert.Raw}}
	}
	if _, err := accept(other, cert(trust.RoleProxy)); err == nil {
		t.Error("a certificate for another key was accepted")
	}
	if _, err := accept(key, cert(trust.RoleReplica)); err == nil {
		t.Error("a replica's certificate was accepted")
	}
	foreign := cert(trust.RoleProxy)
	foreign.Cas = [][]byte{newAuthority(t, "L").Cert.Raw}
	if _, err := accept(key, foreign); err == nil {
		t.Error("a certificate that its authority did not sign was accepted")
	}
	id, err := accept(key, cert(trust.RoleProxy))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := id.save(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := loadIdentity(dir); err != nil || got.who != id.who {
		t.Errorf("loaded %v, %v", got, err)
	}
	if err := os.Chmod(filepath.Join(dir, identityName), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadIdentity(dir); err == nil {
		t.Error("an identity that others may read was accepted")
	}
}

// FuzzIdentity: nothing panics, and what is accepted has a key that fits its certificate.
func FuzzIdentity(f *testing.F) {
	ca := newAuthority(f, "L")
	key := testcert.NewKey(f)
	id, err := accept(key, &syncv1.Certificate{Leaf: ca.issue(&key.PublicKey, trust.RoleProxy, "x", 0), Cas: [][]byte{ca.Cert.Raw}})
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	if err := id.save(dir); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, identityName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := parseIdentity(text)
		if err == nil && (id.cert.PrivateKey == nil || id.who.Role != trust.RoleProxy) {
			t.Error("an identity without a key, or of something else than a proxy")
		}
	})
}
