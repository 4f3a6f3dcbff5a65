package serve

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/pkg/secret"
)

func TestOps(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_test_total", Help: "x"})
	registry.MustRegister(counter)
	ok, detail := true, ""
	full := Ops{Registry: registry, Ready: func() (bool, string) { return ok, detail }, Pprof: true}
	tests := []struct {
		name         string
		o            Ops
		ok           bool
		detail       string
		method, path string
		status       int
		body         string
	}{
		{"alive", full, false, "", "GET", "/livez", 200, "ok\n"},
		{"ready", full, true, "", "GET", "/readyz", 200, "ready\n"},
		{"ready with detail", full, true, "last-known-good", "GET", "/readyz", 200, "ready: last-known-good\n"},
		{"not ready", full, false, "no snapshot", "GET", "/readyz", 503, "not ready: no snapshot\n"},
		{"head", full, false, "", "HEAD", "/readyz", 503, ""},
		{"metrics", full, true, "", "GET", "/metrics", 200, "fairway_test_total 0"},
		{"pprof", full, true, "", "GET", "/debug/pprof/cmdline", 200, ""},
		{"write", full, true, "", "POST", "/livez", 405, ""},
		{"elsewhere", full, true, "", "GET", "/", 404, ""},
		{"zero: ready", Ops{}, true, "", "GET", "/readyz", 200, "ready\n"},
		{"zero: no metrics", Ops{}, true, "", "GET", "/metrics", 404, ""},
		{"zero: no pprof", Ops{}, true, "", "GET", "/debug/pprof/", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ok, detail = tt.ok, tt.detail
			w := httptest.NewRecorder()
			tt.o.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, http.NoBody))
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if tt.method == "GET" && !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("body %q, want %q in it", w.Body.String(), tt.body)
			}
		})
	}
}

// Metrics and profiles want the token, health does not.
func TestOpsToken(t *testing.T) {
	h := Ops{Registry: prometheus.NewRegistry(), Pprof: true, Token: secret.New("right")}.Handler()
	for _, tt := range []struct {
		path, authorization string
		status              int
	}{
		{"/metrics", "", 401},
		{"/metrics", "Bearer wrong", 401},
		{"/metrics", "right", 401},
		{"/metrics", "Bearer right", 200},
		{"/debug/pprof/cmdline", "", 401},
		{"/debug/pprof/cmdline", "Bearer right", 200},
		{"/livez", "", 200},
		{"/readyz", "", 200},
	} {
		r := httptest.NewRequest("GET", tt.path, nil)
		r.Header.Set("Authorization", tt.authorization)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s with %q: status %d, want %d", tt.path, tt.authorization, w.Code, tt.status)
		}
	}
}

// A token file is read and trimmed; one that is missing or empty stops the listener from serving at all.
func TestOpsServeTokenFile(t *testing.T) {
	dir := t.TempDir()
	good, empty := filepath.Join(dir, "good"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{good: " right\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{empty, filepath.Join(dir, "missing")} {
		ln, err := Listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := (Ops{}).Serve(t.Context(), ln, path); err == nil {
			t.Errorf("served with the token file %s", path)
		}
		ln.Close()
	}
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Ops{Registry: prometheus.NewRegistry()}.Serve(ctx, ln, good) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for authorization, want := range map[string]int{"": 401, "Bearer right": 200} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+Address(ln)+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", authorization)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("with %q: status %d, want %d", authorization, res.StatusCode, want)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
