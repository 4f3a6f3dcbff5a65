package fakellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"path"
	"slices"
	"strings"
)

// What a gateway must never send to a provider. Identical copies of Content-Length are merged by net/http before this
// code sees them, so that one duplicate goes unseen.

// clientKeyMark begins every key of Fairway's clients; a provider must never see one.
const clientKeyMark = "sk-fw-"

// single says which headers may come once only.
func single(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Anthropic-Version", "Authorization", "Content-Length", "Content-Type", "Idempotency-Key",
		"Openai-Organization", "Openai-Project", "User-Agent", "X-Api-Key", "X-Goog-Api-Key":
		return true
	}
	return false
}

// forbidden says which headers end at the gateway: hop-by-hop ones (RFC 9110, 7.6.1), those that tell who the client
// is, and credentials other than the bearer.
func forbidden(name string) bool {
	switch name {
	case "Api-Key", "Cf-Connecting-Ip", "Cookie", "Cookie2", "Forwarded", "Keep-Alive", "Te", "Trailer", "True-Client-Ip",
		"Upgrade", "Via", "X-Api-Key", "X-Client-Ip", "X-Goog-Api-Key", "X-Real-Ip":
		return true
	}
	return strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "X-Fairway-") ||
		strings.HasPrefix(name, "X-Forwarded-")
}

// inspectHead returns what is wrong with a request's head, in a fixed order.
func (p *Provider) inspectHead(r *http.Request) []*apiError {
	var found []*apiError
	bad := func(param, format string, args ...any) {
		found = append(found, badRequest("gateway_violation", param, format, args...))
	}
	if strings.Contains(r.RequestURI, clientKeyMark) {
		bad("url", "a client key is in the request target")
	}
	if r.URL.IsAbs() || r.URL.Path != path.Clean(r.URL.Path) {
		bad("url", "the request target is not a clean origin-form path")
	}
	if own, names := p.ownHost(r.Host); !own {
		bad("host", "host %q is not this server's, which is %s", r.Host, strings.Join(names, " or "))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if n := len(r.Header.Values(name)); n > 1 && single(name) {
			bad(name, "header %s came %d times", name, n)
		}
		if forbidden(name) && (name != "Upgrade" || !isRealtime(r)) && !ownHeader(r, name) && name != voiceFor(r).keyHeader() {
			bad(name, "header %s must not come through", name)
		}
		for _, value := range r.Header.Values(name) {
			if strings.Contains(value, clientKeyMark) {
				bad(name, "a client key is in header %s", name)
			}
		}
	}
	for _, token := range tokens(r.Header.Values("Connection")) {
		if token != "keep-alive" && token != "close" && (token != "upgrade" || !isRealtime(r)) {
			bad("Connection", "header Connection names %q", token)
		}
	}
	for _, coding := range tokens(r.Header.Values("Accept-Encoding")) {
		if coding != "identity" {
			bad("Accept-Encoding", "header Accept-Encoding offers %q", coding)
		}
	}
	if r.Method == http.MethodPost && !isBatchCancel(r) {
		found = append(found, inspectBodyHead(r)...)
	}
	if isRealtime(r) {
		found = append(found, inspectUpgrade(r)...)
	}
	found = append(found, voiceFor(r).inspect(r)...)
	return found
}

func inspectBodyHead(r *http.Request) []*apiError {
	var found []*apiError
	want := bodyMedia(r.URL.Path)
	if r.ContentLength < 0 && want != multipartMedia {
		found = append(found, badRequest("gateway_violation", "Content-Length", "header Content-Length is missing"))
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if (err != nil || media != want) && want != "" {
		found = append(found, badRequest("gateway_violation", "Content-Type",
			"header Content-Type is %q, not %s", r.Header.Get("Content-Type"), want))
	} else if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		found = append(found, badRequest("gateway_violation", "Content-Type", "charset %q is not utf-8", charset))
	}
	return found
}

// tokens splits header values at commas and lowers them.
func tokens(values []string) []string {
	var out []string
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.ToLower(textproto.TrimString(part)); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// bearer takes the credential out of the Authorization header.
func bearer(r *http.Request) (string, *apiError) {
	unauthorized := func(code, message string) *apiError {
		return &apiError{status: http.StatusUnauthorized, kind: "invalid_request_error", code: code, message: message}
	}
	value := r.Header.Get("Authorization")
	if value == "" {
		return "", unauthorized("", "You didn't provide an API key.")
	}
	credential, ok := strings.CutPrefix(value, "Bearer ")
	if !ok || credential == "" || strings.ContainsAny(credential, " \t,") {
		return "", unauthorized("invalid_api_key", "header Authorization is not one bearer credential")
	}
	return credential, nil
}

// inspectBody returns what is wrong with a body: it must be one JSON object, nothing after it, no name twice on its top
// level, and no client key anywhere.
func inspectBody(body []byte) *apiError {
	if bytes.Contains(body, []byte(clientKeyMark)) {
		return badRequest("gateway_violation", "body", "a client key is in the body")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	first, err := d.Token()
	if err != nil {
		return badRequest("gateway_violation", "body", "the body is not JSON: %s", plain(err))
	}
	if first != json.Delim('{') {
		return badRequest("gateway_violation", "body", "the body is not a JSON object")
	}
	seen := map[string]struct{}{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return badRequest("gateway_violation", "body", "the body is not JSON: %s", plain(err))
		}
		key, _ := name.(string)
		if _, twice := seen[key]; twice {
			return badRequest("gateway_violation", key, "the body has %q twice", key)
		}
		seen[key] = struct{}{}
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return badRequest("gateway_violation", "body", "the body is not JSON: %s", plain(err))
		}
	}
	if _, err := d.Token(); err != nil {
		return badRequest("gateway_violation", "body", "the body is not JSON: %s", plain(err))
	}
	if rest := bytes.Trim(body[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return badRequest("gateway_violation", "body", "%d bytes after the JSON object", len(rest))
	}
	return nil
}

// plain says what a decoder found without quoting the body.
func plain(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return fmt.Sprintf("syntax error at byte %d", syntax.Offset)
	}
	return "it cannot be decoded"
}
