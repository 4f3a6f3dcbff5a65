package model

import (
	"fmt"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/provider"
)

// checkChannel says whether a channel makes sense, by itself and with the accounts that it has.
func checkChannel(s *State, c *resourcev1.Channel) error {
	if _, ok := provider.Lookup(int32(c.GetProvider()), ""); !ok {
		return invalid("provider", "is not a known provider")
	}
	for _, check := range []func(*resourcev1.Channel) error{
		checkProviderFields, checkModels, checkParameters, checkHeaderRules,
	} {
		if err := check(c); err != nil {
			return err
		}
	}
	if err := checkHeaders(c.GetHeaders()); err != nil {
		return err
	}
	for a := range s.AccountsOf(c.GetMetadata().GetName()) {
		if field, why := credentialFits(c.GetProvider(), a); why != "" {
			return invalid("provider", "does not fit account %q: %s %s", a.GetMetadata().GetName(), field, why)
		}
	}
	return nil
}

// checkProviderFields refuses fields of another provider, which would be without effect, and looks for where requests go.
func checkProviderFields(c *resourcev1.Channel) error {
	p := c.GetProvider()
	if c.GetPreset() != "" {
		if p != resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE {
			return invalid("preset", "is of provider openai-compatible only")
		}
		if _, ok := provider.Lookup(int32(p), c.GetPreset()); !ok {
			return invalid("preset", "there is no preset %q", c.GetPreset())
		}
	}
	azure := p == resourcev1.Provider_PROVIDER_AZURE_OPENAI
	vertex := p == resourcev1.Provider_PROVIDER_VERTEX
	regional := vertex || p == resourcev1.Provider_PROVIDER_BEDROCK
	switch {
	case c.GetApiVersion() != "" && !azure:
		return invalid("api_version", "is of provider azure-openai only")
	case c.GetRegion() != "" && !regional:
		return invalid("region", "is of providers bedrock and vertex only")
	case c.GetProject() != "" && !vertex:
		return invalid("project", "is of provider vertex only")
	case c.GetBaseUrl() == "" && c.GetRegion() == "" && regional:
		return invalid("region", "is needed where base_url is empty")
	}
	if _, err := Endpoint(c); err != nil {
		return invalid("base_url", "%s", err)
	}
	return nil
}

func checkModels(c *resourcev1.Channel) error {
	serves := make(map[string]bool, len(c.GetModels()))
	for _, m := range c.GetModels() {
		serves[m] = true
	}
	if t := c.GetTestModel(); t != "" && !serves[t] {
		return invalid("test_model", "is %q, which is not in models", t)
	}
	leads := make(map[string]bool, len(c.GetModelMapping()))
	for _, to := range c.GetModelMapping() {
		leads[to] = true
	}
	for _, from := range sortedKeys(c.GetModelMapping()) {
		if !serves[from] && !leads[from] {
			return invalid("model_mapping", "maps %q, which is neither in models nor what another is mapped to", from)
		}
	}
	if cycle := mappingCycle(c.GetModelMapping()); cycle != nil {
		return invalid("model_mapping", "leads round in a circle: %s", strings.Join(cycle, " -> "))
	}
	return nil
}

// checkHeaders refuses headers that the relay owns, that carry credentials, or that could break out of the request.
func checkHeaders(headers map[string]string) error {
	seen := make(map[string]bool, len(headers))
	for _, name := range sortedKeys(headers) {
		if why := refusedHeader(name, headers[name]); why != "" {
			return invalid("headers", "%s", why)
		}
		lower := strings.ToLower(name)
		if seen[lower] {
			return invalid("headers", "%q is there twice", name)
		}
		seen[lower] = true
	}
	return nil
}

// refusedHeader says why nobody may change a header; "" = anybody may.
func refusedHeader(name, value string) string {
	lower := strings.ToLower(name)
	switch {
	case !isToken(name):
		return fmt.Sprintf("%q is not a header name", name)
	case ownedHeader(lower):
		return fmt.Sprintf("%q belongs to the relay and cannot be set", name)
	case credentialHeader(lower):
		return fmt.Sprintf("%q carries a credential; credentials belong to accounts", name)
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return fmt.Sprintf("the value of %q has a character outside visible ASCII", name)
		}
	}
	return ""
}

func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}

// ownedHeader lists what frames or routes a request: RFC 9110 section 7.6.1 (hop by hop), RFC 9112 section 6 (length)
// and the encodings that metering has to be able to read.
func ownedHeader(lower string) bool {
	switch lower {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
		"proxy-connection", "proxy-authenticate", "expect", "content-encoding", "accept-encoding", "content-type",
		"http2-settings", "range":
		return true
	default:
		return false
	}
}

func credentialHeader(lower string) bool {
	switch lower {
	case "authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie",
		"x-amz-security-token", "x-amz-date", "x-amz-content-sha256":
		return true
	default:
		return false
	}
}
