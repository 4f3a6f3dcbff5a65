package snapshot

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// at is an empty snapshot of a revision.
func at(lineage string, revision int64) *Snapshot {
	s := empty()
	s.lineage, s.revision = lineage, revision
	return s
}

func atLeast(revision int64) func(*Snapshot) bool {
	return func(s *Snapshot) bool { return s.revision >= revision }
}

func never(*Snapshot) bool { return false }

func TestHolderSaysWhatItHolds(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	h := NewHolder()
	if ready, _ := h.Ready(); ready || h.Current() == nil || h.Age(now) >= 0 {
		t.Error("a new holder is ready, has no snapshot at all, or an age")
	}
	h.Restore(at("L", 5), now.Add(-time.Minute))
	if ready, file := h.Ready(); !ready || !file || h.Age(now) != time.Minute || h.Newest() != 5 {
		t.Errorf("restored: ready %v, from file %v, age %v, newest %d", ready, file, h.Age(now), h.Newest())
	}
	h.SetConnected(true, now)
	h.Heard(9)
	h.Publish(at("L", 8), now)
	if ready, file := h.Ready(); !ready || file || h.Age(now.Add(time.Hour)) != 0 || h.Newest() != 9 || h.Current().Revision() != 8 {
		t.Errorf("published: ready %v, from file %v, age %v, newest %d", ready, file, h.Age(now.Add(time.Hour)), h.Newest())
	}
	h.SetConnected(false, now.Add(time.Hour))
	h.SetConnected(false, now.Add(2*time.Hour))
	if age := h.Age(now.Add(2 * time.Hour)); age != time.Hour {
		t.Errorf("an hour after the connection was lost the age is %v", age)
	}
	h.Publish(at("L2", 3), now)
	if h.Newest() != 3 {
		t.Errorf("newest = %d of another lineage, want 3", h.Newest())
	}
}

func TestMissFindsWhatComesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHolder()
		old := h.Current()
		go func() {
			// Unrelated news first: they neither end the wait nor count as the answer.
			for revision := int64(1); revision <= 4; revision++ {
				time.Sleep(50 * time.Millisecond)
				h.Publish(at("L", revision), time.Now())
			}
		}()
		start := time.Now()
		s, ok := h.Miss(t.Context(), old, "x", atLeast(3))
		if took := time.Since(start); !ok || s.Revision() != 3 || took != 150*time.Millisecond {
			t.Errorf("Miss = revision %d, %v after %v; want 3, true after 150ms", s.Revision(), ok, took)
		}
		// Who pinned a snapshot before what it needs came, need not wait.
		start = time.Now()
		if s, ok := h.Miss(t.Context(), old, "x", atLeast(3)); !ok || s.Revision() != 3 || time.Since(start) != 0 {
			t.Errorf("Miss = revision %d, %v after %v; want 3, true at once", s.Revision(), ok, time.Since(start))
		}
		synctest.Wait()
		time.Sleep(time.Second)
	})
}

func TestMissIsBoundedSharedAndRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHolder()
		h.Publish(at("L", 1), time.Now())
		start := time.Now()
		var waiting sync.WaitGroup
		for i := range 100 {
			waiting.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if _, ok := h.Miss(t.Context(), h.Current(), "x", never); ok {
					t.Error("found what does not exist")
				}
				if took := time.Since(start); took != missBound {
					t.Errorf("a request that joined after %d ms left after %v, want %v", i, took, missBound)
				}
			})
		}
		waiting.Wait()
		if len(h.windows) != 0 {
			t.Errorf("%d windows are left", len(h.windows))
		}
		miss := func(cause string) time.Duration {
			start := time.Now()
			h.Miss(t.Context(), h.Current(), cause, never)
			return time.Since(start)
		}
		for range 3 {
			if took := miss("x"); took != 0 {
				t.Errorf("a cause that is known to be absent took %v", took)
			}
		}
		if took := miss("y"); took != missBound {
			t.Errorf("another cause took %v, want %v", took, missBound)
		}
		if n := h.Waits(); n != 101 {
			t.Errorf("%d misses waited, want 101", n)
		}
		h.Publish(at("L", 2), time.Now())
		if took := miss("x"); took != missBound {
			t.Errorf("after a newer revision the cause took %v, want %v", took, missBound)
		}
		if took := miss("x"); took != 0 {
			t.Errorf("and then %v, want 0", took)
		}
	})
}

func TestMissDoesNotOutliveItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHolder()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, ok := h.Miss(ctx, h.Current(), "x", never); ok || time.Since(start) != 100*time.Millisecond {
			t.Errorf("Miss = %v after %v, want false after 100ms", ok, time.Since(start))
		}
		if len(h.windows) != 0 {
			t.Error("the window is left")
		}
		// Nobody waited to the end, so nothing is known to be absent.
		start = time.Now()
		h.Miss(t.Context(), h.Current(), "x", never)
		if took := time.Since(start); took != missBound {
			t.Errorf("the next request waited %v, want %v", took, missBound)
		}
	})
}

func TestMissBoundsItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHolder()
		var waiting sync.WaitGroup
		var atOnce atomic.Int32
		for i := range 2 * maxCauses {
			waiting.Go(func() {
				start := time.Now()
				h.Miss(t.Context(), h.Current(), fmt.Sprint(i), never)
				if time.Since(start) == 0 {
					atOnce.Add(1)
				}
			})
		}
		waiting.Wait()
		if atOnce.Load() != maxCauses || len(h.absent) > maxCauses || len(h.windows) != 0 {
			t.Errorf("%d of %d were answered at once, %d are remembered", atOnce.Load(), 2*maxCauses, len(h.absent))
		}
	})
}
