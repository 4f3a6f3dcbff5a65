package traffic

import (
	"fmt"
	"net/http"
	"strings"
)

// kind is what a failure means to whoever runs Fairway.
type kind int

const (
	other kind = iota
	connect
	timeout
	dropped
	cutOff
	strange
	badKey
	notAllowed
	unknown
	limited
	badRequest
	unavailable
	upstream
)

func kindOf(status int) kind {
	switch status {
	case http.StatusUnauthorized:
		return badKey
	case http.StatusForbidden, http.StatusPaymentRequired:
		return notAllowed
	case http.StatusNotFound:
		return unknown
	case http.StatusTooManyRequests:
		return limited
	case http.StatusServiceUnavailable, 529: // Anthropic's word for the same
		return unavailable
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return timeout
	}
	switch {
	case status >= 500:
		return upstream
	case status >= 400:
		return badRequest
	}
	return strange
}

// advise says what the failure means, and which command to type next.
func (f *Failure) advise(o Options) {
	explain := "fairway explain --key KEY --model " + quote(o.Model)
	if f.RequestID != "" {
		explain = "fairway explain --request-id " + f.RequestID
	}
	switch f.kind {
	case connect:
		f.Means = fmt.Sprintf("nobody answers at %s: no proxy runs there, or something is in between", o.URL)
		f.Next = "fairway status"
	case timeout:
		f.Means = "answers take longer than --timeout or a deadline of the group: the upstream is slow, or the proxy is overloaded"
		f.Next = "fairway top"
	case dropped:
		f.Means = "the connection was closed before an answer began: the proxy stopped, or something is in between"
		f.Next = "fairway status"
	case cutOff:
		f.Means = "the answer began and did not end well, so that no other account could be tried: the upstream failed in the middle"
		f.Next = explain
	case strange:
		f.Means = "what answers does not speak this API: look at --url and --dialect"
		f.Next = "fairway status"
	case badKey:
		f.Means = "the key is not known, disabled or expired"
		f.Next = "fairway key list"
	case notAllowed:
		f.Means = "the key may not do that: its models, its addresses or its budget"
		f.Next = "fairway key list"
	case unknown:
		f.Means = "no channel of the key's group serves the model"
		f.Next = "fairway explain --key KEY --model " + quote(o.Model)
	case limited:
		f.Means = "a limit is reached: the key's own, or that of every account which could serve"
		f.Next = "fairway top --once"
	case badRequest:
		f.Means = "the request is refused as it is: the model may not take it (see --max-tokens)"
		f.Next = explain
	case unavailable:
		f.Means = "no account could serve: all that could rest, are full or disabled, or there are none"
		f.Next = explain
		if f.Code == "overloaded" {
			f.Means, f.Next = "the proxy has as much to do as it may: add proxies, or send less", "fairway top"
		}
	case upstream:
		f.Means = "the upstream failed, with every account that was tried"
		f.Next = explain
	case other:
		f.Means = "more kinds of failures than are told apart"
		f.Next = "fairway top --once"
	}
}

// quote makes a model's name safe to paste into a shell.
func quote(s string) string {
	if token(s) == s && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
