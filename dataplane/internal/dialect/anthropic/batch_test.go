package anthropic

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPeekBatch(t *testing.T) {
	request := func(model string) string {
		return `{"custom_id":"a","params":{"model":` + model + `,"max_tokens":9,"messages":[]}}`
	}
	for _, tc := range []struct {
		name, body string
		spans      []string
		model      string
		param      string // of the fault
		fault      string // part of its message; "" = none
	}{
		{"one", `{"requests":[` + request(`"m"`) + `]}`, []string{`"m"`}, "m", "", ""},
		{"three, spelt in two ways", ` { "requests" : [ ` + request(`"m"`) + " ,\n" + request(`"\u006d"`) + `,{"params":{"model":"m"}} ] , "x":[{"model":"n"}]} `, []string{`"m"`, `"\u006d"`, `"m"`}, "m", "", ""},
		{"models elsewhere", `{"model":"a","requests":[{"model":"b","params":{"tools":[{"model":"c"}],"model":"m"}}]}`, []string{`"m"`}, "m", "", ""},

		{"no object", `[]`, nil, "", "", "must be a JSON object"},
		{"no requests", `{}`, nil, "", "requests", "is required"},
		{"empty", `{"requests":[]}`, nil, "", "requests", "must not be empty"},
		{"no array", `{"requests":{}}`, nil, "", "requests", "must be an array"},
		{"no request", `{"requests":[7]}`, nil, "", "requests[0]", "must be an object"},
		{"no params", `{"requests":[` + request(`"m"`) + `,{}]}`, nil, "", "requests[1].params.model", "is required"},
		{"params no object", `{"requests":[{"params":[]}]}`, nil, "", "requests[0].params", "must be an object"},
		{"no model", `{"requests":[{"params":{}}]}`, nil, "", "requests[0].params.model", "is required"},
		{"model no string", `{"requests":[` + request(`7`) + `]}`, nil, "", "requests[0].params.model", "must be a string"},
		{"model empty", `{"requests":[` + request(`""`) + `]}`, nil, "", "requests[0].params.model", "must not be empty"},
		{"model long", `{"requests":[` + request(`"`+strings.Repeat("m", 257)+`"`) + `]}`, nil, "", "requests[0].params.model", "too long"},
		{"model broken", `{"requests":[` + request(`"a\q"`) + `]}`, nil, "", "requests[0].params.model", "must be a string"},
		{"two models", `{"requests":[` + request(`"m"`) + `,` + request(`"n"`) + `]}`, nil, "", "requests[1].params.model", "same model"},
		{"model twice", `{"requests":[{"params":{"model":"m","Model":"n"}}]}`, nil, "", "requests[].params.model", "more than once"},
		{"params twice", `{"requests":[{"params":{"model":"m"},"p\u0061rams":{"model":"n"}}]}`, nil, "", "requests[].params", "more than once"},
		{"requests twice", `{"requests":[` + request(`"m"`) + `],"requests":[]}`, nil, "", "requests", "more than once"},
		{"cut", `{"requests":[` + request(`"m"`), nil, "", "", "not valid JSON"},
		{"cut in params", `{"requests":[{"params":{"model":"m"`, nil, "", "", "not valid JSON"},
		{"comma at the end", `{"requests":[` + request(`"m"`) + `,]}`, nil, "", "requests[1]", "must be an object"},
		{"trailing", `{"requests":[` + request(`"m"`) + `]}x`, nil, "", "", "follows"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spans, model, f := PeekBatch([]byte(tc.body))
			if f != nil {
				if tc.fault == "" || f.HTTPStatus() != 400 || f.Param != tc.param || !strings.Contains(f.Message, tc.fault) {
					t.Errorf("fault = %q of %q, want %q of %q", f.Message, f.Param, tc.fault, tc.param)
				}
				return
			}
			if tc.fault != "" || model != tc.model || len(spans) != len(tc.spans) {
				t.Fatalf("%v %q, want %v %q, or a fault with %q", spans, model, tc.spans, tc.model, tc.fault)
			}
			for i, s := range spans {
				if got := tc.body[s.Start:s.End]; got != tc.spans[i] {
					t.Errorf("span %d is %s, want %s", i, got, tc.spans[i])
				}
			}
		})
	}
}

// What the walk reads is what a parser reads that folds names and lets the last of two win.
func FuzzPeekBatch(f *testing.F) {
	f.Add([]byte(`{"requests":[{"custom_id":"a","params":{"model":"m","max_tokens":1}},{"params":{"MODEL":"\u006d"}}]}`))
	f.Add([]byte(`{"requests":[{"params":{"model":"m","model":"n"}}]}`))
	f.Add([]byte(`{"requests":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, model, fault := PeekBatch(body)
		if fault != nil {
			if fault.HTTPStatus() != 400 || len(spans) > 0 || model != "" {
				t.Fatalf("%v %v %q", fault, spans, model)
			}
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			return // what is inside strings is left to the upstream
		}
		var want struct {
			Requests []struct{ Params struct{ Model string } }
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if len(want.Requests) != len(spans) {
			t.Fatalf("%s: %d spans", body, len(spans))
		}
		for i, r := range want.Requests {
			var got string
			if err := json.Unmarshal(body[spans[i].Start:spans[i].End], &got); err != nil || got != r.Params.Model || got != model {
				t.Fatalf("%s: span %d is %q, the name %q, want %q (%v)", body, i, got, model, r.Params.Model, err)
			}
		}
	})
}
