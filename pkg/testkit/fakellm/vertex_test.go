package fakellm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	vertexPath = "/v1/projects/proj/locations/global/publishers/google/models/fake-large:"
	claudeVia  = "/v1/projects/proj/locations/us-east5/publishers/anthropic/models/fake-large:"
	vertexBody = `{"contents":[{"role":"user","parts":[{"text":"one two three"}]}]}`
)

// googleClient is one with a service account.
type googleClient struct {
	t     *testing.T
	s     *Server
	clock *clock
	key   *rsa.PrivateKey
}

func startGoogle(t *testing.T) (*Provider, *googleClient) {
	t.Helper()
	c := &clock{}
	p, s := startAt(t, c, "gcp")
	// Short, for it is made often and guards nothing.
	const bits = 1024
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	p.AddServiceAccount(ServiceAccount{
		Email: "fake@proj.iam.gserviceaccount.com", KeyID: "k1", Key: &key.PublicKey, Project: "proj", Account: "gcp",
	})
	return p, &googleClient{t, s, c, key}
}

// jwt is a good assertion, but for what change does to it.
func (g *googleClient) jwt(change func(head, claims map[string]any)) string {
	g.t.Helper()
	now := g.clock.now().Unix()
	head := map[string]any{"alg": "RS256", "typ": "JWT", "kid": "k1"}
	claims := map[string]any{
		"iss": "fake@proj.iam.gserviceaccount.com", "scope": "https://www.googleapis.com/auth/cloud-platform",
		"aud": g.s.URL() + "/oauth2/token", "iat": now, "exp": now + 3600,
	}
	if change != nil {
		change(head, claims)
	}
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			g.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(head) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	signed, err := rsa.SignPKCS1v15(rand.Reader, g.key, crypto.SHA256, sum[:])
	if err != nil {
		g.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signed)
}

func (g *googleClient) exchange(path string, form url.Values) (int, string) {
	g.t.Helper()
	w := dial(g.t, g.s)
	w.send(g.t, post(g.s, path, form.Encode(), "application/json", "application/x-www-form-urlencoded",
		"Authorization: Bearer "+credential+"\r\n", ""))
	resp, text, err := w.answer(g.t)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, text
}

func (g *googleClient) token(assertion string) (int, string) {
	g.t.Helper()
	return g.exchange("/oauth2/token", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion},
	})
}

func (g *googleClient) ask(bearer, path, body string) (*http.Response, string) {
	g.t.Helper()
	w := dial(g.t, g.s)
	w.send(g.t, post(g.s, path, body, credential, bearer))
	resp, text, err := w.answer(g.t)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp, text
}

