package e2e

import (
	"fmt"
	"strings"
	"testing"

	"fairway/pkg/testkit/fakellm"
)

// times is how often a channel is created and used at once.
const times = 500

// TestFirstRequest: proof 2. The first request after a channel is added succeeds: with --wait because every proxy has
// applied it by then, without because a proxy that does not know a model yet waits for news before it says no.
func TestFirstRequest(t *testing.T) {
	in := up(t)
	second := in.addProxy()
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-first": fakellm.Healthy()}, AnyModel: true})
	key := in.key("alice")
	ask := func(p *proxy, model string) error {
		_, err := p.client(key).Chat.Completions.New(t.Context(), chat(model, "x"))
		return err
	}
	t.Run("with wait", func(t *testing.T) {
		failures := 0
		for i := range times {
			model := fmt.Sprintf("waited-%d", i)
			in.channel(model, url, "sk-first", model, "--wait")
			for _, p := range in.proxies {
				if err := ask(p, model); err != nil {
					failures++
					t.Errorf("first request for %s: %v", model, err)
				}
			}
		}
		t.Logf("%d channels created with --wait, first requests at once through 2 proxies: %d failures", times, failures)
	})
	t.Run("without wait", func(t *testing.T) {
		failures := 0
		for i := range times {
			model := fmt.Sprintf("caught-up-%d", i)
			_, err := in.call("ChannelService/CreateChannel", map[string]any{
				"channel":  map[string]any{"metadata": map[string]any{"name": model}, "provider": "PROVIDER_OPENAI", "baseUrl": url, "models": []string{model}},
				"accounts": []any{map[string]any{"metadata": map[string]any{"name": model}, "secret": map[string]any{"value": "sk-first"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			p := in.proxies[0]
			if i%2 == 1 {
				p = second
			}
			if err := ask(p, model); err != nil {
				failures++
				t.Errorf("first request for %s: %v", model, err)
			}
		}
		t.Logf("%d channels created without --wait, first requests at once: %d failures", times, failures)
	})

	// The only replica has nowhere to send its proxies, so it does not wait for them to go.
	in.server.stop()
	if log := in.server.log.String(); strings.Contains(log, "still connected after drain") {
		t.Errorf("the only replica waited for its proxies to go elsewhere:\n%s", tail(log, 10))
	}
}
