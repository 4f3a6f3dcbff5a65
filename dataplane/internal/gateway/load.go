package gateway

import (
	"sync/atomic"
	"time"

	"fairway/pkg/fault"
)

// load is what the proxy bears at the moment. Beyond its limits it refuses early and says when to come back: a request
// that is turned away costs little, and those that are let in are served as fast as ever.
type load struct {
	requests atomic.Int64 // that go upstream
	streams  atomic.Int64
	bodies   atomic.Int64 // bytes of request bodies that are held
	peak     atomic.Int64 // the most that bodies were since Held
}

// Held is how many bytes of request bodies are held, and the most that there were since the last call.
func (g *Gateway) Held() (now, peak int64) {
	now = g.load.bodies.Load()
	return now, g.load.peak.Swap(now)
}

// taken is what one request has taken of it.
type taken struct {
	request, stream bool
	bytes           int64
}

// admit lets a request in that goes upstream, before its body is read.
func (x *exchange) admit() *fault.Error {
	x.taken.request = true
	if x.g.load.requests.Add(1) > int64(x.g.options.MaxRequests) {
		return x.overloaded("the proxy serves as many requests as it can")
	}
	return nil
}

// admitStream lets a stream in.
func (x *exchange) admitStream() *fault.Error {
	if !x.peek.Stream {
		return nil
	}
	x.taken.stream = true
	if x.g.load.streams.Add(1) > int64(x.g.options.MaxStreams) {
		return x.overloaded("the proxy serves as many streams as it can")
	}
	return nil
}

// hold takes memory for n bytes more of a request's body.
func (x *exchange) hold(n int64) *fault.Error {
	x.taken.bytes += n
	held := x.g.load.bodies.Add(n)
	for {
		peak := x.g.load.peak.Load()
		if held <= peak || x.g.load.peak.CompareAndSwap(peak, held) {
			break
		}
	}
	if held > x.g.options.MaxBodies {
		return x.overloaded("the proxy holds too many request bodies")
	}
	return nil
}

func (x *exchange) overloaded(why string) *fault.Error {
	x.g.meters.shed.Inc()
	return fault.New(fault.Unavailable, "%s", why).WithCode("overloaded").WithRetryAfter(time.Second)
}

// release gives back what the request's body has taken.
func (x *exchange) release() {
	if x.taken.bytes > 0 {
		x.g.load.bodies.Add(-x.taken.bytes)
		x.taken.bytes = 0
	}
}

// leave gives back the rest, at the request's end.
func (x *exchange) leave() {
	if x.taken.request {
		x.g.load.requests.Add(-1)
	}
	if x.taken.stream {
		x.g.load.streams.Add(-1)
	}
	x.taken = taken{}
}
