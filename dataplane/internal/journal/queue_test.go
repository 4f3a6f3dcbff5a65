package journal

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"fairway/pkg/money"
)

func full() Entry {
	return Entry{
		Time:      time.Date(2026, 11, 21, 23, 4, 5, 6_789_000, time.UTC),
		RequestID: "req_1", ClientRequestID: "mine-1", UpstreamRequestID: "up-1", RemoteIP: netip.MustParseAddr("192.0.2.7"),
		Method: "POST", Operation: "chat", Model: "gpt-4o", UpstreamModel: "deployed", ResponseModel: "gpt-4o-2024", Stream: true, Status: 200,
		KeyID: "key_1", KeyName: "laptop", Tenant: "acme", Group: "default", Channel: "openai", Account: "acc_1", Attempts: 2, Retried: true,
		Trail: []Attempt{
			{Channel: "c0", Account: "a0", Provider: "p0", Host: "h0", Model: "m0", Verdict: "rate_limit", Status: 429, After: 1, Took: 2},
			{Channel: "c1", Account: "a1", Provider: "p1", Host: "h1", Model: "m1", Status: 200, After: 3, Took: 4},
		},
		ClientGone: true, TTFT: 123456789, Duration: 9_000_001_999, BytesIn: 1024, BytesOut: 2048,
		Tokens:    money.Tokens{Input: 10, Cached: 4, Output: 20, CacheWrite: 5, CacheWriteLong: 6, Reasoning: 7, AudioInput: 8, AudioOutput: 9},
		Estimated: true, CostNanoUSD: 1234567, PriceVersion: 12, Unpriced: true, Error: "the upstream closed the connection",
		Trace: Trace{ID: [16]byte{1}, Parent: [8]byte{2}, Sampled: true},
	}
}

var sameEntry = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(Entry{}, "Bodies"), cmpopts.EquateEmpty()}

// What comes out is what went in, in every field; and nothing of the entry that had the slot before.
func TestQueueKeepsAll(t *testing.T) {
	q := NewQueue(16, false)
	if q.Next() != nil || q.Ready() {
		t.Fatal("an empty queue has an entry")
	}
	for i := range 3 * q.Size() {
		want := full()
		if i%2 == 1 {
			want = Entry{Time: time.Unix(1, 0)}
		}
		if !q.Put(&want) || !q.Ready() {
			t.Fatalf("entry %d was not taken", i)
		}
		if diff := cmp.Diff(&want, q.Next(), sameEntry, cmp.Transformer("", time.Time.UTC)); diff != "" {
			t.Fatalf("entry %d (-want +got):\n%s", i, diff)
		}
		q.Done()
	}
	if q.Next() != nil {
		t.Error("there is one entry too many")
	}
}

// An entry must not lead the garbage collector to the memory of walks: snapshots and bodies would live as long as the queue.
func TestEntryIsCopied(t *testing.T) {
	q := NewQueue(1, false)
	memory := []byte("gpt-4o")
	e := Entry{Model: unsafe.String(&memory[0], len(memory))}
	q.Put(&e)
	copy(memory, "xxxxxx")
	if got := q.Next().Model; got != "gpt-4o" {
		t.Errorf("the model is %q: the queue looks at memory that is not its own", got)
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{strings.Repeat("x", 64), strings.Repeat("x", 64)},
		{strings.Repeat("x", 65), strings.Repeat("x", 64)},
		{strings.Repeat("é", 33), strings.Repeat("é", 32)},
		{"x" + strings.Repeat("é", 33), "x" + strings.Repeat("é", 31)},
		{"xx" + strings.Repeat("😀", 33), "xx" + strings.Repeat("😀", 15)},
		{strings.Repeat("\x80", 99), strings.Repeat("\x80", 64)},
	} {
		q := NewQueue(1, false)
		q.Put(&Entry{KeyID: tt.in, Error: "after"})
		if e := q.Next(); e.KeyID != tt.want || e.Error != "after" {
			t.Errorf("%q: %q, then %q", tt.in, e.KeyID, e.Error)
		}
	}
}

