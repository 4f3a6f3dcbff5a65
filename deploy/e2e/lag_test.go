package e2e

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkWriteToLastProxy: proof 5. How long after an admin write is acknowledged the last of ten proxies (processes of
// their own) has applied it and said so.
func BenchmarkWriteToLastProxy(b *testing.B) {
	in := up(b)
	for range 9 {
		in.addProxy()
	}
	if _, err := in.call("GroupService/CreateGroup", map[string]any{"group": map[string]any{"metadata": map[string]any{"name": "lag"}}}); err != nil {
		b.Fatal(err)
	}
	var lags []time.Duration
	for i := 0; b.Loop(); i++ {
		reply, err := in.call("GroupService/UpdateGroup", map[string]any{"updateMask": "priceRatioPpm",
			"group": map[string]any{"metadata": map[string]any{"name": "lag"}, "priceRatioPpm": 1_000_001 + i}})
		if err != nil {
			b.Fatal(err)
		}
		acknowledged := time.Now()
		waited, err := in.call("FleetService/WaitForRevision", map[string]any{"revision": revision(reply), "timeout": "30s"})
		if err != nil {
			b.Fatal(err)
		}
		if waited["applied"] != true || waited["appliedProxies"] != float64(10) {
			b.Fatalf("not applied by ten proxies: %v", waited)
		}
		lags = append(lags, time.Since(acknowledged))
		// A person or a script writes now and then; a burst is what the debounce is for.
		time.Sleep(60 * time.Millisecond)
	}
	slices.Sort(lags)
	at := func(q float64) float64 {
		return float64(lags[min(len(lags)-1, int(q*float64(len(lags))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "ms-p50")
	b.ReportMetric(at(0.99), "ms-p99")
	b.ReportMetric(0, "ns/op")
}
