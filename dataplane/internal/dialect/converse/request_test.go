package converse

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func text(s string) neutral.Part { return neutral.Part{Kind: neutral.Text, Text: s} }

func yes() *bool { b := true; return &b }
func no() *bool  { return new(bool) }

var signed = neutral.Signature{Value: "EqRkL+/=", Origin: neutral.FromAnthropic}

// conversation has of everything that Converse can carry.
func conversation() *neutral.Request {
	return &neutral.Request{
		System: []neutral.Part{text("Be \"kind\".\n"), text(" ")},
		Turns: []neutral.Turn{
			{Role: neutral.System, Parts: []neutral.Part{text("And brief.")}},
			{Role: neutral.User, Parts: []neutral.Part{
				text("What is in these?"),
				{Kind: neutral.Image, Media: "image/png", Data: "iVBORw0KGgo="},
				{Kind: neutral.Image, URL: "s3://bucket/cat.jpg"},
				{Kind: neutral.File, Media: "application/pdf", Name: "Report  (2026).v2.pdf", Data: "JVBERi0="},
			}},
			{Role: neutral.Assistant, Parts: []neutral.Part{
				{Kind: neutral.Think, Text: "", Signature: signed},
				{Kind: neutral.Redacted, Signature: signed},
				text("I shall look."),
				{Kind: neutral.Call, ID: "call_1", Name: "look", Args: `{"n": 1.50, "s":"é"}`},
				{Kind: neutral.Call, ID: "call_2", Name: "gone", Args: ""},
			}},
			{Role: neutral.User, Parts: []neutral.Part{
				text("Go on."),
				{Kind: neutral.Result, ID: "call_1", Parts: []neutral.Part{text("a cat"), {Kind: neutral.Image, Media: "image/jpg", Data: "/9j/"}}},
				{Kind: neutral.Result, ID: "call_2", Failed: true},
			}},
			{Role: neutral.System, Parts: []neutral.Part{text("Now in French.")}},
		},
		Tools:     []neutral.Tool{{Name: "look", Description: "looks", Schema: `{"type":"object","properties":{"n":{"type":"number"}}}`, Strict: yes()}},
		Choice:    neutral.Choice{How: neutral.ChooseTool, Name: "look"},
		MaxTokens: "4096", Temperature: "0.70", TopP: "1", Stop: []string{"END", "\n\n"},
		Format: neutral.Format{Kind: neutral.FormatSchema, Name: "cat", Schema: `{"type":"object"}`, Strict: yes()},
		Tier:   "flex",
	}
}

func TestAppendRequest(t *testing.T) {
	for name, tc := range map[string]struct {
		model   string
		request *neutral.Request
		losses  string
	}{
		"everything": {"amazon.nova-pro-v1:0", conversation(), ""},
		"assistant first": {"m", &neutral.Request{Turns: []neutral.Turn{
			{Role: neutral.Assistant, Parts: []neutral.Part{text("Hello"), {Kind: neutral.Refusal, Text: "No."}}},
			{Role: neutral.User, Parts: []neutral.Part{text("  ")}},
		}}, ""},
		"nothing": {"m", &neutral.Request{}, ""},
		"losses": {"m", &neutral.Request{
			Turns: []neutral.Turn{
				{Role: neutral.User, Parts: []neutral.Part{
					{Kind: neutral.Image, URL: "https://example.com/a.png", Detail: "high"},
					{Kind: neutral.Image, Media: "image/tiff", Data: "AA=="},
					{Kind: neutral.File, FileID: "file-1"},
					{Kind: neutral.Audio, Media: "audio/wav", Data: "AA=="},
				}},
				{Role: neutral.Assistant, Parts: []neutral.Part{
					{Kind: neutral.Think, Text: "hm", Signature: neutral.Signature{Value: "x", Origin: neutral.FromGemini}},
					{Kind: neutral.Text, Text: "a", Signature: neutral.Signature{Value: "x", Origin: neutral.FromGemini}},
				}},
			},
			Tools: []neutral.Tool{{Name: "f"}}, Choice: neutral.Choice{How: neutral.ChooseNone}, Parallel: no(),
			Seed: "7", FrequencyPenalty: "1", TopK: "5", User: "u", Tier: "scale",
			Format: neutral.Format{Kind: neutral.FormatJSON}, Thinking: neutral.Thinking{Effort: "high"},
		}, "audio,files,image_detail,images,penalties,schema,seed,signature,thinking,tier,tool_choice,top_k,user"},
		"claude thinks": {"arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet", &neutral.Request{
			Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{text("a")}}}, Temperature: "1", TopK: "5",
			Thinking: neutral.Thinking{Effort: "medium"},
		}, "top_k"},
		"claude thinks less": {"anthropic.claude-x", &neutral.Request{
			Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{text("a")}}}, MaxTokens: "2000", Temperature: "0.5",
			Thinking: neutral.Thinking{Budget: "9000"},
		}, "temperature,thinking"},
		"claude does not think": {"anthropic.claude-x", &neutral.Request{
			Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{text("a")}}}, MaxTokens: "1024", TopK: "5",
			Thinking: neutral.Thinking{Effort: "low"},
		}, "thinking"},
		"nova thinks": {"us.amazon.nova-2-lite-v1:0", &neutral.Request{
			Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{text("a")}}}, MaxTokens: "100",
			Thinking: neutral.Thinking{Effort: "high"},
		}, "thinking"},
		"gpt-oss thinks": {"openai.gpt-oss-120b-1:0", &neutral.Request{
			Turns:    []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{text("a")}}},
			Thinking: neutral.Thinking{Effort: "high"},
		}, ""},
		"a document alone": {"m", &neutral.Request{Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{
			{Kind: neutral.File, Media: "text/plain; charset=utf-8", Data: "YQ=="}, {Kind: neutral.File, Media: "text/csv", Name: "…", Data: "YQ=="},
		}}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, fail := Codec{}.AppendRequest([]byte("x"), tc.request, tc.model)
			if fail != nil {
				t.Fatal(fail)
			}
			if got[0] != 'x' {
				t.Error("what stood in dst is gone")
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got[1:], "", "  "); err != nil {
				t.Fatalf("%s: %v", got, err)
			}
			golden(t, "request_"+strings.ReplaceAll(name, " ", "_")+".json", pretty.Bytes())
			if losses := tc.request.Losses.String(); losses != tc.losses {
				t.Errorf("lost %q, want %q", losses, tc.losses)
			}
		})
	}
}

