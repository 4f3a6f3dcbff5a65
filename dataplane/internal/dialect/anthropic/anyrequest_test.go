package anthropic

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect/neutral"
)

// sent is a request as far as the API has rules for it.
type sent struct {
	MaxTokens int64 `json:"max_tokens"`
	Messages  []struct {
		Role    string
		Content []struct {
			Type, Text, ID, Signature string
			ToolUseID                 string `json:"tool_use_id"`
			Input                     json.RawMessage
		}
	}
	Tools []struct {
		InputSchema struct{ Type string } `json:"input_schema"`
	}
	ToolChoice *struct{ Type string } `json:"tool_choice"`
	Thinking   *struct {
		Type   string
		Budget *int64 `json:"budget_tokens"`
	}
	OutputConfig *struct{ Effort string } `json:"output_config"`
	Temperature  *float64
	TopP         *float64 `json:"top_p"`
	TopK         *int64   `json:"top_k"`
}

// Whatever other dialects ask for, what is sent keeps the API's rules, or the request is refused.
func TestAnyRequestKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawForeign(t)
		body, f := Codec{}.AppendRequest(nil, r, r.Model)
		if f != nil {
			return
		}
		var s sent
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		fail := func(why string) { t.Fatalf("%s: %s", why, body) }
		if s.MaxTokens < 1 {
			fail("no max_tokens")
		}
		checkMessages(&s, fail)
		forced := s.ToolChoice != nil && (s.ToolChoice.Type == "any" || s.ToolChoice.Type == "tool")
		if s.ToolChoice != nil && len(s.Tools) == 0 {
			fail("a choice without tools")
		}
		for _, tool := range s.Tools {
			if tool.InputSchema.Type != "object" {
				fail("arguments that are no object")
			}
		}
		g := generation(r.Model)
		if s.Thinking != nil && s.Thinking.Type != "disabled" {
			switch {
			case forced:
				fail("thinking with a forced tool")
			case s.Thinking.Type == "enabled" && (g >= adaptive || *s.Thinking.Budget < leastBudget || *s.Thinking.Budget >= s.MaxTokens):
				fail("a budget that the model refuses")
			case s.Thinking.Type == "adaptive" && (g < adaptive || s.Thinking.Budget != nil):
				fail("adaptive where it is not known")
			case s.Temperature != nil && *s.Temperature != 1, s.TopK != nil, s.TopP != nil && *s.TopP < 0.95:
				fail("sampling with thinking")
			}
		}
		switch {
		case s.Temperature != nil && *s.Temperature > 1:
			fail("too hot")
		case g >= oneSampler && s.Temperature != nil && s.TopP != nil && r.Temperature != "1.7":
			fail("both samplers")
		case g >= adaptiveOnly && (s.TopK != nil || s.TopP != nil && *s.TopP != 1):
			fail("sampling where it is fixed")
		}
		if _, f := (Codec{}).ReadRequest(body, r.Model, false); f != nil {
			t.Fatalf("%s: %v", body, f)
		}
	})
}

func checkMessages(s *sent, fail func(string)) {
	if len(s.Messages) == 0 {
		fail("no messages")
	}
	for i, m := range s.Messages {
		if want := [...]string{"user", "assistant"}[i%2]; m.Role != want || len(m.Content) == 0 {
			fail("roles do not take turns")
		}
		results := true
		for _, b := range m.Content {
			switch b.Type {
			case "text":
				if b.Text == "" {
					fail("empty text")
				}
			case "thinking":
				if b.Signature == "" {
					fail("a thought without proof")
				}
			case "tool_use":
				if b.ID == "" || len(b.Input) == 0 || b.Input[0] != '{' {
					fail("a call without id or input")
				}
			case "tool_result":
				if b.ToolUseID == "" || !results {
					fail("a result without id, or behind something else")
				}
			}
			results = results && b.Type == "tool_result"
		}
	}
}

// drawForeign draws a request as readers of other dialects make them: neighbours differ in role, little else is sure.
func drawForeign(t *rapid.T) *neutral.Request {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	r := &neutral.Request{
		Model:       pick("model", "claude-3-5-haiku-latest", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-7", "other"),
		MaxTokens:   neutral.Number(pick("max", "", "1", "1024", "1025", "5e3", "0", "-1", "x")),
		Temperature: neutral.Number(pick("temperature", "", "0", "1", "1.0", "1.7")),
		TopP:        neutral.Number(pick("top_p", "", "1", "0.97", "0.5")),
		TopK:        neutral.Number(pick("top_k", "", "40")),
		Choice:      neutral.Choice{How: neutral.Choose(rapid.IntRange(0, 4).Draw(t, "choice")), Name: "f"},
		Thinking: neutral.Thinking{
			Effort: pick("effort", "", "minimal", "low", "medium", "high", "xhigh", "?"),
			Budget: neutral.Number(pick("budget", "", "-1", "0", "1", "1024", "4999", "1e9")),
			Off:    rapid.IntRange(0, 5).Draw(t, "off") == 0,
		},
	}
	for range rapid.IntRange(0, 2).Draw(t, "tools") {
		r.Tools = append(r.Tools, neutral.Tool{Name: "f", Schema: pick("schema", "", "{}", " {\n} ", `{"properties":{}}`, `{"type":"object"}`, "null", "{")})
	}
	role := neutral.Role(0)
	for range rapid.IntRange(1, 6).Draw(t, "turns") {
		turn := neutral.Turn{Role: neutral.Role(rapid.IntRange(1, 3).Filter(func(n int) bool { return neutral.Role(n) != role }).Draw(t, "role"))}
		role = turn.Role
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			turn.Parts = append(turn.Parts, drawForeignPart(t, role))
		}
		r.Turns = append(r.Turns, turn)
	}
	return r
}

func drawForeignPart(t *rapid.T, role neutral.Role) neutral.Part {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	p := neutral.Part{Kind: neutral.Text, Text: pick("text", "", "a", "b\n")}
	switch role {
	case neutral.User:
		p.Kind = rapid.SampledFrom([]neutral.Kind{neutral.Text, neutral.Image, neutral.File, neutral.Audio, neutral.Result}).Draw(t, "kind")
		if p.Kind == neutral.Result {
			p.ID, p.Failed = pick("id", "", "a", "b:c"), rapid.Bool().Draw(t, "failed")
			p.Parts = []neutral.Part{{Kind: neutral.Text, Text: p.Text}, {Kind: neutral.Audio, Data: "YQ=="}}
		}
		if p.Kind == neutral.Image || p.Kind == neutral.File {
			p.Media = pick("media", "", "image/png", "text/csv", "application/pdf", "application/zip")
			switch pick("where", "data", "url", "id") {
			case "data":
				p.Data = pick("data", "", "YQ==", "!", "/w==")
			case "url":
				p.URL = pick("url", "https://e.com", "gs://b/o", "data:image/png;base64,YQ==", "data:,x")
			default:
				p.FileID = pick("file", "file_a", "file-a")
			}
		}
	case neutral.Assistant:
		p.Kind = rapid.SampledFrom([]neutral.Kind{neutral.Text, neutral.Refusal, neutral.Think, neutral.Redacted, neutral.Call, neutral.Image}).Draw(t, "kind")
		p.ID, p.Name, p.Args = pick("id", "", "a", "b:c"), "f", pick("args", "", "{}", "[1]", "{", " {\"a\":1}")
		if rapid.Bool().Draw(t, "signed") {
			p.Signature = neutral.Signature{Value: "s", Origin: neutral.Origin(rapid.IntRange(1, 3).Draw(t, "origin"))}
		}
	}
	return p
}
