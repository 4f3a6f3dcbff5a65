package journal

import (
	"net/netip"
	"time"
	"unicode/utf8"
	"unsafe"

	"fairway/pkg/money"
)

// line is an entry without pointers, so that a full queue is nothing to the garbage collector.
type line struct {
	time, ttft, duration  int64 // nanoseconds, the first of Unix
	bytesIn, bytesOut     int64
	tokens                money.Tokens
	cost, priceVersion    int64
	status, attempts      int32
	trailed               int32
	ip                    [16]byte
	trace                 Trace
	hasIP                 bool
	stream, retried, gone bool
	estimated, unpriced   bool
	trail                 [MaxTrail]step
	ends                  [texts + MaxTrail*attemptTexts]uint16 // of the strings in text
	text                  [ownTexts + trailTexts]byte
}

// step is an Attempt but for its strings.
type step struct {
	after, took int64
	status      int32
}

// set copies an entry, but for its bodies.
func (l *line) set(e *Entry) {
	l.time, l.ttft, l.duration = e.Time.UnixNano(), int64(e.TTFT), int64(e.Duration)
	l.bytesIn, l.bytesOut = e.BytesIn, e.BytesOut
	l.tokens, l.cost, l.priceVersion = e.Tokens, e.CostNanoUSD, e.PriceVersion
	l.status, l.attempts = int32(e.Status), int32(e.Attempts)
	l.stream, l.retried, l.gone = e.Stream, e.Retried, e.ClientGone
	l.estimated, l.unpriced, l.trace = e.Estimated, e.Unpriced, e.Trace
	if l.hasIP = e.RemoteIP.IsValid(); l.hasIP {
		l.ip = e.RemoteIP.As16()
	}
	n := 0
	n = l.add(requestID, n, e.RequestID, maxText)
	n = l.add(clientRequestID, n, e.ClientRequestID, maxText)
	n = l.add(upstreamRequestID, n, e.UpstreamRequestID, maxText)
	n = l.add(method, n, e.Method, maxText)
	n = l.add(operation, n, e.Operation, maxLong)
	n = l.add(model, n, e.Model, maxModel)
	n = l.add(upstreamModel, n, e.UpstreamModel, maxModel)
	n = l.add(responseModel, n, e.ResponseModel, maxModel)
	n = l.add(keyID, n, e.KeyID, maxText)
	n = l.add(keyName, n, e.KeyName, maxText)
	n = l.add(tenant, n, e.Tenant, maxText)
	n = l.add(group, n, e.Group, maxText)
	n = l.add(channel, n, e.Channel, maxText)
	n = l.add(account, n, e.Account, maxText)
	n = l.add(failure, n, e.Error, maxLong)
	l.trailed = 0
	for i := range e.Trail[:min(len(e.Trail), MaxTrail)] {
		a, at := &e.Trail[i], texts+i*attemptTexts
		l.trail[i] = step{after: int64(a.After), took: int64(a.Took), status: int32(a.Status)}
		n = l.add(at+attemptChannel, n, a.Channel, maxText)
		n = l.add(at+attemptAccount, n, a.Account, maxText)
		n = l.add(at+attemptProvider, n, a.Provider, maxText)
		n = l.add(at+attemptHost, n, a.Host, maxLong)
		n = l.add(at+attemptModel, n, a.Model, maxModel)
		n = l.add(at+attemptVerdict, n, a.Verdict, maxText)
		l.trailed++
	}
}

// view makes e a view of the line, with trail as the memory of its attempts. Bodies stay nil.
func (l *line) view(e *Entry, trail *[MaxTrail]Attempt) {
	*e = Entry{
		Time: time.Unix(0, l.time), TTFT: time.Duration(l.ttft), Duration: time.Duration(l.duration),
		RequestID: l.get(requestID), ClientRequestID: l.get(clientRequestID), UpstreamRequestID: l.get(upstreamRequestID),
		Method: l.get(method), Operation: l.get(operation),
		Model: l.get(model), UpstreamModel: l.get(upstreamModel), ResponseModel: l.get(responseModel),
		Stream: l.stream, Status: int(l.status),
		KeyID: l.get(keyID), KeyName: l.get(keyName), Tenant: l.get(tenant),
		Group: l.get(group), Channel: l.get(channel), Account: l.get(account),
		Attempts: int(l.attempts), Retried: l.retried, ClientGone: l.gone,
		BytesIn: l.bytesIn, BytesOut: l.bytesOut,
		Tokens: l.tokens, Estimated: l.estimated,
		CostNanoUSD: l.cost, PriceVersion: l.priceVersion, Unpriced: l.unpriced,
		Error: l.get(failure), Trace: l.trace,
	}
	if l.hasIP {
		e.RemoteIP = netip.AddrFrom16(l.ip).Unmap()
	}
	for i := range int(l.trailed) {
		s, at := &l.trail[i], texts+i*attemptTexts
		trail[i] = Attempt{
			Channel: l.get(at + attemptChannel), Account: l.get(at + attemptAccount),
			Provider: l.get(at + attemptProvider), Host: l.get(at + attemptHost),
			Model: l.get(at + attemptModel), Verdict: l.get(at + attemptVerdict),
			Status: int(s.status), After: time.Duration(s.after), Took: time.Duration(s.took),
		}
	}
	e.Trail = trail[:l.trailed]
}

// add copies a string to text[n:] and returns where it ends.
func (l *line) add(which, n int, s string, most int) int {
	if most = min(most, len(l.text)-n); len(s) > most {
		s = clip(s, most)
	}
	n += copy(l.text[n:], s)
	l.ends[which] = uint16(n)
	return n
}

// get is a string of the line, a view of its memory.
func (l *line) get(which int) string {
	start := uint16(0)
	if which > 0 {
		start = l.ends[which-1]
	}
	n := l.ends[which] - start
	if n == 0 {
		return ""
	}
	return unsafe.String(&l.text[start], n)
}

// clip cuts s, which is longer than most bytes, between two characters.
func clip(s string, most int) string {
	for n := most; n > most-utf8.UTFMax && n >= 0; n-- {
		if utf8.RuneStart(s[n]) {
			return s[:n]
		}
	}
	return s[:most] // not UTF-8 anyway
}
