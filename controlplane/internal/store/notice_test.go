package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/fault"
	"fairway/pkg/testkit/etcdtest"
)

// told is what is stored, as text.
func told(t *testing.T, s *Store) []string {
	t.Helper()
	var all []string
	err := s.Notices(soon(t), func(n Notice) error {
		all = append(all, fmt.Sprintf("%s %s %s", n.Notifier, n.Event, n.Body))
		return nil
	})
	if err != nil {
		t.Fatalf("notices: %v", err)
	}
	return all
}

func TestNotices(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "books")
	for _, n := range []Notice{{"b", "1", []byte("x")}, {"a", "2", []byte("y")}, {"a", "1", []byte("to be sent")}, {"a", "1", []byte("sent")}} {
		if err := s.PutNotice(ctx, fence, n); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"a 1 sent", "a 2 y", "b 1 x"}, told(t, s)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	stop := errors.New("stop")
	if err := s.Notices(ctx, func(Notice) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the reader's own error came back as %v", err)
	}
	if err := s.DropNotices(ctx, fence, []Notice{{Notifier: "a", Event: "2"}, {Notifier: "b", Event: "gone"}}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"a 1 sent", "b 1 x"}, told(t, s)); diff != "" {
		t.Errorf("after dropping (-want +got):\n%s", diff)
	}
}

func TestManyNoticesAreDropped(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "books")
	var all []Notice
	for i := range 2*maxNoticeDrops + 1 {
		n := Notice{Notifier: "n", Event: fmt.Sprint(i)}
		if all = append(all, n); i%50 == 0 || i == 2*maxNoticeDrops {
			if err := s.PutNotice(ctx, fence, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.DropNotices(ctx, fence, all); err != nil {
		t.Fatal(err)
	}
	if left := told(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Who does not lead any more writes nothing, and nothing gets where it does not belong.
func TestNoticesAreFenced(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "books")
	n := Notice{Notifier: "n", Event: "e", Body: []byte("x")}
	if err := s.PutNotice(ctx, fence, n); err != nil {
		t.Fatal(err)
	}
	fallen := Fence{key: fence.key, revision: fence.revision + 1}
	for _, f := range []Fence{{}, fallen} {
		wantFault(t, s.PutNotice(ctx, f, Notice{Notifier: "n", Event: "f"}), fault.Stale, CodeNotLeader)
		wantFault(t, s.DropNotices(ctx, f, []Notice{n}), fault.Stale, CodeNotLeader)
	}
	for _, bad := range []Notice{{Notifier: "n"}, {Event: "e"}, {Notifier: "n/x", Event: "e"}, {Notifier: "n", Event: "../x"}, {Notifier: "n", Event: "a b"}} {
		wantFault(t, s.PutNotice(ctx, fence, bad), fault.Internal, "")
		wantFault(t, s.DropNotices(ctx, fence, []Notice{bad}), fault.Internal, "")
	}
	if diff := cmp.Diff([]string{"n e x"}, told(t, s)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// A write whose answer is lost is one write.
func TestNoticeSurvivesALostAnswer(t *testing.T) {
	s, l := openLossy(t, etcdtest.New(t))
	fence := leading(t, s, "books")
	l.before.Store(1)
	l.after.Store(2)
	if err := s.PutNotice(soon(t), fence, Notice{Notifier: "n", Event: "e", Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"n e x"}, told(t, s)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}
