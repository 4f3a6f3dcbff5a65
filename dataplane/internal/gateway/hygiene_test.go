package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/report"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const plainBody = `{"model":"gpt-x","messages":[{"role":"user","content":"x"}]}`

// rawUpstream answers every request with response, and delivers the requests' heads and bodies.
func rawUpstream(t *testing.T, response string) (base string, seen chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen = make(chan string, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			var head strings.Builder
			length := 0
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					break
				}
				_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
				head.WriteString(line)
				if line == "\r\n" {
					break
				}
			}
			body := make([]byte, length)
			_, _ = io.ReadFull(r, body)
			seen <- head.String() + string(body)
			_, _ = io.WriteString(c, response)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return "http://" + ln.Addr().String() + "/base", seen
}

func TestRequestHeaders(t *testing.T) {
	w := newWorld(t)
	base, seen := rawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	ch := w.channel("a", 100)
	ch.BaseUrl = base
	ch.Headers = map[string]string{"X-Channel": "set", "User-Agent": "fairway"}
	w.put(syncv1.Kind_KIND_CHANNEL, "c-a", ch)
	w.put(syncv1.Kind_KIND_ACCOUNT, "a-a0", &syncv1.AccountState{
		Name: "acc-a0", ChannelId: "c-a", Secret: secretA, Weight: 100, Organization: "org-ours",
	})
	w.debug()
	got := w.raw(request("/v1/chat/completions?api-version=1", w.key, plainBody,
		"Accept: application/json", "OpenAI-Beta: x=1", "Idempotency-Key: k", "X-Custom: keep it",
		"X-Stainless-Lang: go", "Accept: twice", "traceparent: 00-1",
		// None of these may pass.
		"Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "Upgrade: websocket", "Trailer: X",
		"Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive", "X-Api-Key: k", "Api-Key: k", "Cookie: a=b",
		"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "x-forwarded-proto: http", "CF-Ray: 1", "cf-ipcountry: xx",
		"Cookie2: x", "X-Goog-Api-Key: k", "X-Client-IP: 1.2.3.4", "X-Original-URL: /x", "Forwarded: for=1", "Via: 1.1 x", "X-Real-IP: 1.2.3.4",
		"CF-Connecting-IP: 1.2.3.4", "True-Client-IP: 1.2.3.4", "X-Fairway-Debug: 1", "X-Fairway-Anything: 1",
		"X-Request-Id: mine", "Accept-Encoding: gzip", "OpenAI-Organization: org-theirs", "OpenAI-Project: proj",
		"X-Channel: theirs", "User-Agent: theirs", "Expect: 100-continue",
	))
	if !strings.Contains(got, "HTTP/1.1 200") || strings.Contains(got, "mine") {
		t.Fatalf("answer:\n%s", got)
	}
	for _, want := range []string{"X-Fairway-Channel: ch-a", "X-Fairway-Account: acc-a0", "X-Fairway-Attempts: 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	head, body, _ := strings.Cut(<-seen, "\r\n\r\n")
	if body != plainBody {
		t.Errorf("body = %s", body)
	}
	lines := strings.Split(head, "\r\n")
	sort.Strings(lines[1:])
	want := []string{
		"POST /base/v1/chat/completions HTTP/1.1",
		"Accept-Encoding: identity",
		"Accept: application/json",
		"Authorization: Bearer " + secretA,
		fmt.Sprintf("Content-Length: %d", len(plainBody)),
		"Content-Type: application/json",
		"Host: " + strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/base"),
		"Idempotency-Key: k",
		"OpenAI-Beta: x=1",
		"OpenAI-Organization: org-ours",
		"User-Agent: fairway",
		"X-Channel: set",
		"X-Custom: keep it",
		"X-Stainless-Lang: go",
		"traceparent: 00-1",
	}
	sort.Strings(want[1:])
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("head (-want +got):\n%s", d)
	}
}

