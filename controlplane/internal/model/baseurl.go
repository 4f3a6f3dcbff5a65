package model

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// BaseURL returns the canonical form of a channel's base URL: lower-case scheme and host, no default port, no trailing
// slash and no trailing "/v1", so that https://api.openai.com and https://api.openai.com/v1/ are one place. The form is
// stable: BaseURL of it is itself. Refused is whatever two readers could take for two places: credentials, queries,
// fragments, escapes, empty or dot segments, and a path that ends in /v1 twice.
func BaseURL(raw string) (string, error) {
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f || raw[i] == '\\' {
			return "", errors.New("has a character that URLs do not have")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's own error would repeat the whole value.
		return "", errors.New("is not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("must start with http:// or https://")
	}
	switch {
	case u.User != nil:
		return "", errors.New("must not carry credentials")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return "", errors.New("must not have a query or a fragment")
	case u.Opaque != "" || u.Host == "":
		return "", errors.New("has no host")
	}
	host, err := canonicalHost(u)
	if err != nil {
		return "", err
	}
	path, err := canonicalPath(u)
	if err != nil {
		return "", err
	}
	for _, operation := range []string{"/chat/completions", "/completions", "/embeddings", "/models", "/responses", "/messages"} {
		if strings.HasSuffix(path, operation) {
			return "", fmt.Errorf("names an operation; leave %s out", operation)
		}
	}
	return u.Scheme + "://" + host + path, nil
}

func canonicalHost(u *url.URL) (string, error) {
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", errors.New("must not name a zone")
		}
		host = ip.String()
		if ip.Is6() {
			host = "[" + host + "]"
		}
	} else if !validHostname(host) || strings.HasPrefix(u.Host, "[") {
		return "", errors.New("has a malformed host")
	}
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "", errors.New("has an empty port")
		}
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("has port %s, which is not in 1-65535", port)
	}
	if (u.Scheme == "http" && n == 80) || (u.Scheme == "https" && n == 443) {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(n, 10), nil
}

// validHostname accepts DNS names and the underscores that container networks use. host is in lower case.
func validHostname(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func canonicalPath(u *url.URL) (string, error) {
	path := strings.TrimRight(u.EscapedPath(), "/")
	if strings.Contains(path, "%") {
		return "", errors.New("must not have escapes in its path")
	}
	if path != "" {
		for segment := range strings.SplitSeq(path[1:], "/") {
			if segment == "" || segment == "." || segment == ".." {
				return "", errors.New("must not have empty or dot segments in its path")
			}
		}
	}
	path, found := strings.CutSuffix(path, "/v1")
	if found && strings.HasSuffix(path, "/v1") {
		return "", errors.New("ends in /v1 twice")
	}
	return path, nil
}
