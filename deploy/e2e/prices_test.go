package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"fairway/pkg/testkit/fakellm"
)

// A price's whole life: the built-in one, an operator's own, the built-in one again when that is gone, and none at all
// under each policy; what is on the books is what held when a request ended.
func TestPrices(t *testing.T) {
	const credential = "sk-prices-credential"
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{credential: fakellm.Healthy()}, Models: []string{"gpt-4o", "house-model"}})
	in := up(t)
	in.channel("main", url, credential, "gpt-4o,house-model", "--wait")
	client := in.proxies[0].client(in.key("alice"))
	ask := func(model string) error {
		params := chat(model, "x")
		params.Metadata = map[string]string{"fakellm_input": "1000", "fakellm_cached": "400", "fakellm_output": "100"}
		_, err := client.Chat.Completions.New(t.Context(), params)
		return err
	}
	var want counters
	books := func(cost, unpriced int64) {
		t.Helper()
		want.Requests, want.CostNanoUSD, want.Unpriced = want.Requests+1, want.CostNanoUSD+cost, want.Unpriced+unpriced
		eventually(t, "usage arrives", func() error {
			_, total, err := in.usage()
			if err == nil && (total.Requests != want.Requests || total.CostNanoUSD != want.CostNanoUSD || total.Unpriced != want.Unpriced) {
				err = fmt.Errorf("%+v on the books, want %+v", total, want)
			}
			return err
		})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// 2.50, 1.25 from the cache and 10 USD per million tokens are built in.
	must(ask("gpt-4o"))
	books(600*2500+400*1250+100*10_000, 0)
	in.must("model", "set", "gpt-4o", "--input", "1", "--output", "2", "--request", "0.5", "--wait")
	must(ask("gpt-4o"))
	books(1000*1000+100*2000+500_000_000, 0)
	in.must("model", "delete", "gpt-4o", "--wait")
	must(ask("gpt-4o"))
	books(600*2500+400*1250+100*10_000, 0)

	must(ask("house-model"))
	books(0, 1)
	in.must("settings", "update", "--unknown-price", "default", "--default-input-price", "3", "--default-output-price", "4", "--wait")
	must(ask("house-model"))
	books(1000*3000+100*4000, 0)
	in.must("settings", "update", "--unknown-price", "refuse", "--wait")
	if e := apiError(t, ask("house-model")); e.StatusCode != http.StatusForbidden || e.Code != "model_not_priced" {
		t.Errorf("without a price: %d %s", e.StatusCode, e.Code)
	}
	must(ask("gpt-4o"))
	books(600*2500+400*1250+100*10_000, 0)
	in.must("model", "set", "house-model", "--input", "1", "--output", "1")
	eventually(t, "the price is known", func() error { return ask("house-model") })
	books(1000*1000+100*1000, 0)
}