func TestResponseHeaders(t *testing.T) {
	w := newWorld(t)
	base, _ := rawUpstream(t, strings.Join([]string{
		"HTTP/1.1 201 Made", "Content-Type: application/json; x=y", "Content-Length: 2", "X-Request-Id: req_theirs",
		"Openai-Processing-Ms: 5", "X-Ratelimit-Remaining-Tokens: 7", "Retry-After: 3", "Date: Thu, 01 Jan 2026 00:00:00 GMT",
		"X-Twice: a", "X-Twice: b",
		"Server: nginx", "Set-Cookie: a=b", "Connection: keep-alive", "Keep-Alive: timeout=5", "Via: 1.1 x", "Alt-Svc: h3",
		"Strict-Transport-Security: x", "CF-Ray: 1", "X-Fairway-Channel: fake", "Proxy-Authenticate: x", "Location: http://x",
		"X-Should-Retry: true", "", "{}",
	}, "\r\n"))
	w.upstreamOf(base)
	got := w.post("/v1/chat/completions", plainBody)
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "X-Request-Id: req_") {
			lines[i] = "X-Request-Id: ours"
		}
	}
	sort.Strings(lines[1:])
	want := []string{
		"HTTP/1.1 201 Created", "Connection: close", "Content-Length: 2", "Content-Type: application/json; x=y",
		"Date: Thu, 01 Jan 2026 00:00:00 GMT", "Openai-Processing-Ms: 5", "Retry-After: 3",
		"X-Ratelimit-Remaining-Tokens: 7", "X-Request-Id: ours", "X-Twice: a", "X-Twice: b",
		"X-Upstream-Request-Id: req_theirs",
	}
	if d := cmp.Diff(want, lines); d != "" || body != "{}" {
		t.Errorf("body %q, head (-want +got):\n%s", body, d)
	}
}

func TestHostilePaths(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	for _, tc := range []struct{ method, target, want string }{
		{"POST", "/v1//chat/completions", "404"},
		{"POST", "//v1/chat/completions", "404"},
		{"POST", "/v1/chat%2fcompletions", "404"},
		{"POST", "/v1/%63hat/completions", "404"},
		{"POST", "/v1/./chat/completions", "404"},
		{"POST", "/v1/models/../chat/completions", "405"}, // a model of that name, which POST cannot have
		{"POST", "/v1/chat/completions/", "404"},
		{"POST", "/v1/chat/completions/..", "404"},
		{"POST", "/v1/chat/completions;a=b", "404"},
		{"POST", "/v1/CHAT/completions", "404"},
		{"POST", "/chat/completions", "404"},
		{"POST", "http://evil/v1/chat/completions", "200"}, // absolute: it names the same path, and chooses nothing
		{"POST", "http://169.254.169.254/latest", "404"},
		{"POST", `/v1\chat\completions`, "404"},
		{"POST", "*", "404"},
		{"CONNECT", "evil:443", "400"},
		{"GET", "/v1/models/..%2f..%2fadmin", "404"},
		{"GET", "/v1/models/%2e%2e/chat", "404"},
		{"GET", "/", "404"},
		{"GET", "/metrics", "404"},
		{"GET", "/v1/chat/completions", "405"},
		{"DELETE", "/v1/models/gpt-x", "405"},
		{"HEAD", "/v1/models", "405"},
		{"OPTIONS", "/v1/chat/completions", "405"},
		{"POST", "/v1/models", "405"},
		{"POST", "/v1/chat/completions?x=/../", "200"},
	} {
		for _, host := range []string{"proxy", "evil.example", "169.254.169.254"} {
			got := w.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\n"+
				"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", tc.method, tc.target, host, w.key, len(plainBody), plainBody))
			if status(got) != tc.want {
				t.Errorf("%s %s: %s, want %s", tc.method, tc.target, status(got), tc.want)
			}
			if tc.want != "200" && tc.method != "HEAD" && !strings.Contains(got, `{"error":{`) {
				t.Errorf("%s %s: not the envelope:\n%s", tc.method, tc.target, got)
			}
			if tc.want == "405" && !strings.Contains(got, "Allow: ") {
				t.Errorf("%s %s: no Allow", tc.method, tc.target)
			}
		}
	}
	if n := len(w.served()); n != 6 {
		t.Errorf("%d requests reached the upstream, want the 6 good ones", n)
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *ingress.Options) { o.MaxBody, o.MaxBodies = 1<<20, 3<<20 })
	w.tiers(secretA)
	big := func(n int) string {
		return `{"model":"gpt-x","messages":[{"role":"user","content":"` + strings.Repeat("word ", n/5) + `"}]}`
	}
	for _, tc := range []struct {
		name, request, status, code string
	}{
		{"900 kB", request("/v1/chat/completions", w.key, big(900_000), "Connection: close"), "200", ""},
		{"900 kB chunked", chunked(w.key, big(900_000)), "200", ""},
		{"too large", request("/v1/chat/completions", w.key, big(2<<20), "Connection: close"), "413", "request_too_large"},
		{"too large, chunked", chunked(w.key, big(2<<20)), "413", "request_too_large"},
		{"large without a key", request("/v1/chat/completions", "sk-x", big(900_000), "Connection: close"), "401", "invalid_api_key"},
		{"not JSON", request("/v1/chat/completions", w.key, "model=gpt-x", "Connection: close"), "400", ""},
		{"model twice", request("/v1/chat/completions", w.key, `{"model":"gpt-x","model":"gpt-y"}`, "Connection: close"), "400", ""},
		{"empty", request("/v1/chat/completions", w.key, "", "Connection: close"), "400", ""},
		{"form", strings.Replace(request("/v1/chat/completions", w.key, plainBody, "Connection: close"), "application/json", "text/plain", 1), "415", "unsupported_media_type"},
		{"compressed", request("/v1/chat/completions", w.key, plainBody, "Connection: close", "Content-Encoding: gzip"), "415", "unsupported_content_encoding"},
		{"broken chunks", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + w.key +
			"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"mod\r\nzz\r\n", "400", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := w.raw(tc.request)
			if status(got) != tc.status || tc.code != "" && !strings.Contains(got, `"code":"`+tc.code+`"`) {
				t.Errorf("got %.500s\nwant %s %s", got, tc.status, tc.code)
			}
			w.settled(t)
		})
	}
}

