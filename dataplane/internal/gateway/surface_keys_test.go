package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"fairway/dataplane/internal/accesslog"
	"fairway/pkg/clientkey"
)

// A key is found wherever a dialect's clients put it, two different ones are refused, and none is ever written down.
func TestSurfaceKeys(t *testing.T) {
	w := manyWorlds(t)
	other := w.anotherKey(nil)
	var out lockedBuffer
	log, err := accesslog.New(accesslog.Options{File: "-", Sample: 1, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	w.gateway.access = log

	type place struct {
		name          string
		query, header func(key string) string
	}
	in := func(prefix string) func(string) string { return func(key string) string { return prefix + key } }
	headers := []place{
		{name: "bearer", header: in("Authorization: Bearer ")},
		{name: "bearer in lower case", header: in("authorization: bearer ")},
		{name: "x-api-key", header: in("x-api-key: ")},
		{name: "x-goog-api-key", header: in("x-goog-api-key: ")},
		{name: "api-key", header: in("api-key: ")},
	}
	query := place{name: "query", query: in("key=")}
	paths := []struct {
		target, body string
		places       []place
	}{
		{"/v1/chat/completions?", `{"model":"o-think","messages":[{"role":"user","content":"x"}]}`, headers},
		{"/v1/messages?", `{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, headers},
		{"/v1beta/models/gemini-3-pro:generateContent?", `{"contents":[{"role":"user","parts":[{"text":"x"}]}]}`, append(headers, query)},
		{"/v1beta/models/o-think:streamGenerateContent?alt=sse&", `{"contents":[{"role":"user","parts":[{"text":"x"}]}]}`, append(headers, query)},
		{"/v1beta/openai/chat/completions?", `{"model":"o-think","messages":[{"role":"user","content":"x"}]}`, append(headers, query)},
	}
	put := func(p place, key, target string, lines []string) (string, []string) {
		if p.query != nil {
			return target + p.query(key) + "&", lines
		}
		return target, append(lines, p.header(key))
	}
	for _, path := range paths {
		for _, p := range path.places {
			target, lines := put(p, w.key, path.target, nil)
			if got, body := w.call(t, "POST", strings.TrimRight(target, "?&"), path.body, lines...); got.StatusCode != http.StatusOK {
				t.Errorf("%s, %s: %d %s", path.target, p.name, got.StatusCode, body)
			}
			target, lines = put(p, clientkey.New().Reveal(), path.target, nil)
			if got, body := w.call(t, "POST", strings.TrimRight(target, "?&"), path.body, lines...); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, %s, a wrong key: %d %s", path.target, p.name, got.StatusCode, body)
			}
			for _, q := range path.places {
				// The same name twice is a repeated header, which nobody may send of this kind.
				if q.name == p.name || strings.HasPrefix(q.name, "bearer") && strings.HasPrefix(p.name, "bearer") {
					continue
				}
				target, lines := put(p, w.key, path.target, nil)
				target, lines = put(q, other, target, lines)
				got, body := w.call(t, "POST", strings.TrimRight(target, "?&"), path.body, lines...)
				if got.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "more than one API key") {
					t.Errorf("%s, %s and %s: %d %s", path.target, p.name, q.name, got.StatusCode, body)
				}
				// SDKs write the same key in two places, or anything into the other one.
				for _, second := range []string{w.key, "x"} {
					target, lines = put(p, w.key, path.target, nil)
					target, lines = put(q, second, target, lines)
					if got, body := w.call(t, "POST", strings.TrimRight(target, "?&"), path.body, lines...); got.StatusCode != http.StatusOK {
						t.Errorf("%s, %s, and %.1s… as %s: %d %s", path.target, p.name, second, q.name, got.StatusCode, body)
					}
				}
			}
		}
	}
	w.quiet()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n < 100 {
		t.Errorf("%d lines", n)
	}
	for name, text := range map[string]string{"log": w.log.String(), "access log": out.String()} {
		for _, key := range []string{w.key, other, w.key[:20], "key=sk"} {
			if strings.Contains(text, key) {
				t.Errorf("%q… is in the %s", key[:8], name)
			}
		}
	}
}

// What nobody serves is a 404 in the caller's dialect; what is served with another method a 405 that says which; and a
// WebSocket where there is none a 426.
func TestSurfacePaths(t *testing.T) {
	w := manyWorlds(t)
	const (
		openaiForm    = `{"error":{"message":"`
		anthropicForm = `{"type":"error","error":{"type":"`
		geminiForm    = `{"error":{"code":`
	)
	for _, tc := range []struct {
		method, target string
		headers        []string
		status         int
		form, allow    string
	}{
		{"POST", "/v1/chat/completion", nil, 404, openaiForm, ""},
		{"POST", "/v1/responses/", nil, 404, openaiForm, ""},
		{"GET", "/v1/responses/resp_1/else", nil, 404, openaiForm, ""},
		{"GET", "/v1/files", nil, 404, openaiForm, ""},
		{"GET", "/v1/files", []string{"anthropic-version: 2023-06-01"}, 404, anthropicForm, ""},
		{"POST", "/v1/messages/else", nil, 404, anthropicForm, ""},
		{"GET", "/v1/messages/batches/b/else", nil, 404, anthropicForm, ""},
		{"POST", "/v1beta/models/gemini-3-pro:else", nil, 404, geminiForm, ""},
		{"POST", "/v1beta/files", nil, 404, geminiForm, ""},
		{"POST", "/v1beta/openai/else", nil, 404, openaiForm, ""},
		{"GET", "/else", nil, 404, openaiForm, ""},
		{"POST", "/model/amazon.nova-pro-v1/converse", nil, 404, openaiForm, ""},
		{"GET", "/v1/chat/completions", nil, 405, openaiForm, "POST"},
		{"PUT", "/v1/embeddings", nil, 405, openaiForm, "POST"},
		{"DELETE", "/v1/models", nil, 405, openaiForm, "GET"},
		{"GET", "/v1/messages", nil, 405, anthropicForm, "POST"},
		{"PUT", "/v1/messages/batches", nil, 405, anthropicForm, "POST"},
		{"POST", "/v1/messages/batches/b/results", nil, 405, anthropicForm, "GET"},
		{"GET", "/v1beta/models/gemini-3-pro:generateContent", nil, 405, geminiForm, "POST"},
		{"POST", "/v1beta/models", nil, 405, geminiForm, "GET"},
		{"GET", "/v1beta/openai/chat/completions", nil, 405, openaiForm, "POST"},
		{"GET", "/v1/responses", []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, 426, openaiForm, ""},
	} {
		got, body := w.call(t, tc.method, tc.target, "", append(tc.headers, "Authorization: Bearer "+w.key)...)
		if got.StatusCode != tc.status || !strings.HasPrefix(body, tc.form) || got.Header.Get("Allow") != tc.allow ||
			!strings.HasPrefix(got.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s %s: %d, Allow %q: %s", tc.method, tc.target, got.StatusCode, got.Header.Get("Allow"), body)
		}
	}
	if n := len(w.provider.Requests()); n != 0 {
		t.Errorf("%d requests went on", n)
	}
}
