package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/tidwall/gjson"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// change puts a channel of manyWorlds once more, with other options, and publishes.
func (w *world) change(k upstreamKind, change func(*syncv1.ChannelState)) {
	w.t.Helper()
	ch := &syncv1.ChannelState{
		Name: "ch-" + k.name, Provider: int32(k.provider), Preset: k.preset, BaseUrl: w.upstream + k.path, Models: []string{k.model},
		GroupIds: []string{"g1"}, Weight: 100, PriceRatioPpm: 1_000_000, ApiVersion: k.version, Region: k.region,
	}
	change(ch)
	w.update(k.name, ch)
}

// What would be lost is named; where key or group are strict, nothing may be.
func TestSurfaceStrict(t *testing.T) {
	w := manyWorlds(t)
	strictKey := w.anotherKey(func(k *syncv1.KeyState) { k.Strict = true })
	w.put(syncv1.Kind_KIND_GROUP, "g2", &syncv1.GroupState{Name: "strict", Strategy: 1, PriceRatioPpm: 1_000_000, Strict: true})
	for _, k := range upstreamKinds() {
		w.change(k, func(ch *syncv1.ChannelState) { ch.GroupIds = []string{"g1", "g2"} })
	}
	inStrictGroup := w.anotherKey(nil)
	k3 := keyState(inStrictGroup, "g2")
	w.put(syncv1.Kind_KIND_KEY, "k3", k3)
	w.put(syncv1.Kind_KIND_KEY, "k2", func() *syncv1.KeyState { s := keyState(strictKey, "g1"); s.Strict = true; return s }())
	w.publish()

	lossy := hello("")
	lossy.Seed, lossy.LogitBias = openai.Int(7), map[string]int64{"50256": -100}
	for _, model := range []string{"claude-sonnet-4-5", "amazon.nova-pro-v1"} {
		for name, key := range map[string]string{"strict key": strictKey, "strict group": inStrictGroup, "neither": w.key} {
			t.Run(model+", "+name, func(t *testing.T) {
				c := w.client(option.WithAPIKey(key))
				p := lossy
				p.Model = model
				before := len(w.provider.Requests())
				var head *http.Response
				_, err := c.Chat.Completions.New(t.Context(), p, option.WithResponseInto(&head))
				stream := c.Chat.Completions.NewStreaming(t.Context(), p)
				for stream.Next() {
				}
				if name == "neither" {
					if err != nil || stream.Err() != nil {
						t.Fatal(err, stream.Err())
					}
					if got := head.Header.Get("X-Fairway-Lossy"); !strings.Contains(got, "seed") || !strings.Contains(got, "logit_bias") {
						t.Errorf("lossy %q", got)
					}
					return
				}
				for _, err := range []error{err, stream.Err()} {
					e := toldOpenAI(t, err)
					if e.status != 400 || e.code != "conversion_lossy" || !strings.Contains(e.message, "seed") || !strings.Contains(e.message, "logit_bias") {
						t.Errorf("%+v", e)
					}
				}
				if n := len(w.provider.Requests()) - before; n != 0 {
					t.Errorf("%d requests went on", n)
				}
				// Where nothing is lost it passes, converted or not; and what is not converted loses nothing.
				if got, err := c.Chat.Completions.New(t.Context(), hello(model), option.WithResponseInto(&head)); err != nil || head.Header.Get("X-Fairway-Lossy") != "" {
					t.Errorf("%v, %v", got, err)
				}
				p.Model = "o-think"
				if _, err := c.Chat.Completions.New(t.Context(), p); err != nil {
					t.Errorf("its own dialect: %v", err)
				}
			})
		}
	}
}

