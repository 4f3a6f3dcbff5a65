// Package gateway is the walk of one request through the proxy, readable from top to bottom: who calls (caller.go), what
// is asked (body.go, find.go), whether there is room (load.go, limits.go), which accounts are tried (attempts.go, pick.go, attempt.go)
// and for how long (deadline.go, hedge.go), what the health room hears of that (outcome.go), how it reaches the client
// (answer.go, relay.go), and what is put on the books (settle.go). A WebSocket walks the same way and becomes a tunnel
// (realtime.go). Why it went as it did can be asked while it lasts, and for a while after (trail.go, decision.go, recall.go).
//
// One snapshot is pinned for the whole walk, with one bounded exception: what is missing from it may be awaited once.
// Same dialect: bytes pass through; only the model's name, credentials and stream_options.include_usage are spliced, and
// what the channel's own rules say. Retries happen before the first byte to the client and never after. Every request that
// reached an upstream is settled exactly once, before its client can see the last byte.
//
// It refuses to ask anybody but its own memory, to let a request choose its destination, to pass a client's credentials
// or identity on, to pass an upstream's secrets back, to retry on an account that has failed the request, and to tell
// a word of what was asked or answered to those who ask why.
package gateway

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/accesslog"
	"fairway/dataplane/internal/auth"
	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/edit"
	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/limit"
	"fairway/dataplane/internal/otlp"
	"fairway/dataplane/internal/report"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/tunnel"
	"fairway/dataplane/internal/upstream"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
)

// Sink takes the record of a finished request. It must not block and must not keep the record: Append returns when it is
// safe from the end of this process, or with the reason why it is not.
type Sink interface {
	Append(r *report.Record) error
}

// Deps are the collaborators of a Gateway.
type Deps struct {
	Snapshots *snapshot.Holder
	Upstream  *upstream.Pool
	Sink      Sink
	Health    *health.Keeper        // nil = one of the gateway's own, without a leader
	Limits    *limit.Keeper         // nil = likewise; its clock must be Now
	Access    *accesslog.Log        // nil = none
	OTLP      *otlp.Exporter        // nil = none
	Log       *slog.Logger          // nil = none
	Registry  prometheus.Registerer // nil = no metrics
	Now       func() time.Time      // nil = time.Now
}

// Options of a Gateway. The zero value works.
type Options struct {
	MaxBody      int64         // bytes of one request's body; 0 = 32 MiB
	MaxBodies    int64         // bytes of all bodies that are held at once; 0 = 1 GiB
	MaxRequests  int           // requests that go upstream at once, streams included; 0 = 32768
	MaxStreams   int           // streams at once; 0 = as many as requests
	MaxErrorBody int           // bytes of an upstream's error that are read; 0 = 64 KiB
	MaxTrails    int           // good requests whose attempts are remembered; 0 = 4096
	MaxDecisions int           // bytes of what is remembered of failed requests; 0 = 4 MiB
	Proxy        func() string // this proxy's id, for who asks how a request was decided; nil = not told
}

func (o Options) withDefaults() Options {
	if o.MaxBody <= 0 {
		o.MaxBody = 32 << 20
	}
	if o.MaxBodies <= 0 {
		o.MaxBodies = 1 << 30
	}
	if o.MaxRequests <= 0 {
		o.MaxRequests = 32 << 10
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = o.MaxRequests
	}
	if o.MaxErrorBody <= 0 {
		o.MaxErrorBody = 64 << 10
	}
	if o.MaxTrails <= 0 {
		o.MaxTrails = 4096
	}
	if o.MaxDecisions <= 0 {
		o.MaxDecisions = 4 << 20
	}
	if o.Proxy == nil {
		o.Proxy = func() string { return "" }
	}
	return o
}

// Gateway serves requests. It is safe for concurrent use, and starts no goroutine that outlives a request.
type Gateway struct {
	snapshots *snapshot.Holder
	upstream  *upstream.Pool
	sink      Sink
	access    *accesslog.Log
	otlp      *otlp.Exporter
	log       *slog.Logger
	now       func() time.Time
	options   Options

	auth    *auth.Authenticator
	meters  *meters
	load    load
	tunnels *tunnel.Relay
	health  *health.Keeper
	limits  *limit.Keeper
	seed    uint64 // of orders that are this proxy's own
	owners  owners
	memory  memory
	crowd   crowd
	recall  *recall

	estimator  *limit.Estimator
	countRules edit.Rules
	slabs      slabs
	exchanges  sync.Pool
}

