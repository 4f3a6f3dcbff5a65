package fakellm

import (
	"crypto/rsa"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Credentials that are exchanged for others: who may ask, what was given out, and who did ask.
//
// A behaviour for the name "token:" and an account's name is that of the endpoints that give out the account's tokens.

// ServiceAccount is one of Google's: it signs for itself.
type ServiceAccount struct {
	Email, KeyID string
	Key          *rsa.PublicKey
	// Project is the one project that it may use; "" = any.
	Project string
	// Account is the name under which Accounts and Books have it.
	Account string
}

// Application is a client of Microsoft Entra.
type Application struct {
	Tenant, ClientID, Secret string
	Account                  string
}

// AccessKey signs requests to AWS.
type AccessKey struct {
	ID, Secret string
	// Session is the session token that belongs to it; "" = none.
	Session string
	// Role is the ARN of the one role that it may assume; "" = none.
	Role    string
	Account string

	expires time.Time // zero = never
}

// RefreshToken is what access tokens are asked with at /oauth/refresh. It works once.
type RefreshToken struct {
	ClientID, Token string
	Account         string
}

// The kinds of tokens.
const (
	grantGoogle  = "google"
	grantEntra   = "entra"
	grantRefresh = "refresh"
	grantSTS     = "sts"
)

// TokenRequest is one question for a token.
type TokenRequest struct {
	// Kind is google, entra, refresh or sts.
	Kind string
	// Account is empty when it is not known who asked.
	Account string
	// Agent is the User-Agent, by which a test knows the process that asked.
	Agent   string
	Granted bool
}

type token struct {
	kind, account, project string
	expires                time.Time
}

type grants struct {
	mu       sync.Mutex
	lifetime time.Duration
	services map[string]ServiceAccount
	apps     map[string]Application
	keys     map[string]AccessKey
	refresh  map[string]RefreshToken
	tokens   map[string]token
	asked    []TokenRequest
	given    int
}

func newGrants() *grants {
	return &grants{
		lifetime: time.Hour,
		services: map[string]ServiceAccount{}, apps: map[string]Application{}, keys: map[string]AccessKey{},
		refresh: map[string]RefreshToken{}, tokens: map[string]token{},
	}
}

// AddServiceAccount makes a service account known at /oauth2/token.
func (p *Provider) AddServiceAccount(a ServiceAccount) {
	p.grants.mu.Lock()
	defer p.grants.mu.Unlock()
	p.grants.services[a.Email] = a
}

// AddApplication makes an application known at /{tenant}/oauth2/v2.0/token.
func (p *Provider) AddApplication(a Application) {
	p.grants.mu.Lock()
	defer p.grants.mu.Unlock()
	p.grants.apps[a.ClientID] = a
}

// AddAccessKey makes a key known to Bedrock and STS.
func (p *Provider) AddAccessKey(k AccessKey) {
	p.grants.mu.Lock()
	defer p.grants.mu.Unlock()
	p.grants.keys[k.ID] = k
}

// AddRefreshToken makes a refresh token known at /oauth/refresh.
func (p *Provider) AddRefreshToken(t RefreshToken) {
	p.grants.mu.Lock()
	defer p.grants.mu.Unlock()
	p.grants.refresh[t.Token] = t
}

// SetTokenLifetime says how long tokens live that are given out from now on; an hour until it is called.
func (p *Provider) SetTokenLifetime(d time.Duration) {
	p.grants.mu.Lock()
	defer p.grants.mu.Unlock()
	p.grants.lifetime = d
}

// RevokeTokens ends every token that was given out for the account.
func (p *Provider) RevokeTokens(account string) {
	g := p.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	for value, t := range g.tokens {
		if t.account == account {
			delete(g.tokens, value)
		}
	}
	for id, k := range g.keys {
		if k.Account == account && !k.expires.IsZero() {
			delete(g.keys, id)
		}
	}
}

// TokenRequests returns every question for a token, oldest first; the first 1000 are kept.
func (p *Provider) TokenRequests() []TokenRequest {
	p.grants.mu.Lock()
	defer p.grants.mu.Unlock()
	return slices.Clone(p.grants.asked)
}

func (g *grants) note(r TokenRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.asked) < maxViolations {
		g.asked = append(g.asked, r)
	}
}

// find is the token of that kind, if it has not expired.
func (g *grants) find(kind, value string, now time.Time) (token, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, ok := g.tokens[value]
	return t, ok && t.kind == kind && now.Before(t.expires)
}

// account is whose the token is; a credential that is no token is its own account.
func (g *grants) account(kind, credential string, now time.Time) string {
	if t, ok := g.find(kind, credential, now); ok {
		return t.account
	}
	return credential
}

// give makes a token.
func (g *grants) give(kind, account, project string, now time.Time) (value string, lifetime time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.given++
	value = fmt.Sprintf("fake-%s-token-%d", kind, g.given)
	g.tokens[value] = token{kind: kind, account: account, project: project, expires: now.Add(g.lifetime)}
	return value, g.lifetime
}

// rotate takes a refresh token away and gives its successor; false = it was not known, or used before.
func (g *grants) rotate(clientID, old string) (next RefreshToken, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next, ok = g.refresh[old]
	if !ok || next.ClientID != clientID {
		return RefreshToken{}, false
	}
	delete(g.refresh, old)
	g.given++
	next.Token = fmt.Sprintf("fake-refresher-%d", g.given)
	g.refresh[next.Token] = next
	return next, true
}

func (g *grants) key(id string, now time.Time) (k AccessKey, known, expired bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k, known = g.keys[id]
	return k, known, known && !k.expires.IsZero() && !now.Before(k.expires)
}

// assume makes a temporary key for a role.
func (g *grants) assume(by AccessKey, lifetime time.Duration, now time.Time) AccessKey {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.given++
	k := AccessKey{
		ID: fmt.Sprintf("ASIAFAKE%08d", g.given), Secret: fmt.Sprintf("fake-secret-%d", g.given),
		Session: fmt.Sprintf("fake-session-%d", g.given), Account: by.Account, expires: now.Add(lifetime),
	}
	g.keys[k.ID] = k
	return k
}
