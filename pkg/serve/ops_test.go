package serve

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
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
