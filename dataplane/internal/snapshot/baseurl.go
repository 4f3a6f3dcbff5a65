package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parseBaseURL takes a channel's base URL apart. It refuses what could turn a request elsewhere: user information,
// queries, fragments, dot segments, escapes and anything outside visible ASCII.
func parseBaseURL(raw string) (BaseURL, error) {
	if !visible(raw) {
		return BaseURL{}, errors.New("base_url: is empty or has characters other than visible ASCII")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || strings.ContainsAny(raw, "?#%\\\"<>") {
		return BaseURL{}, errors.New("base_url: want http(s)://host[:port][/path]")
	}
	b := BaseURL{Name: strings.ToLower(u.Hostname()), Path: strings.TrimRight(u.Path, "/")}
	port := "80"
	switch u.Scheme {
	case "http":
	case "https":
		b.TLS, port = true, "443"
	default:
		return BaseURL{}, errors.New("base_url: the scheme is neither http nor https")
	}
	standard := port
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return BaseURL{}, errors.New("base_url: not a port")
		}
		port = p
	}
	if b.Name == "" || strings.ContainsAny(b.Name, "@/,;'\"<>") {
		return BaseURL{}, errors.New("base_url: not a host")
	}
	if slices.ContainsFunc(strings.Split(b.Path, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return BaseURL{}, errors.New("base_url: the path has dot segments")
	}
	b.Addr = net.JoinHostPort(b.Name, port)
	b.Host = b.Addr
	if port == standard {
		b.Host = strings.TrimSuffix(b.Addr, ":"+port)
	}
	return b, nil
}

// headers sorts a channel's headers and refuses those that would break a request's framing, its address or its
// credential. The control plane refuses them too; this is the last place before the wire.
func headers(set map[string]string) ([]Header, error) {
	list := make([]Header, 0, len(set))
	for name, value := range set {
		if !headerName(name) {
			return nil, fmt.Errorf("headers: %q is not a header's name", name)
		}
		switch strings.ToLower(name) {
		case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "proxy-authorization",
			"te", "trailer", "upgrade", "expect", "authorization":
			return nil, fmt.Errorf("headers: %q cannot be set", name)
		}
		for i := range len(value) {
			if value[i] < ' ' || value[i] > '~' {
				return nil, fmt.Errorf("headers: the value of %q has characters other than printable ASCII", name)
			}
		}
		list = append(list, Header{Name: name, Value: value})
	}
	slices.SortFunc(list, func(a, b Header) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != ""
}
