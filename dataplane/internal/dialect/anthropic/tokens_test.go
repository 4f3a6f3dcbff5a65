package anthropic

import (
	"encoding/json"
	"strings"
	"testing"

	"fairway/dataplane/internal/dialect/neutral"
)

func TestEstimateTokens(t *testing.T) {
	with := func(change func(r *neutral.Request)) int64 {
		r := &neutral.Request{Model: "claude-sonnet-4-5", Turns: userSays("hi")}
		change(r)
		return EstimateTokens(r)
	}
	least := with(func(*neutral.Request) {})
	if least < 8 || least > 50 { // the API counts 8
		t.Errorf("%d tokens for a word", least)
	}
	add := func(p neutral.Part) func(*neutral.Request) {
		return func(r *neutral.Request) { r.Turns[0].Parts = append(r.Turns[0].Parts, p) }
	}
	for _, tc := range []struct {
		name   string
		change func(*neutral.Request)
		more   int64 // at least, and at most three times as much
	}{
		{"English", add(neutral.Part{Kind: neutral.Text, Text: strings.Repeat("the quick brown fox ", 100)}), 500},
		{"Chinese", add(neutral.Part{Kind: neutral.Text, Text: strings.Repeat("敏捷的棕色狐狸", 100)}), 1000},
		{"numbers", add(neutral.Part{Kind: neutral.Text, Text: strings.Repeat("0123456789", 100)}), 500},
		{"system", func(r *neutral.Request) {
			r.System = []neutral.Part{{Kind: neutral.Text, Text: strings.Repeat("word ", 300)}}
		}, 400},
		{"picture", add(neutral.Part{Kind: neutral.Image, URL: "https://e.com/a"}), 1600},
		{"picture, seen closely", func(r *neutral.Request) {
			r.Model = "claude-opus-4-7"
			add(neutral.Part{Kind: neutral.Image, URL: "https://e.com/a"})(r)
		}, 4784},
		{"text file", add(neutral.Part{Kind: neutral.File, Media: "text/plain", Data: strings.Repeat("YWFh", 1000)}), 1000},
		{"document", add(neutral.Part{Kind: neutral.File, Media: "application/pdf", URL: "https://e.com/a.pdf"}), 30000},
		{"call", add(neutral.Part{Kind: neutral.Call, ID: "toolu_01", Name: "f", Args: `{"a":"` + strings.Repeat("word ", 100) + `"}`}), 150},
		{"result", add(neutral.Part{Kind: neutral.Result, ID: "toolu_01", Parts: []neutral.Part{{Kind: neutral.Image, Data: "YQ=="}}}), 1600},
		{"tool", func(r *neutral.Request) {
			r.Tools = []neutral.Tool{{Name: "get_weather", Description: "d", Schema: `{"type":"object"}`}}
		}, 530},
		{"server tool", func(r *neutral.Request) { r.Losses.Add(neutral.LossServerTools) }, 3000},
		{"schema", func(r *neutral.Request) {
			r.Format = neutral.Format{Kind: neutral.FormatSchema, Schema: strings.Repeat(`{"type":"object"}`, 10)}
		}, 60},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := with(tc.change) - least; got < tc.more || got > 3*tc.more {
				t.Errorf("%d tokens more, want from %d to %d", got, tc.more, 3*tc.more)
			}
		})
	}
}

func TestTokenCount(t *testing.T) {
	body := AppendTokenCount([]byte("x"), 2095)
	if string(body) != `x{"input_tokens":2095}` {
		t.Errorf("%s", body)
	}
	for body, want := range map[string]int64{
		`{"input_tokens":2095}`: 2095, `{"context_management":{"original_input_tokens":9},"input_tokens":1e3}`: 1000,
		`{"input_tokens":"7"}`: -1, `{"input_tokens":-7}`: -1, `{}`: -1, ``: -1, `{"type":"error"}`: -1,
	} {
		if n, ok := ReadTokenCount([]byte(body)); ok != (want >= 0) || ok && n != want {
			t.Errorf("%s: %d %v, want %d", body, n, ok, want)
		}
	}
}

func TestAppendModels(t *testing.T) {
	var got struct {
		Data []struct {
			Type, ID    string
			DisplayName string `json:"display_name"`
			CreatedAt   string `json:"created_at"`
		}
		HasMore bool    `json:"has_more"`
		FirstID *string `json:"first_id"`
		LastID  *string `json:"last_id"`
	}
	if err := json.Unmarshal(AppendModels(nil, []string{"a", `b"\`}), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Data) != 2 || got.Data[1].ID != `b"\` || got.Data[1].DisplayName != `b"\` || got.Data[0].Type != "model" ||
		got.Data[0].CreatedAt != "1970-01-01T00:00:00Z" || got.HasMore || *got.FirstID != "a" || *got.LastID != `b"\` {
		t.Errorf("list = %+v", got)
	}
	if s := string(AppendModels(nil, nil)); s != `{"data":[],"has_more":false,"first_id":null,"last_id":null}` {
		t.Errorf("an empty list is %s", s)
	}
}

func FuzzReadTokenCount(f *testing.F) {
	f.Add([]byte(`{"input_tokens":2095}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if n, ok := ReadTokenCount(body); n < 0 || !ok && n != 0 {
			t.Fatalf("%d %v", n, ok)
		}
	})
}
