package fakellm

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The endpoints that give out tokens. They count who asked, granted or not.
const (
	googleTokenPath  = "/oauth2/token"
	refreshPath      = "/oauth/refresh"
	entraTokenSuffix = "/oauth2/v2.0/token"
	stsPath          = "/"
)

// isGrant says whether a path is one of them.
func isGrant(path string) bool {
	return path == googleTokenPath || path == refreshPath || path == stsPath || strings.HasSuffix(path, entraTokenSuffix)
}

// oauthError is an error as RFC 6749 has it.
type oauthError struct {
	status            int
	code, description string
}

// serveGrant reads the form and hands it to the endpoint.
func (x *exchange) serveGrant() {
	if x.r.Method != http.MethodPost {
		x.refuse(x.unknownURL())
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, 1<<20))
	if err != nil {
		abort(x.w, FIN)
		return
	}
	if x.r.URL.Path == stsPath {
		x.serveSTS(body)
		return
	}
	values, ok := x.grantForm(body)
	if !ok {
		x.serveToken(grantGoogle, "", nil, &oauthError{http.StatusBadRequest, "invalid_request", "the body is not a form"})
		return
	}
	switch path := x.r.URL.Path; path {
	case googleTokenPath:
		service, problem := x.googleGrant(values)
		x.serveToken(grantGoogle, service.Account, map[string]any{"project": service.Project}, problem)
	case refreshPath:
		x.serveRefresh(values)
	default:
		tenant := strings.TrimPrefix(strings.TrimSuffix(path, entraTokenSuffix), "/")
		app, problem := x.entraGrant(tenant, values)
		x.serveToken(grantEntra, app.Account, nil, problem)
	}
}

// grantForm reads a form, or at the refresh endpoint the same names in JSON.
func (x *exchange) grantForm(body []byte) (url.Values, bool) {
	media, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil {
		return nil, false
	}
	if media == "application/json" && x.r.URL.Path == refreshPath {
		var members map[string]string
		if json.Unmarshal(body, &members) != nil {
			return nil, false
		}
		values := url.Values{}
		for name, value := range members {
			values.Set(name, value)
		}
		return values, true
	}
	values, err := url.ParseQuery(string(body))
	return values, err == nil && media == "application/x-www-form-urlencoded"
}

// serveToken answers with a token, or why there is none; before that, the behaviour of the endpoint has its say.
func (x *exchange) serveToken(kind, account string, more map[string]any, problem *oauthError) {
	if !x.grantBehaves(kind, account) {
		return
	}
	if problem != nil {
		x.p.grants.note(TokenRequest{Kind: kind, Account: account, Agent: x.r.UserAgent()})
		x.oauthFail(*problem)
		return
	}
	project, _ := more["project"].(string)
	value, lifetime := x.p.grants.give(kind, account, project, x.p.now())
	out := map[string]any{"access_token": value, "token_type": "Bearer", "expires_in": int64(lifetime.Seconds())}
	for name, v := range more {
		if name != "project" {
			out[name] = v
		}
	}
	if kind == grantEntra {
		out["ext_expires_in"] = out["expires_in"]
	}
	body, err := json.Marshal(out)
	if err != nil {
		// Strings and numbers always marshal.
		panic(err)
	}
	x.p.grants.note(TokenRequest{Kind: kind, Account: account, Agent: x.r.UserAgent(), Granted: true})
	x.w.Header().Set("Cache-Control", "no-store")
	x.writeJSON(body)
}

// grantBehaves does what the account's token endpoint is told; false = that was all.
func (x *exchange) grantBehaves(kind, account string) bool {
	behaviour, known := x.p.take("token:" + account)
	if !known || account == "" {
		return true
	}
	x.behaviour = behaviour
	fail := func() bool {
		x.p.grants.note(TokenRequest{Kind: kind, Account: account, Agent: x.r.UserAgent()})
		return false
	}
	if !x.pause(behaviour.Delay) || behaviour.Hold != nil && !x.hold() {
		return fail()
	}
	switch {
	case behaviour.CloseBeforeBytes:
		abort(x.w, FIN)
		return fail()
	case behaviour.StatusCode != 0:
		x.write(faultOf(behaviour.StatusCode, behaviour.ErrorCode), behaviour.RetryAfter)
		return fail()
	}
	return true
}

func (x *exchange) oauthFail(problem oauthError) {
	x.p.violate("%s %s: %s", x.r.Method, safePath(x.r), problem.description)
	out := appendString([]byte(`{"error":`), problem.code)
	out = append(appendString(append(out, `,"error_description":`...), problem.description), '}')
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	x.w.WriteHeader(problem.status)
	_, _ = x.w.Write(out)
}

