package store

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

// same fails unless the copy holds what a fresh load of the data set holds.
func same(t *testing.T, s *Store, endpoints ...string) {
	t.Helper()
	fresh := open(t, endpoints...)
	rec := follow(t, fresh)
	rec.stop()
	if err := s.WaitRevision(soon(t), fresh.State().Revision()); err != nil {
		t.Fatal(err)
	}
	for _, k := range model.Kinds() {
		want, got := list(fresh.State(), k), list(s.State(), k)
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-fresh load +copy):\n%s", k, diff)
		}
	}
}

func list(st *model.State, k model.Kind) []model.Resource {
	var out []model.Resource
	for r := range st.All(k) {
		out = append(out, r)
	}
	return out
}

func wait(t *testing.T, s *Store, revision int64) {
	t.Helper()
	if err := s.WaitRevision(soon(t), revision); err != nil {
		t.Fatal(err)
	}
}

func TestFirstStepIsEverything(t *testing.T) {
	endpoint := etcdtest.New(t)
	s := open(t, endpoint)
	create(t, s, channel(t, s, "c"))
	rec := follow(t, s)
	first := rec.all()[0]
	want := len(model.Initial()) + 1
	if len(first.changes) != want {
		t.Fatalf("%d changes at first, want %d", len(first.changes), want)
	}
	for _, c := range first.changes {
		if c.Old != nil || c.New == nil {
			t.Errorf("first change %v is no creation", c)
		}
	}
	if err := s.Run(t.Context(), rec.observe); err == nil {
		t.Error("the store ran twice")
	}
	rec.check(t)
}

func TestWatchSeesEveryChange(t *testing.T) {
	endpoint := etcdtest.New(t)
	s, writer := open(t, endpoint), open(t, endpoint)
	rec := follow(t, s)
	c := create(t, writer, channel(t, writer, "c"))[0]
	wait(t, s, model.Version(c))
	next := at(c, commit(t, writer, Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Weight = 5 })}}))
	wait(t, s, model.Version(next))
	wait(t, s, commit(t, writer, Write{Deletes: []Delete{{Resource: next}}}))
	if _, ok := s.State().ByName(model.KindChannel, "c"); ok {
		t.Error("the deleted channel is still there")
	}
	if n := rec.changes(); n != 3 {
		t.Errorf("%d changes, want 3", n)
	}
	rec.check(t)
}

func TestWatchSurvivesInterruptions(t *testing.T) {
	tests := []struct {
		name string
		// away breaks the connection, does what others do meanwhile, and mends it.
		away func(t *testing.T, c *etcdtest.Cluster, link *etcdtest.Link, write func())
		// rereads tells whether history was lost, so that several changes of a resource come as one.
		rereads bool
	}{
		{"disconnection", func(_ *testing.T, _ *etcdtest.Cluster, link *etcdtest.Link, write func()) {
			link.Cut()
			write()
			link.Mend()
		}, false},
		{"compaction", func(t *testing.T, c *etcdtest.Cluster, link *etcdtest.Link, write func()) {
			link.Cut()
			write()
			compact(t, c.Endpoints()[0])
			link.Mend()
		}, true},
		{"restart of etcd", func(_ *testing.T, c *etcdtest.Cluster, _ *etcdtest.Link, write func()) {
			c.Stop(0)
			c.Restart(0)
			write()
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cluster := etcdtest.Start(t, 1)
			endpoint := cluster.Endpoints()[0]
			link := etcdtest.NewLink(t, endpoint)
			s, writer := open(t, link.Endpoint()), open(t, endpoint)
			keep := create(t, writer, channel(t, writer, "keep"))[0]
			change := create(t, writer, channel(t, writer, "change"))[0]
			drop := create(t, writer, channel(t, writer, "drop"))[0]
			rec := follow(t, s)
			wait(t, s, model.Version(drop))
			steps := len(rec.all())
			var last int64
			tt.away(t, cluster, link, func() {
				for range 3 {
					last = commit(t, writer, Write{Puts: []Put{update(change, func(c *resourcev1.Channel) { c.Weight++ })}})
					change = at(change, last)
				}
				commit(t, writer, Write{Deletes: []Delete{{Resource: drop}}})
				brief := create(t, writer, channel(t, writer, "brief"))[0]
				commit(t, writer, Write{Deletes: []Delete{{Resource: brief}}})
				last = model.Version(create(t, writer, channel(t, writer, "new"))[0])
			})
			wait(t, s, last)
			same(t, s, endpoint)
			touched := map[string]int{}
			for _, st := range rec.all()[steps:] {
				for _, c := range st.changes {
					touched[c.ID]++
				}
			}
			if touched[keep.GetMetadata().GetId()] != 0 {
				t.Error("a resource that nobody touched came as a change")
			}
			if n := touched[change.GetMetadata().GetId()]; n < 1 || n > 3 || (tt.rereads && n != 1) {
				t.Errorf("the resource that changed three times came %d times", n)
			}
			if touched[drop.GetMetadata().GetId()] != 1 {
				t.Error("the deletion did not come once")
			}
			rec.check(t)
		})
	}
}

