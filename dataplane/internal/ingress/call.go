package ingress

import (
	"fmt"
	"runtime/debug"

	"fairway/pkg/fault"
)

// call runs the handler. One that panics, or that says nothing, has answered 500.
func (c *conn) call() {
	w := &c.response
	defer func() {
		p := recover()
		if p != nil {
			c.server.meters.panics.Inc()
			c.server.log.Error("handler panicked", "request_id", string(w.RequestID()),
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		if p == nil && (w.sent || w.cut || w.err != nil) {
			return
		}
		w.closes = true
		c.linger = true
		if !w.sent && !w.cut {
			w.Reset()
			Refuse(w, fault.New(fault.Internal, "internal error"))
		}
	}()
	c.server.handler(&c.request, w)
}
