package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// fault is what an upstream does wrong.
type fault string

const (
	faultError   fault = "error"   // a 500
	faultLimit   fault = "limit"   // a 429 that asks for a second's rest
	faultEvent   fault = "event"   // an error as the first event of a stream
	faultCut     fault = "cut"     // the answer breaks off in its middle
	faultStall   fault = "stall"   // the answer stops in its middle, and the connection stays
	faultHang    fault = "hang"    // no answer at all
	faultClose   fault = "close"   // the connection ends instead
	faultGarbage fault = "garbage" // bytes that are not HTTP
)

func allFaults() []fault {
	return []fault{faultError, faultLimit, faultEvent, faultCut, faultStall, faultHang, faultClose, faultGarbage}
}

// meets draws whether this attempt meets the script's fault.
func (s script) meets() bool {
	return s.Fault != "" && (s.Odds == 0 || rand.IntN(100) < s.Odds)
}

// errFault ends the connection that a fault has spoiled.
var errFault = errors.New("a fault that was asked for")

// fail answers as the script's fault has it. When it returns nil the connection is good for another request.
func (v *visit) fail(s script) error {
	var answer string
	ends := true
	switch s.Fault {
	case faultError:
		answer, ends = errorAnswer("500 Internal Server Error", "", "server_error"), false
	case faultLimit:
		answer, ends = errorAnswer("429 Too Many Requests", "Retry-After: 1\r\n", "rate_limit_exceeded"), false
	case faultEvent:
		answer, ends = streamHead+chunk("data: "+errorBody("server_error")+"\n\n")+lastChunk, false
	case faultCut, faultStall:
		answer = half(s)
	case faultGarbage:
		answer = "SSH-2.0-OpenSSH_9.9\r\n\x00\xff\x16\x03\x01 this is no HTTP\r\n\r\n"
	case faultHang, faultClose:
	}
	if _, err := io.WriteString(v.conn, answer); err != nil {
		return err
	}
	if s.Fault == faultHang || s.Fault == faultStall {
		return v.untilGone()
	}
	if ends {
		return errFault
	}
	return nil
}

// half is the first half of what the script's answer would have been.
func half(s script) string {
	if s.Events == 0 {
		whole := plainAnswer(s.Tag)
		return whole[:len(whole)-len(completion)/2]
	}
	content := tagged(contentData, s.Tag)
	// The last event stops in its middle too.
	return streamHead + strings.Repeat(chunk(content), s.Events/2) + chunk(content)[:len(content)/2]
}

// untilGone waits until the client has closed the connection. One that never does would show as an upstream connection
// that stays.
func (v *visit) untilGone() error {
	const longest = 10 * time.Minute
	if err := v.conn.SetReadDeadline(time.Now().Add(longest)); err != nil {
		return err
	}
	var b [1]byte
	if _, err := v.conn.Read(b[:]); err != nil && !errors.Is(err, net.ErrClosed) {
		return errFault
	}
	return errors.New("the client sent what it should not")
}

func errorBody(code string) string {
	return `{"error":{"message":"this is a fault that was asked for","type":"` + code + `","param":null,"code":"` + code + `"}}`
}

func errorAnswer(status, headers, code string) string {
	body := errorBody(code)
	return "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\n" + headers + contentLength(body) + "\r\n\r\n" + body
}
