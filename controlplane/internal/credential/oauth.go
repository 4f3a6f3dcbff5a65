package credential

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// The methods' own scopes and addresses.
const (
	googleScope = "https://www.googleapis.com/auth/cloud-platform"
	entraScope  = "https://cognitiveservices.azure.com/.default"
	entraHost   = "https://login.microsoftonline.com/"
)

// google exchanges an assertion that the service account's key signs (RFC 7523; Google's "service account" flow).
func (c *endpointClient) google(ctx context.Context, x *resourcev1.Exchange, keyFile string, now time.Time) (grant, error) {
	f, err := model.ParseKeyFile(keyFile)
	if err != nil {
		return grant{}, fmt.Errorf("the account's secret %w", err)
	}
	endpoint := or(x.GetTokenUrl(), f.TokenURL)
	assertion, err := signJWT(f.Key, f.KeyID, map[string]any{
		"iss": f.Email, "scope": or(x.GetScope(), googleScope), "aud": endpoint,
		// A minute back, for an endpoint whose clock is behind; an hour is the longest that Google takes.
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(59 * time.Minute).Unix(),
	})
	if err != nil {
		return grant{}, err
	}
	body, err := c.form(ctx, endpoint, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}})
	if err != nil {
		return grant{}, err
	}
	g, err := readToken(body)
	g.project, g.refresh = f.Project, ""
	return g, err
}

// signJWT makes a JSON web token with RS256 (RFC 7519, RFC 7515).
func signJWT(key *rsa.PrivateKey, keyID string, claims map[string]any) (string, error) {
	header := map[string]string{"alg": "RS256", "typ": "JWT"}
	if keyID != "" {
		header["kid"] = keyID
	}
	var parts [2]string
	for i, v := range []any{header, claims} {
		raw, err := json.Marshal(v)
		if err != nil {
			return "", errors.New("the assertion cannot be encoded")
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := parts[0] + "." + parts[1]
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", errors.New("the key file's key cannot sign")
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// entra exchanges an application's secret (RFC 6749 section 4.4).
func (c *endpointClient) entra(ctx context.Context, x *resourcev1.Exchange, secret string) (grant, error) {
	endpoint := or(x.GetTokenUrl(), entraHost+x.GetTenantId()+"/oauth2/v2.0/token")
	body, err := c.form(ctx, endpoint, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {x.GetClientId()}, "client_secret": {secret}, "scope": {or(x.GetScope(), entraScope)},
	})
	if err != nil {
		return grant{}, err
	}
	g, err := readToken(body)
	g.refresh = ""
	return g, err
}

// refresh exchanges a refresh token (RFC 6749 section 6).
func (c *endpointClient) refresh(ctx context.Context, x *resourcev1.Exchange, token string) (grant, error) {
	values := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	if x.GetClientId() != "" {
		values.Set("client_id", x.GetClientId())
	}
	if x.GetScope() != "" {
		values.Set("scope", x.GetScope())
	}
	body, err := c.form(ctx, x.GetTokenUrl(), values)
	if err != nil {
		return grant{}, err
	}
	g, err := readToken(body)
	if g.refresh == token {
		g.refresh = ""
	}
	return g, err
}

// readToken reads a token endpoint's good answer (RFC 6749 section 5.1).
func readToken(body []byte) (grant, error) {
	if !gjson.ValidBytes(body) {
		return grant{}, errors.New("the token endpoint's answer is not JSON")
	}
	answer := gjson.ParseBytes(body)
	if kind := answer.Get("token_type").String(); kind != "" && !strings.EqualFold(kind, "Bearer") {
		return grant{}, errors.New("the token endpoint gave a token that is not a bearer token")
	}
	g := grant{secret: answer.Get("access_token").String(), refresh: answer.Get("refresh_token").String(), life: defaultLife}
	if in := answer.Get("expires_in"); in.Exists() {
		// Seconds; some write them as a text. What is beyond any sense is cut here so that it cannot overflow.
		g.life = time.Duration(min(max(in.Float(), 0), maxLife.Seconds()) * float64(time.Second))
	}
	return g, nil
}

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}