// Whatever strings come, an entry's own all have room, and attempts never write beyond theirs.
func TestRoomForStrings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"x", "é", "😀", "\x80"}).Draw(t, "c"), rapid.IntRange(0, 400).Draw(t, "n"))
		})
		e := Entry{Error: "the last one", Trail: make([]Attempt, rapid.IntRange(0, 2*MaxTrail).Draw(t, "attempts"))}
		for _, s := range []*string{
			&e.RequestID, &e.ClientRequestID, &e.UpstreamRequestID, &e.Method, &e.Operation, &e.Model, &e.UpstreamModel, &e.ResponseModel,
			&e.KeyID, &e.KeyName, &e.Tenant, &e.Group, &e.Channel, &e.Account,
		} {
			*s = text.Draw(t, "text")
		}
		for i := range e.Trail {
			a := &e.Trail[i]
			for _, s := range []*string{&a.Channel, &a.Account, &a.Provider, &a.Host, &a.Model, &a.Verdict} {
				*s = text.Draw(t, "text")
			}
			a.Status = i + 1
		}
		q := NewQueue(1, false)
		q.Put(&e)
		got := q.Next()
		if got.Error != "the last one" || len(got.Trail) != min(len(e.Trail), MaxTrail) {
			t.Fatalf("error %q, %d attempts of %d", got.Error, len(got.Trail), len(e.Trail))
		}
		for i, a := range got.Trail {
			for _, s := range [][2]string{{e.Trail[i].Channel, a.Channel}, {e.Trail[i].Host, a.Host}, {e.Trail[i].Model, a.Model}, {e.Trail[i].Verdict, a.Verdict}} {
				if utf8.ValidString(s[0]) && !utf8.ValidString(s[1]) {
					t.Fatalf("attempt %d: %q was cut inside a character", i, s[1])
				}
			}
			if a.Status != i+1 || !strings.HasPrefix(e.Trail[i].Channel, a.Channel) || !strings.HasPrefix(e.Trail[i].Verdict, a.Verdict) {
				t.Fatalf("attempt %d: %+v", i, a)
			}
		}
		if !strings.HasPrefix(e.Model, got.Model) || len(e.Model) <= maxModel && got.Model != e.Model {
			t.Fatalf("model %q of %q", got.Model, e.Model)
		}
	})
}

// Many walks and one consumer: every entry is given once, whole and in its walk's order, or was refused.
func TestQueueProducers(t *testing.T) {
	const producers, each = 8, 3000
	q := NewQueue(64, false)
	var wg sync.WaitGroup
	var refused sync.Map
	for p := range producers {
		wg.Go(func() {
			n := 0
			for i := range each {
				id := fmt.Sprintf("%d-%d", p, i)
				if !q.Put(&Entry{RequestID: id, Account: id, BytesIn: int64(p), BytesOut: int64(i)}) {
					n++
				}
			}
			refused.Store(p, n)
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	got, last := 0, map[int64]int64{}
	for more := true; more; {
		select {
		case <-ended:
			more = false
		default:
		}
		for e := q.Next(); e != nil; e = q.Next() {
			if want := fmt.Sprintf("%d-%d", e.BytesIn, e.BytesOut); e.RequestID != want || e.Account != want {
				t.Fatalf("mixed up: %s, %s, want %s", e.RequestID, e.Account, want)
			}
			if before, ok := last[e.BytesIn]; ok && before >= e.BytesOut {
				t.Fatalf("producer %d: %d after %d", e.BytesIn, e.BytesOut, before)
			}
			last[e.BytesIn] = e.BytesOut
			got++
			q.Done()
		}
	}
	missing := 0
	refused.Range(func(_, n any) bool { missing += n.(int); return true })
	if got+missing != producers*each {
		t.Errorf("%d given and %d refused of %d", got, missing, producers*each)
	}
}

func TestPutAllocatesNothing(t *testing.T) {
	q, e := NewQueue(16, true), full()
	for name, n := range map[string]float64{
		"there is room": testing.AllocsPerRun(10, func() { q.Put(&e) }),
		"it is full":    testing.AllocsPerRun(100, func() { q.Put(&e) }),
	} {
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(10, func() { q.Next(); q.Done() }); n != 0 {
		t.Errorf("taken: %v allocations", n)
	}
}

func BenchmarkPut(b *testing.B) {
	q, e := NewQueue(4096, false), full()
	b.ReportAllocs()
	for b.Loop() {
		q.Put(&e)
		if q.Ready() {
			q.Done()
		}
	}
}