// New returns a gateway.
func New(d Deps, o Options) *Gateway {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Health == nil {
		d.Health = health.New(d.Snapshots, health.Options{Log: d.Log, Registry: d.Registry, Now: d.Now})
	}
	if d.Limits == nil {
		d.Limits = limit.New(limit.Options{Registry: d.Registry, Now: d.Now})
	}
	o = o.withDefaults()
	return &Gateway{
		snapshots: d.Snapshots,
		upstream:  d.Upstream,
		sink:      d.Sink,
		health:    d.Health,
		limits:    d.Limits,
		estimator: limit.NewEstimator(),
		seed:      rand.Uint64(),
		access:    d.Access,
		otlp:      d.OTLP,
		log:       d.Log,
		now:       d.Now,
		options:   o,
		auth:      auth.New(),
		meters:    newMeters(d.Registry),
		tunnels:   tunnel.New(tunnel.Options{}),
		recall:    newRecall(o.MaxTrails, o.MaxDecisions),

		countRules: newCountRules(),
	}
}

// Serve handles one request. It is the handler for ingress.New.
func (g *Gateway) Serve(in *ingress.Request, out *ingress.Response) {
	x := g.begin(in, out)
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
		}
		x.end()
	}()
	if f := x.serve(); f != nil {
		x.refuse(f)
	}
}

// serve is the walk's first steps: what every operation has in common. A fault is the answer.
func (x *exchange) serve() *fault.Error {
	if f := x.readTarget(); f != nil {
		return f
	}
	if x.op == operation.Realtime {
		return x.relayRealtime(x.target.Model)
	}
	presented, f := x.credential()
	if f != nil {
		return f
	}
	if f := x.findCaller(presented); f != nil {
		return f
	}
	switch x.op {
	case operation.Models, operation.AnthropicModels, operation.GeminiModels:
		return x.listModels()
	case operation.Model, operation.AnthropicModel, operation.GeminiModel:
		return x.describeModel(x.target.Model)
	case operation.BatchList:
		return fault.New(fault.Unimplemented, "batches cannot be listed: an account's batches belong to several keys; ask for one by its id").
			WithCode("not_supported")
	}
	if x.op.Facts().Pinned {
		return x.relayPinned()
	}
	return x.relay()
}

// readTarget finds out which operation the request is for.
func (x *exchange) readTarget() *fault.Error {
	method := x.in.Method()
	x.target = dialect.ParseTarget(method, x.in.Target())
	if x.target.Ambiguous() && len(x.in.Get("anthropic-version")) > 0 {
		x.target.SetAnthropic()
	}
	x.op = x.target.Op
	facts := x.op.Facts()
	switch {
	case x.op == operation.Unknown:
		return fault.New(fault.NotFound, "unknown request URL").WithCode("unknown_url")
	case x.op == operation.Responses && x.in.Upgrade():
		// Clients of the WebSocket form fall back to HTTP on this status only.
		return fault.New(fault.Invalid, "responses are served over HTTP, not over a WebSocket").
			WithStatus(http.StatusUpgradeRequired).WithCode("websocket_not_supported")
	case string(method) != facts.Method:
		x.out.Set("Allow", facts.Method)
		return fault.New(fault.Invalid, "this URL answers to %s only", facts.Method).
			WithStatus(http.StatusMethodNotAllowed).WithCode("method_not_allowed")
	}
	return nil
}

// relay is the walk of the operations that go upstream.
func (x *exchange) relay() *fault.Error {
	if f := x.admit(); f != nil {
		return f
	}
	if f := x.readBody(); f != nil {
		return f
	}
	x.keepBodies()
	if f := x.peekBody(); f != nil {
		return f
	}
	return x.dispatch()
}

// dispatch is what every request that goes upstream does once it is known what it asks for.
func (x *exchange) dispatch() *fault.Error {
	if f := x.admitStream(); f != nil {
		return f
	}
	if f := x.findPool(); f != nil {
		return f
	}
	if x.pool == nil {
		return x.estimateCount()
	}
	if f := x.follows(); f != nil {
		return f
	}
	x.belongs()
	x.opens()
	x.watch()
	if f := x.reserve(); f != nil {
		return f
	}
	x.budget.Begin()
	x.budgeted = true
	return x.attempts()
}

// refuse answers with a fault.
func (x *exchange) refuse(f *fault.Error) {
	x.settleUnanswered()
	x.unwatch() // who leaves from here on has the answer
	if x.gone.Load() {
		// Nobody reads it; what the metrics see is that the client left.
		f = fault.New(fault.Canceled, "the client closed the request")
	}
	x.status, x.refused = f.HTTPStatus(), f
	x.debugHeaders()
	x.limitHeaders()
	if x.gone.Load() {
		x.out.Close()
	}
	ingress.RefuseWith(x.out, f, appendError(nil, x.target.Dialect, f, x.requestID()))
}

// panicked is a bug. What has not begun to be answered is refused; the rest is cut.
func (x *exchange) panicked(p any) {
	x.g.meters.panics.Inc()
	x.failed = true
	x.g.log.Error("request panicked", "request_id", x.requestID(), "operation", x.op.String(),
		"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if x.out.Started() {
		x.out.Cut()
		return
	}
	x.out.Reset()
	x.refuse(fault.New(fault.Internal, "internal error"))
}
