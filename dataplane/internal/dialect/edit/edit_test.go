package edit

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

const (
	set    = resourcev1.RuleAction_RULE_ACTION_SET
	del    = resourcev1.RuleAction_RULE_ACTION_REMOVE
	dflt   = resourcev1.RuleAction_RULE_ACTION_DEFAULT
	rename = resourcev1.RuleAction_RULE_ACTION_RENAME
)

func TestRules(t *testing.T) {
	tests := []struct {
		name, body string
		rules      []Rule
		want       string
	}{
		{"set over", `{"a":1,"b":2}`, []Rule{{set, "a", `"x"`}}, `{"a":"x","b":2}`},
		{"set new", `{"a":1}`, []Rule{{set, "b", `[1]`}}, `{"b":[1],"a":1}`},
		{"set in an empty object", ` { } `, []Rule{{set, "b", `1`}}, ` {"b":1 } `},
		{"set deep and new", `{}`, []Rule{{set, "a.b.c", `1`}}, `{"a":{"b":{"c":1}}}`},
		{"set deep in what is there", `{"a":{"x":0}}`, []Rule{{set, "a.b", `1`}}, `{"a":{"b":1,"x":0}}`},
		{"set through what is no object", `{"a":5}`, []Rule{{set, "a.b", `1`}}, `{"a":{"b":1}}`},
		{"default new", `{"a":1}`, []Rule{{dflt, "b", `2`}}, `{"b":2,"a":1}`},
		{"default over nothing", `{"b":null}`, []Rule{{dflt, "b", `2`}}, `{"b":null}`},
		{"default through what is no object", `{"a":5}`, []Rule{{dflt, "a.b", `1`}}, `{"a":5}`},
		{"remove first", `{"a":1, "b":2}`, []Rule{{del, "a", ""}}, `{ "b":2}`},
		{"remove last", `{"a":1 , "b":2}`, []Rule{{del, "b", ""}}, `{"a":1 }`},
		{"remove only", `{"a" : {"x":[1,2]} }`, []Rule{{del, "a", ""}}, `{ }`},
		{"remove deep", `{"a":{"b":1,"c":2},"d":3}`, []Rule{{del, "a.c", ""}}, `{"a":{"b":1},"d":3}`},
		{"remove what is not there", `{"a":1}`, []Rule{{del, "b", ""}}, `{"a":1}`},
		{"a name inside a string is none", `{"s":"\"a\":1","a":1}`, []Rule{{del, "a", ""}}, `{"s":"\"a\":1"}`},
		{"rename", `{"max":5,"b":1}`, []Rule{{rename, "max", "most"}}, `{"most":5,"b":1}`},
		{"rename where the new name is taken", `{"max":5,"most":1}`, []Rule{{rename, "max", "most"}}, `{"most":1}`},
		{"rename into the deep", `{"max":5}`, []Rule{{rename, "max", "o.most"}}, `{"o":{"most":5}}`},
		{"in order", `{}`, []Rule{{set, "a", "1"}, {rename, "a", "b"}, {dflt, "a", "2"}}, `{"a":2,"b":1}`},
		{"no object", `[1]`, []Rule{{set, "a", "1"}, {del, "b", ""}}, `[1]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rs, err := Compile(tt.rules)
			if err != nil {
				t.Fatal(err)
			}
			body := []byte(tt.body)
			if diff := cmp.Diff(tt.want, string(rs.Append(nil, body))); diff != "" {
				t.Error(diff)
			}
			if string(body) != tt.body {
				t.Errorf("the body was changed: %s", body)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, r := range []Rule{
		{set, "a", "{"}, {set, "a", ""}, {dflt, "a", "x"}, {set, "", "1"}, {set, "a..b", "1"}, {rename, "a", ""}, {0, "a", "1"}, {del, `a"b`, ""},
	} {
		if _, err := Compile([]Rule{r}); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}

func TestAppendSystem(t *testing.T) {
	tests := []struct {
		op         operation.Operation
		body, want string
	}{
		{operation.Chat, `{"messages":[{"role":"user"}]}`, `{"messages":[{"role":"system","content":"Be \"kind\"."},{"role":"user"}]}`},
		{operation.Chat, `{"messages":[ ]}`, `{"messages":[{"role":"system","content":"Be \"kind\"."} ]}`},
		{operation.Chat, `{"messages":"x"}`, `{"messages":"x"}`},
		{operation.Responses, `{"input":"x"}`, `{"instructions":"Be \"kind\".","input":"x"}`},
		{operation.Responses, `{"instructions":"a\u0041"}`, `{"instructions":"Be \"kind\".\n\na\u0041"}`},
		{operation.Responses, `{"instructions":null}`, `{"instructions":"Be \"kind\"."}`},
		{operation.Messages, `{"system":""}`, `{"system":"Be \"kind\"."}`},
		{operation.Messages, `{"system":[{"type":"text","text":"b"}]}`, `{"system":[{"type":"text","text":"Be \"kind\"."},{"type":"text","text":"b"}]}`},
		{operation.Messages, `{"system":7}`, `{"system":7}`},
		{operation.Generate, `{"contents":[]}`, `{"systemInstruction":{"parts":[{"text":"Be \"kind\"."}]},"contents":[]}`},
		{operation.StreamGenerate, `{"system_instruction":{"parts":[{"text":"b"}]}}`, `{"system_instruction":{"parts":[{"text":"Be \"kind\"."},{"text":"b"}]}}`},
		{operation.Converse, `{"messages":[]}`, `{"system":[{"text":"Be \"kind\"."}],"messages":[]}`},
		{operation.Converse, `{"system":[{"text":"b"}]}`, `{"system":[{"text":"Be \"kind\"."},{"text":"b"}]}`},
		{operation.Embeddings, `{"input":"x"}`, `{"input":"x"}`},
	}
	for _, tt := range tests {
		got := string(AppendSystem(nil, []byte(tt.body), tt.op, `Be "kind".`))
		if got != tt.want {
			t.Errorf("%v %s:\ngot  %s\nwant %s", tt.op, tt.body, got, tt.want)
		}
	}
}

// Whatever the body is: it stays JSON, what is set is there afterwards, and what is removed is not.
func FuzzRules(f *testing.F) {
	f.Add(`{"a":{"b":1},"c":[{}]}`, "a.b", `{"x":1}`)
	f.Add(`{"a" : 5 , "b":"\"a\":"}`, "a", `null`)
	f.Fuzz(func(t *testing.T, body, path, value string) {
		var object map[string]any
		if json.Unmarshal([]byte(body), &object) != nil || !plain(body) {
			t.Skip()
		}
		rs, err := Compile([]Rule{{set, path, value}})
		if err != nil {
			return
		}
		got := rs.Append(nil, []byte(body))
		if !gjson.ValidBytes(got) {
			t.Fatalf("set %q in %s gives %s", path, body, got)
		}
		names, _ := split(path)
		m, ok := find(got, names)
		if !ok || string(got[m.value.Start:m.value.End]) != strings.TrimSpace(value) {
			t.Fatalf("%q is not %s in %s", path, value, got)
		}
		gone, err := Compile([]Rule{{del, path, ""}})
		if err != nil {
			t.Fatal(err)
		}
		rest := gone.Append(nil, got)
		if !gjson.ValidBytes(rest) {
			t.Fatalf("remove %q from %s gives %s", path, got, rest)
		}
	})
}

// plain says that no other JSON parser would read the body another way: no name twice, and none with escapes.
func plain(body string) bool {
	ok := true
	var walk func(v gjson.Result)
	walk = func(v gjson.Result) {
		seen := map[string]bool{}
		v.ForEach(func(k, v gjson.Result) bool {
			if k.Exists() && k.Type == gjson.String {
				if len(k.Raw) < 2 || k.Raw[1:len(k.Raw)-1] != k.Str || seen[k.Str] {
					ok = false
					return false
				}
				seen[k.Str] = true
			}
			if v.IsObject() || v.IsArray() {
				walk(v)
			}
			return ok
		})
	}
	walk(gjson.Parse(body))
	return ok
}
