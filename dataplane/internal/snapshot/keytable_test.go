package snapshot

import (
	"maps"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/pkg/clientkey"
)

// TestKeyTableIsAPersistentMap: against maps, with MACs that begin alike, and with every version of the table kept.
func TestKeyTableIsAPersistentMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// How much of a MAC tells keys apart: nothing but its end, its low bits, or all of it.
		style := rapid.IntRange(0, 2).Draw(rt, "style")
		macOf := func(n int) (mac clientkey.MAC) {
			switch style {
			case 0:
				mac[31] = byte(n)
				mac[30] = byte(n >> 8)
			case 1:
				mac[0] = byte(n)
				mac[1] = byte(n >> 8)
			default:
				mac = clientkey.NewHasher(nil).Sum([]byte{byte(n), byte(n >> 8)})
			}
			return mac
		}
		var tab keyTable
		want := make(map[clientkey.MAC]*Key)
		type version struct {
			tab  keyTable
			want map[clientkey.MAC]*Key
		}
		var old []version
		for range rapid.IntRange(1, 4).Draw(rt, "edits") {
			old = append(old, version{tab, maps.Clone(want)})
			e := tab.edit()
			for range rapid.IntRange(0, 300).Draw(rt, "n") {
				mac := macOf(rapid.IntRange(0, 400).Draw(rt, "k"))
				if rapid.IntRange(0, 2).Draw(rt, "op") == 0 {
					e.delete(&mac)
					delete(want, mac)
					continue
				}
				k := &Key{mac: mac}
				e.set(k)
				want[mac] = k
			}
			tab = e.done()
			for _, o := range append(old, version{tab, want}) {
				checkKeys(rt, &o.tab, o.want)
			}
			for n := range 401 {
				mac := macOf(n)
				if got, ok := tab.get(&mac); got != want[mac] || ok != (want[mac] != nil) {
					rt.Fatalf("get(%x) = %p, %v; want %p", mac, got, ok, want[mac])
				}
			}
		}
	})
}

func checkKeys(t interface{ Fatalf(string, ...any) }, tab *keyTable, want map[clientkey.MAC]*Key) {
	got := make(map[clientkey.MAC]*Key)
	for k := range tab.all() {
		got[k.mac] = k
	}
	if !maps.Equal(got, want) || tab.len() != len(want) {
		t.Fatalf("table of %d (-want +got):\n%s", tab.len(), cmp.Diff(len(want), len(got)))
	}
}

// TestKeyTableGrows: over several sizes of the list of shards, there and back.
func TestKeyTableGrows(t *testing.T) {
	const n = 20_000
	var tab keyTable
	keys := make([]*Key, n)
	e := tab.edit()
	for i := range keys {
		keys[i] = &Key{mac: macOf(i)}
		e.set(keys[i])
	}
	full := e.done()
	if len(full.shards) != 16 || full.len() != n {
		t.Fatalf("%d keys in %d shards", full.len(), len(full.shards))
	}
	e = full.edit()
	for i, k := range keys {
		if i%100 != 0 {
			e.delete(&k.mac)
		}
	}
	few := e.done()
	for i, k := range keys {
		if got, _ := full.get(&k.mac); got != k {
			t.Fatalf("key %d is not what it was", i)
		}
		if got, ok := few.get(&k.mac); ok != (i%100 == 0) || ok && got != k {
			t.Fatalf("key %d: found = %v", i, ok)
		}
	}
	if few.len() != n/100 {
		t.Errorf("%d are left, want %d", few.len(), n/100)
	}
}

// TestOneChangeCopiesOneShard: what a change leaves alone is shared, not copied.
func TestOneChangeCopiesOneShard(t *testing.T) {
	var tab keyTable
	e := tab.edit()
	for i := range 20_000 {
		e.set(&Key{mac: macOf(i)})
	}
	before := e.done()
	e = before.edit()
	e.set(&Key{mac: macOf(7)})
	after := e.done()
	copied := 0
	for i := range before.shards {
		if &before.shards[i].slots[0] != &after.shards[i].slots[0] {
			copied++
		}
	}
	if copied != 1 {
		t.Errorf("%d shards of %d were copied, want 1", copied, len(before.shards))
	}
}

// TestKeyFitsItsLines: the allocator gives 128 bytes out on lines of their own, and what auth reads is in the first.
func TestKeyFitsItsLines(t *testing.T) {
	var k Key
	if size := unsafe.Sizeof(k); size <= 112 || size > 128 {
		t.Errorf("a key is %d bytes, want a size class of 128", size)
	}
	if end := unsafe.Offsetof(k.rules) + unsafe.Sizeof(k.rules); end > 64 {
		t.Errorf("what decides about a key ends at byte %d, want 64 at most", end)
	}
}
