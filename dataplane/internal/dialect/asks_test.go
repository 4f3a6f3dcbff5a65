package dialect

import "testing"

func TestAsks(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       Asks
	}{
		{"nothing", `{"model":"m"}`, Asks{}},
		{"chat", `{"max_tokens":7,"model":"m","n":3}`, Asks{7, 3}},
		{"chat, newer", `{"model":"m","max_completion_tokens": 9 ,"max_tokens":2}`, Asks{MaxTokens: 9}},
		{"responses", `{"model":"m","max_output_tokens":100}`, Asks{MaxTokens: 100}},
		{"gemini", `{"model":"m","generationConfig":{"temperature":1,"maxOutputTokens":50,"candidateCount":2}}`, Asks{50, 2}},
		{"gemini, empty", `{"model":"m","generationConfig":{}}`, Asks{}},
		{"no object", `{"model":"m","generationConfig":null,"n":2}`, Asks{Answers: 2}},
		{"no number", `{"model":"m","max_tokens":"7","n":null}`, Asks{}},
		{"no whole number", `{"model":"m","max_tokens":7.5,"n":1e3}`, Asks{}},
		{"beyond all bounds", `{"model":"m","max_tokens":99999999999999999999999,"n":9223372036854775808}`, Asks{}},
		{"the greatest", `{"model":"m","max_tokens":9223372036854775807}`, Asks{MaxTokens: 9223372036854775807}},
		{"negative", `{"model":"m","max_tokens":-5}`, Asks{}},
		{"inside, they do not count", `{"model":"m","x":{"max_tokens":7}}`, Asks{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, f := PeekBody([]byte(tc.body), "")
			if f != nil {
				t.Fatal(f)
			}
			if p.Asks != tc.want {
				t.Errorf("got %+v, want %+v", p.Asks, tc.want)
			}
		})
	}
	for _, body := range []string{`{"model":"m","max_tokens":}`, `{"model":"m","generationConfig":{"maxOutputTokens"}}`, `{"model":"m","generationConfig":{`} {
		if _, f := PeekBody([]byte(body), ""); f == nil {
			t.Errorf("%s is taken for JSON", body)
		}
	}
}
