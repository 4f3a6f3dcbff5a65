package gateway

import (
	"crypto/sha256"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// bait makes a channel of a provider that serves model from base. It is not published.
func (w *world) bait(model string, provider resourcev1.Provider, base string) {
	w.t.Helper()
	ch := w.offer(model, provider, nil, secretA)
	ch.BaseUrl, ch.Models = base, []string{model}
	w.put(syncv1.Kind_KIND_CHANNEL, "c-"+model, ch)
}

// recording is a stream as a provider sent it, and who asks for it.
type recording struct {
	provider     resourcev1.Provider
	target, body string
	dir          string
	names        []string
}

func recordings() []recording {
	return []recording{
		{
			resourcev1.Provider_PROVIDER_OPENAI, chatPath, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`,
			"openai/testdata/streams", strings.Fields("azure calls deepseek gemini_compat image interleaved late mistral no_index openrouter refusal same_index several text"),
		},
		{
			resourcev1.Provider_PROVIDER_OPENAI, "/v1/responses", `{"model":"m","stream":true,"input":"x"}`,
			"responses/testdata", strings.Fields("imitator incomplete only_completed reasoning_tools refusal text"),
		},
		{
			resourcev1.Provider_PROVIDER_ANTHROPIC, "/v1/messages", `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`,
			"anthropic/testdata/stream", strings.Fields("text thinking_tools"),
		},
		{
			resourcev1.Provider_PROVIDER_GEMINI, "/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[{"role":"user","parts":[{"text":"x"}]}]}`,
			"gemini/testdata/streams", strings.Fields("blocked calls image reasons safety text thinking"),
		},
	}
}

func recorded(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile("../dialect/" + dir + "/" + name + ".sse")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// split is a stream in pieces of so many bytes.
func split(s string, size int) []string {
	var out []string
	for len(s) > size {
		out, s = append(out, s[:size]), s[size:]
	}
	return append(out, s)
}

// Same dialect: what the client gets of recorded streams is what the provider sent, to the hash, however it comes.
func TestTrap05RecordedStreams(t *testing.T) {
	for _, r := range recordings() {
		for _, name := range r.names {
			t.Run(r.dir+"/"+name, func(t *testing.T) {
				t.Parallel()
				lf := recorded(t, r.dir, name)
				for form, stream := range map[string]string{"LF": lf, "CRLF": strings.ReplaceAll(strings.ReplaceAll(lf, "\r\n", "\n"), "\n", "\r\n")} {
					for _, size := range []int{1, 2, 3, 7, 61, len(stream)} {
						w := newWorld(t)
						pieces := []string{eventHead}
						for _, p := range split(stream, size) {
							pieces = append(pieces, chunk(p))
						}
						u := newTrap(t, func(l *line) {
							if _, ok := l.request(); !ok {
								return
							}
							if size < 7 {
								// So many writes are slow; it is the chunks that are small.
								l.say(strings.Join(pieces, ""), lastChunk)
								return
							}
							l.say(append(pieces, lastChunk)...)
						})
						w.bait("m", r.provider, u.base)
						w.publish()
						got := w.ask(r.target, r.body)
						if !got.good() || sha256.Sum256([]byte(got.body)) != sha256.Sum256([]byte(stream)) {
							t.Errorf("%s in pieces of %d: %v\nwant %.600q", form, size, got, stream)
						}
						w.quiet()
						if all := w.books.all(); len(all) != 1 || all[0].Error {
							t.Errorf("%s in pieces of %d: records %+v", form, size, all)
						}
					}
				}
			})
		}
	}
}

// An image is larger than all that is kept of a stream: its end is known all the same.
func TestTrap05LargeImageStream(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("iVBORw0KGgo", 30_000)
	stream := "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"" + large + "\",\"partial_image_index\":0}\n\n" +
		"event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"" + large + "\",\"size\":\"1024x1024\"," +
		"\"usage\":{\"total_tokens\":100,\"input_tokens\":40,\"output_tokens\":60,\"input_tokens_details\":{\"text_tokens\":40,\"image_tokens\":0}}}\n\n"
	u := newTrap(t, always(eventHead, chunk(stream), lastChunk))
	w.bait("m", resourcev1.Provider_PROVIDER_OPENAI, u.base)
	partial, _, _ := strings.Cut(stream, "event: image_generation.completed")
	half := newTrap(t, always(eventHead, chunk(partial), lastChunk))
	w.bait("half", resourcev1.Provider_PROVIDER_OPENAI, half.base)
	w.publish()
	if got := w.ask("/v1/images/generations", `{"model":"m","prompt":"x","stream":true,"partial_images":1}`); !got.good() || got.body != stream {
		t.Errorf("%v", got)
	}
	if r := w.record(); r.Error || r.Estimated || r.Input != 40 || r.Output != 60 {
		t.Errorf("record %+v", r)
	}
	if got := w.ask("/v1/images/generations", `{"model":"half","prompt":"x","stream":true,"partial_images":1}`); got.good() || !strings.Contains(got.body, "upstream_stream_interrupted") {
		t.Errorf("a half: %v", got)
	}
	if r := w.record(); !r.Error {
		t.Errorf("record of a half: %+v", r)
	}
}

// accumulated is a recorded stream as Anthropic's SDK has it in the end.
func accumulated(t *testing.T, provider resourcev1.Provider, stream string) anthropic.Message {
	t.Helper()
	w := newWorld(t)
	u := newTrap(t, always(eventHead, chunk(stream), lastChunk))
	w.bait("m", provider, u.base)
	w.publish()
	c := w.claude(t)
	s := c.Messages.NewStreaming(t.Context(), anthropic.MessageNewParams{
		Model: "m", MaxTokens: 2000, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("x"))},
	})
	var sum anthropic.Message
	for s.Next() {
		if err := sum.Accumulate(s.Current()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return sum
}

// Calls whose deltas interleave, or have no index, or all the same one, are told apart.
func TestTrap06InterleavedCalls(t *testing.T) {
	for _, name := range []string{"calls", "interleaved", "no_index", "same_index"} {
		t.Run(name, func(t *testing.T) {
			stream := recorded(t, "openai/testdata/streams", name)
			sum := accumulated(t, resourcev1.Provider_PROVIDER_OPENAI, stream)
			ids := map[string]bool{}
			for _, b := range sum.Content {
				if b.Type == "tool_use" {
					ids[b.ID] = true
					if !gjson.ValidBytes(b.Input) || !gjson.ParseBytes(b.Input).IsObject() {
						t.Errorf("%s(%s)", b.Name, b.Input)
					}
				}
			}
			want := map[string]bool{}
			for _, m := range regexp.MustCompile(`"id": ?"((?:call|toolu|chatcmpl-tool)_?[^"]*)"`).FindAllStringSubmatch(stream, -1) {
				want[m[1]] = true
			}
			if d := cmp.Diff(want, ids); d != "" || len(want) < 2 {
				t.Errorf("calls (-want +got):\n%s", d)
			}
		})
	}
}

// Thoughts and their signatures come byte for byte, an empty thought with a signature and what is redacted too.
func TestTrap07SignaturesAreExact(t *testing.T) {
	const start = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":%d,\"content_block\":%s}\n\n"
	const change = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":%d,\"delta\":%s}\n\n"
	const stop = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":%d}\n\n"
	stream := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\"," +
		"\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n" +
		fmt.Sprintf(start, 0, `{"type":"thinking","thinking":"","signature":""}`) + fmt.Sprintf(change, 0, `{"type":"signature_delta","signature":"Eq+/=0"}`) + fmt.Sprintf(stop, 0) +
		fmt.Sprintf(start, 1, `{"type":"redacted_thinking","data":"Red+/=1"}`) + fmt.Sprintf(stop, 1) +
		fmt.Sprintf(start, 2, `{"type":"thinking","thinking":"","signature":""}`) + fmt.Sprintf(change, 2, `{"type":"thinking_delta","thinking":"hm \u00e4\n"}`) +
		fmt.Sprintf(change, 2, `{"type":"signature_delta","signature":"Eq+/=2"}`) + fmt.Sprintf(stop, 2) +
		fmt.Sprintf(start, 3, `{"type":"text","text":""}`) + fmt.Sprintf(change, 3, `{"type":"text_delta","text":"So."}`) + fmt.Sprintf(stop, 3) +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":9}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	sum := accumulated(t, resourcev1.Provider_PROVIDER_ANTHROPIC, stream)
	var got []string
	for _, b := range sum.Content {
		got = append(got, b.Type+"|"+b.Thinking+"|"+b.Signature+"|"+b.Data+"|"+b.Text)
	}
	want := []string{"thinking||Eq+/=0||", "redacted_thinking|||Red+/=1|", "thinking|hm ä\n|Eq+/=2||", "text||||So."}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("blocks (-want +got):\n%s", d)
	}
}

// What Gemini signed in its call comes back to it with the call's result, whatever the client's dialect.
func TestTrap08GeminiSignaturesComeBack(t *testing.T) {
	const signature = "Cq4BAdHtim+/signeQ=="
	call := `{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"weather","args":{"city":"Paris"}},"thoughtSignature":"` + signature +
		`"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}}`
	text := `{"candidates":[{"content":{"role":"model","parts":[{"text":"It rains."}]},"finishReason":"STOP","index":0}],` +
		`"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}}`
	for _, s := range speakers() {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream=%v", s.name, stream), func(t *testing.T) {
				w := newWorld(t)
				u := newTrap(t, func(l *line) {
					for {
						h, ok := l.request()
						if !ok {
							return
						}
						answer := call
						if strings.Contains(h.body, "functionResponse") {
							answer = text
						}
						if stream {
							l.say(eventHead, chunk("data: "+answer+"\r\n\r\n"), lastChunk)
						} else {
							l.say(sized(answer))
						}
					}
				})
				w.bait("m", resourcev1.Provider_PROVIDER_GEMINI, u.base)
				w.publish()
				if r := s.say(t, w, "m", asked{text: "How is the weather?", tools: true, result: "It rains.", stream: stream}); r.text != "It rains." {
					t.Errorf("%+v", r)
				}
				sent := u.requests()
				if len(sent) != 2 {
					t.Fatalf("%d requests", len(sent))
				}
				found := ""
				gjson.Get(sent[1].body, "contents.#.parts").ForEach(func(_, parts gjson.Result) bool {
					for _, p := range parts.Array() {
						if p.Get("functionCall.name").Str == "weather" {
							found = p.Get("thoughtSignature").Str + p.Get("thought_signature").Str
						}
					}
					return true
				})
				if found != signature {
					t.Errorf("the call came back with %q: %s", found, sent[1].body)
				}
			})
		}
	}
}