func TestVertex(t *testing.T) {
	p, g := startGoogle(t)
	status, text := g.token(g.jwt(nil))
	if status != 200 || text != `{"access_token":"fake-google-token-1","expires_in":3600,"token_type":"Bearer"}` {
		t.Fatalf("%d %s", status, text)
	}
	const bearer = "fake-google-token-1"
	const version = `"anthropic_version":"vertex-2023-10-16","max_tokens":2,"messages":[{"role":"user","content":"one two three"}]`
	tests := map[string]struct {
		path, body string
		status     int
		want       []string
	}{
		"whole": {vertexPath + "generateContent", vertexBody, 200, []string{
			`"parts":[{"text":"Hello! This is the fake provider."}]`, `"finishReason":"STOP"`,
			`"promptTokenCount":3,"candidatesTokenCount":6,"totalTokenCount":9`,
		}},
		"stream": {vertexPath + "streamGenerateContent?alt=sse", vertexBody, 200, []string{
			`data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hello! "}]}}],"usageMetadata":`,
			`{"text":"provider."}]},"finishReason":"STOP"}]`, "}\r\n\r\n",
		}},
		"array":  {vertexPath + "streamGenerateContent", vertexBody, 200, []string{"[{\"candidates\"", "\n,\r\n{", "}\n]"}},
		"count":  {vertexPath + "countTokens", vertexBody, 200, []string{`{"totalTokens":3,`}},
		"labels": {vertexPath + "generateContent", strings.Replace(vertexBody, "{", `{"labels":{"fakellm_cached":"2"},`, 1), 200, []string{`"cachedContentTokenCount":2`}},
		"a call": {
			vertexPath + "generateContent", strings.Replace(vertexBody, "{", `{"generationConfig":{"thinkingConfig":{"includeThoughts":true}},`+
				`"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","required":["a"],"properties":{"a":{"type":"STRING"}}}}]}],`, 1),
			200, []string{`{"thought":true,"text":"I am thinking`, `{"functionCall":{"name":"f","args":{"a":"fake"}},"thoughtSignature":"`, `"thoughtsTokenCount":8`},
		},
		"a thought lost": {
			vertexPath + "generateContent", `{"generationConfig":{"thinkingConfig":{"includeThoughts":true}},"contents":[{"role":"user","parts":[{"text":"x"}]},` +
				`{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{}}}]}]}`,
			400, []string{"missing a thought_signature", `"status":"INVALID_ARGUMENT"`},
		},
		"unknown field": {vertexPath + "generateContent", `{"messages":[]}`, 400, []string{`Unknown name \"messages\": Cannot find field.`}},
		"no verb":       {vertexPath + "predict", vertexBody, 404, []string{`"status":"NOT_FOUND"`}},
		"other project": {strings.Replace(vertexPath, "/proj/", "/x/", 1) + "generateContent", vertexBody, 403, []string{`"status":"PERMISSION_DENIED"`}},
		"claude":        {claudeVia + "rawPredict", "{" + version + "}", 200, []string{`"text":"Hello! This "`, `"stop_reason":"max_tokens"`}},
		"claude, stream": {claudeVia + "streamRawPredict", `{"stream":true,` + version + "}", 200, []string{
			"event: message_start\ndata: {", `"delta":{"type":"text_delta","text":"This "}`, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		}},
		"claude, no stream": {claudeVia + "streamRawPredict", "{" + version + "}", 400, []string{"stream: must be true"}},
		"claude, model":     {claudeVia + "rawPredict", `{"model":"x",` + version + "}", 400, []string{"model: Extra inputs"}},
		"claude, version":   {claudeVia + "rawPredict", strings.Replace("{"+version+"}", "vertex", "bedrock", 1), 400, []string{"anthropic_version"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			resp, text := g.ask(bearer, test.path, test.body)
			if resp.StatusCode != test.status {
				t.Errorf("%s %s", resp.Status, text)
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s, want %s", text, want)
				}
			}
			if name == "array" && !json.Valid([]byte(text)) {
				t.Errorf("the array is no JSON: %s", text)
			}
		})
	}
	if got := p.Books().Credentials["gcp"]; got.Finished != 8 || got.Finished != got.Started {
		t.Errorf("books %+v", got)
	}
	for _, other := range []string{"gcp", "fake-google-token-2"} {
		if resp, text := g.ask(other, vertexPath+"generateContent", vertexBody); resp.StatusCode != 401 ||
			!strings.Contains(text, "UNAUTHENTICATED") {
			t.Errorf("%s: %s %s", other, resp.Status, text)
		}
	}
	p.SetBehaviour("gcp", Status(http.StatusServiceUnavailable, "", 0))
	if resp, text := g.ask(bearer, vertexPath+"generateContent", vertexBody); resp.StatusCode != 503 ||
		!strings.Contains(text, `"status":"UNAVAILABLE"`) {
		t.Errorf("%s %s", resp.Status, text)
	}
	p.SetBehaviour("gcp", Healthy())
	g.clock.pass(time.Hour)
	if resp, _ := g.ask(bearer, vertexPath+"generateContent", vertexBody); resp.StatusCode != 401 {
		t.Errorf("an expired token: %s", resp.Status)
	}
}

