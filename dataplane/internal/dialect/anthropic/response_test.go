package anthropic

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

func TestReadResponseRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":     `{"content":[`,
		"no object":   `[]`,
		"error":       `{"type":"error","error":{"type":"api_error","message":"m"}}`,
		"no content":  `{"type":"message"}`,
		"odd content": `{"type":"message","content":[{"type":"text"}]}`,
		"odd call":    `{"type":"message","content":[{"type":"tool_use","id":"a","name":"f","input":"x"}]}`,
		"by the user": `{"type":"message","content":[{"type":"tool_result","tool_use_id":"a"}]}`,
	} {
		if r, err := (Codec{}).ReadResponse([]byte(body)); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}

func TestAppendResponseOfOthers(t *testing.T) {
	r := &neutral.Response{
		Parts: []neutral.Part{
			{Kind: neutral.Think, Text: "hm", Signature: neutral.Signature{Value: "s", Origin: neutral.FromOpenAI}},
			{Kind: neutral.Image, Data: "YQ=="}, {Kind: neutral.Audio, Data: "YQ=="}, {Kind: neutral.File, Data: "YQ=="},
			{Kind: neutral.Refusal, Text: "no", Signature: neutral.Signature{Value: "s", Origin: neutral.FromGemini}},
			{Kind: neutral.Text, Text: "t", Signature: neutral.Signature{Value: "s", Origin: neutral.FromGemini}},
			{Kind: neutral.Call, ID: "a", Name: "f", Args: "broken"},
		},
		Stop: neutral.StopEnd,
	}
	want := `{"id":"msg_0123456789","type":"message","role":"assistant","model":"claude-as-asked","content":[` +
		`{"type":"thinking","thinking":"hm","signature":"ZmFpcndheTozOnM="},{"type":"text","text":"no"},{"type":"text","text":"t"},` +
		`{"type":"tool_use","id":"a","name":"f","input":{"arguments":"broken"}}],"stop_reason":"tool_use","stop_sequence":null,` +
		`"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}`
	if d := cmp.Diff(want, string(Codec{}.AppendResponse(nil, r, answering()))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := r.Losses.String(); got != "audio,files,images,signature" {
		t.Errorf("losses = %q", got)
	}
}

func TestStopReasons(t *testing.T) {
	for s := neutral.StopEnd; s <= neutral.StopContext; s++ {
		if got := stopOf(stopReason(s)); got != s {
			t.Errorf("%d is %q, which is %d", s, stopReason(s), got)
		}
	}
	if stopOf("bored") != 0 || stopReason(0) != "end_turn" {
		t.Error("what is unknown has a meaning")
	}
}

// An answer of what the API can say comes back as it was.
func TestResponseThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &neutral.Response{ID: "msg_1", Model: "claude-as-asked", Counted: true}
		for range rapid.IntRange(0, 3).Draw(t, "turns") {
			want.Parts = append(want.Parts, drawTurn(t, 1).Parts...)
		}
		want.Stop = neutral.Stop(rapid.IntRange(1, int(neutral.StopContext)).Draw(t, "stop"))
		for _, p := range want.Parts {
			if p.Kind == neutral.Call && want.Stop == neutral.StopEnd {
				want.Stop = neutral.StopCall
			}
		}
		if want.Stop == neutral.StopSequence {
			want.Sequence = drawText(t, "sequence")
		}
		count := func(label string) int64 { return rapid.Int64Range(0, 1<<20).Draw(t, label) }
		want.Usage = money.Tokens{Cached: count("cached"), CacheWrite: count("write"), CacheWriteLong: count("long"), Reasoning: count("thought")}
		want.Usage.Input = want.Usage.Cached + want.Usage.CacheWrite + want.Usage.CacheWriteLong + count("input")
		want.Usage.Output = want.Usage.Reasoning + count("output")
		body := Codec{}.AppendResponse(nil, want, answering())
		got, err := Codec{}.ReadResponse(body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s\n(-want +got):\n%s", body, d)
		}
		if u, ok := (Answers{}).Usage(nil, body); !ok || u != want.Usage {
			t.Fatalf("the relay finds %+v %v in %s", u, ok, body)
		}
	})
}

// Whatever is read can be written, and is then read as the same.
func FuzzReadResponse(f *testing.F) {
	for _, body := range inputs(f, "response/*.json") {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Codec{}.ReadResponse(body)
		if err != nil {
			return
		}
		first := Codec{}.AppendResponse(nil, r, answering())
		if !json.Valid(first) {
			t.Fatalf("not JSON: %s", first)
		}
		again, err := Codec{}.ReadResponse(first)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if d := cmp.Diff(string(first), string(Codec{}.AppendResponse(nil, again, answering()))); d != "" {
			t.Fatalf("not the same again (-first +second):\n%s", d)
		}
	})
}

func BenchmarkResponse(b *testing.B) {
	body := inputs(b, "response/tools.json")["testdata/response/tools.json"]
	r, err := Codec{}.ReadResponse(body)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (Codec{}).ReadResponse(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		a, dst := answering(), []byte(nil)
		b.ReportAllocs()
		for b.Loop() {
			dst = Codec{}.AppendResponse(dst[:0], r, a)
		}
	})
}
