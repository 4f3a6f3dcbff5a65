package gateway

import (
	"bytes"
	"strconv"
	"strings"

	"fairway/dataplane/internal/provider"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/h1"
	"fairway/pkg/operation"
)

// buildHead writes the head of the upstream request for an account, with body. Only what the client said about the content
// passes: whatever concerns its connection, its credentials or who it is ends here.
func (x *exchange) buildHead(a *snapshot.Account, body []byte) {
	h := x.beginHead(a, body)
	if method := x.plan.Facts().Method; method == "POST" {
		h = append(h, "Content-Length: "...)
		h = strconv.AppendInt(h, int64(len(body)), 10)
		h = append(h, "\r\n"...)
	}
	h = append(h, "Accept-Encoding: identity\r\n"...)
	x.head = x.endHead(h, a.Channel, len(body) > 0)
}

// beginHead writes the request line, the host, and what makes the request the account's.
func (x *exchange) beginHead(a *snapshot.Account, body []byte) []byte {
	ch := a.Channel
	facts := x.plan.Facts()
	x.ask = provider.Request{
		Op: x.plan, Model: ch.UpstreamModel(x.model), ID: x.target.ID, Stream: x.upStream, Body: body, Now: x.now,
		Project: a.Project,
	}
	if facts.Pinned || facts.Model == operation.InQuery {
		x.ask.Query = x.target.Query
	}
	x.credentials = credentialOf(a)
	h := x.head[:0]
	h = append(h, facts.Method...)
	h = append(h, ' ')
	h = ch.Adapter.AppendTarget(h, &x.ask)
	h = append(h, " HTTP/1.1\r\nHost: "...)
	h = append(h, ch.BaseURL.Host...)
	h = append(h, "\r\n"...)
	h, x.secret = ch.Adapter.AppendHeaders(h, &x.ask, &x.credentials)
	return h
}

// endHead writes what passes of the client's headers, and what the channel sets.
func (x *exchange) endHead(h []byte, ch *snapshot.Channel, body bool) []byte {
	h = x.appendClientHeaders(h, ch, body)
	for _, set := range ch.Headers {
		h = appendHeader(h, set.Name, set.Value)
	}
	return append(h, "\r\n"...)
}

func appendHeader(h []byte, name, value string) []byte {
	h = append(h, name...)
	h = append(h, ": "...)
	h = append(h, value...)
	return append(h, "\r\n"...)
}

// appendClientHeaders copies, as they were spelt, the client's headers that pass and that the channel does not set.
// ingress has checked each line. A body without a type is JSON. Where the request was converted, hardly any header means
// anything to the upstream.
func (x *exchange) appendClientHeaders(h []byte, ch *snapshot.Channel, body bool) []byte {
	names := x.connectionNames()
	var typed bool
	var once onceHeaders
	for name, value := range x.in.Fields {
		if isName(name, "content-type") {
			if typed || x.converted {
				continue
			}
			typed = true
		} else if endsHere(name) || names && x.namedByConnection(name) || once.again(name) {
			continue
		}
		if x.converted && !isOneOf(name, crossing[:]) {
			continue
		}
		if overridden(ch.Headers, name) || ch.Adapter.OwnsHeader(name) || len(ch.Removes) > 0 && isOneOf(name, ch.Removes) {
			continue
		}
		h = append(h, name...)
		h = append(h, ": "...)
		h = append(h, value...)
		h = append(h, "\r\n"...)
	}
	if body && !typed && !overridden(ch.Headers, []byte("content-type")) {
		h = append(h, "Content-Type: application/json\r\n"...)
	}
	for _, d := range ch.Defaults {
		if x.in.Count(strings.ToLower(d.Name)) == 0 || x.converted {
			h = appendHeader(h, d.Name, d.Value)
		}
	}
	return h
}

// crossing are the headers of a client that mean the same in every dialect.
var crossing = [...]string{ //nolint:gochecknoglobals // a constant table; Go has no constant of this type
	"user-agent", "accept-language", "traceparent", "tracestate", "baggage",
}

// isName compares a header's name with one in lower case.
func isName(name []byte, lower string) bool { return h1.Is(name, lower) }

func hasPrefix(name []byte, lower string) bool {
	return len(name) >= len(lower) && name[0]|0x20 == lower[0] && h1.Is(name[:len(lower)], lower)
}