// An upstream's keep-alives before its first event commit to nothing: what follows may still be answered by another one.
func TestTrap10NothingBeforeTheFirstEvent(t *testing.T) {
	for name, rest := range map[string][]string{
		"reset": nil, "an error": {chunk("data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\",\"code\":\"server_error\"}}\n\n"), lastChunk},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := newTrap(t, func(l *line) {
				if _, ok := l.request(); ok {
					l.say(append([]string{eventHead, chunk(": ping\n\n"), chunk(": ping\r\n\r\n"), chunk(":\n\n")}, rest...)...)
				}
			})
			w.bait("m", resourcev1.Provider_PROVIDER_OPENAI, u.base)
			w.publish()
			if got := w.ask(chatPath, prompt("m", "x", true)); got.status < 500 || got.broken != nil || !strings.HasPrefix(got.body, `{"error":`) {
				t.Errorf("alone: %v", got)
			}
			ch := w.offer("b", resourcev1.Provider_PROVIDER_OPENAI, []string{"m"}, secretB)
			ch.Priority = 1
			w.update("b", ch)
			if got := w.ask(chatPath, prompt("m", "x", true)); !got.good() || strings.Contains(got.body, "ping") || !strings.HasSuffix(got.body, doneEvent) {
				t.Errorf("with another: %v", got)
			}
		})
	}
}

