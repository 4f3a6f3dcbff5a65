package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3"
)

// strange is a stream in everything that the format of event streams allows. The last two events are what a client gets
// only if it asked for usage, and the end.
var strange = []string{
	"\ufeffdata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"created\":1.5e1}\n\n",
	": ping\n\n",
	": a comment\r\n: and another\r\n\r\n",
	"event: message\r\nid: 7\r\nretry: 10\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"\\u00e4 \xe4\xb8\xad\"},\"x\":null}]}\r\n\r\n",
	"id\ndata:{\"choices\":[{\"delta\":\ndata\ndata: {\"content\":\"several lines\"}}]}\n\n",
	"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{ [DONE] data: \"}}],\"usage\":null}\n\n",
	"unknown: field\ndata: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
	"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
	"data: {\"id\":\"u\", \"choices\" : [] , \"usage\" : {\"prompt_tokens\":11,\"completion_tokens\":22}}\n\n",
	"data: [DONE]\n\n",
}

// TestTrap04and05 has each byte of a stream, and of its framing, be the last one of a write: what the client gets is what
// the upstream sent, byte for byte, but for the usage event that it did not ask for.
func TestTrap04and05EveryByteSurvivesEverySplit(t *testing.T) {
	lf := strings.Join(strange, "")
	crlf := strings.ReplaceAll(strings.ReplaceAll(lf, "\r\n", "\n"), "\n", "\r\n")
	// An event is one chunk, two share one, or one is in several: with extensions, and trailers behind.
	var inChunks strings.Builder
	for i, e := range strange {
		switch i % 3 {
		case 0:
			inChunks.WriteString(chunk(e))
		case 1:
			fmt.Fprintf(&inChunks, "%X;ext=\"a;b\";c\r\n%s\r\n", len(e), e)
		default:
			inChunks.WriteString(chunk(e[:3]) + "000" + chunk(e[3:]))
		}
	}
	head := "HTTP/1.1 200 OK\r\nX-Request-Id: up\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
	for _, tc := range []struct{ name, answer, events string }{
		{"chunks", head + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + inChunks.String() + "0;last\r\nX-Sum: 1\r\n\r\n", lf},
		{"until close", head + "Connection: close\r\n\r\n" + crlf, crlf},
		{"sized", head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(lf)) + lf, lf},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var mu sync.Mutex
			split := make(map[string]int) // where the answer to a prompt is cut
			u := newTrap(t, func(l *line) {
				for {
					h, ok := l.request()
					if !ok {
						return
					}
					if !strings.Contains(h.body, `"include_usage":true`) {
						t.Errorf("usage was not asked for: %s", h.body)
					}
					mu.Lock()
					at := split[h.header.Get("X-Split")]
					mu.Unlock()
					l.say(tc.answer[:at], tc.answer[at:])
					if !strings.Contains(tc.answer, "Length") && !strings.Contains(tc.answer, "chunked") {
						return
					}
				}
			})
			w.lure("m", u.base)
			w.publish()
			usage := tc.events[strings.Index(tc.events, "data: {\"id\":\"u\""):strings.LastIndex(tc.events, "data: [DONE]")]
			plain := strings.Replace(tc.events, usage, "", 1)
			var running sync.WaitGroup
			const callers = 4
			for n := range callers {
				running.Go(func() {
					for at := n; at <= len(tc.answer); at += callers {
						id := fmt.Sprint(at)
						mu.Lock()
						split[id] = at
						mu.Unlock()
						body, want := prompt("m", "x", true), plain
						if at/callers%2 == 0 {
							body, want = strings.Replace(body, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1), tc.events
						}
						got := w.ask(chatPath, body, "X-Split: "+id)
						if !got.good() || sha256.Sum256([]byte(got.body)) != sha256.Sum256([]byte(want)) {
							t.Errorf("split at %d: %v\nwant %q", at, got, want)
							return
						}
					}
				})
			}
			running.Wait()
			w.quiet()
			for _, r := range w.books.all() {
				if r.Error || r.Estimated || r.Input != 11 || r.Output != 22 {
					t.Fatalf("record = %+v", r)
				}
			}
			if n := len(w.books.all()); n != len(tc.answer)+1 {
				t.Errorf("%d records for %d requests", n, len(tc.answer)+1)
			}
		})
	}
}