func compact(t *testing.T, endpoint string) {
	t.Helper()
	client := etcdtest.Client(t, endpoint)
	got, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), got.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
}

func TestWatchSurvivesLeaderChange(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 3)
	s, writer := open(t, cluster.Endpoints()...), open(t, cluster.Endpoints()...)
	rec := follow(t, s)
	c := create(t, writer, channel(t, writer, "c"))[0]
	bump := func(n int) {
		for range n {
			c = at(c, commit(t, writer, Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Weight++ })}}))
		}
	}
	bump(5)
	stopped := cluster.StopLeader()
	bump(5)
	wait(t, s, model.Version(c))
	cluster.Restart(stopped)
	bump(5)
	wait(t, s, model.Version(c))
	got, _ := s.State().ByName(model.KindChannel, "c")
	if diff := cmp.Diff(model.Resource(c), got, protocmp.Transform(), protocmp.IgnoreFields(&resourcev1.Channel{}, "weight")); diff != "" {
		t.Errorf("channel (-want +got):\n%s", diff)
	}
	same(t, s, cluster.Endpoints()...)
	rec.check(t)
}

func TestOneRevisionIsOneStep(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	link := etcdtest.NewLink(t, endpoint)
	s, writer := open(t, link.Endpoint()), open(t, endpoint)
	rec := follow(t, s)
	link.Cut()
	// More in all than the server sends in one message.
	var last int64
	for i := range 10 {
		a, b := channel(t, writer, "a"+string(rune('0'+i))), channel(t, writer, "b"+string(rune('0'+i)))
		a.Headers = map[string]string{"x-filler": strings.Repeat("x", 300_000)}
		b.Headers = a.Headers
		last = commit(t, writer, Write{Puts: []Put{{Resource: a}, {Resource: b}}})
	}
	link.Mend()
	wait(t, s, last)
	pairs := 0
	for _, st := range rec.all() {
		byVersion := map[int64]int{}
		for _, c := range st.changes {
			if c.Kind == model.KindChannel {
				byVersion[model.Version(c.New)]++
			}
		}
		for version, n := range byVersion {
			pairs++
			if n != 2 {
				t.Errorf("revision %d came in parts", version)
			}
		}
	}
	if pairs != 10 {
		t.Errorf("%d pairs came, want 10", pairs)
	}
	rec.check(t)
}

func TestRevisionAdvancesWithoutChanges(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	s := open(t, endpoint)
	s.probeEvery = time.Hour // Progress must do it, not a new read after a stall.
	rec := follow(t, s)
	if !s.Reached().Before(time.Now().Add(time.Hour)) || s.Reached().IsZero() {
		t.Errorf("reached at %s", s.Reached())
	}
	put, err := etcdtest.Client(t, endpoint).Put(t.Context(), hourPrefix+"x", "")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, put.Header.Revision)
	if n := rec.changes(); n != 0 {
		t.Errorf("%d changes for a write that is none of ours", n)
	}
	rec.check(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.WaitRevision(ctx, put.Header.Revision+100); fault.KindOf(err) != fault.Deadline {
		t.Errorf("waiting for a revision that never comes: %v", err)
	}
}