// A model that is asked for by the path of another dialect than its provider's is converted, or refused with the reason.
func TestTrap16WrongDialectsPath(t *testing.T) {
	w := manyWorlds(t)
	for _, tc := range []struct {
		target, body string
		served       []string // by models
	}{
		{chatPath, `{"model":"MODEL","messages":[{"role":"user","content":"x"}]}`, nil},
		{"/v1/responses", `{"model":"MODEL","input":"x"}`, nil},
		{"/v1/messages", `{"model":"MODEL","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, nil},
		{"/v1beta/models/MODEL:generateContent", `{"contents":[{"role":"user","parts":[{"text":"x"}]}]}`, nil},
		{"/v1/embeddings", `{"model":"MODEL","input":"x"}`, []string{"o-think", "gemini-3-pro", "o-azure", "c-plain"}},
		{"/v1/completions", `{"model":"MODEL","prompt":"x"}`, []string{"o-think", "o-azure", "c-plain"}},
		{"/v1/moderations", `{"model":"MODEL","input":"x"}`, []string{"o-think", "c-plain"}},
		{"/v1beta/models/MODEL:embedContent", `{"content":{"parts":[{"text":"x"}]}}`, []string{"gemini-3-pro"}},
		{"/v1/messages/batches", `{"requests":[{"custom_id":"a","params":{"model":"MODEL","max_tokens":9,"messages":[{"role":"user","content":"x"}]}}]}`, []string{"claude-sonnet-4-5"}},
	} {
		for _, k := range upstreamKinds() {
			got, body := w.call(t, "POST", strings.ReplaceAll(tc.target, "MODEL", k.model), strings.ReplaceAll(tc.body, "MODEL", k.model), "Authorization: Bearer "+w.key)
			want := tc.served == nil
			for _, m := range tc.served {
				want = want || m == k.model
			}
			refused := got.StatusCode == 400 && strings.Contains(body, "is not served for the model") && strings.Contains(body, k.model)
			if got.StatusCode != 200 && !refused || (got.StatusCode == 200) != want {
				t.Errorf("%s to %s: %d %s", tc.target, k.name, got.StatusCode, body)
			}
		}
	}
}
