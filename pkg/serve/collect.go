package serve

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// least is how much garbage may gather, in bytes, before the collector runs, however small the live heap is …
	least = 64 << 20
	// … but never more than so many percent of that, and never less than Go's own.
	most, usual = 400, 100
)

// CollectLess has the garbage collector run less often than Go would while the heap is small: at Go's setting a proxy of a
// few megabytes collects several times a second, and each time requests wait behind it for milliseconds. A heap that is
// large already is collected as Go does it. GOGC wins. It changes the whole process; commands call it, not planes.
func CollectLess() {
	if os.Getenv("GOGC") == "" {
		follow(debug.SetGCPercent)
	}
}

// sentinel is garbage from the beginning: its finalizer runs once after each collection.
type sentinel struct{ _ *byte }

// follow sets the percentage now and after each collection.
func follow(set func(percent int) int) {
	was := 0
	var after func(*sentinel)
	after = func(*sentinel) {
		if percent := percentFor(live()); percent != was {
			was = percent
			set(percent)
		}
		runtime.SetFinalizer(new(sentinel), after)
	}
	after(nil)
}

// percentFor is how many percent of live bytes may be garbage. It goes by steps of 50: to set it stops the world.
func percentFor(live uint64) int {
	percent := most
	if live > 0 {
		percent = int(min(most, least*100/live))
	}
	return max(usual, percent/50*50)
}

// live is how many bytes of the heap were alive at the last collection.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
