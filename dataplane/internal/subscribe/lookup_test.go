package subscribe

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/dataplane/internal/snapshot"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Each question about a request is answered under its own id, also when nothing is known, and state flows on beside them.
func TestLookup(t *testing.T) {
	known := &adminv1.Decision{RequestId: "req_1", Outcome: "served"}
	for _, tc := range []struct {
		name   string
		lookup func(string) *adminv1.Decision
		want   []*syncv1.LookupResult
	}{
		{"known and unknown", func(id string) *adminv1.Decision {
			if id == "req_1" {
				return known
			}
			return nil
		}, []*syncv1.LookupResult{{Id: "a", Decision: known}, {Id: "b"}}},
		{"a proxy that knows none", nil, []*syncv1.LookupResult{{Id: "a"}, {Id: "b"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &world{lineage: "L"}
			w.add(t, "g1")
			full := w.full()
			second := w.delta(1, w.add(t, "g2"))
			f := startFake(t, newAuthority(t, "L"), "", func(_ int, s *fakeStream) error {
				s.txns(full...)
				for id, request := range map[string]string{"a": "req_1", "b": "req_2"} {
					_ = s.Send(&syncv1.SyncResponse{Message: &syncv1.SyncResponse_Lookup{Lookup: &syncv1.Lookup{Id: id, RequestId: request}}})
				}
				s.txns(second)
				return s.stay()
			})
			p := New(snapshot.NewHolder(), Options{
				Addresses: []string{f.address}, JoinTokenFile: tokenFile(t, f), StateDir: t.TempDir(), BootID: "boot",
				Lookup: tc.lookup, Log: slog.New(slog.NewTextHandler(logWriter{t}, nil)),
			})
			var running sync.WaitGroup
			ctx := t.Context()
			running.Go(func() { _ = p.Run(ctx) })
			t.Cleanup(running.Wait) // t's context ends before

			eventually(t, "both are answered", func() bool { return len(f.results()) == 2 })
			got := f.results()
			if got[0].GetId() > got[1].GetId() {
				got[0], got[1] = got[1], got[0]
			}
			if d := cmp.Diff(tc.want, got, protocmp.Transform()); d != "" {
				t.Errorf("results (-want +got):\n%s", d)
			}
			eventually(t, "state goes on", func() bool { _, ok := f.acked(2); return ok })
		})
	}
}