// endsHere says whether a client's header stays with us: it belongs to the connection, it is a credential, it says who
// or where the client is, or it is ours to set. Names of organisations and projects go with the credential: a foreign
// one would make the upstream refuse the account.
func endsHere(name []byte) bool {
	for _, prefix := range [...]string{"x-forwarded-", "proxy-", "x-fairway-", "cf-", "x-original-", "sec-websocket-"} {
		if hasPrefix(name, prefix) {
			return true
		}
	}
	return isOneOf(name, endingHere[:])
}

// endingHere are the headers of endsHere by name.
var endingHere = [...]string{ //nolint:gochecknoglobals // a constant table; Go has no constant of this type
	// Of the connection.
	"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect",
	// Credentials.
	"authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie", "cookie2", "openai-organization", "openai-project",
	// Who the client is, and how it came here.
	"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "x-request-id",
	// A page's origin is who the client is; upstreams must not decide by it.
	"origin",
	// Ours to set.
	"host", "content-length", "accept-encoding",
}

// isOneOf says whether a header's name, in any case, is among names in lower case.
func isOneOf(name []byte, names []string) bool {
	for _, n := range names {
		if len(n) == len(name) && name[0]|0x20 == n[0] && isName(name, n) {
			return true
		}
	}
	return false
}

// connectionNames says whether any Connection header names more than what it says about the connection itself.
func (x *exchange) connectionNames() bool {
	for name, value := range x.in.Fields {
		if isName(name, "connection") && !isName(value, "close") && !isName(value, "keep-alive") {
			return true
		}
	}
	return false
}

// namedByConnection says whether a Connection header makes name hop-by-hop.
func (x *exchange) namedByConnection(name []byte) bool {
	for n, value := range x.in.Fields {
		if !isName(n, "connection") {
			continue
		}
		for len(value) > 0 {
			item, rest, _ := bytes.Cut(value, []byte{','})
			if bytes.EqualFold(bytes.Trim(item, " \t"), name) {
				return true
			}
			value = rest
		}
	}
	return false
}

// onceHeaders are headers of which the first counts.
type onceHeaders struct{ accept, agent, idempotency bool }

func (o *onceHeaders) again(name []byte) bool {
	var met *bool
	switch {
	case isName(name, "accept"):
		met = &o.accept
	case isName(name, "user-agent"):
		met = &o.agent
	case isName(name, "idempotency-key"):
		met = &o.idempotency
	default:
		return false
	}
	was := *met
	*met = true
	return was
}

func overridden(set []snapshot.Header, name []byte) bool {
	for i := range set {
		if len(set[i].Name) == len(name) && strings.EqualFold(set[i].Name, string(name)) {
			return true
		}
	}
	return false
}

// passesBack says whether a header of an upstream's response goes on to the client.
func passesBack(name []byte) bool {
	for _, prefix := range [...]string{"proxy-", "x-fairway-", "cf-", "set-cookie"} {
		if hasPrefix(name, prefix) {
			return false
		}
	}
	return !isOneOf(name, stayingBack[:])
}

// stayingBack are the headers of passesBack by name: those of the connection or of the upstream's host, those that would
// send the client somewhere else, and those that are ours to say.
var stayingBack = [...]string{ //nolint:gochecknoglobals // a constant table; Go has no constant of this type
	"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "content-encoding",
	"server", "via", "alt-svc", "strict-transport-security", "location", "www-authenticate", "x-should-retry",
}

// isUpstreamID says whether a header is the upstream's name for the request; ours has the same.
func isUpstreamID(name []byte) bool {
	return isName(name, "x-request-id") || isName(name, "request-id")
}

// mask overwrites the account's secret in p, wherever it is. Its length stays, so no framing changes.
func (x *exchange) mask(p []byte) { maskSecret(p, x.head[x.secret.Start:x.secret.End]) }

// shortestSecret is from which length on a secret is looked for: a shorter one could be any word.
const shortestSecret = 8

func maskSecret(p, secret []byte) {
	if len(secret) < shortestSecret {
		return
	}
	for {
		i := bytes.Index(p, secret)
		if i < 0 {
			return
		}
		for j := range secret {
			p[i+j] = '*'
		}
		p = p[i+len(secret):]
	}
}
