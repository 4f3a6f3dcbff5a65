package snapshot

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func openKeeper(t testing.TB, dir string, log *slog.Logger) *Keeper {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k, err := OpenKeeper(dir, log, KeeperOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// save writes one generation.
func save(t testing.TB, k *Keeper, r *Replica) {
	t.Helper()
	k.Offer(r.Image())
	if _, err := k.flush(); err != nil {
		t.Fatal(err)
	}
}

func TestLastGoodSurvives(t *testing.T) {
	dir := t.TempDir()
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	// One that is quarantined over a good version, and one that never was good.
	src.apply(&syncv1.Change{Kind: channelKind, Id: "c1", Version: 4, Body: poison}, &syncv1.Change{Kind: keyKind, Id: "k2", Version: 4, Body: poison})
	receive(t, r, src.full())
	save(t, openKeeper(t, dir, nil), r)

	got := NewReplica()
	if _, ok := openKeeper(t, dir, nil).Load(got); !ok {
		t.Fatal("nothing was loaded")
	}
	if diff := cmp.Diff(dump(r.Snapshot()), dump(got.Snapshot())); diff != "" {
		t.Errorf("the state differs after a restart (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(r.Ack().String(), got.Ack().String()); diff != "" {
		t.Errorf("what it would acknowledge differs (-want +got):\n%s", diff)
	}
	if c, ok := got.Snapshot().Channel("c1"); !ok || c.Name != "one" {
		t.Error("the last good form of a quarantined channel is lost")
	}
	heal := put(t, channelKind, "c1", 5, &syncv1.ChannelState{Provider: 1, Name: "well", BaseUrl: "http://x"})
	base := src.revision
	src.apply(heal)
	receive(t, got, src.delta(base, heal))
	for _, name := range []string{lastGoodName, keyName} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v; want 0600", name, err, info.Mode())
		}
	}
	file, err := os.ReadFile(filepath.Join(dir, lastGoodName))
	if err != nil || bytes.Contains(file, []byte("api.example.com")) || bytes.Contains(file, []byte("pepper")) {
		t.Errorf("the file shows its content (%v)", err)
	}
}

func TestLastGoodGenerations(t *testing.T) {
	flip := func(i int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[(i+len(b))%len(b)] ^= 1
			return b
		}
	}
	tests := []struct {
		name        string
		newest, old func([]byte) []byte // nil = as it is
		want        int64               // revision; 0 = nothing loads
		log         string
	}{
		{"both whole", nil, nil, 2, ""},
		{"newest flipped in its body", flip(-1), nil, 1, "damaged"},
		{"newest flipped in its date", flip(9), nil, 1, "sealed under another key, or changed"},
		{"newest of another version", flip(7), nil, 1, "not a last-known-good file"},
		{"newest cut", func(b []byte) []byte { return b[:len(b)/2] }, nil, 1, "damaged"},
		{"newest empty", func([]byte) []byte { return nil }, nil, 1, "not a last-known-good file"},
		{"both damaged", flip(-1), flip(-1), 0, "damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			k := openKeeper(t, dir, nil)
			src := small(t)
			r := NewReplica()
			receive(t, r, src.full())
			save(t, k, r)
			src.apply()
			receive(t, r, src.full())
			save(t, k, r)
			for name, change := range map[string]func([]byte) []byte{lastGoodName: tt.newest, previousName: tt.old} {
				if change == nil {
					continue
				}
				path := filepath.Join(dir, name)
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, change(file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			got := NewReplica()
			_, ok := openKeeper(t, dir, slog.New(slog.NewTextHandler(&log, nil))).Load(got)
			if ok != (tt.want != 0) || got.Image().Revision() != tt.want {
				t.Errorf("loaded %v at revision %d, want %d", ok, got.Image().Revision(), tt.want)
			}
			if !strings.Contains(log.String(), tt.log) {
				t.Errorf("log has no %q:\n%s", tt.log, log.String())
			}
		})
	}
}

func TestLastGoodKey(t *testing.T) {
	dir := t.TempDir()
	r := NewReplica()
	receive(t, r, small(t).full())
	save(t, openKeeper(t, dir, nil), r)
	path := filepath.Join(dir, keyName)

	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeeper(dir, slog.New(slog.DiscardHandler), KeeperOptions{}); err == nil {
		t.Error("a key that the group can read was accepted")
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeeper(dir, slog.New(slog.DiscardHandler), KeeperOptions{}); err == nil {
		t.Error("a key of five bytes was accepted")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := openKeeper(t, dir, nil).Load(NewReplica()); ok {
		t.Error("a state that was sealed under another key was loaded")
	}
}

func TestKeeperWritesAtMostOncePerSecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var saves atomic.Int32
		k, err := OpenKeeper(dir, slog.New(slog.DiscardHandler), KeeperOptions{OnSave: func(error) { saves.Add(1) }})
		if err != nil {
			t.Fatal(err)
		}
		src := small(t)
		r := NewReplica()
		receive(t, r, src.full())
		done := make(chan struct{})
		ctx, cancel := newContext(t)
		go func() {
			defer close(done)
			_ = k.Run(ctx)
		}()
		for range 50 { // five seconds of a change every 100 ms
			src.apply()
			receive(t, r, src.full())
			k.Offer(r.Image())
			time.Sleep(100 * time.Millisecond)
		}
		if n := saves.Load(); n < 2 || n > 6 {
			t.Errorf("%d saves in 5 s, want 2 to 6", n)
		}
		src.apply()
		receive(t, r, src.full())
		k.Offer(r.Image())
		cancel()
		<-done
		got := NewReplica()
		if _, ok := k.Load(got); !ok || got.Image().Revision() != src.revision {
			t.Errorf("after the end revision %d is on disk, want %d", got.Image().Revision(), src.revision)
		}
	})
}

func TestKeeperTriesAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var outcomes []bool
		k, err := OpenKeeper(dir, slog.New(slog.DiscardHandler), KeeperOptions{OnSave: func(err error) { outcomes = append(outcomes, err == nil) }})
		if err != nil {
			t.Fatal(err)
		}
		r := NewReplica()
		receive(t, r, small(t).full())
		k.dir = filepath.Join(dir, "not there yet")
		done := make(chan struct{})
		ctx, cancel := newContext(t)
		go func() {
			defer close(done)
			_ = k.Run(ctx)
		}()
		k.Offer(r.Image())
		time.Sleep(5 * time.Second)
		if err := os.Mkdir(k.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * saveRetry)
		cancel()
		<-done
		if n := len(outcomes); n < 3 || outcomes[0] || !outcomes[n-1] {
			t.Errorf("outcomes = %v, want failures and then a success", outcomes)
		}
		if _, ok := k.Load(NewReplica()); !ok {
			t.Error("nothing is on disk")
		}
	})
}

func TestKeeperClearsWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	left, other := filepath.Join(dir, ".lastgood.ABC.tmp"), filepath.Join(dir, ".other.tmp")
	for _, path := range []string{left, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openKeeper(t, dir, nil)
	if _, err := os.Stat(left); err == nil {
		t.Error("a half-written file of an earlier process is still there")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("a file of somebody else is gone")
	}
}

func TestRestoreRefusesWhatDoesNotAddUp(t *testing.T) {
	r := NewReplica()
	receive(t, r, small(t).full())
	s, err := parsePayload(appendPayload(nil, r.Image()))
	if err != nil {
		t.Fatal(err)
	}
	s.digest++
	got := NewReplica()
	if err := got.restore(s); !errors.Is(err, ErrDigest) || got.Image().Len() != 0 {
		t.Errorf("restore = %v with %d resources, want %v and none", err, got.Image().Len(), ErrDigest)
	}
}

// FuzzUnseal: whatever is in the file, nothing panics; what opens can be restored, and no byte of it could be another.
func FuzzUnseal(f *testing.F) {
	aead, err := newSeal(make([]byte, lgKeySize))
	if err != nil {
		f.Fatal(err)
	}
	r := NewReplica()
	receive(f, r, small(f).full())
	whole := seal(aead, r.Image(), time.UnixMilli(1))
	f.Add(whole, 3)
	f.Add(whole, len(whole)-1)
	f.Add(whole[:len(whole)-1], 0)
	f.Add([]byte(lgMagic), 0)
	f.Fuzz(func(t *testing.T, file []byte, at int) {
		s, err := unseal(aead, bytes.Clone(file))
		if err != nil {
			return
		}
		if err := NewReplica().restore(s); err != nil {
			t.Fatal(err)
		}
		file[uint(at)%uint(len(file))] ^= 0x10
		if _, err := unseal(aead, file); err == nil {
			t.Fatal("a changed file opens")
		}
	})
}

// FuzzPayload: what parses restores without a panic or is refused, and what is restored writes the same state again.
func FuzzPayload(f *testing.F) {
	r := NewReplica()
	src := small(f)
	receive(f, r, src.full())
	f.Add(appendPayload(nil, r.Image()))
	src.apply(&syncv1.Change{Kind: channelKind, Id: "c1", Version: 4, Body: poison})
	receive(f, r, src.full())
	f.Add(appendPayload(nil, r.Image()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := parsePayload(payload)
		if err != nil {
			return
		}
		r := NewReplica()
		if r.restore(s) != nil {
			return
		}
		again, err := parsePayload(appendPayload(nil, r.Image()))
		if err != nil {
			t.Fatalf("what was written does not parse: %v", err)
		}
		twin := NewReplica()
		if err := twin.restore(again); err != nil {
			t.Fatalf("what was written does not restore: %v", err)
		}
		if diff := cmp.Diff(r.Ack().String(), twin.Ack().String()); diff != "" {
			t.Fatalf("a round trip changed the state (-want +got):\n%s", diff)
		}
	})
}
