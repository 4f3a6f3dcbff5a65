package gateway

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/dialect/openai"
	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/limit"
	"fairway/dataplane/internal/meter"
	"fairway/dataplane/internal/provider"
	"fairway/dataplane/internal/report"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/upstream"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
)

// exchange is one request on its walk. It belongs to one goroutine at a time; only HungUp is called from another. It is
// pooled with its buffers, so everything that is not a buffer is in the part that reset clears.
type exchange struct {
	g *Gateway
	// Reused with their memory.
	tap    meter.Tap
	filter meter.Filter
	head   []byte              // of the upstream request
	tried  []*snapshot.Account // what this request must not use (again)
	skips  []skip              // of these, those that nobody asked
	trail  []step              // of attempts; the owner reads it without look
	call   upstream.Call
	second atomic.Pointer[upstream.Call] // of a hedge; nil = there was none
	gone   atomic.Bool                   // the client hung up
	leaves atomic.Pointer[chan struct{}] // see Done; nil = the request does not wait for room
	rng    route.Rand
	names  [maxModelName]byte // where model's bytes are
	digits [32]byte           // scratch

	reserved limit.Reservation // of the limits above the request; of nothing once it is settled

	look   sync.Mutex // held to change, and by others to read, what follows; see opens
	open   bool       // others may look
	frames []byte     // of a stream that the provider frames in its own way, what was in them

	takePiece func([]byte) bool // take, made once
	tellEvent neutral.Emit      // tell, made once
	state
}

// maxModelName is the longest model name in bytes that dialect.PeekBody lets through.
const maxModelName = 256

// state is what a request starts with empty.
type state struct {
	in     *ingress.Request
	out    *ingress.Response
	target dialect.Target
	op     operation.Operation
	start  time.Time
	now    time.Time // when the walk last waited for something

	snap  *snapshot.Snapshot
	key   *snapshot.Key
	group *snapshot.Group
	pool  *snapshot.Pool

	choosing bool   // key and model are known, and who serves is being decided
	miss     string // what came of waiting for state: "found", "final", or nothing

	scopes    limit.Scopes  // the limits above it
	noRoom    limit.Refusal // why they refused it; without a cause = they did not
	between   bool          // a session's: the last response is on the books, and what is reserved is for the next
	sinceLast time.Time     // when that was

	taken taken // of what the proxy bears at once
	body  *slab // what the client sent; nil once it is not needed any more
	wire  *slab // what goes upstream, if that is something else
	wired wiring
	peek  dialect.Peek
	size  int64 // of the body
	model string
	asked string // the client's own id for the request, once its head is gone

	plan      operation.Operation // what the picked account's upstream is asked for
	upStream  bool                // as a stream
	converted bool                // the upstream is asked in another way than the client asked
	retold    bool                // its request is not in the client\'s own bytes
	heard     dialect.Answers     // how the upstream's answers are understood
	talk      *conversation       // what conversions need; nil = none yet
	unframe   provider.Unframer   // nil = the answer is not framed in the provider's own way
	broken    error               // why those frames make no sense
	pinned    *snapshot.Account   // who alone can serve the request; nil = whoever is picked
	searching bool                // one account can serve it, and it is not known which

	askedAround int // attempts that only showed that another account has it, or can be asked

	budget   route.Budget
	budgeted bool // Begin was called
	retrying bool // Retry was granted
	watched  bool
	total    *alarm // of the group, for the whole request; nil = none
	limit    *alarm // of the channel, for the attempt; nil = none

	request     upstream.Request
	ask         provider.Request
	credentials provider.Credential
	secret      dialect.Span // of the account's secret in head
	candidate   *snapshot.Candidate
	served      *snapshot.Account // whom the last attempt was made with
	reason      route.Reason
	response    *upstream.Response
	handshake   handshake         // of a WebSocket
	tunnel      *upstream.Tunnel  // what that led to
	flying      bool              // an attempt has departed and not landed
	outcome     health.Outcome    // of it
	verdict     dialect.Verdict   // on it
	waited      time.Duration     // for the head of its response
	permit      string            // that it is made with; "" = none
	avoid       *snapshot.Channel // of a provider that is better left alone; nil = none
	affinity    uint64            // of the conversation; 0 = none
	attempt     int
	stepAt      int       // of the last attempt, in trail
	began       time.Time // the last attempt
	last        failure

	first   *slab // what was read of the answer before it was known to be good
	piece   *slab // of a large answer, what is read next
	window  *slab // see tail
	status  int
	refused *fault.Error // why the request was not served; nil = it was, or an upstream's error was passed on
	sent    int64        // bytes of the answer's body that went out
	large   bool         // not a stream of events, but too much to hold
	sse     bool         // a stream of events
	strip   bool         // the client did not ask for the usage that we asked for
	left    bool         // the whole answer has been read
	lost    bool         // the client went away while its answer was under way

	failed  bool // for the books and the decision log
	broke   bool // an answer that had begun did not come to its end, by its upstream's fault or its time
	settled bool
	usage   meter.Usage
	variant snapshot.Variant // in which the provider says that it served
	images  imageCount
	cost    int64 // nano-USD, of all records
	ttft    time.Duration
	record  report.Record
	logged  logged
}