func TestServiceAccounts(t *testing.T) {
	tests := map[string]struct {
		change func(head, claims map[string]any)
		want   string
	}{
		"good":           {nil, "access_token"},
		"unknown":        {func(_, c map[string]any) { c["iss"] = "x" }, "account not found"},
		"algorithm":      {func(h, _ map[string]any) { h["alg"] = "none" }, "Invalid JWT Signature"},
		"key id":         {func(h, _ map[string]any) { h["kid"] = "k2" }, "Invalid JWT Signature"},
		"audience":       {func(_, c map[string]any) { c["aud"] = "https://other/oauth2/token" }, "Failed audience check"},
		"expired":        {func(_, c map[string]any) { c["exp"], c["iat"] = 1, 0 }, "short-lived token"},
		"too long":       {func(_, c map[string]any) { c["exp"] = c["iat"].(int64) + 3601 }, "short-lived token"},
		"in the future":  {func(_, c map[string]any) { c["iat"] = c["iat"].(int64) + 600 }, "short-lived token"},
		"another scope":  {func(_, c map[string]any) { c["scope"] = "email" }, "invalid_scope"},
		"without claims": {func(_, c map[string]any) { clear(c) }, "account not found"},
	}
	p, g := startGoogle(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, text := g.token(g.jwt(test.change))
			if (status == 200) != (name == "good") || !strings.Contains(text, test.want) {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	good := g.jwt(nil)
	for name, bad := range map[string]string{"cut": good[:len(good)-4], "no JWT": "x", "other": good + "." + good} {
		if status, text := g.token(bad); status != 400 || !strings.Contains(text, "invalid_grant") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, text := g.exchange("/oauth2/token", url.Values{"grant_type": {"x"}}); status != 400 || !strings.Contains(text, "unsupported_grant_type") {
		t.Errorf("%d %s", status, text)
	}
	granted := 0
	for _, r := range p.TokenRequests() {
		if r.Granted {
			granted++
		}
	}
	if got := fmt.Sprint(len(p.TokenRequests()), granted); got != "14 1" {
		t.Errorf("asked and granted %s", got)
	}
	// The endpoint has a behaviour of its own.
	p.SetBehaviour("token:gcp", Behaviour{StatusCode: http.StatusServiceUnavailable, Times: 1})
	for _, want := range []int{503, 200} {
		if status, text := g.token(g.jwt(nil)); status != want {
			t.Errorf("%d %s, want %d", status, text, want)
		}
	}
	p.RevokeTokens("gcp")
	if resp, _ := g.ask("fake-google-token-2", vertexPath+"generateContent", vertexBody); resp.StatusCode != 401 {
		t.Errorf("a revoked token: %s", resp.Status)
	}
}

// A refresh token works once, and its successor after it.
func TestRefresh(t *testing.T) {
	p, g := startGoogle(t)
	p.AddRefreshToken(RefreshToken{ClientID: "cli", Token: "first", Account: "gcp"})
	p.SetTokenLifetime(time.Minute)
	turn := func(token, client string) (int, string) {
		return g.exchange("/oauth/refresh", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {client}})
	}
	status, text := turn("first", "cli")
	want := `{"access_token":"fake-refresh-token-2","token_type":"Bearer","expires_in":60,"refresh_token":"fake-refresher-1"}`
	if status != 200 || text != want {
		t.Fatalf("%d %s", status, text)
	}
	for name, bad := range map[string][2]string{
		"an old one": {"first", "cli"}, "an unknown one": {"x", "cli"}, "another client": {"fake-refresher-1", "x"},
	} {
		if status, text := turn(bad[0], bad[1]); status != 400 || !strings.Contains(text, "invalid_grant") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, text := turn("fake-refresher-1", "cli"); status != 200 {
		t.Errorf("the next one: %d %s", status, text)
	}
	if resp, text := g.ask("fake-refresh-token-2", chatPath, chatBody); resp.StatusCode != 200 || p.Books().Credentials["gcp"].Finished != 1 {
		t.Errorf("%s %s", resp.Status, text)
	}
	g.clock.pass(time.Minute)
	if resp, _ := g.ask("fake-refresh-token-2", chatPath, chatBody); resp.StatusCode != 401 {
		t.Errorf("an expired token: %s", resp.Status)
	}
	w := dial(t, g.s)
	w.send(t, post(g.s, "/oauth/refresh", `{"grant_type":"refresh_token","refresh_token":"fake-refresher-3","client_id":"cli"}`,
		"Authorization: Bearer "+credential+"\r\n", ""))
	if resp, text, err := w.answer(t); err != nil || resp.StatusCode != 200 {
		t.Errorf("as JSON: %v %s %v", resp.Status, text, err)
	}
}