// A status is mapped after the retry was decided, in the client's dialect or another one.
func TestSurfaceStatusMapping(t *testing.T) {
	w := manyWorlds(t)
	w.provider.SetBehaviour(secretA, fakellm.Status(400, "", 0))
	for _, k := range upstreamKinds()[:3] {
		w.change(k, func(ch *syncv1.ChannelState) { ch.StatusMapping = map[uint32]uint32{400: 422} })
		c := w.client()
		_, err := c.Chat.Completions.New(t.Context(), hello(k.model))
		if e := toldOpenAI(t, err); e.status != 422 {
			t.Errorf("%s: %+v", k.name, e)
		}
	}
	two := trio(t, "gpt-x")
	for _, id := range []string{"a", "b"} {
		ch := two.offer(id, resourcev1.Provider_PROVIDER_OPENAI, []string{"gpt-x"})
		ch.StatusMapping = map[uint32]uint32{500: 400}
		if id == "b" {
			ch.Priority = 99
		}
		two.update(id, ch)
	}
	two.lastServes()
	c := two.client()
	if _, err := c.Chat.Completions.New(t.Context(), hello("gpt-x")); err != nil {
		t.Errorf("a mapped 500 is still tried again: %v", err)
	}
}

// A channel's rules for members and headers hold in what is sent, converted or not.
func TestSurfaceRules(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, always(sized(completion("fine"))))
	w.lure("m", u.base)
	ch := w.offer("m", resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE, []string{"m"})
	ch.BaseUrl = u.base
	set, remove, missing := int32(resourcev1.RuleAction_RULE_ACTION_SET), int32(resourcev1.RuleAction_RULE_ACTION_REMOVE), int32(resourcev1.RuleAction_RULE_ACTION_DEFAULT)
	ch.Parameters = []*syncv1.ParameterRule{
		{Action: set, Path: "temperature", Value: "0.25"}, {Action: remove, Path: "user"},
		{Action: missing, Path: "top_p", Value: "0.5"}, {Action: missing, Path: "max_tokens", Value: "1"},
		{Action: set, Path: "provider.order", Value: `["x"]`},
	}
	ch.HeaderRules = []*syncv1.HeaderRule{
		{Action: set, Name: "X-Set", Value: "ours"}, {Action: remove, Name: "X-Remove"},
		{Action: missing, Name: "X-Default", Value: "ours"}, {Action: missing, Name: "X-Missing", Value: "ours"},
	}
	w.update("m", ch)
	headers := []string{"Authorization: Bearer " + w.key, "X-Set: theirs", "X-Remove: theirs", "X-Default: theirs", "X-Other: theirs"}
	for _, tc := range []struct{ name, target, body, xdefault, xother string }{
		{"as it is", chatPath, `{"model":"m","user":"me","max_tokens":100,"temperature":1,"messages":[{"role":"user","content":"x"}]}`, "theirs", "theirs"},
		{"converted", "/v1/messages", `{"model":"m","max_tokens":100,"temperature":1,"metadata":{"user_id":"me"},"messages":[{"role":"user","content":"x"}]}`, "ours", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u.forget()
			if got, body := w.call(t, "POST", tc.target, tc.body, headers...); got.StatusCode != 200 {
				t.Fatalf("%d %s", got.StatusCode, body)
			}
			sent := u.requests()[0]
			for path, want := range map[string]string{"temperature": "0.25", "user": "", "top_p": "0.5", "max_tokens": "100", "provider.order.0": "x"} {
				got := gjson.Get(sent.body, path).String()
				if path == "max_tokens" && tc.name == "converted" {
					continue // it may be the younger name's
				}
				if got != want {
					t.Errorf("%s = %q, want %q, in %s", path, got, want, sent.body)
				}
			}
			for name, want := range map[string]string{"X-Set": "ours", "X-Remove": "", "X-Default": tc.xdefault, "X-Missing": "ours", "X-Other": tc.xother} {
				if got := strings.Join(sent.header.Values(name), ","); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

// A channel's system prompt stands before the client's own, in every dialect, asked in every dialect.
func TestSurfaceSystemPrompt(t *testing.T) {
	const prompt = "Answer as a pirate."
	asks := map[string]struct{ target, body string }{
		"chat":      {chatPath, `{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"x"}]}`},
		"responses": {"/v1/responses", `{"model":"m","instructions":"Be brief.","input":"x"}`},
		"messages":  {"/v1/messages", `{"model":"m","max_tokens":9,"system":"Be brief.","messages":[{"role":"user","content":"x"}]}`},
		"generate":  {"/v1beta/models/m:generateContent", `{"systemInstruction":{"parts":[{"text":"Be brief."}]},"contents":[{"role":"user","parts":[{"text":"x"}]}]}`},
	}
	for _, k := range upstreamKinds() {
		for name, ask := range asks {
			t.Run(name+" to "+k.name, func(t *testing.T) {
				w := newWorld(t)
				u := newTrap(t, always("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"))
				w.put(syncv1.Kind_KIND_CHANNEL, "c-m", &syncv1.ChannelState{
					Name: "ch", Provider: int32(k.provider), BaseUrl: u.base, Models: []string{"m"}, ModelMapping: map[string]string{"m": k.model},
					GroupIds: []string{"g1"}, Weight: 100, PriceRatioPpm: 1_000_000, ApiVersion: k.version, Region: k.region, SystemPrompt: prompt,
				})
				w.put(syncv1.Kind_KIND_ACCOUNT, "a-m", &syncv1.AccountState{Name: "acc", ChannelId: "c-m", Secret: k.secret, AccessKeyId: k.keyID, Weight: 100})
				w.publish()
				_, _ = w.call(t, "POST", ask.target, ask.body, "Authorization: Bearer "+w.key)
				sent := u.requests()
				if len(sent) != 1 {
					t.Fatalf("%d requests", len(sent))
				}
				first, second := strings.Index(sent[0].body, prompt), strings.Index(sent[0].body, "Be brief.")
				if first < 0 || second < first || strings.Count(sent[0].body, prompt) != 1 || !gjson.Valid(sent[0].body) {
					t.Errorf("sent %s", sent[0].body)
				}
			})
		}
	}
}

// A channel that must be asked for streams, or must not, answers every client as it asked.
func TestSurfaceStreamFormat(t *testing.T) {
	for _, format := range []resourcev1.StreamFormat{resourcev1.StreamFormat_STREAM_FORMAT_ALWAYS, resourcev1.StreamFormat_STREAM_FORMAT_NEVER} {
		w := manyWorlds(t)
		for _, k := range upstreamKinds() {
			w.change(k, func(ch *syncv1.ChannelState) { ch.StreamFormat = int32(format) })
			for _, s := range speakers() {
				for _, stream := range []bool{false, true} {
					for _, a := range []asked{{text: "Say hello."}, {text: "How is the weather?", tools: true, result: "It rains."}} {
						a.stream = stream
						t.Run(fmt.Sprintf("%v/%s to %s/stream=%v,tools=%v", format, s.name, k.name, stream, a.tools), func(t *testing.T) {
							before := len(w.provider.Requests())
							r := s.say(t, w, k.model, a)
							if !a.tools && !strings.HasPrefix(r.text, "Hello!") || r.text == "" || r.in == 0 || r.out == 0 || r.stop == "" {
								t.Errorf("%+v", r)
							}
							for _, q := range w.provider.Requests()[before:] {
								if want := format == resourcev1.StreamFormat_STREAM_FORMAT_ALWAYS; q.Stream != want {
									t.Errorf("the upstream was asked for a stream: %v", q.Stream)
								}
							}
						})
					}
				}
			}
		}
		w.booksAgree(t)
	}
}

// What a conversion loses is told whatever the client's dialect.
func TestSurfaceLossyInEachDialect(t *testing.T) {
	w := manyWorlds(t)
	for _, tc := range []struct{ name, target, body, want string }{
		{"chat", chatPath, `{"model":"claude-sonnet-4-5","n":2,"seed":1,"frequency_penalty":1,"messages":[{"role":"user","content":"x"}]}`, "n"},
		{"responses", "/v1/responses", `{"model":"claude-sonnet-4-5","store":true,"truncation":"auto","input":"x"}`, "truncation"},
		{"messages", "/v1/messages", `{"model":"o-think","max_tokens":9,"top_k":3,"messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}]}`, "cache_control"},
		{"generate", "/v1beta/models/o-think:generateContent", `{"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_NONE"}],"contents":[{"role":"user","parts":[{"text":"x"}]}]}`, "safety"},
	} {
		got, body := w.call(t, "POST", tc.target, tc.body, "Authorization: Bearer "+w.key)
		if lossy := got.Header.Get("X-Fairway-Lossy"); got.StatusCode != 200 || !strings.Contains(","+strings.ReplaceAll(lossy, " ", "")+",", ","+tc.want+",") {
			t.Errorf("%s: %d, lossy %q: %s", tc.name, got.StatusCode, lossy, body)
		}
	}
}
