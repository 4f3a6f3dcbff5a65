package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/dataplane/internal/report"
	"fairway/pkg/bank"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// constantUpstream answers each request of benchSize bytes on kept connections with the same bytes.
func constantUpstream(b *testing.B, answer []byte) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 64<<10)
				for {
					// The proxy writes a small request in one piece.
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

type nullSink struct{}

func (nullSink) Append(*report.Record) error { return nil }

// limitAll sets limits at all places above the key, with slots enough, of a leader that says nothing more.
func (w *world) limitAll() {
	l := w.lend(patience)
	all := make(map[bank.Owner]*syncv1.LimitsState)
	for _, who := range []bank.Owner{theKey, theGroup, theTenant, theParent} {
		all[who] = &syncv1.LimitsState{Concurrency: 1000, MaxRequestTokens: 1e6}
	}
	w.limits(l, all)
	w.warm()
	l.stop()
}

// BenchmarkWalk is the whole way, loopback sockets and the clients' side included, over one connection.
func BenchmarkWalk(b *testing.B) {
	const plain = `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}`
	event := `data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}` + "\n\n"
	events := strings.Repeat(event, 10) + `data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12}}` + "\n\ndata: [DONE]\n\n"
	whole := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(plain)) + "\r\n\r\n" + plain
	for _, bc := range []struct{ name, answer, body, end string }{
		{"plain", whole, plainBody, plain},
		{"limited", whole, plainBody, plain},
		{
			"stream", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
				strconv.FormatInt(int64(len(events)), 16) + "\r\n" + events + "\r\n0\r\n\r\n",
			streamBody, "\r\n0\r\n\r\n",
		},
	} {
		b.Run(bc.name, func(b *testing.B) {
			w := newWorld(b)
			w.gateway.sink = nullSink{}
			ch := w.channel("a", 100, secretA)
			ch.BaseUrl = constantUpstream(b, []byte(bc.answer))
			w.put(1, "c-a", ch)
			w.publish()
			if bc.name == "limited" {
				w.limitAll()
			}
			c := w.dial()
			_ = c.SetDeadline(time.Time{})
			out := []byte(request("/v1/chat/completions", w.key, bc.body))
			buf := make([]byte, 64<<10)
			one := func() {
				if _, err := c.Write(out); err != nil {
					b.Fatal(err)
				}
				for n := 0; ; {
					k, err := c.Read(buf[n:])
					if err != nil && !errors.Is(err, io.EOF) {
						b.Fatal(err)
					}
					if n += k; bytes.HasSuffix(buf[:n], []byte(bc.end)) {
						return
					}
				}
			}
			for range 100 {
				one()
			}
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
	}
}
