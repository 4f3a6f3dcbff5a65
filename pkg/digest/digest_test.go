package digest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type resource struct {
	kind    int32
	id      string
	version int64
	body    string
}

func sumOf(rs ...resource) Sums {
	var s Sums
	for _, r := range rs {
		s.Add(r.kind, r.id, r.version, []byte(r.body))
	}
	return s
}

// The formula is a wire format: proxies and control planes of different builds must agree. The numbers come from another
// implementation of XXH64.
func TestGolden(t *testing.T) {
	if got, want := Bucket(4, "01J8ZQ4X5Y6Z7A8B9C0D1E2F3G"), 57; got != want {
		t.Errorf("Bucket = %d, want %d", got, want)
	}
	if got, want := Hash(4, "01J8ZQ4X5Y6Z7A8B9C0D1E2F3G", 17, []byte("body")), uint64(0x7a889b77b3c8c268); got != want {
		t.Errorf("Hash = %#x, want %#x", got, want)
	}
}

func TestHashTellsApart(t *testing.T) {
	tests := []struct {
		name string
		a, b resource
	}{
		{"kind", resource{1, "a", 1, "x"}, resource{2, "a", 1, "x"}},
		{"id", resource{1, "a", 1, "x"}, resource{1, "b", 1, "x"}},
		{"version", resource{1, "a", 1, "x"}, resource{1, "a", 2, "x"}},
		{"body", resource{1, "a", 1, "x"}, resource{1, "a", 1, "y"}},
		{"where the id ends", resource{1, "ab", 1, ""}, resource{1, "a", 'b', ""}},
		{"where the body begins", resource{1, "a", 1, "x"}, resource{1, "ax", 1, ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if sumOf(tt.a) == sumOf(tt.b) {
				t.Errorf("%v and %v have one digest", tt.a, tt.b)
			}
		})
	}
	// The same set twice is not the set once.
	once, twice := sumOf(tests[0].a), sumOf(tests[0].a, tests[0].a)
	if once == twice {
		t.Error("a resource that is there twice does not show")
	}
}

// Any history of changes, in any order, gives the digest of the set that it ends with.
func TestIncrementalEqualsRecomputed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Sums
		set := map[string]resource{}
		for range rapid.IntRange(0, 60).Draw(t, "changes") {
			kind := rapid.Int32Range(1, 6).Draw(t, "kind")
			id := fmt.Sprint("id", rapid.IntRange(0, 20).Draw(t, "id"))
			key := fmt.Sprint(kind, id)
			if old, ok := set[key]; ok {
				s.Remove(old.kind, old.id, old.version, []byte(old.body))
				delete(set, key)
			}
			if rapid.Bool().Draw(t, "put") {
				r := resource{kind, id, rapid.Int64().Draw(t, "version"), rapid.String().Draw(t, "body")}
				s.Add(r.kind, r.id, r.version, []byte(r.body))
				set[key] = r
			}
		}
		var rs []resource
		for _, r := range set {
			rs = append(rs, r)
		}
		rand.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		want := sumOf(rs...)
		if s != want {
			t.Fatalf("(-recomputed +incremental):\n%s", cmp.Diff(want, s))
		}
		var root uint64
		for _, v := range s {
			root += v
		}
		if s.Root() != root {
			t.Fatalf("Root = %d, want the sum of the buckets, %d", s.Root(), root)
		}
	})
}

func TestDiffer(t *testing.T) {
	a := sumOf(resource{1, "a", 1, "x"}, resource{2, "b", 1, "x"})
	b := sumOf(resource{1, "a", 2, "x"}, resource{2, "b", 1, "x"})
	if got, want := a.Differ(&b), uint64(1)<<Bucket(1, "a"); got != want {
		t.Errorf("Differ = %b, want %b", got, want)
	}
	if got := a.Differ(&a); got != 0 {
		t.Errorf("a set differs from itself in %b", got)
	}
}

// Every bucket is used, and none by far more than the others.
func TestBucketSpreads(t *testing.T) {
	const n = 64_000
	var count [Buckets]int
	for i := range n {
		count[Bucket(int32(i%6+1), fmt.Sprintf("01J8ZQ4X5Y6Z7A8B9C0D%06d", i))]++
	}
	for b, c := range count {
		if c < n/Buckets/2 || c > n/Buckets*2 {
			t.Errorf("bucket %d has %d of %d", b, c, n)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	body := make([]byte, 200)
	b.ReportAllocs()
	var s Sums
	for b.Loop() {
		s.Add(4, "01J8ZQ4X5Y6Z7A8B9C0D1E2F3G", 17, body)
	}
}
