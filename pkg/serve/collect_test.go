package serve

import (
	"runtime"
	"testing"
)

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1: 400, 16 << 20: 400, 17 << 20: 350, 32 << 20: 200, 33 << 20: 150, 64 << 20: 100, 65 << 20: 100, 1 << 40: 100,
	} {
		if got := percentFor(live); got != want {
			t.Errorf("%d MiB alive: %d%%, want %d%%", live>>20, got, want)
		}
	}
}

// The percentage follows the live heap, collection by collection.
func TestFollow(t *testing.T) {
	set := make(chan int, 100)
	follow(func(percent int) int { set <- percent; return 0 })
	await := func(want int) {
		t.Helper()
		for range 1000 {
			runtime.GC()
			select {
			case got := <-set:
				if got == want {
					return
				}
			default:
			}
		}
		t.Fatalf("never %d%%", want)
	}
	large := make([]byte, 200<<20)
	await(100)
	runtime.KeepAlive(large)
	await(400)
}
