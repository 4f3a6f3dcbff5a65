package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/dataplane/internal/report"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	flexed = 2
)

// flat are prices of which each tells what it is for; times tells cases apart.
func flat(times int64, p *syncv1.PriceState) *syncv1.PriceState {
	p.Input, p.CachedInput, p.CacheWrite, p.CacheWriteLong, p.AudioInput = 1e6*times, 2e6*times, 3e6*times, 4e6*times, 5e6*times
	p.Output, p.Reasoning, p.AudioOutput = 10e6*times, 20e6*times, 30e6*times
	return p
}

// priced starts a world whose only upstream answers every request with the same.
func priced(t *testing.T, contentType, answer string, models ...*syncv1.ModelState) *world {
	t.Helper()
	w := newWorld(t)
	upstream := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(rw, answer)
	}))
	t.Cleanup(upstream.Close)
	ch := w.channel("a", 1, secretA)
	ch.BaseUrl, ch.PriceRatioPpm = upstream.URL, 500_000 // half, where the group is twice: the prices as they are
	w.put(syncv1.Kind_KIND_CHANNEL, "c-a", ch)
	for i, m := range models {
		w.put(syncv1.Kind_KIND_MODEL, fmt.Sprint("m", i), m)
	}
	w.publish()
	return w
}

// stamp is the part of a record that says what it costs and why.
func stamp(r report.Record) string {
	return fmt.Sprintf("cost=%d unpriced=%v version=%d default=%v variant=%d above=%d channel=%s", r.CostNanoUSD, r.Unpriced, r.PriceVersion,
		r.DefaultPriced, r.PriceVariant, r.PriceAbove, r.ChannelID)
}

const chatBody = `{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}`

func chatAnswer(tier string, input int) string {
	return fmt.Sprintf(`{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":%d,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":2},`+
		`"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":1}},"service_tier":%q}`, input, tier)
}

