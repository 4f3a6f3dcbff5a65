package gateway

import (
	"net/url"

	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/upstream"
)

// targetOf is where requests of an account go.
func targetOf(a *snapshot.Account) upstream.Target {
	ch := a.Channel
	return upstream.Target{
		TLS: ch.BaseURL.TLS, Host: ch.BaseURL.Name, Addr: ch.BaseURL.Addr, Proxy: a.ProxyURL,
		Dial: ch.Dial, TLSHandshake: ch.TLS, FirstByte: ch.FirstByte, Idle: ch.Idle,
	}
}

// Targets are the places that requests of a snapshot may go to, each channel's once for each proxy on the way.
func Targets(s *snapshot.Snapshot) []upstream.Target {
	type way struct {
		channel *snapshot.Channel
		proxy   url.URL
	}
	seen := make(map[way]bool)
	var all []upstream.Target
	for a := range s.Serving {
		w := way{channel: a.Channel}
		if a.ProxyURL != nil {
			w.proxy = *a.ProxyURL
		}
		if !seen[w] {
			seen[w] = true
			all = append(all, targetOf(a))
		}
	}
	return all
}
