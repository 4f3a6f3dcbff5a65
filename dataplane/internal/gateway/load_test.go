package gateway

import (
	"io"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/dataplane/internal/ingress"
	"fairway/pkg/testkit/fakellm"
)

// What is more than the proxy bears is refused at once, with a time to come back; what it has let in ends well, and the
// places are free again.
func TestLoadIsShed(t *testing.T) {
	for name, tc := range map[string]struct {
		limit func(*Options)
		held  string // what takes the only place
		shed  string
		fits  string // what still gets in, "" = nothing
	}{
		"requests": {func(o *Options) { o.MaxRequests = 1 }, plainBody, plainBody, ""},
		"streams":  {func(o *Options) { o.MaxStreams = 1 }, streamBody, streamBody, plainBody},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *Options, _ *ingress.Options) { tc.limit(o) })
			w.tiers(secretA)
			gate := fakellm.NewGate()
			w.provider.SetBehaviour(secretA, fakellm.Behaviour{Hold: gate, Times: 1})
			c := w.dial()
			_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, tc.held, "Connection: close"))
			wait(t, "the upstream holds the request", gate.Entered())
			for range 3 {
				got := w.post("/v1/chat/completions", tc.shed)
				if status(got) != "503" || !strings.Contains(got, "Retry-After: 1") || !strings.Contains(got, `"overloaded"`) {
					t.Errorf("beyond the limit: %s", got)
				}
			}
			if tc.fits != "" {
				if got := w.post("/v1/chat/completions", tc.fits); status(got) != "200" {
					t.Errorf("what is not limited: %s", got)
				}
			}
			if n := testutil.ToFloat64(w.gateway.meters.shed); n != 3 {
				t.Errorf("shed = %v", n)
			}
			gate.Open()
			if out, err := io.ReadAll(c); err != nil || status(string(out)) != "200" {
				t.Errorf("the first: %v, %s", err, out)
			}
			w.settled(t)
			if got := w.post("/v1/chat/completions", tc.shed); status(got) != "200" {
				t.Errorf("afterwards: %s", got)
			}
			w.settled(t)
			if r, s := w.gateway.load.requests.Load(), w.gateway.load.streams.Load(); r != 0 || s != 0 {
				t.Errorf("%d requests and %d streams are never given back", r, s)
			}
		})
	}
}
