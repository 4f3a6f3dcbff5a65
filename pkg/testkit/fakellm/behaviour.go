package fakellm

import (
	"net/http"
	"time"
)

// Behaviour says how an account answers. The zero value is healthy. Fields combine where that makes sense: a stream
// can be slow, without usage, and die. The constructors below make the usual ones. What is said of streams holds for each
// response in a realtime session, whose events are counted from response.created on.
type Behaviour struct {
	// Times limits the behaviour to so many requests; the account is healthy afterwards. 0 = for good.
	Times int

	// Delay passes before the first byte of the answer.
	Delay time.Duration
	// Hold, when set, stops each request there before its first byte, or after HoldEvents events of a stream, until
	// the gate is opened or the client leaves.
	Hold       *Gate
	HoldEvents int

	// StatusCode, when not 0, is answered instead of a result, with ErrorCode as the error's code.
	StatusCode int
	ErrorCode  string
	// RetryAfter is sent as Retry-After in whole seconds, rounded up; 0 = no such header.
	RetryAfter time.Duration

	// Early answers StatusCode (or 400) before the request's body is read.
	Early bool
	// CloseBeforeBytes closes the connection after the request was read, without an answer.
	CloseBeforeBytes bool
	// Death ends a response before its time: a stream after DeathEvents events, another response half-way.
	Death       Death
	DeathEvents int
	// ErrorEvent sends an error event with ErrorCode after ErrorEvents events of a stream and ends the response; a
	// request that is no stream is answered with status 500.
	ErrorEvent  bool
	ErrorEvents int
	// Interval passes between the events of a stream.
	Interval time.Duration
	// NoUsage leaves usage out of every answer, also where it was asked for.
	NoUsage bool

	// Stale says what becomes of the connection after a complete response that promised to keep it alive.
	Stale Stale
}

// Death is a way for a response to end too early.
type Death uint8

// The ways to die. None is the zero value.
const (
	None Death = iota
	// RST resets the connection.
	RST
	// FIN closes the connection in the middle of the body: no last chunk, or fewer bytes than Content-Length says.
	FIN
	// CleanEnd ends a stream as HTTP wants, with the last chunk, but without [DONE], and a realtime session with a Close
	// frame, but without response.done. Other responses ignore it.
	CleanEnd
)

// Stale is a way for a server to lose an idle connection.
type Stale uint8

// The ways to lose an idle connection. KeepAlive is the zero value: it is kept.
const (
	KeepAlive Stale = iota
	// CloseIdle closes the connection as soon as the response is out.
	CloseIdle
	// CloseReused waits for the next request on the connection, then closes it without a byte of answer.
	CloseReused
)

// Healthy answers everything as it should be.
func Healthy() Behaviour { return Behaviour{} }

// Status answers every request with an error: HTTP status, OpenAI error code, Retry-After (0 = none).
func Status(status int, errorCode string, retryAfter time.Duration) Behaviour {
	return Behaviour{StatusCode: status, ErrorCode: errorCode, RetryAfter: retryAfter}
}

// ErrorFirstEvent answers streams with status 200 and an error as the first event.
func ErrorFirstEvent(errorCode string) Behaviour {
	return Behaviour{ErrorEvent: true, ErrorCode: errorCode}
}

// ErrorMidStream sends so many good events of a stream, then an error event.
func ErrorMidStream(events int, errorCode string) Behaviour {
	return Behaviour{ErrorEvent: true, ErrorEvents: events, ErrorCode: errorCode}
}

// DieMidStream lets a stream die after so many events.
func DieMidStream(events int, how Death) Behaviour {
	return Behaviour{Death: how, DeathEvents: events}
}

// Hang keeps every request at the gate without a byte of answer.
func Hang(at *Gate) Behaviour { return Behaviour{Hold: at} }

// HangMidStream keeps every stream at the gate after so many events.
func HangMidStream(events int, at *Gate) Behaviour { return Behaviour{Hold: at, HoldEvents: events} }

// SlowEvents waits between the events of streams.
func SlowEvents(interval time.Duration) Behaviour { return Behaviour{Interval: interval} }

// CloseBeforeBytes reads the request, then closes the connection.
func CloseBeforeBytes() Behaviour { return Behaviour{CloseBeforeBytes: true} }

// StaleKeepAlive answers well and closes the connection right after, though it was promised to stay.
func StaleKeepAlive() Behaviour { return Behaviour{Stale: CloseIdle} }

// StaleOnReuse answers well and closes the connection when the next request comes in on it: the race that every
// client of kept connections can lose, made certain.
func StaleOnReuse() Behaviour { return Behaviour{Stale: CloseReused} }

// NoUsage leaves usage out.
func NoUsage() Behaviour { return Behaviour{NoUsage: true} }

// TruncatedBody ends responses half-way by closing the connection; streams after their first event.
func TruncatedBody() Behaviour { return Behaviour{Death: FIN, DeathEvents: 1} }

// EarlyResponse answers 413 before the body of the request is read.
func EarlyResponse() Behaviour {
	return Behaviour{Early: true, StatusCode: http.StatusRequestEntityTooLarge, ErrorCode: "request_too_large"}
}

// eventBuffer is how many events wait for a test to take them before more are dropped.
const eventBuffer = 4096

// Gate is where requests are held. One gate may serve several accounts.
type Gate struct {
	entered  chan Request
	canceled chan Request
	opened   chan struct{}
	open     chan struct{} // a token: who takes it may close opened
}

// NewGate makes a closed gate.
func NewGate() *Gate {
	g := &Gate{
		entered:  make(chan Request, eventBuffer),
		canceled: make(chan Request, eventBuffer),
		opened:   make(chan struct{}),
		open:     make(chan struct{}, 1),
	}
	g.open <- struct{}{}
	return g
}

// Open lets everybody through, now and from now on. It may be called more than once.
func (g *Gate) Open() {
	select {
	case <-g.open:
		close(g.opened)
	default:
	}
}

// Entered delivers each request as it comes to be held. Events beyond 4096 that nobody takes are dropped.
func (g *Gate) Entered() <-chan Request { return g.entered }

// Canceled delivers each request whose client left while it was held.
func (g *Gate) Canceled() <-chan Request { return g.canceled }

// wait holds a request until the gate opens (true) or its client is gone (false).
func (g *Gate) wait(r Request, gone <-chan struct{}) bool {
	select {
	case g.entered <- r:
	default:
	}
	select {
	case <-g.opened:
		return true
	default:
	}
	select {
	case <-g.opened:
		return true
	case <-gone:
		select {
		case g.canceled <- r:
		default:
		}
		return false
	}
}
