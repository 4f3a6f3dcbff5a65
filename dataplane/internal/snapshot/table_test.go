package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTableIsAPersistentMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tab := newTable[string, int](stringHash[string]())
		want := make(map[string]int)
		type version struct {
			tab  table[string, int]
			want map[string]int
		}
		var old []version
		for range rapid.IntRange(1, 5).Draw(rt, "edits") {
			old = append(old, version{tab, maps.Clone(want)})
			e := tab.edit()
			for range rapid.IntRange(0, 400).Draw(rt, "n") {
				k := fmt.Sprint(rapid.IntRange(0, 600).Draw(rt, "k"))
				if rapid.IntRange(0, 3).Draw(rt, "op") == 0 {
					e.delete(k)
					delete(want, k)
					continue
				}
				v := rapid.Int().Draw(rt, "v")
				e.set(k, v)
				want[k] = v
			}
			tab = e.done()
			for _, o := range append(old, version{tab, want}) {
				if diff := cmp.Diff(o.want, maps.Collect(o.tab.all())); diff != "" {
					rt.Fatalf("table (-want +got):\n%s", diff)
				}
				if o.tab.len() != len(o.want) {
					rt.Fatalf("len = %d, want %d", o.tab.len(), len(o.want))
				}
			}
			for k, v := range want {
				if got, ok := tab.get(k); !ok || got != v {
					rt.Fatalf("get(%s) = %d, %v; want %d", k, got, ok, v)
				}
			}
		}
	})
}

func TestMerge(t *testing.T) {
	type item struct {
		id string
		v  int
	}
	id := func(i item) string { return i.id }
	rapid.Check(t, func(rt *rapid.T) {
		want := make(map[string]item)
		var list []item
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			var ups []up[item]
			for range rapid.IntRange(0, 8).Draw(rt, "n") {
				k := rapid.StringMatching("[a-d]{1,2}").Draw(rt, "k")
				it := item{k, rapid.Int().Draw(rt, "v")}
				if rapid.Bool().Draw(rt, "gone") {
					ups = append(ups, up[item]{id: k, gone: true})
					delete(want, k)
					continue
				}
				ups = append(ups, up[item]{id: k, item: it})
				want[k] = it
			}
			before := slices.Clone(list)
			next := merge(list, id, ups)
			if !slices.Equal(before, list) {
				rt.Fatal("merge changed its input")
			}
			list = next
			sorted := make([]item, 0, len(want))
			for _, k := range slices.Sorted(maps.Keys(want)) {
				sorted = append(sorted, want[k])
			}
			if !slices.Equal(sorted, list) {
				rt.Fatalf("merge = %v, want %v", list, sorted)
			}
		}
	})
}

// TestAliasTableIsExact adds up what each column gives to each index: the shares must be those of the weights.
func TestAliasTableIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 10000), 1, 300).Draw(rt, "weights")
		slots := aliasTable(weights)
		var total float64
		for _, w := range weights {
			total += float64(w)
		}
		n := float64(len(weights))
		share := make([]float64, len(weights))
		for i := range weights {
			p := float64(slots[i].cut) / (1 << 32)
			share[i] += p / n
			share[slots[i].alias] += (1 - p) / n
		}
		for i, w := range weights {
			if want := float64(w) / total; share[i] < want-1e-6 || share[i] > want+1e-6 {
				rt.Fatalf("index %d of %v has share %g, want %g", i, weights, share[i], want)
			}
		}
	})
}
