package model

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func checkAccount(s *State, a *resourcev1.Account) error {
	if old, ok := s.Get(KindAccount, a.GetMetadata().GetId()); ok {
		if old, ok := old.(*resourcev1.Account); ok && old.GetChannel() != a.GetChannel() {
			return invalid("channel", "is fixed at creation")
		}
	}
	if err := checkProxy(a); err != nil {
		return err
	}
	r, ok := s.ByName(KindChannel, a.GetChannel())
	if !ok {
		return nil // said already
	}
	channel, ok := r.(*resourcev1.Channel)
	if !ok {
		return nil
	}
	if field, why := credentialFits(channel.GetProvider(), a); why != "" {
		return invalid(field, "%s", why)
	}
	return checkExchange(a)
}

func checkProxy(a *resourcev1.Account) error {
	hasSecret := a.GetProxySecret().GetValue() != "" || a.GetProxySecret().GetSealed() != nil
	if a.GetProxyUrl() == "" {
		if hasSecret {
			return invalid("proxy_secret", "is set without a proxy_url")
		}
		return nil
	}
	return checkProxyURL(a.GetProxyUrl())
}

func checkProxyURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return invalid("proxy_url", "is not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "socks5":
		return invalid("proxy_url", "must start with http:// or socks5://")
	case u.User != nil:
		return invalid("proxy_url", "must not carry credentials; they belong in proxy_secret")
	case u.Opaque != "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return invalid("proxy_url", "must be scheme://host:port and nothing more")
	}
	host := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(host)
	if (err != nil && (!validHostname(host) || strings.HasPrefix(u.Host, "["))) || ip.Zone() != "" {
		return invalid("proxy_url", "has a malformed host")
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
		return invalid("proxy_url", "needs a port in 1-65535")
	}
	return nil
}
