package model

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// credentialFits says which field of an account its channel's provider has no use for, and why; "" = all fit.
func credentialFits(p resourcev1.Provider, a *resourcev1.Account) (field, why string) {
	if a.GetAccessKeyId() != "" && p != resourcev1.Provider_PROVIDER_BEDROCK {
		return "access_key_id", "is of provider bedrock only"
	}
	if a.GetExchange() == nil {
		return "", ""
	}
	if !slices.Contains(exchangesFor(p), a.GetExchange().GetMethod()) {
		return "exchange.method", "gives no credential that the channel's provider takes"
	}
	return "", ""
}

// exchangesFor lists the exchanges that end in what a provider authenticates by.
func exchangesFor(p resourcev1.Provider) []resourcev1.ExchangeMethod {
	const (
		google  = resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT
		entra   = resourcev1.ExchangeMethod_EXCHANGE_METHOD_ENTRA_CLIENT_SECRET
		assume  = resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE
		refresh = resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH
	)
	switch p {
	case resourcev1.Provider_PROVIDER_VERTEX:
		return []resourcev1.ExchangeMethod{google, refresh}
	case resourcev1.Provider_PROVIDER_AZURE_OPENAI:
		return []resourcev1.ExchangeMethod{entra, refresh}
	case resourcev1.Provider_PROVIDER_BEDROCK:
		return []resourcev1.ExchangeMethod{assume}
	case resourcev1.Provider_PROVIDER_ANTHROPIC:
		return []resourcev1.ExchangeMethod{refresh}
	case resourcev1.Provider_PROVIDER_OPENAI, resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE:
		return []resourcev1.ExchangeMethod{google, entra, refresh} // whatever ends in a bearer token
	default:
		return nil
	}
}

// checkExchange looks at whether an exchange can be made with what the account says: every method has fields that it
// needs, and none that it has no use for.
func checkExchange(a *resourcev1.Account) error {
	x := a.GetExchange()
	if x == nil {
		return nil
	}
	if a.GetSecret().GetValue() == "" && a.GetSecret().GetSealed() == nil {
		return invalid("secret", "is required: there is nothing to exchange")
	}
	var needs, takes []string
	switch x.GetMethod() {
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT:
		takes = []string{"token_url", "scope"}
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_ENTRA_CLIENT_SECRET:
		needs, takes = []string{"client_id"}, []string{"token_url", "scope", "tenant_id"}
		if x.GetTokenUrl() == "" {
			needs = append(needs, "tenant_id")
		}
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE:
		needs, takes = []string{"role"}, []string{"token_url"}
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH:
		needs, takes = []string{"token_url"}, []string{"client_id", "scope"}
	default:
		return invalid("exchange.method", "is not a known method")
	}
	for _, f := range []struct{ name, value string }{
		{"token_url", x.GetTokenUrl()}, {"tenant_id", x.GetTenantId()}, {"client_id", x.GetClientId()}, {"role", x.GetRole()}, {"scope", x.GetScope()},
	} {
		needed := slices.Contains(needs, f.name)
		switch {
		case needed && f.value == "":
			return invalid("exchange."+f.name, "is required for this method")
		case !needed && f.value != "" && !slices.Contains(takes, f.name):
			return invalid("exchange."+f.name, "is of no use to this method")
		}
	}
	if x.GetMethod() == resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE {
		if a.GetAccessKeyId() == "" {
			return invalid("access_key_id", "is required: the role is assumed with it")
		}
		if !roleARN(x.GetRole()) {
			return invalid("exchange.role", "is not a role's ARN, such as arn:aws:iam::123456789012:role/bedrock")
		}
	}
	if why := tokenURL(x.GetTokenUrl()); why != "" {
		return invalid("exchange.token_url", "%s", why)
	}
	return nil
}

// roleARN checks the form arn:PARTITION:iam::ACCOUNT:role/NAME.
func roleARN(arn string) bool {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") || parts[2] != "iam" || parts[3] != "" || len(parts[4]) != 12 {
		return false
	}
	name, ok := strings.CutPrefix(parts[5], "role/")
	return ok && name != "" && strings.Trim(parts[4], "0123456789") == ""
}

// tokenURL says what is wrong with where tokens are given out. A long-lived credential is sent there, so it takes TLS, but
// for this very machine.
func tokenURL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return "is not a URL"
	}
	host := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(host)
	local := host == "localhost" || err == nil && ip.IsLoopback()
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !local):
		return "must start with https://: a credential is sent there"
	case u.User != nil:
		return "must not carry credentials"
	case strings.Contains(raw, "#"):
		return "must not have a fragment"
	}
	return ""
}
