package dataplane

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// memoryLook is how often somebody looks whether memory can be given back.
	memoryLook = 2 * time.Second
	// memoryWorth is how many bytes of bodies make it worth a collection.
	memoryWorth = 32 << 20
)

// returnMemory gives memory back to the system when many large bodies have gone, until ctx ends. The garbage collector by
// itself would come minutes later: a proxy without large bodies allocates next to nothing.
func (p *proxy) returnMemory(ctx context.Context) error {
	tick := time.NewTicker(memoryLook)
	defer tick.Stop()
	var most int64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now, peak := p.walk.Held()
		most = max(most, peak)
		if most >= memoryWorth && now < most/4 {
			debug.FreeOSMemory()
			most = now
		}
	}
}
