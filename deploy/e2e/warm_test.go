package e2e

import (
	"fmt"
	"testing"

	"fairway/pkg/testkit/fakellm"
	"fairway/pkg/testkit/testcert"
)

// TestWarm: a channel that was just added has a connection before anybody asks, its TLS handshake done, and the first
// request opens none.
func TestWarm(t *testing.T) {
	_, url := secureProvider(t, testcert.NewCA(t), fakellm.Options{
		Accounts: map[string]fakellm.Behaviour{"sk-warm": fakellm.Healthy()}, Models: []string{"m1"}})
	in := up(t)
	p := in.proxies[0]
	key := in.key("alice")
	in.channel("main", url, "sk-warm", "m1", "--wait")
	eventually(t, "a connection is there", func() error {
		if n, wanted := p.metric(t, "fairway_upstream_warm_connections"), p.metric(t, "fairway_upstream_warm_wanted"); n < 1 || n < wanted {
			return fmt.Errorf("%v of %v", n, wanted)
		}
		return nil
	})
	if n := p.metric(t, "fairway_attempts_total"); n != 0 {
		t.Fatalf("%v requests before the first", n)
	}
	dials, kept := p.metric(t, "fairway_upstream_dials_total"), p.metric(t, "fairway_upstream_kept_total")
	if _, err := p.client(key).Chat.Completions.New(t.Context(), chat("m1", "x")); err != nil {
		t.Fatal(err)
	}
	if n := p.metric(t, "fairway_upstream_dials_total"); n != dials {
		t.Errorf("the first request opened a connection: %v dials, %v before", n, dials)
	}
	if n := p.metric(t, "fairway_upstream_kept_total"); n != kept+1 {
		t.Errorf("%v kept connections taken, %v before", n, kept)
	}
}
