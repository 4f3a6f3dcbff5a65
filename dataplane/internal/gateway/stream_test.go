package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/testkit/fakellm"
)

const streamBody = `{"model":"gpt-x","stream":true,"messages":[{"role":"user","content":"one two three"}]}`

// dechunked is the body of a raw chunked response, and whether it had its last chunk.
func dechunked(t *testing.T, response string) (body string, complete bool) {
	t.Helper()
	head, rest, _ := strings.Cut(response, "\r\n\r\n")
	if !strings.Contains(head, "Transfer-Encoding: chunked") {
		t.Fatalf("not chunked:\n%s", head)
	}
	out, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(rest)))
	return string(out), err == nil
}

func TestStreamDies(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  fakellm.Behaviour
		events string // the error's code in the client's stream
	}{
		{"reset", fakellm.DieMidStream(3, fakellm.RST), "upstream_stream_interrupted"},
		{"closed", fakellm.DieMidStream(3, fakellm.FIN), "upstream_stream_interrupted"},
		{"clean end without [DONE]", fakellm.DieMidStream(3, fakellm.CleanEnd), "upstream_stream_interrupted"},
		{"upstream's error event", fakellm.ErrorMidStream(3, "server_error"), "server_error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA, secretB)
			w.provider.SetBehaviour(secretA, tc.fault)
			body, complete := dechunked(t, w.post("/v1/chat/completions", streamBody))
			if complete || strings.Contains(body, "[DONE]") {
				t.Errorf("the stream looks complete:\n%s", body)
			}
			if n := strings.Count(body, `{"error":`); n != 1 || !strings.HasSuffix(body, "}\n\n") ||
				!strings.Contains(body, `"code":"`+tc.events+`"`) {
				t.Errorf("%d error events, want one, at the end, with code %s:\n%s", n, tc.events, body)
			}
			if got := w.served(); len(got) != 1 {
				t.Errorf("attempts = %d: a retry after the first byte", len(got))
			}
			r := w.record()
			if !r.Error || !r.Estimated || r.Output == 0 || r.Input == 0 {
				t.Errorf("record = %+v", r)
			}
			w.settled(t)
			if n := len(w.books.all()); n != 1 {
				t.Errorf("%d records", n)
			}
			if w.cell("acc-a0").Failures.Load() != 1 {
				t.Error("not counted as the account's failure")
			}
			// The SDK must not take it for success.
			client := w.client()
			stream := client.Chat.Completions.NewStreaming(context.Background(), hello("gpt-x"))
			for stream.Next() {
			}
			if stream.Err() == nil {
				t.Error("the SDK saw a good end")
			}
		})
	}
}

func TestStreamWithoutDoneIsCompleteWhenItFinished(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	w.provider.SetBehaviour(secretA, fakellm.DieMidStream(1000, fakellm.CleanEnd))
	body, complete := dechunked(t, w.post("/v1/chat/completions", streamBody))
	if !complete || strings.Contains(body, "error") {
		t.Errorf("complete = %v:\n%s", complete, body)
	}
	if r := w.record(); r.Error {
		t.Errorf("record = %+v", r)
	}
}

func TestStreamWithoutUsageIsEstimated(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	w.provider.SetBehaviour(secretA, fakellm.NoUsage())
	body, complete := dechunked(t, w.post("/v1/chat/completions", streamBody))
	if !complete || !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("body:\n%s", body)
	}
	// "Hello! This is the fake provider." and "assistant": 42 bytes; "user", "gpt-x" and the prompt: 22.
	if r := w.record(); r.Error || !r.Estimated || r.Output < 8 || r.Output > 12 || r.Input < 4 || r.Input > 7 {
		t.Errorf("record = %+v", r)
	}
}

// events that no event may be changed in.
var oddEvents = []string{
	"\ufeff: a comment first\n\n",
	"data: {\"choices\":[{\"delta\":{\"content\":\"\\u00e4\"},\"finish_reason\":null}], \"created\":1.50e1,\"x\":null}\n\n",
	"event: message\nid: 7\ndata: {\"choices\":[{\"delta\":{\"content\":\"multi\"},\ndata: \"finish_reason\":null}]}\n\n",
	": ping\n\n",
	"data: {\"choices\":[{\"delta\":{\"content\":\"crlf\"}}]}\r\n\r\n",
	"data:{\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\":{ and data: [DONE]\"}}],\"usage\":null}\n\n",
	"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n",
}