func TestRequestRefuses(t *testing.T) {
	r := &neutral.Request{Turns: []neutral.Turn{{Role: neutral.Assistant, Parts: []neutral.Part{{Kind: neutral.Call, Name: "f", Args: "[1"}}}}}
	out, fail := Codec{}.AppendRequest([]byte("x"), r, "m")
	if fail == nil || fail.Kind != fault.Invalid || string(out) != "x" {
		t.Errorf("%s: %v", out, fail)
	}
}

// Whatever is asked, the request is JSON, begins with the user, changes sides with each message, and no message is empty.
func TestRequestsAreWellFormed(t *testing.T) {
	part := rapid.Custom(func(t *rapid.T) neutral.Part {
		return neutral.Part{
			Kind: neutral.Kind(rapid.IntRange(0, int(neutral.Redacted)+1).Draw(t, "kind")),
			Text: rapid.SampledFrom([]string{"", " ", "a", "\"\\\n\u2028é"}).Draw(t, "text"),
			Data: rapid.SampledFrom([]string{"", "YQ=="}).Draw(t, "data"), URL: "https://x/y.png",
			Media: rapid.SampledFrom([]string{"", "image/png", "application/pdf", "x"}).Draw(t, "media"),
			ID:    "id", Name: rapid.String().Draw(t, "name"), Args: rapid.SampledFrom([]string{"", "{}", `{"a":[1]}`}).Draw(t, "args"),
			Signature: neutral.Signature{Value: "x", Origin: neutral.Origin(rapid.IntRange(0, 3).Draw(t, "origin"))},
		}
	})
	request := rapid.Custom(func(t *rapid.T) *neutral.Request {
		r := &neutral.Request{
			System: rapid.SliceOfN(part, 0, 2).Draw(t, "system"), TopK: "3",
			MaxTokens: rapid.SampledFrom([]neutral.Number{"", "1", "1e3", "99999"}).Draw(t, "max"),
			Thinking: neutral.Thinking{
				Effort: rapid.SampledFrom([]string{"", "minimal", "xhigh"}).Draw(t, "effort"), Off: rapid.Bool().Draw(t, "off"),
			},
			Choice: neutral.Choice{How: neutral.Choose(rapid.IntRange(0, 4).Draw(t, "choice")), Name: "f"},
			Format: neutral.Format{Kind: neutral.FormatKind(rapid.IntRange(0, 3).Draw(t, "format")), Schema: `{"a":"b"}`},
		}
		for range rapid.IntRange(0, 5).Draw(t, "turns") {
			turn := neutral.Turn{Role: neutral.Role(rapid.IntRange(1, 3).Draw(t, "role")), Parts: rapid.SliceOfN(part, 0, 4).Draw(t, "parts")}
			for i := range turn.Parts {
				turn.Parts[i].Parts = rapid.SliceOfN(part, 0, 2).Draw(t, "inner")
			}
			r.Turns = append(r.Turns, turn)
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		model := rapid.SampledFrom([]string{"m", "anthropic.claude-x", "amazon.nova-2", "openai.gpt-oss"}).Draw(t, "model")
		out, fail := Codec{}.AppendRequest(nil, request.Draw(t, "request"), model)
		if fail != nil {
			t.Fatal(fail)
		}
		var got struct {
			Messages []struct {
				Role    string
				Content []map[string]json.RawMessage
			}
			ToolConfig *struct{ Tools []json.RawMessage }
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if len(got.Messages) == 0 {
			t.Fatal("no messages")
		}
		for i, m := range got.Messages {
			if want := [...]string{"user", "assistant"}[i%2]; m.Role != want || len(m.Content) == 0 {
				t.Fatalf("message %d is the %s's: %s", i, m.Role, out)
			}
			for _, c := range m.Content {
				if _, called := c["toolUse"]; len(c) != 1 || called && got.ToolConfig == nil {
					t.Fatalf("content: %s", out)
				}
			}
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) {
	r, dst := conversation(), make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		if _, fail := (Codec{}).AppendRequest(dst, r, "amazon.nova-pro-v1:0"); fail != nil {
			b.Fatal(fail)
		}
	}
}