func TestUnreadableResourceKeepsItsLastGoodForm(t *testing.T) {
	endpoint := etcdtest.New(t)
	var out safeBuffer
	s, writer := open(t, endpoint), open(t, endpoint)
	s.log = slog.New(slog.NewTextHandler(&out, nil))
	c := create(t, writer, channel(t, writer, "c"))[0]
	rec := follow(t, s)
	wait(t, s, model.Version(c))
	client := etcdtest.Client(t, endpoint)
	key := resourceKey(model.KindChannel, c.GetMetadata().GetId())
	const poison = "\xff\xfe-poison"
	put, err := client.Put(t.Context(), key, poison)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, put.Header.Revision)
	if got, _ := s.State().ByName(model.KindChannel, "c"); model.Version(got) != model.Version(c) {
		t.Errorf("the last good form is gone: %v", got)
	}
	if log := out.String(); !strings.Contains(log, key) || strings.Contains(log, "poison") {
		t.Errorf("the log must name the key and not show the value: %s", log)
	}
	_, err = writer.Read(soon(t), model.KindChannel, c.GetMetadata().GetId())
	wantFault(t, err, fault.Internal, "")
	if strings.Contains(err.Error(), "poison") {
		t.Errorf("the error shows the value: %v", err)
	}
	wait(t, s, model.Version(create(t, writer, group(t, writer, "g"))[0]))
	// A fresh replica goes without it.
	fresh := open(t, endpoint)
	follow(t, fresh)
	if _, ok := fresh.State().ByName(model.KindChannel, "c"); ok {
		t.Error("an unreadable channel was loaded")
	}
	rec.check(t)
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestNewLineageStartsOver(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	s, other := open(t, endpoint), open(t, endpoint)
	create(t, s, channel(t, s, "c"))
	rec := follow(t, s)
	lineage, err := other.RotateLineage(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	last := awaitLineage(t, s, rec, lineage)
	if want := len(model.Initial()) + 1; len(last.changes) != want {
		t.Errorf("%d changes in the new lineage, want all %d", len(last.changes), want)
	}
	rec.check(t)
}

// awaitLineage returns the first step of a lineage; any other than the current one if lineage is "".
func awaitLineage(t *testing.T, s *Store, rec *recorder, lineage string) step {
	t.Helper()
	first := rec.all()[0].state.Lineage()
	ctx, b := soon(t), newBackoff()
	for {
		for _, st := range rec.all() {
			if l := st.state.Lineage(); l == lineage || (lineage == "" && l != first) {
				if s.Lineage() != l {
					t.Errorf("Lineage says %q, the state %q", s.Lineage(), l)
				}
				return st
			}
		}
		if b.sleep(ctx) != nil {
			t.Fatalf("lineage %q never came", lineage)
		}
	}
}

func TestRestoredBackupGetsANewLineage(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1)
	endpoint := cluster.Endpoints()[0]
	s := open(t, endpoint)
	s.probeEvery = 50 * time.Millisecond
	create(t, s, channel(t, s, "old"))
	cluster.Stop(0)
	data, backup := filepath.Join(cluster.Dir(), "m0"), filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	cluster.Restart(0)
	rec := follow(t, s)
	for _, name := range []string{"new1", "new2", "new3"} {
		wait(t, s, model.Version(create(t, s, channel(t, s, name))[0]))
	}
	cluster.Stop(0)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	cluster.Restart(0)
	awaitLineage(t, s, rec, "")
	if n := s.State().Len(model.KindChannel); n != 1 {
		t.Errorf("%d channels after the restore, want 1", n)
	}
	same(t, s, endpoint)
	rec.check(t)
}

func TestEmptiedDataSetPublishesNothing(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	link := etcdtest.NewLink(t, endpoint)
	client := etcdtest.Client(t, endpoint)
	for _, tt := range []struct {
		name, prefix string
		want         error
	}{
		// The names differ: what the first leaves of its index keys still claims its name.
		{"resources", resourcePrefix, errImplausible},
		{"everything", root, errNoLineage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out safeBuffer
			s := open(t, link.Endpoint())
			s.log = slog.New(slog.NewTextHandler(&out, nil))
			s.probeEvery = 50 * time.Millisecond
			c := create(t, s, channel(t, s, tt.name))[0]
			rec := follow(t, s)
			wait(t, s, model.Version(c))
			lineage := s.Lineage()
			link.Cut()
			if _, err := client.Delete(t.Context(), tt.prefix, clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
			// One more, so that the deletion itself is compacted away: a deletion that is seen is believed.
			if _, err := client.Put(t.Context(), "/other", ""); err != nil {
				t.Fatal(err)
			}
			compact(t, endpoint)
			link.Mend()
			ctx, b := soon(t), newBackoff()
			for strings.Count(out.String(), tt.want.Error()) < 2 {
				if b.sleep(ctx) != nil {
					t.Fatalf("it did not read again: %s", out.String())
				}
			}
			if n := s.State().Len(model.KindChannel); n != 1 || s.Lineage() != lineage {
				t.Errorf("the state was replaced: %d channels, lineage %q", n, s.Lineage())
			}
			rec.check(t)
		})
	}
}