// begin takes an exchange for a request.
func (g *Gateway) begin(in *ingress.Request, out *ingress.Response) *exchange {
	x, _ := g.exchanges.Get().(*exchange)
	if x == nil {
		x = &exchange{g: g, rng: route.NewRand()}
		x.takePiece, x.tellEvent = x.take, x.tell
		g.crowd.add(x)
	}
	x.in, x.out = in, out
	x.heard = openai.Answers{} // until an upstream is picked
	x.start = g.now()
	x.now = x.start
	x.snap = g.snapshots.Current()
	g.meters.inFlight.Inc()
	g.health.Underway(1)
	return x
}

// end is the end of every exchange, exactly once: everything that was taken is given back, and everything is counted.
func (x *exchange) end() {
	x.unwatch()
	x.total.off()
	x.limit.off()
	x.settleUnanswered()
	x.closeResponse()
	x.closeTunnel()
	ended := x.g.now()
	x.now = ended
	x.giveBack()
	x.land()
	x.dropBody()
	x.leave()
	x.g.slabs.put(x.first)
	x.g.slabs.put(x.piece)
	x.g.slabs.put(x.window)
	if x.retrying {
		x.budget.EndRetry()
	}
	if x.budgeted {
		x.budget.End()
	}
	x.g.meters.finished(x, ended)
	x.logAccess(ended)
	x.decided(ended)
	x.closes()

	x.call.Reset()
	x.second.Store(nil)
	x.gone.Store(false)
	clear(x.tried)
	clear(x.trail)
	clear(x.skips)
	x.tried, x.skips, x.trail, x.head = x.tried[:0], x.skips[:0], x.trail[:0], x.head[:0]
	if cap(x.head) > 16<<10 || cap(x.tried) > 64 {
		x.head, x.tried = nil, nil
	}
	x.state = state{}
	x.g.exchanges.Put(x)
}

// HungUp is called when the client is gone while the request waits.
func (x *exchange) HungUp() {
	if !x.gone.Swap(true) {
		x.g.meters.hangUps.Inc()
	}
	x.abort()
}

// abort ends whatever is under way at upstreams, and the wait for room. It is called by whoever watches the request.
func (x *exchange) abort() {
	x.tellLeaving()
	x.call.Abort()
	if second := x.second.Load(); second != nil {
		second.Abort()
	}
}

// watch has HungUp called from now on, and the request ended when its time is over.
func (x *exchange) watch() {
	x.watched = true
	x.in.Watch(x)
	x.startClock()
}

// unwatch ends that: who leaves from here on is not missed.
func (x *exchange) unwatch() {
	if x.watched {
		x.watched = false
		x.in.Unwatch()
	}
}

// setModel keeps the name that the client asked for, which must outlive the body.
func (x *exchange) setModel(name []byte) {
	n := copy(x.names[:], name)
	// A view of the exchange's own memory; it changes only after end, when nobody looks any more.
	x.model = unsafe.String(&x.names[0], n)
}

func (x *exchange) requestID() string {
	return string(x.out.RequestID())
}

// commitBody gives back what will not be sent again. What was sent may still be on its way, beside an answer that came
// early, until the response is closed.
func (x *exchange) commitBody() {
	x.peek.Model = nil // a view
	if x.talk != nil {
		return // the request that was read is a view of the body, and answers repeat parts of it
	}
	if x.wire != nil && x.wired.used {
		x.g.slabs.put(x.body)
		x.body = nil
	}
}

// dropBody gives the request's body back, once the response is closed.
func (x *exchange) dropBody() {
	x.g.slabs.put(x.body)
	x.g.slabs.put(x.wire)
	x.body, x.wire = nil, nil
	x.request.Body = nil
	x.release()
}

// closeResponse ends the upstream response, if there is one.
func (x *exchange) closeResponse() {
	if x.response != nil {
		_ = x.response.Close()
		x.response = nil
	}
}
