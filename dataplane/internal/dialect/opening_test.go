package dialect

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestOpening(t *testing.T) {
	type words struct{ Key, System, Lead, First string }
	for _, tc := range []struct {
		name, body string
		want       words
	}{
		{"nothing", `{"model":"m"}`, words{}},
		{"a key", `{"model":"m","prompt_cache_key":"k-1"}`, words{Key: `"k-1"`}},
		{"no string for a key", `{"model":"m","prompt_cache_key":7}`, words{Key: `7`}},
		{"chat", `{"messages":[{"role":"system","content":"s"}, {"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"}],"model":"m"}`, words{
			Lead: `{"role":"system","content":"s"}`, First: `{"role":"user","content":"u"}`,
		}},
		{"chat that grew", `{"messages":[{"role":"system","content":"s"}, {"role":"user","content":"u"}],"model":"m"}`, words{
			Lead: `{"role":"system","content":"s"}`, First: `{"role":"user","content":"u"}`,
		}},
		{"two before the user", `{"messages":[{"role":"developer","content":"d"},{"role":"assistant","content":[]},{"content":{"role":"user"},"role":"user"}],"model":"m"}`, words{
			Lead: `{"role":"developer","content":"d"},{"role":"assistant","content":[]}`, First: `{"content":{"role":"user"},"role":"user"}`,
		}},
		{"the user never speaks", `{"messages":[{"role":"assistant"},{"role":"tool"}],"model":"m"}`, words{First: `{"role":"assistant"}`}},
		{"messages", `{"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"u"}],"model":"m"}`, words{
			System: `[{"type":"text","text":"s"}]`, First: `{"role":"user","content":"u"}`,
		}},
		{"responses, bare", `{"instructions":"i","input":"u","model":"m"}`, words{System: `"i"`, First: `"u"`}},
		{"a list of strings", `{"input":["a","b"],"model":"m"}`, words{First: `"a"`}},
		{"gemini without a role", `{"model":"m","systemInstruction":{"parts":[]},"contents":[{"parts":[{"text":"u"}]},{"role":"model"}]}`, words{
			System: `{"parts":[]}`, First: `{"parts":[{"text":"u"}]}`,
		}},
		{"gemini, a model's turn first", `{"model":"m","contents":[{"role":"model","parts":[]},{"role":"user","parts":[]}]}`, words{
			Lead: `{"role":"model","parts":[]}`, First: `{"role":"user","parts":[]}`,
		}},
		{"empty", `{"messages":[ ],"model":"m"}`, words{}},
		{"inside, they do not count", `{"x":{"messages":[{"role":"user"}],"prompt_cache_key":"k"},"model":"m"}`, words{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, f := PeekBody([]byte(tc.body), "")
			if f != nil {
				t.Fatal(f)
			}
			part := func(s Span) string { return tc.body[s.Start:s.End] }
			o := p.Opening
			got := words{part(o.CacheKey), part(o.System), part(o.Lead), part(o.First)}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// What comes after the user's first turn changes nothing of the opening, and a list of turns is as valid as encoding/json
// says.
func TestOpeningStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		turn := rapid.SampledFrom([]string{
			`{"role":"system","content":"s"}`, `{"role":"user","content":"u"}`, `{"role":"assistant","content":null}`, `{}`, `"x"`, `1`,
			`[[]]`, `{"role":`, `{"role":"user"`, ``, ` `, `{"a":{"b":[1,{"c":"d"}]}}`,
		})
		list := func(turns []string) string {
			out := `{"model":"m","messages":[`
			for i, one := range turns {
				if i > 0 {
					out += ","
				}
				out += one
			}
			return out + `]}`
		}
		head := rapid.SliceOfN(turn, 0, 4).Draw(t, "head")
		head = append(head, `{"role":"user","content":"first"}`)
		short, long := list(head), list(append(head, rapid.SliceOfN(turn, 1, 4).Draw(t, "tail")...))
		a, fa := PeekBody([]byte(short), "")
		b, fb := PeekBody([]byte(long), "")
		if valid := json.Valid([]byte(short)); valid != (fa == nil) {
			t.Fatalf("%s: valid %v, fault %v", short, valid, fa)
		}
		if valid := json.Valid([]byte(long)); valid != (fb == nil) {
			t.Fatalf("%s: valid %v, fault %v", long, valid, fb)
		}
		if fa == nil && fb == nil && a.Opening != b.Opening {
			t.Fatalf("%+v became %+v", a.Opening, b.Opening)
		}
	})
}
