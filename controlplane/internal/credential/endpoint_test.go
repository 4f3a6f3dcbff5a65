package credential

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// endpoint is where tokens are given out: four services on one loopback port, each as strict as the real one. It counts
// what it gave, and fails the test for what it would have refused.
type endpoint struct {
	t   *testing.T
	url string
	key *rsa.PrivateKey

	mu      sync.Mutex
	given   map[string]int // per account: the client's id, the role's name, …
	asked   int
	life    int // seconds
	status  int // 0 = serve; else answer this
	body    string
	current map[string]string // per OAuth client: the one refresh token that is good
	reused  int               // refresh tokens that were used twice
	hold    chan struct{}     // not nil: refreshed answers wait until it is closed
	holding chan struct{}     // gets one for each that waits
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{t: t, key: key, given: map[string]int{}, life: 3600, current: map[string]string{}, holding: make(chan struct{}, 16)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /google", e.google)
	mux.HandleFunc("POST /entra", e.entra)
	mux.HandleFunc("POST /oauth", e.oauth)
	mux.HandleFunc("POST /sts", e.sts)
	mux.HandleFunc("POST /elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/oauth", http.StatusTemporaryRedirect)
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.asked++
		status, body := e.status, e.body
		e.mu.Unlock()
		if status != 0 {
			raw, _ := io.ReadAll(r.Body)
			w.WriteHeader(status)
			fmt.Fprintf(w, body, raw)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	e.url = srv.URL
	return e
}

// locked runs fn while no request is served.
func (e *endpoint) locked(fn func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fn()
}

func (e *endpoint) count(who string) (n int) {
	e.locked(func() { n = e.given[who] })
	return n
}

// give counts a token and names it after whom it is for.
func (e *endpoint) give(who string) (token string, life int) {
	e.locked(func() {
		e.given[who]++
		token, life = fmt.Sprintf("token-%s-%d", who, e.given[who]), e.life
	})
	return token, life
}

func (e *endpoint) check(ok bool, w http.ResponseWriter, format string, args ...any) bool {
	if !ok {
		e.t.Errorf("the endpoint would refuse: "+format, args...)
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
	}
	return ok
}

func (e *endpoint) answer(w http.ResponseWriter, who string, more map[string]any) {
	token, life := e.give(who)
	out := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": life}
	for k, v := range more {
		out[k] = v
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// google verifies the assertion: signature, header and claims.
func (e *endpoint) google(w http.ResponseWriter, r *http.Request) {
	if !e.check(r.FormValue("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer", w, "grant type %q", r.FormValue("grant_type")) {
		return
	}
	parts := strings.Split(r.FormValue("assertion"), ".")
	if !e.check(len(parts) == 3, w, "an assertion of %d parts", len(parts)) {
		return
	}
	var header struct{ Alg, Typ, Kid string }
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	for i, to := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if !e.check(err == nil && json.Unmarshal(raw, to) == nil, w, "part %d of the assertion", i) {
			return
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	ok := err == nil && rsa.VerifyPKCS1v15(&e.key.PublicKey, crypto.SHA256, digest[:], signature) == nil
	if !e.check(ok, w, "the assertion's signature") ||
		!e.check(header.Alg == "RS256" && header.Typ == "JWT" && header.Kid == "kid-1", w, "header %+v", header) ||
		!e.check(claims.Aud == e.url+"/google" && claims.Scope == googleScope, w, "claims %+v", claims) ||
		!e.check(claims.Exp-claims.Iat == 3600, w, "a life of %ds", claims.Exp-claims.Iat) {
		return
	}
	e.answer(w, claims.Iss, nil)
}

func (e *endpoint) entra(w http.ResponseWriter, r *http.Request) {
	if !e.check(r.FormValue("grant_type") == "client_credentials" && r.FormValue("scope") == entraScope, w, "form %v", r.Form) ||
		!e.check(r.FormValue("client_secret") == "secret of "+r.FormValue("client_id") || r.FormValue("client_secret") == "other", w, "the client's secret") {
		return
	}
	who := r.FormValue("client_id")
	if r.FormValue("client_secret") == "other" {
		who = "other"
	}
	e.answer(w, who, nil)
}

// oauth gives a new refresh token each time, and remembers only that one: whoever uses an old one is a thief to it.
func (e *endpoint) oauth(w http.ResponseWriter, r *http.Request) {
	if !e.check(r.FormValue("grant_type") == "refresh_token", w, "grant type %q", r.FormValue("grant_type")) {
		return
	}
	client, token := r.FormValue("client_id"), r.FormValue("refresh_token")
	var next string
	var hold chan struct{}
	e.locked(func() {
		good := e.current[client]
		if good == "" {
			good = "refresh-" + client + "-0"
		}
		if token != good {
			e.reused++
			return
		}
		next = fmt.Sprintf("refresh-%s-%d", client, e.given[client]+1)
		e.current[client] = next
		hold = e.hold
	})
	if next == "" {
		http.Error(w, `{"error":"invalid_grant","error_description":"`+token+` was used before"}`, http.StatusBadRequest)
		return
	}
	if hold != nil {
		e.holding <- struct{}{}
		<-hold
	}
	e.answer(w, client, map[string]any{"refresh_token": next})
}

// sts verifies the signature (AWS Signature Version 4) by its published steps, without the signer's code.
func (e *endpoint) sts(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, err := url.ParseQuery(string(body))
	if !e.check(err == nil && form.Get("Action") == "AssumeRole" && form.Get("Version") == "2011-06-15" && form.Get("RoleSessionName") != "", w, "form %q", body) {
		return
	}
	auth := strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	fields := map[string]string{}
	for part := range strings.SplitSeq(auth, ", ") {
		k, v, _ := strings.Cut(part, "=")
		fields[k] = v
	}
	scope := strings.SplitN(fields["Credential"], "/", 2)
	if !e.check(len(scope) == 2, w, "authorization %q", r.Header.Get("Authorization")) {
		return
	}
	names := strings.Split(fields["SignedHeaders"], ";")
	if !e.check(slices.Contains(names, "host") && slices.Contains(names, "x-amz-date"), w, "signed headers %v", names) {
		return
	}
	var headers strings.Builder
	for _, n := range names {
		v := strings.Join(r.Header.Values(n), ",")
		if n == "host" {
			v = r.Host
		}
		if n == "content-length" {
			v = fmt.Sprint(r.ContentLength)
		}
		fmt.Fprintf(&headers, "%s:%s\n", n, strings.TrimSpace(v))
	}
	canonical := strings.Join([]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, headers.String(), fields["SignedHeaders"], hashed(body)}, "\n")
	date := r.Header.Get("X-Amz-Date")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", date, scope[1], hashed([]byte(canonical))}, "\n")
	key := []byte("AWS4secret of " + scope[0])
	for part := range strings.SplitSeq(scope[1], "/") {
		key = mac(key, part)
	}
	want := strings.Join([]string{date[:8], "eu-west-3", "sts", "aws4_request"}, "/")
	if !e.check(scope[1] == want, w, "scope %q, want %q", scope[1], want) ||
		!e.check(hex.EncodeToString(mac(key, toSign)) == fields["Signature"], w, "the signature of\n%s", canonical) {
		return
	}
	_, role, _ := strings.Cut(form.Get("RoleArn"), "role/")
	token, life := e.give(role)
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser>
<AssumedRoleId>AROA:fairway</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/x/fairway</Arn></AssumedRoleUser><Credentials>
<AccessKeyId>ASIA-%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>session-%s</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>`,
		role, token, role, time.Now().Add(time.Duration(life)*time.Second).UTC().Format(time.RFC3339))
}

func hashed(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// keyFile is a service account's, as Google's console gives it out.
func (e *endpoint) keyFile(email string) string {
	der, err := x509.MarshalPKCS8PrivateKey(e.key)
	if err != nil {
		e.t.Fatal(err)
	}
	raw, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "project-1", "private_key_id": "kid-1", "client_email": email, "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": e.url + "/google",
		"auth_uri": "https://accounts.google.com/o/oauth2/auth", "universe_domain": "googleapis.com",
	}, "", "  ")
	if err != nil {
		e.t.Fatal(err)
	}
	return string(raw)
}
