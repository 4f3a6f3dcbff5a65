package dialect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPeekBody(t *testing.T) {
	type facts struct {
		Model         string
		Stream, Usage bool
	}
	for _, tc := range []struct {
		name, body string
		want       facts
		fault      string // part of its message; "" = none
	}{
		{"plain", `{"model":"m"}`, facts{Model: "m"}, ""},
		{"all", ` { "stream" : true , "stream_options":{"include_usage":true}, "model":"a/b" } `, facts{"a/b", true, true}, ""},
		{"false and null", `{"model":"m","stream":null,"stream_options":null}`, facts{Model: "m"}, ""},
		{"escaped name", `{"mod\u0065l":"m\u0031"}`, facts{Model: "m1"}, ""},
		{"nested names do not count", `{"x":{"model":1,"model":2},"y":[{"stream":"z"}],"model":"m"}`, facts{Model: "m"}, ""},
		{"names in strings do not count", `{"x":"\",\"model\":\"evil\"","model":"m"}`, facts{Model: "m"}, ""},
		{"trailing backslashes", `{"x":"\\","y":"\\\\\"","model":"m"}`, facts{Model: "m"}, ""},
		{"numbers", `{"a":-0.5e+10,"b":0,"c":12,"model":"m"}`, facts{Model: "m"}, ""},
		{"empty containers", `{"a":{},"b":[],"c":[[],{}],"model":"m"}`, facts{Model: "m"}, ""},

		{"empty", ``, facts{}, "must be a JSON object"},
		{"array", `[]`, facts{}, "must be a JSON object"},
		{"no model", `{}`, facts{}, "must provide a model"},
		{"model twice", `{"model":"a","model":"b"}`, facts{}, "more than once"},
		{"model twice by escape", `{"model":"a","\u006dodel":"b"}`, facts{}, "more than once"},
		{"model twice by case", `{"model":"a","Model":"b"}`, facts{}, "more than once"},
		{"stream twice by folding", `{"model":"a","stream":true,"ſtream":false}`, facts{}, "more than once"},
		{"options twice", `{"model":"a","stream_options":null,"stream_options":{}}`, facts{}, "more than once"},
		{"include_usage twice", `{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}`, facts{}, "more than once"},
		{"model no string", `{"model":1}`, facts{}, "must be a string"},
		{"model empty", `{"model":""}`, facts{}, "must not be empty"},
		{"model long", `{"model":"` + strings.Repeat("m", 257) + `"}`, facts{}, "too long"},
		{"model with a control", "{\"model\":\"a\nb\"}", facts{}, "not a valid string"},
		{"stream no boolean", `{"model":"a","stream":"true"}`, facts{}, "must be a boolean"},
		{"trailing text", `{"model":"a"}{}`, facts{}, "follows"},
		{"cut", `{"model":"a"`, facts{}, "not valid JSON"},
		{"cut string", `{"model":"a`, facts{}, "not valid JSON"},
		{"bad word", `{"model":"a","x":trux}`, facts{}, "not valid JSON"},
		{"bad number", `{"model":"a","x":01}`, facts{}, "not valid JSON"},
		{"comma at the end", `{"model":"a",}`, facts{}, "not valid JSON"},
		{"crossed", `{"model":"a","x":[{]}}`, facts{}, "not valid JSON"},
		{"deep", `{"model":"a","x":` + strings.Repeat("[", 1<<20), facts{}, "too deeply"},
		{"BOM", "\ufeff{\"model\":\"a\"}", facts{}, "must be a JSON object"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, f := PeekBody([]byte(tc.body), "")
			if f != nil {
				if tc.fault == "" || !strings.Contains(f.Message, tc.fault) {
					t.Errorf("fault = %q, want one with %q", f.Message, tc.fault)
				}
				if f.HTTPStatus() != 400 {
					t.Errorf("status = %d", f.HTTPStatus())
				}
				return
			}
			if tc.fault != "" {
				t.Fatalf("no fault, want one with %q", tc.fault)
			}
			if d := cmp.Diff(tc.want, facts{string(p.Model), p.Stream, p.UsageAsked}); d != "" {
				t.Errorf("facts (-want +got):\n%s", d)
			}
		})
	}
}

