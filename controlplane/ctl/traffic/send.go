package traffic

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/tidwall/gjson"

	"fairway/pkg/sse"
	"fairway/pkg/version"
)

// Bounds of what is read.
const (
	maxAnswer = 16 << 20
	maxEvent  = 4 << 20
	maxError  = 64 << 10
)

// outcome is what became of one request.
type outcome struct {
	latency, ttft time.Duration
	failure       *Failure // nil = it was answered
}

// sender sends one request after the other; it is safe for concurrent use.
type sender struct {
	o       Options
	dialect dialect
	body    []byte
	client  *http.Client
}

func (s *sender) send(ctx context.Context) outcome {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := http.NewRequestWithContext(traced, http.MethodPost, s.o.URL+s.dialect.path(s.o.Model, s.o.Stream), bytes.NewReader(s.body))
	if err != nil {
		return s.failed(&Failure{Class: "connect", kind: connect, Example: err.Error()}, nil)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "fairway-verify/"+version.String())
	s.dialect.auth(req.Header, s.o.Key.Reveal())
	start := time.Now()
	res, err := s.client.Do(req)
	if err != nil {
		return s.failed(unanswered(ctx, err, connected.Load()), nil)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s.failed(refused(res), res)
	}
	got := outcome{ttft: time.Since(start)}
	var f *Failure
	if s.o.Stream {
		f = s.readStream(ctx, res.Body, func() { got.ttft = time.Since(start) })
	} else {
		f = s.readAnswer(ctx, res.Body)
	}
	if f != nil {
		return s.failed(f, res)
	}
	got.latency = time.Since(start)
	return got
}

// failed adds what helps to find the request again, and takes the key out of what others wrote.
func (s *sender) failed(f *Failure, res *http.Response) outcome {
	if res != nil {
		f.RequestID = token(first(res.Header.Get("x-request-id"), res.Header.Get("request-id")))
	}
	text := strings.ReplaceAll(f.Example, s.o.Key.Reveal(), "[key]")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	f.Example = text
	// A code, too, is what somebody else wrote.
	f.Class = strings.ReplaceAll(f.Class, s.o.Key.Reveal(), "[key]")
	f.Code = strings.ReplaceAll(f.Code, s.o.Key.Reveal(), "[key]")
	f.RequestID = strings.ReplaceAll(f.RequestID, s.o.Key.Reveal(), "[key]")
	return outcome{failure: f}
}

// unanswered tells the ways apart in which no answer began.
func unanswered(ctx context.Context, err error, connected bool) *Failure {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var cert *tls.CertificateVerificationError
	late := errors.Is(ctx.Err(), context.DeadlineExceeded)
	switch {
	case errors.As(err, &cert):
		return &Failure{Class: "connect", kind: connect, Example: err.Error()}
	case !connected && late:
		return &Failure{Class: "connect", kind: connect, Example: "no connection in time"}
	case !connected:
		return &Failure{Class: "connect", kind: connect, Example: err.Error()}
	case late:
		return &Failure{Class: "timeout", kind: timeout, Example: "no answer began in time"}
	}
	return &Failure{Class: "no answer", kind: dropped, Example: err.Error()}
}

// refused reads an error's body.
func refused(res *http.Response) *Failure {
	f := &Failure{Class: fmt.Sprint(res.StatusCode), Status: res.StatusCode, kind: kindOf(res.StatusCode)}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxError))
	if err != nil {
		f.Example = "its body was cut"
		return f
	}
	code, message, ok := errorOf(raw)
	if !ok {
		f.Example = "no error that an API of this kind answers with; is this Fairway's proxy?"
		return f
	}
	if f.Code = token(code); f.Code != "" {
		f.Class += " " + f.Code
	}
	f.Example = message
	return f
}

func (s *sender) readAnswer(ctx context.Context, r io.Reader) *Failure {
	raw, err := io.ReadAll(io.LimitReader(r, maxAnswer))
	if err != nil {
		return broken(ctx, "cut answer", err)
	}
	if !gjson.ValidBytes(raw) || !gjson.GetBytes(raw, s.dialect.answers).IsArray() {
		return &Failure{Class: "200 without an answer", Status: http.StatusOK, kind: strange,
			Example: "no " + s.dialect.answers + " in it; is this Fairway's proxy?"}
	}
	return nil
}

// readStream reads to the end. A stream is whole when its last event says so.
func (s *sender) readStream(ctx context.Context, r io.Reader, first func()) *Failure {
	events := sse.NewReader(r, maxEvent)
	whole, begun := false, false
	for {
		e, err := events.Next()
		if err == nil && !e.HasData {
			continue
		}
		switch {
		case err == nil:
		case whole:
			return nil // all of it was there
		case errors.Is(err, io.EOF) && !begun:
			return &Failure{Class: "200 without an answer", Status: http.StatusOK, kind: strange, Example: "a stream without events"}
		default:
			return broken(ctx, "cut stream", err)
		}
		if !begun {
			begun = true
			first()
		}
		if code, message, ok := errorOf(e.Data); ok {
			f := &Failure{Class: "error event", Status: http.StatusOK, Code: token(code), kind: cutOff, Example: message}
			if f.Code != "" {
				f.Class += " " + f.Code
			}
			return f
		}
		whole = whole || s.dialect.last(e.Data)
	}
}

// broken is an answer that began and did not end.
func broken(ctx context.Context, class string, err error) *Failure {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Failure{Class: "timeout", kind: timeout, Example: "the answer was not whole in time"}
	}
	text := err.Error()
	if errors.Is(err, io.EOF) {
		text = "it ended without its last event"
	}
	return &Failure{Class: class, Status: http.StatusOK, kind: cutOff, Example: text}
}

// token is s where it looks like a machine's word; anything else is dropped.
func token(s string) string {
	if len(s) > 64 {
		return ""
	}
	for _, r := range s {
		if r != '_' && r != '-' && r != '.' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			return ""
		}
	}
	return s
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
