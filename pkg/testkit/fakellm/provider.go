// Package fakellm is a provider of large language models that has none: an HTTP server that speaks OpenAI's API, and
// those of the clouds that have models of others (Azure, Bedrock, Vertex) with their endpoints for tokens, as strictly as
// a hostile reviewer would, answers with made-up words, fails on demand, and keeps books of what it did.
// Tests, the demo and the benchmarks put it where a real provider would be.
//
// It checks every request (see inspect.go) and answers what a gateway must never send with 400 and a precise error;
// each such finding is also kept in Violations. It counts tokens as words, so that a test can say beforehand what a
// request costs, or take the numbers from the request's "metadata" (see tokens.go).
//
// It refuses to guess: no default account exists, no model beyond those given, and nothing it answers depends on time
// or chance. It is no part of what serves real traffic.
package fakellm

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a Provider. The zero value is a provider that knows nobody and no model.
type Options struct {
	// Accounts are the credentials (without "Bearer ") that are known, and how each behaves.
	Accounts map[string]Behaviour
	// Models are the names that are served, by every operation.
	Models []string
	// AnyModel serves every model name that is asked for; GET /v1/models still lists Models only.
	AnyModel bool
	// Hosts are the values of the Host header that are this server's own. Servers made by Start and Serve add their
	// own address. While there is none, Host is not checked.
	Hosts []string
	// Remember is how many of the last requests Requests returns; 0 = 1000.
	Remember int
	// MaxBody is the largest request body that is read, in bytes; 0 = 64 MiB.
	MaxBody int64
	// Now stamps the field "created"; nil = time.Now.
	Now func() time.Time
}

// Provider is the fake. All its methods may be called at any time, from any goroutine.
type Provider struct {
	anyModel bool
	maxBody  int64
	now      func() time.Time
	books    *books
	sequence atomic.Uint64
	canceled chan Request
	shelf    *shelf
	grants   *grants
	batches  batchShelf

	mu         sync.RWMutex
	accounts   map[string]*account
	models     map[string]struct{}
	order      []string
	hosts      map[string]struct{}
	violations []string
	unlisted   int // violations beyond maxViolations
}

// account is a credential and its behaviour; left counts down the requests a limited behaviour still applies to.
type account struct {
	behaviour Behaviour
	left      int
}

// maxViolations bounds what Violations keeps; a broken gateway under load would make millions.
const maxViolations = 1000

// New makes a provider. It serves nothing until Handler, Start or Serve is used.
func New(o Options) *Provider {
	if o.Remember == 0 {
		o.Remember = 1000
	}
	if o.MaxBody == 0 {
		o.MaxBody = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Provider{
		anyModel: o.AnyModel,
		maxBody:  o.MaxBody,
		now:      o.Now,
		books:    newBooks(o.Remember),
		canceled: make(chan Request, eventBuffer),
		shelf:    newShelf(),
		grants:   newGrants(),
		accounts: make(map[string]*account, len(o.Accounts)),
		models:   make(map[string]struct{}, len(o.Models)),
		hosts:    make(map[string]struct{}, len(o.Hosts)),
	}
	for credential, b := range o.Accounts {
		p.accounts[credential] = &account{behaviour: b, left: b.Times}
	}
	p.AddModel(o.Models...)
	p.addHosts(o.Hosts...)
	return p
}

// SetBehaviour makes the credential known, if it was not, and changes how it behaves from the next request on.
func (p *Provider) SetBehaviour(credential string, b Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accounts[credential] = &account{behaviour: b, left: b.Times}
}

// RemoveAccount makes the credential unknown: 401 from now on.
func (p *Provider) RemoveAccount(credential string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.accounts, credential)
}

// AddModel serves more models from now on.
func (p *Provider) AddModel(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		if _, known := p.models[name]; !known {
			p.models[name] = struct{}{}
			p.order = append(p.order, name)
		}
	}
}

// Violations returns what was found wrong with requests, oldest first, one line each and without any secret. The first
// 1000 are kept; a last line says how many more there were.
func (p *Provider) Violations() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := slices.Clone(p.violations)
	if p.unlisted > 0 {
		out = append(out, fmt.Sprintf("and %d more", p.unlisted))
	}
	return out
}

// Canceled delivers each request whose client left before the response was complete, at the moment the server
// noticed; a realtime session that was left between two responses, without a Close frame, counts as one. Events beyond 4096 that nobody takes are dropped.
func (p *Provider) Canceled() <-chan Request { return p.canceled }

// Books returns a snapshot of the counters. A client that has read a response to its end finds it counted.
func (p *Provider) Books() Books { return p.books.snapshot() }

// Requests returns the last requests that named a known credential and a served model, oldest first.
func (p *Provider) Requests() []Request { return p.books.requests() }

// Handler returns the provider as a handler, for a server of the caller's. Behaviours that end connections need
// HTTP/1 (http.Hijacker); StaleKeepAlive and StaleOnReuse need a server made by Start, StartTLS or Serve.
func (p *Provider) Handler() http.Handler {
	return http.HandlerFunc(p.serveHTTP)
}

func (p *Provider) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.violations) < maxViolations {
		p.violations = append(p.violations, text)
		return
	}
	p.unlisted++
}

// take returns the behaviour for one request of the credential and counts it against Behaviour.Times.
func (p *Provider) take(credential string) (Behaviour, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, known := p.accounts[credential]
	if !known {
		return Behaviour{}, false
	}
	b := a.behaviour
	if b.Times > 0 {
		if a.left == 0 {
			return Behaviour{}, true
		}
		a.left--
	}
	return b, true
}

func (p *Provider) serves(model string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, known := p.models[model]
	return known || (p.anyModel && model != "")
}

func (p *Provider) listed() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.order)
}

func (p *Provider) addHosts(hosts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range hosts {
		p.hosts[h] = struct{}{}
	}
}

func (p *Provider) ownHost(host string) (own bool, names []string) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.hosts) == 0 {
		return true, nil
	}
	if _, own = p.hosts[host]; own {
		return true, nil
	}
	return false, slices.Sorted(maps.Keys(p.hosts))
}

func (p *Provider) noteCanceled(r Request) {
	select {
	case p.canceled <- r:
	default:
	}
}