const oddUsage = "data: {\"id\":\"x\", \"choices\": [], \"usage\": {\"prompt_tokens\": 11, \"completion_tokens\": 22, " +
	"\"prompt_tokens_details\": {\"cached_tokens\": 3}}}\n\n"

// Bytes pass as they are, but for the usage event that nobody asked for, wherever the upstream cuts its writes.
func TestStreamBytes(t *testing.T) {
	whole := strings.Join(oddEvents, "")
	for _, asked := range []bool{false, true} {
		for _, size := range []int{1, 7, 64, 1 << 20} {
			t.Run(fmt.Sprintf("asked=%v,pieces of %d", asked, size), func(t *testing.T) {
				w := newWorld(t)
				w.upstreamOf(brokenUpstream(t, func(rw http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					if !strings.Contains(string(body), `"include_usage":true`) {
						t.Errorf("usage was not asked for: %s", body)
					}
					rw.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
					all := whole + oddUsage + "data: [DONE]\n\n"
					for len(all) > 0 {
						n := min(size, len(all))
						_, _ = io.WriteString(rw, all[:n])
						_ = http.NewResponseController(rw).Flush()
						all = all[n:]
					}
				}))
				want := whole + "data: [DONE]\n\n"
				body := streamBody
				if asked {
					want = whole + oddUsage + "data: [DONE]\n\n"
					body = strings.Replace(body, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
				}
				got, complete := dechunked(t, w.post("/v1/chat/completions", body))
				if d := cmp.Diff(want, got); d != "" || !complete {
					t.Errorf("complete = %v, bytes (-want +got):\n%s", complete, d)
				}
				if r := w.record(); r.Input != 11 || r.Output != 22 || r.Cached != 3 || r.Estimated || r.Error {
					t.Errorf("record = %+v", r)
				}
			})
		}
	}
}

// The books have a request before its client can know that it has ended.
func TestRecordedBeforeTheEnd(t *testing.T) {
	for _, tc := range []struct{ name, path, body, end string }{
		{"stream", "/v1/chat/completions", streamBody, "data: [DONE]\n\n"},
		{"plain", "/v1/chat/completions", `{"model":"gpt-x","messages":[{"role":"user","content":"x"}]}`, `"system_fingerprint":"fp_fake"}`},
		{"large", "/v1/embeddings", `{"model":"embed-x","dimensions":3072,"input":["a","b","c","d","e","f"]}`, `"total_tokens":6}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA)
			c := w.dial()
			_, _ = io.WriteString(c, request(tc.path, w.key, tc.body))
			r := bufio.NewReader(c)
			var seen strings.Builder
			for !strings.Contains(seen.String(), tc.end) {
				b, err := r.ReadByte()
				if err != nil {
					t.Fatalf("%v after %d bytes: %.2000s", err, seen.Len(), seen.String())
				}
				seen.WriteByte(b)
			}
			if records := w.books.all(); len(records) != 1 || records[0].Estimated || records[0].Error {
				t.Errorf("when the client saw the end the books had %+v", records)
			}
			if tc.name == "large" && seen.Len() < maxWhole {
				t.Errorf("the response has only %d bytes: not large", seen.Len())
			}
		})
	}
}

func TestLargeResponseCut(t *testing.T) {
	w := newWorld(t)
	w.upstreamOf(brokenUpstream(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Length", "1000000")
		_, _ = rw.Write(make([]byte, 200_000))
	}))
	c := w.dial()
	_, _ = io.WriteString(c, request("/v1/embeddings", w.key, `{"model":"embed-x","input":"x"}`))
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if n, err := io.Copy(io.Discard, response.Body); err == nil || n > 200_000 {
		t.Errorf("read %d bytes, %v: the cut is not visible", n, err)
	}
	if r := w.record(); !r.Error || !r.Estimated {
		t.Errorf("record = %+v", r)
	}
	w.settled(t)
}

func TestHTTP10Stream(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	got := w.raw("POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nAuthorization: Bearer " + w.key +
		fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(streamBody), streamBody))
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if status(got) != "200" || strings.Contains(head, "chunked") || !strings.Contains(head, "Connection: close") {
		t.Errorf("head:\n%s", head)
	}
	if !strings.HasPrefix(body, "data: {") || !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("body:\n%s", body)
	}
	if r := w.record(); r.Error || r.Output != 6 {
		t.Errorf("record = %+v", r)
	}
	w.settled(t)
}