// Only the usage event goes, whatever it looks like and stands next to, and nothing that looks like one.
func TestTrap01OnlyTheUsageEventIsTakenOut(t *testing.T) {
	const u = `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}`
	for _, tc := range []struct{ name, before, usage, after string }{
		{"plain", delta("a"), "data: " + u + "\n\n", doneEvent},
		{"CRLF", "data: {\"choices\":[{}]}\r\n\r\n", "data: " + u + "\r\n\r\n", "data: [DONE]\r\n\r\n"},
		{"CR", "data: {\"choices\":[{}]}\r\r", "data: " + u + "\r\r", "data: [DONE]\n\n"},
		{"LF among CRLF", "data: {\"choices\":[{}]}\r\n\r\n", "data: " + u + "\n\n", "data: [DONE]\r\n\r\n"},
		{"named, with an id", delta("a"), "event: message\nid: 3\ndata: " + u + "\n\n", doneEvent},
		{"no space", delta("a"), "data:" + u + "\n\n", doneEvent},
		{"comments around it", delta("a") + ": before\n\n", "data: " + u + "\n\n", ": after\n\n" + doneEvent},
		{"comments in CRLF around it", delta("a") + ": before\r\n\r\n", "data: " + u + "\r\n\r\n", ": after\r\n\r\n" + doneEvent},
		{"several lines", delta("a"), "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":3,\ndata: \"completion_tokens\":5}}\n\n", doneEvent},
		{"empty choices without usage stay", "data: {\"choices\":[],\"usage\":null}\n\n" + delta("a"), "data: " + u + "\n\n", doneEvent},
		{"usage in a chunk with choices stays", "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n", "data: " + u + "\n\n", doneEvent},
		{"after an empty line too many", delta("a") + "\n", "data: " + u + "\n\n", doneEvent},
		{"a huge event before it", delta(strings.Repeat("long ", 40_000)), "data: " + u + "\n\n", doneEvent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			whole := tc.before + tc.usage + tc.after
			up := newTrap(t, always(eventHead, chunk(whole[:len(tc.before)/2]), chunk(whole[len(tc.before)/2:]), lastChunk))
			w.lure("m", up.base)
			w.publish()
			if got := w.ask(chatPath, prompt("m", "x", true)); !got.good() || got.body != tc.before+tc.after {
				t.Errorf("not asked: %v\nwant %.600q", got, tc.before+tc.after)
			}
			asked := strings.Replace(prompt("m", "x", true), `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
			if got := w.ask(chatPath, asked); !got.good() || got.body != whole {
				t.Errorf("asked: %v\nwant %.600q", got, whole)
			}
			for range 2 {
				if r := w.record(); r.Error || r.Estimated || r.Input != 3 || r.Output != 5 {
					t.Errorf("record = %+v", r)
				}
			}
		})
	}
}

// A client of the official SDK reads such a stream as if nothing had been done to it.
func TestTrap04SDKReadsStrangeStreams(t *testing.T) {
	w := newWorld(t)
	events := ": hello\r\n\r\n" + "event: message\r\nid: 1\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one \"}}]}\r\n\r\n" +
		delta("two ") + ": ping\n\n" + "data:{\"choices\":[{\"index\":0,\"delta\":\ndata: {\"content\":\"three\"}}]}\n\n" + usageEvent + doneEvent
	var pieces []string
	for i := range len(events) {
		pieces = append(pieces, chunk(events[i:i+1]))
	}
	u := newTrap(t, always(append(append([]string{"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", eventHead}, pieces...), lastChunk)...))
	w.lure("m", u.base)
	w.publish()
	client := w.client()
	for _, ask := range []bool{false, true} {
		p := hello("m")
		p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(ask)}
		stream := client.Chat.Completions.NewStreaming(context.Background(), p)
		var text strings.Builder
		var tokens int64
		for stream.Next() {
			for _, c := range stream.Current().Choices {
				text.WriteString(c.Delta.Content)
			}
			tokens += stream.Current().Usage.TotalTokens
		}
		if stream.Err() != nil || text.String() != "one two three" || tokens != map[bool]int64{true: 8}[ask] {
			t.Errorf("asked = %v: %q, %d tokens, %v", ask, text.String(), tokens, stream.Err())
		}
	}
}
