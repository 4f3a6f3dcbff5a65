// Package traffic sends many small chat requests to a proxy, as a client would, and says how many were answered, what
// became of the others, and what to look at next.
//
// It refuses to retry (every failure counts), to follow redirects (they would carry the key elsewhere), to show the key,
// and to be a benchmark: it measures what a client feels, not what a proxy can.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairway/pkg/secret"
)

// Bounds of a run.
const (
	MaxRequests    = 1_000_000
	MaxConcurrency = 1_000
)

// Options say what to send. URL, Key and Model are needed; the zero values of the rest work.
type Options struct {
	URL         string        // of the proxy, with or without /v1; http or https
	Key         secret.String // a Fairway key
	Model       string        // as clients ask for it
	Dialect     string        // openai, anthropic or gemini; empty = openai
	Stream      bool          // false = answers come whole
	Requests    int           // 1 to MaxRequests; 0 = 100
	Concurrency int           // at once, 1 to MaxConcurrency; 0 = 4
	Timeout     time.Duration // of one request, to its answer's last byte; 0 = 30s
	MaxTokens   int           // of an answer; 0 = the field is not sent
	// Done is called after each request, one call at a time; nil = nobody wants to know.
	Done func()
}

// check fills in what is not given, and says what is wrong.
func (o *Options) check() (dialect, error) {
	set(&o.Dialect, "openai")
	set(&o.Requests, 100)
	set(&o.Concurrency, 4)
	set(&o.Timeout, 30*time.Second)
	if o.Done == nil {
		o.Done = func() {}
	}
	d, ok := dialects()[o.Dialect]
	switch {
	case !ok:
		return dialect{}, fmt.Errorf("dialect %q is not one of %s", o.Dialect, strings.Join(Dialects(), ", "))
	case o.Model == "":
		return dialect{}, errors.New("no model: say which one to ask for")
	case o.Key.Reveal() == "":
		return dialect{}, errors.New("no key: requests need a Fairway key")
	case o.Requests < 1 || o.Requests > MaxRequests:
		return dialect{}, fmt.Errorf("%d requests: want 1 to %d", o.Requests, MaxRequests)
	case o.Concurrency < 1 || o.Concurrency > MaxConcurrency:
		return dialect{}, fmt.Errorf("%d at once: want 1 to %d", o.Concurrency, MaxConcurrency)
	case o.Timeout < 0:
		return dialect{}, fmt.Errorf("a timeout of %s", o.Timeout)
	case o.MaxTokens < 0:
		return dialect{}, fmt.Errorf("%d tokens", o.MaxTokens)
	}
	for _, r := range o.Key.Reveal() {
		if r <= ' ' || r > '~' {
			return dialect{}, errors.New("the key has characters that no key has; is it a key?")
		}
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return dialect{}, errors.New("the proxy's URL must be http://HOST:PORT or https://HOST:PORT")
	}
	// Whether the client that the URL was copied from adds /v1 itself or not.
	o.URL = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(o.URL, "/"), "/v1"), "/")
	return d, nil
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run sends the requests and reports. When ctx ends before all are done, it stops, and reports those that are. An error
// means that nothing was sent, because the options are wrong.
func Run(ctx context.Context, o Options) (*Report, error) {
	d, err := o.check()
	if err != nil {
		return nil, err
	}
	workers := min(o.Concurrency, o.Requests)
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxIdleConns: workers, MaxIdleConnsPerHost: workers, IdleConnTimeout: time.Minute,
	}
	defer transport.CloseIdleConnections()
	s := &sender{o: o, dialect: d, body: d.body(o.Model, o.MaxTokens, o.Stream), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var rec recorder
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil && next.Add(1) <= int64(o.Requests) {
				got := s.send(ctx)
				if ctx.Err() != nil {
					return // it was cut short by us
				}
				rec.add(got, o.Done)
			}
		})
	}
	wg.Wait()
	return rec.report(o, time.Since(start)), nil
}

// recorder gathers outcomes.
type recorder struct {
	mu       sync.Mutex
	sent     int
	latency  []time.Duration
	ttft     []time.Duration
	failures map[string]*Failure
}

// maxFailures bounds how many kinds of failure are told apart: codes come from elsewhere.
const maxFailures = 50

func (r *recorder) add(got outcome, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer done()
	r.sent++
	if got.failure == nil {
		r.latency = append(r.latency, got.latency)
		r.ttft = append(r.ttft, got.ttft)
		return
	}
	if r.failures == nil {
		r.failures = map[string]*Failure{}
	}
	f := r.failures[got.failure.Class]
	switch {
	case f != nil:
	case len(r.failures) >= maxFailures:
		const others = "others"
		if f = r.failures[others]; f == nil {
			f = &Failure{Class: others, kind: other}
			r.failures[others] = f
		}
	default:
		f = got.failure
		r.failures[f.Class] = f
	}
	f.Count++
	set(&f.RequestID, got.failure.RequestID)
	set(&f.Example, got.failure.Example)
}
