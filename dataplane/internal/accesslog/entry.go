package accesslog

import (
	"net/netip"
	"time"
	"unicode/utf8"
)

// Entry is one finished request. Its strings need to live only until Record returns; empty ones get no field in the line.
// Strings that are too long are cut: models at 256 bytes, errors and operations at 128, all others at 64.
type Entry struct {
	// Time is when the request began.
	Time time.Time
	// RequestID is ours, ClientRequestID what the client sent.
	RequestID, ClientRequestID string
	// RemoteIP is the other end of the connection.
	RemoteIP netip.Addr
	// Method of HTTP, and the operation that it was.
	Method, Operation string
	// Model is as the client asked.
	Model string
	// Stream says that the client asked for a stream of events.
	Stream bool
	// Status of HTTP that the client got; 0 = none.
	Status int
	// KeyID is the key's id, never the key. Channel and Account served last.
	KeyID, Group, Channel, Account string
	// Attempts are requests sent to upstreams; Retried says that a further one was made after a failure.
	Attempts int
	Retried  bool
	// ClientGone says that the client left before its answer was complete.
	ClientGone bool
	// TTFT is the time to the first byte of a good answer, 0 = there was none; Duration the time to the last.
	TTFT, Duration time.Duration
	// BytesIn and BytesOut are the sizes of the bodies.
	BytesIn, BytesOut int64
	// Input (which includes Cached), Cached and Output are tokens; Estimated says that nobody told how many.
	Input, Cached, Output int64
	Estimated             bool
	CostNanoUSD           int64
	// Error is a short reason, ours, not what an upstream said.
	Error string
}

// The strings of a line, in the order in which it holds them.
const (
	requestID = iota
	clientRequestID
	method
	operation
	model
	keyID
	group
	channel
	account
	failure
	texts
)

const (
	maxText  = 64
	maxLong  = 128
	maxModel = 256
	// maxTexts is what all strings of a line take at most.
	maxTexts = (texts-3)*maxText + 2*maxLong + maxModel
)

// line is an entry without pointers, so that a full ring is nothing to the garbage collector.
type line struct {
	time                             int64 // Unix nanoseconds
	ttft, duration                   int64 // nanoseconds
	bytesIn, bytesOut                int64
	input, cached, output, cost      int64
	status, attempts                 int32
	ends                             [texts]uint16 // of the strings in text
	ip                               [16]byte
	hasIP                            bool
	stream, retried, gone, estimated bool
	text                             [maxTexts]byte
}

// set copies an entry.
func (l *line) set(e *Entry) {
	l.time, l.ttft, l.duration = e.Time.UnixNano(), int64(e.TTFT), int64(e.Duration)
	l.bytesIn, l.bytesOut = e.BytesIn, e.BytesOut
	l.input, l.cached, l.output, l.cost = e.Input, e.Cached, e.Output, e.CostNanoUSD
	l.status, l.attempts = int32(e.Status), int32(e.Attempts)
	l.stream, l.retried, l.gone, l.estimated = e.Stream, e.Retried, e.ClientGone, e.Estimated
	if l.hasIP = e.RemoteIP.IsValid(); l.hasIP {
		l.ip = e.RemoteIP.As16()
	}
	n := 0
	n = l.add(requestID, n, e.RequestID, maxText)
	n = l.add(clientRequestID, n, e.ClientRequestID, maxText)
	n = l.add(method, n, e.Method, maxText)
	n = l.add(operation, n, e.Operation, maxLong)
	n = l.add(model, n, e.Model, maxModel)
	n = l.add(keyID, n, e.KeyID, maxText)
	n = l.add(group, n, e.Group, maxText)
	n = l.add(channel, n, e.Channel, maxText)
	n = l.add(account, n, e.Account, maxText)
	l.add(failure, n, e.Error, maxLong)
}

// add copies a string to text[n:] and returns where it ends.
func (l *line) add(which, n int, s string, most int) int {
	if len(s) > most {
		s = clip(s, most)
	}
	n += copy(l.text[n:], s)
	l.ends[which] = uint16(n)
	return n
}

// get is a string of the line.
func (l *line) get(which int) []byte {
	start := uint16(0)
	if which > 0 {
		start = l.ends[which-1]
	}
	return l.text[start:l.ends[which]]
}

// clip cuts s, which is longer than most bytes, between two characters.
func clip(s string, most int) string {
	for n := most; n > most-utf8.UTFMax; n-- {
		if utf8.RuneStart(s[n]) {
			return s[:n]
		}
	}
	return s[:most] // not UTF-8 anyway
}
