package ctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// exchangeMethods are the short names of methods, as flags take them.
func exchangeMethods() map[string]resourcev1.ExchangeMethod {
	return map[string]resourcev1.ExchangeMethod{
		"google-service-account": resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT,
		"entra":                  resourcev1.ExchangeMethod_EXCHANGE_METHOD_ENTRA_CLIENT_SECRET,
		"aws-role":               resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE,
		"oauth-refresh":          resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH,
	}
}

func exchangeNames() []string {
	var names []string
	for name := range exchangeMethods() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func exchangeMethod(s string) (resourcev1.ExchangeMethod, error) {
	if m, ok := exchangeMethods()[s]; ok {
		return m, nil
	}
	if m, err := enumFlag[resourcev1.ExchangeMethod](s); err == nil {
		return m, nil // as files spell it
	}
	return 0, fmt.Errorf("%q is not one of %s, none", s, strings.Join(exchangeNames(), ", "))
}

// exchangeName is the short name of an account's method; "-" = requests carry the secret itself.
func exchangeName(x *resourcev1.Exchange) string {
	for name, m := range exchangeMethods() {
		if m == x.GetMethod() {
			return name
		}
	}
	return "-"
}

// credentialFields binds what says how an account's secret becomes what requests carry.
func credentialFields(fs *pflag.FlagSet) func(r *resourcev1.Account, c *changes) {
	var keyID, method, tokenURL, tenant, client, role, scope string
	fs.StringVar(&keyID, "access-key-id", "", "AWS access key's id; the secret is its secret access key")
	fs.StringVar(&method, "exchange", "", "turn the secret into short-lived credentials: "+strings.Join(exchangeNames(), ", ")+", or none")
	fs.StringVar(&tokenURL, "token-url", "", "where they are given out (default: the method's own)")
	fs.StringVar(&tenant, "tenant-id", "", "Entra tenant")
	fs.StringVar(&client, "client-id", "", "Entra application, or OAuth client")
	fs.StringVar(&role, "role", "", "ARN of the AWS role to assume")
	fs.StringVar(&scope, "scope", "", "scope to ask for (default: the method's own)")
	return func(r *resourcev1.Account, c *changes) {
		c.on("access-key-id", "access_key_id", always(func() { r.AccessKeyId = keyID }))
		if fs.Changed("exchange") && method == "none" {
			c.on("exchange", "exchange", always(func() {}))
			return
		}
		x := &resourcev1.Exchange{}
		c.on("exchange", "exchange.method", func() (err error) { r.Exchange = x; x.Method, err = exchangeMethod(method); return err })
		c.on("token-url", "exchange.token_url", always(func() { r.Exchange = x; x.TokenUrl = tokenURL }))
		c.on("tenant-id", "exchange.tenant_id", always(func() { r.Exchange = x; x.TenantId = tenant }))
		c.on("client-id", "exchange.client_id", always(func() { r.Exchange = x; x.ClientId = client }))
		c.on("role", "exchange.role", always(func() { r.Exchange = x; x.Role = role }))
		c.on("scope", "exchange.scope", always(func() { r.Exchange = x; x.Scope = scope }))
	}
}
