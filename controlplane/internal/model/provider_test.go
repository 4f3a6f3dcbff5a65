package model

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestCheckProviders(t *testing.T) {
	type channel = resourcev1.Channel
	type account = resourcev1.Account
	const (
		anthropic, azure = resourcev1.Provider_PROVIDER_ANTHROPIC, resourcev1.Provider_PROVIDER_AZURE_OPENAI
		bedrock, vertex  = resourcev1.Provider_PROVIDER_BEDROCK, resourcev1.Provider_PROVIDER_VERTEX
		compatible       = resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE
		google, entra    = resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT, resourcev1.ExchangeMethod_EXCHANGE_METHOD_ENTRA_CLIENT_SECRET
		assume, refresh  = resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE, resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH
		set, remove      = resourcev1.RuleAction_RULE_ACTION_SET, resourcev1.RuleAction_RULE_ACTION_REMOVE
		byDefault        = resourcev1.RuleAction_RULE_ACTION_DEFAULT
		rename           = resourcev1.RuleAction_RULE_ACTION_RENAME
		arn              = "arn:aws:iam::123456789012:role/path/bedrock"
	)
	ch := func(change func(*channel)) Resource { return with(validChannel("n", "n"), change) }
	of := func(p resourcev1.Provider, change func(*channel)) Resource {
		return ch(func(c *channel) { c.Provider, c.BaseUrl = p, ""; change(c) })
	}
	parameter := func(action resourcev1.RuleAction, path, value string) Resource {
		return ch(func(c *channel) {
			c.Parameters = []*resourcev1.ParameterRule{{Action: remove, Path: "x"}, {Action: action, Path: path, Value: value}}
		})
	}
	header := func(action resourcev1.RuleAction, name, value string) Resource {
		return ch(func(c *channel) {
			c.HeaderRules = []*resourcev1.HeaderRule{{Action: action, Name: name, Value: value}}
		})
	}
	mapping := func(pairs ...string) Resource {
		return ch(func(c *channel) {
			c.ModelMapping = map[string]string{}
			for i := 0; i < len(pairs); i += 2 {
				c.ModelMapping[pairs[i]] = pairs[i+1]
			}
		})
	}
	sealed := &resourcev1.Secret{Sealed: &resourcev1.SealedValue{Ciphertext: []byte("x")}}
	exchange := func(channel string, x *resourcev1.Exchange, change ...func(*account)) Resource {
		a := &account{Metadata: md("n", "n"), Channel: channel, Secret: sealed, Exchange: x}
		for _, c := range change {
			c(a)
		}
		return a
	}
	key := func(id string) func(*account) { return func(a *account) { a.AccessKeyId = id } }
	s := world().Apply(2, []Change{
		{Kind: KindChannel, ID: "v", New: with(validChannel("v", "vertex"), func(c *channel) { c.Provider = vertex })},
		{Kind: KindChannel, ID: "b", New: with(validChannel("b", "bedrock"), func(c *channel) { c.Provider = bedrock })},
		{Kind: KindChannel, ID: "z", New: with(validChannel("z", "azure"), func(c *channel) { c.Provider = azure })},
		{Kind: KindAccount, ID: "va", New: &account{Metadata: md("va", "va"), Channel: "vertex", Secret: sealed, Exchange: &resourcev1.Exchange{Method: google}}},
	})
	tests := []struct {
		name  string
		r     Resource
		param string // of the fault; "" = valid
		text  string // part of its message
	}{
		{"the provider's own address", of(anthropic, func(*channel) {}), "", ""},
		{"no address", of(azure, func(*channel) {}), "base_url", "is required"},
		{"no region", of(bedrock, func(*channel) {}), "region", "is needed"},
		{"region", of(bedrock, func(c *channel) { c.Region = "us-east-1" }), "", ""},
		{"address and no region", of(vertex, func(c *channel) { c.BaseUrl = "https://europe-west1-aiplatform.googleapis.com" }), "", ""},
		{"project", of(vertex, func(c *channel) { c.Region, c.Project = "global", "p" }), "", ""},
		{"region of another", of(anthropic, func(c *channel) { c.Region = "us-east-1" }), "region", "only"},
		{"project of another", of(bedrock, func(c *channel) { c.Region, c.Project = "us-east-1", "p" }), "project", "only"},
		{"version", of(azure, func(c *channel) { c.BaseUrl, c.ApiVersion = "https://x.openai.azure.com", "2024-10-21" }), "", ""},
		{"version of another", of(anthropic, func(c *channel) { c.ApiVersion = "2024-10-21" }), "api_version", "only"},
		{"preset", of(compatible, func(c *channel) { c.Preset = "deepseek" }), "", ""},
		{"no preset", of(compatible, func(c *channel) { c.BaseUrl = "https://llm.example" }), "", ""},
		{"unknown preset", of(compatible, func(c *channel) { c.Preset = "none" }), "preset", `no preset "none"`},
		{"preset of another", of(anthropic, func(c *channel) { c.Preset = "deepseek" }), "preset", "only"},
		{"test model", ch(func(c *channel) { c.TestModel = "m" }), "", ""},
		{"foreign test model", ch(func(c *channel) { c.TestModel = "x" }), "test_model", "not in models"},

		{"chain", mapping("m", "b", "b", "c"), "", ""},
		{"itself", mapping("m", "m"), "", ""},
		{"cycle", mapping("m", "b", "b", "c", "c", "b"), "model_mapping", "b -> c -> b"},
		{"cycle of all", mapping("m", "z", "z", "m"), "model_mapping", "m -> z -> m"},
		{"loose end", mapping("m", "b", "x", "y"), "model_mapping", `"x"`},

		{"set", parameter(set, "a.b", `{"c":[1,null]}`), "", ""},
		{"default text", parameter(byDefault, "a", `"x"`), "", ""},
		{"text without quotes", parameter(set, "a", "low"), "parameters[1].value", "needs quotes"},
		{"no value", parameter(set, "a", ""), "parameters[1].value", "not JSON"},
		{"two values", parameter(set, "a", "1 2"), "parameters[1].value", "not JSON"},
		{"remove", parameter(remove, "a", ""), "", ""},
		{"remove with a value", parameter(remove, "a", "1"), "parameters[1].value", "needs none"},
		{"rename", parameter(rename, "a", "b.c"), "", ""},
		{"rename to no path", parameter(rename, "a", "b..c"), "parameters[1].value", "not a path"},
		{"rename to nothing", parameter(rename, "a", ""), "parameters[1].value", "not a path"},
		{"rename below itself", parameter(rename, "a", "a.b"), "parameters[1].value", "inside"},
		{"rename above itself", parameter(rename, "a.b", "a"), "parameters[1].value", "inside"},
		{"model", parameter(set, "model", `"x"`), "parameters[1].path", "Fairway's own"},
		{"stream", parameter(remove, "stream", ""), "parameters[1].path", "Fairway's own"},
		{"rename to stream", parameter(rename, "a", "stream"), "parameters[1].value", "Fairway's own"},
		{"models is not model", parameter(set, "models", "[]"), "", ""},
		{"no action", parameter(0, "a", ""), "parameters[1].action", "is not"},

		{"header", header(set, "X-A", "b"), "", ""},
		{"header removed", header(remove, "anthropic-beta", ""), "", ""},
		{"credential removed", header(remove, "X-Api-Key", ""), "header_rules[0]", "credential"},
		{"signature", header(set, "x-amz-date", "1"), "header_rules[0]", "credential"},
		{"framing", header(byDefault, "Transfer-Encoding", "x"), "header_rules[0]", "relay"},
		{"header with CR", header(set, "X-A", "a\rb"), "header_rules[0]", "visible"},
		{"header without a value", header(set, "X-A", ""), "header_rules[0].value", "remove it"},
		{"header removed with a value", header(remove, "X-A", "b"), "header_rules[0].value", "needs none"},
		{"header renamed", header(rename, "X-A", "b"), "header_rules[0].action", "is not"},

		{"service account", exchange("vertex", &resourcev1.Exchange{Method: google}), "", ""},
		{"service account with a tenant", exchange("vertex", &resourcev1.Exchange{Method: google, TenantId: "t"}), "exchange.tenant_id", "no use"},
		{"nothing to exchange", exchange("vertex", &resourcev1.Exchange{Method: google}, func(a *account) { a.Secret = nil }), "secret", "required"},
		{"no method", exchange("vertex", &resourcev1.Exchange{}), "exchange.method", "no credential"},
		{"service account on bedrock", exchange("bedrock", &resourcev1.Exchange{Method: google}), "exchange.method", "no credential"},
		{"entra", exchange("azure", &resourcev1.Exchange{Method: entra, TenantId: "t", ClientId: "c"}), "", ""},
		{"entra without a client", exchange("azure", &resourcev1.Exchange{Method: entra, TenantId: "t"}), "exchange.client_id", "required"},
		{"entra without a tenant", exchange("azure", &resourcev1.Exchange{Method: entra, ClientId: "c"}), "exchange.tenant_id", "required"},
		{"entra elsewhere", exchange("azure", &resourcev1.Exchange{Method: entra, ClientId: "c", TokenUrl: "https://login.example/token"}), "", ""},
		{"role", exchange("bedrock", &resourcev1.Exchange{Method: assume, Role: arn}, key("AKIA")), "", ""},
		{"role without a key", exchange("bedrock", &resourcev1.Exchange{Method: assume, Role: arn}), "access_key_id", "required"},
		{"no role", exchange("bedrock", &resourcev1.Exchange{Method: assume}, key("AKIA")), "exchange.role", "required"},
		{"a user", exchange("bedrock", &resourcev1.Exchange{Method: assume, Role: "arn:aws:iam::123456789012:user/x"}, key("AKIA")), "exchange.role", "ARN"},
		{"key of bedrock", exchange("bedrock", nil, key("AKIA")), "", ""},
		{"key of another", exchange("vertex", nil, key("AKIA")), "access_key_id", "only"},
		{"refresh", exchange("used", &resourcev1.Exchange{Method: refresh, TokenUrl: "https://auth.example/token?x=y"}), "", ""},
		{"refresh nowhere", exchange("used", &resourcev1.Exchange{Method: refresh}), "exchange.token_url", "required"},
		{"in the clear", exchange("used", &resourcev1.Exchange{Method: refresh, TokenUrl: "http://auth.example/token"}), "exchange.token_url", "https://"},
		{"in the clear on this machine", exchange("used", &resourcev1.Exchange{Method: refresh, TokenUrl: "http://127.0.0.1:1/token"}), "", ""},
		{"with credentials", exchange("used", &resourcev1.Exchange{Method: refresh, TokenUrl: "https://u:p@auth.example"}), "exchange.token_url", "credentials"},
		{"provider changes under its accounts", with(validChannel("v", "vertex"), func(c *channel) { c.Provider = anthropic }), "provider", `account "va"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(s, tt.r)
			if tt.param == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Kind != fault.Invalid || f.Param != tt.param || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error = %v (param %q), want one of %q with %q", err, fault.From(err).Param, tt.param, tt.text)
			}
		})
	}
}

func TestEndpoint(t *testing.T) {
	type channel = resourcev1.Channel
	for name, tt := range map[string]struct {
		c    *channel
		want string
	}{
		"openai":           {&channel{Provider: 1, BaseUrl: "https://api.openai.com/v1"}, "https://api.openai.com"},
		"openai by itself": {&channel{Provider: 1}, "https://api.openai.com"},
		"gemini":           {&channel{Provider: 3, BaseUrl: "https://g.example/v1beta/"}, "https://g.example"},
		"gemini as openai": {&channel{Provider: 3, BaseUrl: "https://g.example/x/v1beta/openai"}, "https://g.example/x"},
		"azure":            {&channel{Provider: 4, BaseUrl: "https://x.openai.azure.com/openai/v1"}, "https://x.openai.azure.com"},
		"bedrock":          {&channel{Provider: 5, Region: "eu-west-3"}, "https://bedrock-runtime.eu-west-3.amazonaws.com"},
		"bedrock in china": {&channel{Provider: 5, Region: "cn-north-1"}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"},
		"vertex":           {&channel{Provider: 6, Region: "europe-west1"}, "https://europe-west1-aiplatform.googleapis.com"},
		"vertex anywhere":  {&channel{Provider: 6, Region: "global"}, "https://aiplatform.googleapis.com"},
		"preset":           {&channel{Provider: 7, Preset: "deepseek"}, "https://api.deepseek.com"},
		"groq's way":       {&channel{Provider: 7, BaseUrl: "https://api.groq.com/openai/v1"}, "https://api.groq.com/openai"},
	} {
		if got, err := Endpoint(tt.c); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
	}
}

// Whatever the mapping is: resolving ends, a name on no circle reaches an end, and what Check lets through has no circle.
func TestMappings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(strings.Split("abcdefgh", ""))
		mapping := rapid.MapOf(name, name).Draw(t, "mapping")
		before := maps.Clone(mapping)
		cycle, resolved := mappingCycle(mapping), ResolveMapping(mapping)
		if d := cmp.Diff(before, mapping); d != "" {
			t.Fatalf("resolving changed the mapping: %s", d)
		}
		for i := 1; i < len(cycle); i++ {
			if mapping[cycle[i-1]] != cycle[i] {
				t.Fatalf("%v is no circle of %v", cycle, mapping)
			}
		}
		if cycle != nil {
			if cycle[0] != cycle[len(cycle)-1] || len(cycle) < 3 {
				t.Fatalf("%v is no circle", cycle)
			}
			return
		}
		for from, end := range resolved {
			if to, ok := mapping[end]; ok && to != end {
				t.Fatalf("%s ends at %s, which goes on to %s", from, end, to)
			}
		}
	})
}

// signer is made once: keys take their time.
var signer = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func keyFile(t testing.TB, change func(map[string]string)) string {
	t.Helper()
	key, err := signer()
	if err != nil {
		t.Fatal(err)
	}
	f := map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "k", "client_email": "e@p.iam",
		"private_key": pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
	}
	if change != nil {
		change(f)
	}
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestParseKeyFile(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	const canary = "canary-3fA9"
	f, err := ParseKeyFile(keyFile(t, nil))
	if err != nil || f.Email != "e@p.iam" || f.KeyID != "k" || f.Project != "p" || f.TokenURL != "https://oauth2.googleapis.com/token" || f.Key == nil {
		t.Fatalf("key file = %+v, %v", f, err)
	}
	for name, tt := range map[string]struct{ in, want string }{
		"not JSON":       {"{" + canary, "not JSON"},
		"another shape":  {`{"type":["` + canary + `"]}`, "not of its shape"},
		"a user's":       {keyFile(t, func(f map[string]string) { f["type"] = "authorized_user" }), "service_account"},
		"no mail":        {keyFile(t, func(f map[string]string) { delete(f, "client_email") }), "client_email"},
		"no key":         {keyFile(t, func(f map[string]string) { delete(f, "private_key") }), "private_key"},
		"not PEM":        {keyFile(t, func(f map[string]string) { f["private_key"] = canary }), "not an RSA key"},
		"not RSA":        {keyFile(t, func(f map[string]string) { f["private_key"] = pemOf("PRIVATE KEY", ec) }), "not an RSA key"},
		"too long a key": {keyFile(t, func(f map[string]string) { f["private_key"] = pemOf("PRIVATE KEY", make([]byte, maxKey+1)) }), "not an RSA key"},
		"not a key":      {keyFile(t, func(f map[string]string) { f["private_key"] = pemOf("PRIVATE KEY", []byte(canary)) }), "not an RSA key"},
		"tokens by HTTP": {keyFile(t, func(f map[string]string) { f["token_uri"] = "http://" + canary + ".example" }), "token_uri"},
	} {
		if _, err := ParseKeyFile(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error = %v, want one with %q and nothing of the file", name, err, tt.want)
		}
	}
}

// What a key file says is never repeated in an error, and what passes can sign.
func FuzzParseKeyFile(f *testing.F) {
	// No real key: to check its many forms is crypto/x509's own affair, and slow.
	f.Add(`{"type":"service_account","client_email":"e","private_key":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}`)
	f.Add(`{"type":"authorized_user"}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseKeyFile(text)
		if err == nil && (got.Key == nil || got.Email == "" || tokenURL(got.TokenURL) != "") {
			t.Errorf("%q passes: %+v", text, got)
		}
	})
}