func chunked(key, body string) string {
	head, _, _ := strings.Cut(request("/v1/chat/completions", key, "", "Connection: close", "Transfer-Encoding: chunked"), "\r\n\r\n")
	head = strings.Replace(head, "Content-Length: 0\r\n", "", 1)
	var out strings.Builder
	out.WriteString(head + "\r\n\r\n")
	for len(body) > 0 {
		n := min(10_000, len(body))
		fmt.Fprintf(&out, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return out.String() + "0\r\n\r\n"
}

func TestBodyBudget(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *ingress.Options) { o.MaxBodies = 400 << 10 })
	w.tiers(secretA)
	c := w.dial()
	body := `{"model":"gpt-x","messages":[{"role":"user","content":"` + strings.Repeat("a b ", 50_000) + `"}]}`
	whole := request("/v1/chat/completions", w.key, body, "Connection: close")
	_, _ = io.WriteString(c, whole[:len(whole)-50_000])
	w.eventually("the first body is held", func() bool { return w.gateway.load.bodies.Load() >= 256<<10 })
	got := w.post("/v1/chat/completions", body)
	if status(got) != "503" || !strings.Contains(got, "Retry-After: 1") || !strings.Contains(got, `"overloaded"`) {
		t.Errorf("second large body: %.400s", got)
	}
	if got := w.post("/v1/chat/completions", plainBody); status(got) != "200" {
		t.Errorf("a small body: %.400s", got)
	}
	_, _ = io.WriteString(c, whole[len(whole)-50_000:])
	if out, err := io.ReadAll(c); err != nil || status(string(out)) != "200" {
		t.Errorf("first body: %v, %.400s", err, out)
	}
	w.settled(t)
}

// A sink that fails costs the request nothing.
func TestSinkFails(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	w.gateway.sink = fullSink{}
	client := w.client()
	if _, err := client.Chat.Completions.New(context.Background(), hello("gpt-x")); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(w.gateway.meters.lost); n != 1 {
		t.Errorf("lost = %v", n)
	}
}

type fullSink struct{}

func (fullSink) Append(*report.Record) error { return io.ErrShortWrite }

func TestUpstreamThatEncodesIsRefused(t *testing.T) {
	w := newWorld(t)
	w.upstreamOf(brokenUpstream(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(rw, "\x1f\x8bbomb")
	}))
	if got := w.post("/v1/chat/completions", plainBody); status(got) != "503" || strings.Contains(got, "bomb") {
		t.Errorf("answer:\n%s", got)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	w.post("/v1/chat/completions", plainBody)
	w.post("/v1/nothing", "")
	w.settled(t)
	const want = `
# HELP fairway_attempts_total Requests sent to upstreams.
# TYPE fairway_attempts_total counter
fairway_attempts_total 1
`
	if err := testutil.GatherAndCompare(w.registry, strings.NewReader(want), "fairway_attempts_total"); err != nil {
		t.Error(err)
	}
	for status, op := range map[string]string{"2xx": "chat", "4xx": "unknown"} {
		found := false
		families, _ := w.registry.Gather()
		for _, f := range families {
			if f.GetName() != "fairway_requests_total" {
				continue
			}
			for _, m := range f.GetMetric() {
				found = found || m.GetCounter().GetValue() == 1 && m.GetLabel()[0].GetValue() == op && m.GetLabel()[1].GetValue() == status
			}
		}
		if !found {
			t.Errorf("no request counted as %s %s", op, status)
		}
	}
}
