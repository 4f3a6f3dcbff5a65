package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fairway/pkg/secret"
)

// Ops is what a process shows to those who run it.
type Ops struct {
	// Registry is shown at /metrics; nil = nothing is.
	Registry *prometheus.Registry
	// Ready decides /readyz; detail is shown either way and must be fit for the public. nil = ready. Safe for concurrent
	// use.
	Ready func() (ok bool, detail string)
	// Pprof serves net/http/pprof under /debug/pprof/.
	Pprof bool
	// Token is the bearer token that metrics and profiles want; empty = none. Health is for anyone.
	Token secret.String
}

// Handler serves GET and HEAD on /livez (200 for as long as the process answers), /readyz (200 or 503, with the detail),
// /metrics and, when asked for, /debug/pprof/.
func (o Ops) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ok, detail := true, ""
		if o.Ready != nil {
			ok, detail = o.Ready()
		}
		status, text := http.StatusOK, "ready"
		if !ok {
			status, text = http.StatusServiceUnavailable, "not ready"
		}
		if detail != "" {
			text += ": " + detail
		}
		answer(w, status, text)
	})
	if o.Registry != nil {
		// Counted in the registry itself: scrapes, and errors while scraping.
		mux.Handle("GET /metrics", o.guard(promhttp.InstrumentMetricHandler(o.Registry,
			promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{Registry: o.Registry}))))
	}
	if o.Pprof {
		mux.Handle("GET /debug/pprof/", o.guard(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/cmdline", o.guard(http.HandlerFunc(pprof.Cmdline)))
		mux.Handle("GET /debug/pprof/profile", o.guard(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/symbol", o.guard(http.HandlerFunc(pprof.Symbol)))
		mux.Handle("GET /debug/pprof/trace", o.guard(http.HandlerFunc(pprof.Trace)))
	}
	return mux
}

// Serve serves Handler on ln until ctx ends. tokenFile, when not empty, holds Token; it is read once.
func (o Ops) Serve(ctx context.Context, ln net.Listener, tokenFile string) error {
	if tokenFile != "" {
		raw, err := os.ReadFile(tokenFile)
		if err != nil {
			return fmt.Errorf("read the ops token: %w", err)
		}
		if o.Token = secret.New(strings.TrimSpace(string(raw))); o.Token.Empty() {
			return fmt.Errorf("read the ops token: %s is empty", tokenFile)
		}
	}
	srv := &http.Server{Handler: o.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	return HTTP(ctx, ln, srv, time.Second)
}

// guard lets only those through who know the token, if there is one.
func (o Ops) guard(next http.Handler) http.Handler {
	if o.Token.Empty() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !o.Token.Equal(secret.New(given)) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, "a bearer token is needed here")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
