package gateway

import (
	"net/url"
	"time"

	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/upstream"
)

// targetOf is where requests of an account go, for a group's keys; nil = for nobody in particular.
func targetOf(a *snapshot.Account, g *snapshot.Group) upstream.Target {
	ch := a.Channel
	t := upstream.Target{
		TLS: ch.BaseURL.TLS, Host: ch.BaseURL.Name, Addr: ch.BaseURL.Addr, Proxy: a.ProxyURL,
		Dial: ch.Dial, TLSHandshake: ch.TLS, FirstByte: ch.FirstByte, Idle: ch.Idle,
	}
	if g != nil {
		t.FirstByte, t.Idle = tighter(t.FirstByte, g.FirstByte), tighter(t.Idle, g.Idle)
	}
	return t
}

// tighter is the shorter of two times, of which 0 is none.
func tighter(a, b time.Duration) time.Duration {
	if b > 0 && (a == 0 || b < a) {
		return b
	}
	return a
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
			all = append(all, targetOf(a, nil))
		}
	}
	return all
}