func TestPriceOfARequest(t *testing.T) {
	past, future := timestamppb.New(time.Now().Add(-time.Hour)), timestamppb.New(time.Now().Add(time.Hour))
	model := &syncv1.ModelState{Name: "gpt-x", Priced: true, Prices: []*syncv1.PriceState{
		flat(1, &syncv1.PriceState{Request: 1000}),
		flat(2, &syncv1.PriceState{AboveInputTokens: 100}),
		flat(3, &syncv1.PriceState{Variant: flexed}),
	}}
	// 5 plain, 2 heard, 3 from cache; 2 said, 4 thought, 1 spoken.
	const ten = 5*1 + 2*5 + 3*2 + 2*10 + 4*20 + 1*30
	later := &syncv1.ModelState{Name: "gpt-x", Priced: true, Prices: []*syncv1.PriceState{
		flat(1, &syncv1.PriceState{}), flat(5, &syncv1.PriceState{EffectiveTime: past}), flat(9, &syncv1.PriceState{EffectiveTime: future}),
	}}
	for name, tt := range map[string]struct {
		model       *syncv1.ModelState
		contentType string
		answer      string
		want        string
	}{
		"the usual way":  {model, "application/json", chatAnswer("default", 10), fmt.Sprintf("cost=%d unpriced=false version=2 default=false variant=0 above=0 channel=c-a", ten+1000)},
		"flex":           {model, "application/json", chatAnswer("flex", 10), fmt.Sprintf("cost=%d unpriced=false version=2 default=false variant=2 above=0 channel=c-a", 3*ten)},
		"a way unlisted": {model, "application/json", chatAnswer("priority", 10), fmt.Sprintf("cost=%d unpriced=false version=2 default=false variant=0 above=0 channel=c-a", ten+1000)},
		"a long request": {model, "application/json", chatAnswer("default", 101), fmt.Sprintf("cost=%d unpriced=false version=2 default=false variant=0 above=100 channel=c-a", 2*(ten+91))},
		"at the edge":    {model, "application/json", chatAnswer("default", 100), fmt.Sprintf("cost=%d unpriced=false version=2 default=false variant=0 above=0 channel=c-a", ten+90+1000)},
		"a stream": {model, "text/event-stream", "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}],\"service_tier\":\"flex\"}\n\n" +
			"data: {\"choices\":[],\"service_tier\":\"flex\",\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n",
			"cost=60 unpriced=false version=2 default=false variant=2 above=0 channel=c-a"},
		"a new price": {later, "application/json", chatAnswer("default", 10), fmt.Sprintf("cost=%d unpriced=false version=2 default=false variant=0 above=0 channel=c-a", 5*ten)},
		"a price to come": {&syncv1.ModelState{Name: "gpt-x", Prices: later.GetPrices()[2:]}, "application/json", chatAnswer("default", 10),
			"cost=0 unpriced=true version=0 default=false variant=0 above=0 channel=c-a"},
		"no price": {&syncv1.ModelState{Name: "gpt-x"}, "application/json", chatAnswer("default", 10),
			"cost=0 unpriced=true version=0 default=false variant=0 above=0 channel=c-a"},
		"a cost beyond all": {&syncv1.ModelState{Name: "gpt-x", Prices: []*syncv1.PriceState{{Request: 1 << 62}}}, "application/json", chatAnswer("default", 10),
			"cost=4611686018427387904 unpriced=false version=2 default=false variant=0 above=0 channel=c-a"},
	} {
		t.Run(name, func(t *testing.T) {
			w := priced(t, tt.contentType, tt.answer, tt.model)
			body := chatBody
			if tt.contentType == "text/event-stream" {
				body = strings.Replace(body, "{", `{"stream":true,`, 1)
			}
			if got := w.post("/v1/chat/completions", body); status(got) != "200" {
				t.Fatal(got)
			}
			if got := stamp(w.record()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What settings say of unknown prices, and the built-in table, which knows some.
func TestUnknownPrice(t *testing.T) {
	answer := chatAnswer("default", 10)
	for name, tt := range map[string]struct {
		settings *syncv1.SettingsState
		status   string
		want     string
	}{
		"free":    {&syncv1.SettingsState{UnknownPrice: 1}, "200", "cost=0 unpriced=true version=0 default=false variant=0 above=0 channel=c-a"},
		"refused": {&syncv1.SettingsState{UnknownPrice: 2}, "403", ""},
		"default": {&syncv1.SettingsState{UnknownPrice: 3, DefaultPrice: &syncv1.PriceState{Input: 1e6, CachedInput: 1e6, AudioInput: 1e6}}, "200",
			"cost=10 unpriced=false version=2 default=true variant=0 above=0 channel=c-a"},
		"built in": {&syncv1.SettingsState{UnknownPrice: 2, BuiltInModels: []*syncv1.ModelState{
			{Name: "gpt-x", PriceVersion: 1 << 62, Prices: []*syncv1.PriceState{{Output: 1e6}}},
		}}, "200", "cost=2 unpriced=false version=4611686018427387904 default=false variant=0 above=0 channel=c-a"},
	} {
		t.Run(name, func(t *testing.T) {
			w := priced(t, "application/json", answer)
			tt.settings.Pepper, tt.settings.MaxAttempts = pepper, 3
			w.put(syncv1.Kind_KIND_SETTINGS, "settings", tt.settings)
			w.publish()
			got := w.post("/v1/chat/completions", chatBody)
			if status(got) != tt.status {
				t.Fatal(got)
			}
			if tt.want == "" {
				if !strings.Contains(got, `"code":"model_not_priced"`) || !strings.Contains(got, `gpt-x`) {
					t.Errorf("the refusal does not say what is wrong: %s", got)
				}
				if all := w.books.all(); len(all) != 0 {
					t.Errorf("refused, and on the books: %+v", all)
				}
				if got := w.raw("GET /v1/models HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer " + w.key + "\r\nConnection: close\r\n\r\n"); status(got) != "200" {
					t.Errorf("what costs nothing is refused too: %s", got)
				}
				return
			}
			// The version of the settings is that of the publication.
			if got := stamp(w.record()); got != strings.Replace(tt.want, "version=2 default=true", fmt.Sprintf("version=%d default=true", w.revision), 1) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// A resource wins over the built-in table, also one that says that nothing is known.
func TestResourceWinsOverBuiltIn(t *testing.T) {
	w := priced(t, "application/json", chatAnswer("default", 10), &syncv1.ModelState{Name: "gpt-x"})
	w.put(syncv1.Kind_KIND_SETTINGS, "settings", &syncv1.SettingsState{Pepper: pepper, BuiltInModels: []*syncv1.ModelState{
		{Name: "gpt-x", PriceVersion: 1 << 62, Prices: []*syncv1.PriceState{{Output: 1e6}}},
	}})
	w.publish()
	w.post("/v1/chat/completions", chatBody)
	if r := w.record(); !r.Unpriced || r.CostNanoUSD != 0 {
		t.Errorf("the built-in price was taken: %s", stamp(r))
	}
	delete(w.items, fmt.Sprint(syncv1.Kind_KIND_MODEL, "m0"))
	w.publish()
	w.post("/v1/chat/completions", chatBody)
	if r := w.record(); r.Unpriced || r.PriceVersion != 1<<62 {
		t.Errorf("the built-in price was not taken: %s", stamp(r))
	}
}

func TestImagesByThePiece(t *testing.T) {
	picture := strings.Repeat("A", 100_000)
	large := `{"created":1,"data":[{"b64_json":"` + picture + `","revised_prompt":"\"b64_json\":"},{"b64_json":"` + picture + `"},{"b64_json":"x"}]}`
	for name, tt := range map[string]struct {
		contentType, answer string
		want                int64
	}{
		"data":  {"application/json", large, 3},
		"links": {"application/json", `{"data":[{"url":"https://a/1"},{"url":"https://a/2"}]}`, 2},
		"a stream": {"text/event-stream", "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"x\"}\n\n" +
			"event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"x\"}\n\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := priced(t, tt.contentType, tt.answer, &syncv1.ModelState{Name: "gpt-x", Prices: []*syncv1.PriceState{{Image: 40_000_000}}})
			body := `{"model":"gpt-x","prompt":"a cat"}`
			if tt.contentType == "text/event-stream" {
				body = `{"model":"gpt-x","prompt":"a cat","stream":true}`
			}
			if got := w.post("/v1/images/generations", body); status(got) != "200" {
				t.Fatal(got[:min(len(got), 500)])
			}
			if r := w.record(); r.CostNanoUSD != tt.want*40_000_000 || r.Unpriced {
				t.Errorf("%s, want %d images", stamp(r), tt.want)
			}
		})
	}
}

// However an answer is cut, the same images are in it.
func TestImageCountOfPieces(t *testing.T) {
	answer := `{"data":[{"b64_json":"AAAA"},{"b64_json":""},{"b64_json":"B"}]} "type":"image_generation.completed" `
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var c imageCount
		for rest := answer; rest != ""; {
			n := min(1+rng.IntN(1+rng.IntN(40)), len(rest))
			c.feed([]byte(rest[:n]))
			rest = rest[n:]
		}
		if c.made(false) != 3 || c.made(true) != 1 {
			t.Fatalf("%d images, %d in a stream", c.made(false), c.made(true))
		}
	}
}

// A provider that contradicts itself is counted, and believed as far as it makes sense.
func TestInconsistentCounts(t *testing.T) {
	w := priced(t, "application/json", strings.Replace(chatAnswer("default", 10), `"reasoning_tokens":4,"audio_tokens":1`, `"reasoning_tokens":6,"audio_tokens":6`, 1),
		&syncv1.ModelState{Name: "gpt-x", Prices: []*syncv1.PriceState{flat(1, &syncv1.PriceState{})}})
	w.post("/v1/chat/completions", chatBody)
	// Of 7 tokens, 6 were thought and so only 1 can have been spoken.
	if r := w.record(); r.CostNanoUSD != 5*1+2*5+3*2+6*20+1*30 || r.Output != 7 {
		t.Errorf("%s", stamp(r))
	}
	if n := w.gauge("fairway_usage_inconsistent_total"); n != 1 {
		t.Errorf("it was counted %v times", n)
	}
}