// googleGrant checks a service account's JWT (RFC 7523, RS256).
func (x *exchange) googleGrant(values url.Values) (ServiceAccount, *oauthError) {
	refuse := func(format string, args ...any) (ServiceAccount, *oauthError) {
		return ServiceAccount{}, &oauthError{http.StatusBadRequest, "invalid_grant", fmt.Sprintf(format, args...)}
	}
	if got := values.Get("grant_type"); got != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return ServiceAccount{}, &oauthError{http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: " + got}
	}
	parts := strings.Split(values.Get("assertion"), ".")
	if len(parts) != 3 {
		return refuse("Bad Request: the assertion is not a JWT")
	}
	var head struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Scope    string `json:"scope"`
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
		Issued   int64  `json:"iat"`
	}
	signed, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !jwtPart(parts[0], &head) || !jwtPart(parts[1], &claims) {
		return refuse("Bad Request: the assertion cannot be decoded")
	}
	x.p.grants.mu.Lock()
	service, known := x.p.grants.services[claims.Issuer]
	x.p.grants.mu.Unlock()
	const longest, skew = time.Hour, 5 * time.Minute
	now, issued, expires := x.p.now(), time.Unix(claims.Issued, 0), time.Unix(claims.Expires, 0)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	switch {
	case !known:
		return refuse("Invalid grant: account not found")
	case head.Algorithm != "RS256" || head.KeyID != service.KeyID:
		return refuse("Invalid JWT Signature: alg %q, kid %q", head.Algorithm, head.KeyID)
	case rsa.VerifyPKCS1v15(service.Key, crypto.SHA256, sum[:], signed) != nil:
		return refuse("Invalid JWT Signature.")
	case claims.Audience != "http://"+x.r.Host+googleTokenPath && claims.Audience != "https://"+x.r.Host+googleTokenPath:
		return refuse("Invalid JWT: Failed audience check. The right audience is http://%s%s", x.r.Host, googleTokenPath)
	case !now.Before(expires) || expires.Sub(issued) > longest || issued.After(now.Add(skew)):
		return refuse("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your " +
			"iat and exp values in the JWT claim.")
	case !strings.Contains(claims.Scope, "https://www.googleapis.com/auth/cloud-platform"):
		return ServiceAccount{}, &oauthError{
			http.StatusBadRequest, "invalid_scope", "Invalid OAuth scope or ID token audience provided.",
		}
	}
	return service, nil
}

func jwtPart(encoded string, into any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	return err == nil && json.Unmarshal(raw, into) == nil
}

// entraGrant checks a client's credentials.
func (x *exchange) entraGrant(tenant string, values url.Values) (Application, *oauthError) {
	x.p.grants.mu.Lock()
	app, known := x.p.grants.apps[values.Get("client_id")]
	x.p.grants.mu.Unlock()
	scope := values.Get("scope")
	switch {
	case values.Get("grant_type") != "client_credentials":
		return Application{}, &oauthError{
			http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.",
		}
	case !known:
		return Application{}, &oauthError{
			http.StatusUnauthorized, "unauthorized_client", "AADSTS700016: Application was not found in the directory.",
		}
	case app.Tenant != tenant:
		return Application{}, &oauthError{
			http.StatusBadRequest, "invalid_request", fmt.Sprintf("AADSTS90002: Tenant '%s' not found.", tenant),
		}
	case values.Get("client_secret") != app.Secret:
		return Application{}, &oauthError{
			http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.",
		}
	case scope != "https://cognitiveservices.azure.com/.default" && scope != "https://ai.azure.com/.default":
		return Application{}, &oauthError{
			http.StatusBadRequest, "invalid_scope", "AADSTS1002012: The provided value for scope is not valid.",
		}
	}
	return app, nil
}

// serveRefresh changes a refresh token into an access token and the next refresh token. An old one is refused.
func (x *exchange) serveRefresh(values url.Values) {
	old, client := values.Get("refresh_token"), values.Get("client_id")
	x.p.grants.mu.Lock()
	owner := x.p.grants.refresh[old].Account
	x.p.grants.mu.Unlock()
	if !x.grantBehaves(grantRefresh, owner) {
		return
	}
	var next RefreshToken
	problem := &oauthError{http.StatusBadRequest, "invalid_grant", "the refresh token is unknown, or was used before"}
	if values.Get("grant_type") != "refresh_token" {
		problem.code, problem.description = "unsupported_grant_type", "grant_type must be refresh_token"
	} else if turned, ok := x.p.grants.rotate(client, old); ok {
		next, problem = turned, nil
	}
	if problem != nil {
		x.p.grants.note(TokenRequest{Kind: grantRefresh, Account: owner, Agent: x.r.UserAgent()})
		x.oauthFail(*problem)
		return
	}
	value, lifetime := x.p.grants.give(grantRefresh, next.Account, "", x.p.now())
	x.p.grants.note(TokenRequest{Kind: grantRefresh, Account: next.Account, Agent: x.r.UserAgent(), Granted: true})
	x.writeJSON(fmt.Appendf(nil, `{"access_token":%q,"token_type":"Bearer","expires_in":%d,"refresh_token":%q}`,
		value, int64(lifetime.Seconds()), next.Token))
}