func TestRewrite(t *testing.T) {
	for _, tc := range []struct {
		name, body, model string
		usage             bool
		want              string
	}{
		{"nothing", `{ "model":"a", "n":1.0 }`, "a", false, `{ "model":"a", "n":1.0 }`},
		{"model", `{"x":null,"model" : "a" ,"y":[ ]}`, `b"c\`, false, `{"x":null,"model" : "b\"c\\" ,"y":[ ]}`},
		{"no options", `{ "model":"a","stream":true}`, "b", true, `{"stream_options":{"include_usage":true}, "model":"b","stream":true}`},
		{"null options", `{"stream_options":null,"model":"a"}`, "b", true, `{"stream_options":{"include_usage":true},"model":"b"}`},
		{"empty options", `{"model":"a","stream_options":{ }}`, "b", true, `{"model":"b","stream_options":{"include_usage":true }}`},
		{"other options", `{"model":"a","stream_options":{"x":1}}`, "a", true, `{"model":"a","stream_options":{"include_usage":true,"x":1}}`},
		{"false", `{"stream_options":{"x":1,"include_usage": false },"model":"a"}`, "a", true, `{"stream_options":{"x":1,"include_usage": true },"model":"a"}`},
		{"null", `{"stream_options":{"include_usage":null},"model":"a"}`, "a", true, `{"stream_options":{"include_usage":true},"model":"a"}`},
		{"asked already", `{"stream_options":{"include_usage":true},"model":"a"}`, "b", true, `{"stream_options":{"include_usage":true},"model":"b"}`},
		{"odd options stay", `{"stream_options":[],"model":"a"}`, "b", true, `{"stream_options":[],"model":"b"}`},
		{"odd include_usage stays", `{"stream_options":{"include_usage":"yes"},"model":"a"}`, "b", true, `{"stream_options":{"include_usage":"yes"},"model":"b"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, f := PeekBody([]byte(tc.body), "")
			if f != nil {
				t.Fatal(f)
			}
			if got := string(Rewrite(nil, []byte(tc.body), &p, tc.model, tc.usage)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// oracle is what encoding/json makes of a body: its members, and whether it is an object at all.
func oracle(body []byte) (map[string]json.RawMessage, bool) {
	var m map[string]json.RawMessage
	err := json.Unmarshal(body, &m)
	return m, err == nil && m != nil
}

// FuzzPeek: on valid JSON, Peek reads what encoding/json reads, and Rewrite changes what it says and nothing else.
func FuzzPeek(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m","stream":true}`,
		`{"stream_options":{"include_usage":false,"x":[1,2,{"y":null}]},"model":"a\"b"}`,
		`{"mod\u0065l":"m","messages":[{"role":"user","content":"\\\"model\\\":\\\"x\\\""}],"n":1e5}`,
		` {"model":"m","stream_options":null} `, `{"model":"m","stream_options":{}}`, `{"a":[[[]]],"model":"m"}`,
		`{"model":"a","MODEL":"b"}`, `[]`, `{`, `{"model":"a"}}`, "{\"model\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		members, ok := oracle(body)
		p, fault := PeekBody(body, "")
		if !ok {
			if fault == nil && json.Valid(body) {
				t.Fatalf("accepted what is no object: %q", body)
			}
			return // inside strings Peek is more lenient, by design
		}
		if fault != nil {
			var model string
			plain := json.Unmarshal(members["model"], &model) == nil && model != "" && len(model) <= maxModel
			if plain && strings.Contains(fault.Message, "not valid JSON") {
				t.Fatalf("refused valid JSON %q: %s", body, fault.Message)
			}
			return
		}
		var model string
		if err := json.Unmarshal(members["model"], &model); err != nil {
			// The name came in another case; still only one.
			return
		}
		if !strings.Contains(string(p.Model), "\xff") && strings.ToValidUTF8(string(p.Model), "\ufffd") != model &&
			string(p.Model) != model && json.Valid(body) && isUTF8(body) {
			t.Fatalf("model = %q, encoding/json reads %q", p.Model, model)
		}
		out := Rewrite(nil, body, &p, "new", true)
		after, ok := oracle(out)
		if !ok {
			t.Fatalf("%q became invalid: %q", body, out)
		}
		for name, value := range members {
			switch known([]byte(name)) {
			case "model", "stream_options":
				continue
			}
			if string(after[name]) != string(value) {
				t.Fatalf("member %q changed from %s to %s", name, value, after[name])
			}
		}
		again, fault := PeekBody(out, "")
		if fault != nil {
			t.Fatalf("%q became %q: %s", body, out, fault.Message)
		}
		if string(again.Model) != "new" || again.Stream != p.Stream {
			t.Fatalf("%q became %q", body, out)
		}
		if _, _, can := p.usageSplicing(); (can || p.UsageAsked) != again.UsageAsked {
			t.Fatalf("usage asked = %v after %q", again.UsageAsked, out)
		}
		// Back again, byte for byte, where only the model was spliced.
		if there := Rewrite(nil, body, &p, "new", false); len(there) != len(body)-len(body[p.ModelAt.Start:p.ModelAt.End])+len(`"new"`) ||
			string(there[:p.ModelAt.Start]) != string(body[:p.ModelAt.Start]) ||
			string(there[p.ModelAt.Start+len(`"new"`):]) != string(body[p.ModelAt.End:]) {
			t.Fatalf("more than the model changed: %q -> %q", body, there)
		}
	})
}

func isUTF8(b []byte) bool { return strings.ToValidUTF8(string(b), "") == string(b) }

func TestPeekAllocatesNothing(t *testing.T) {
	body := []byte(`{"model":"gpt-4o","messages":[{"role":"user","content":"hello \"you\""}],"stream":true,"stream_options":{"x":1}}`)
	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		p, f := PeekBody(body, "")
		if f != nil {
			t.Fatal(f)
		}
		out = Rewrite(out[:0], body, &p, "other", true)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPeek(b *testing.B) {
	message := `{"role":"user","content":"` + strings.Repeat(`say \"word\" `, 12) + `"},`
	for _, tc := range []struct{ name, messages string }{
		{"100B", `{"role":"user","content":"` + strings.Repeat("word ", 20) + `"}`},
		{"1kB", `{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}`},
		{"100kB", `{"role":"user","content":"` + strings.Repeat("word ", 20_000) + `"}`},
		{"100kB in messages", strings.TrimSuffix(strings.Repeat(message, 100_000/len(message)), ",")},
	} {
		body := []byte(`{"model":"gpt-4o","messages":[` + tc.messages + `],"stream":true,"temperature":0.7}`)
		b.Run(tc.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, f := PeekBody(body, ""); f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}
