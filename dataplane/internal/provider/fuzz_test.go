package provider

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// FuzzAdapters: no model, id, query or credential gets out of its place, at any provider.
func FuzzAdapters(f *testing.F) {
	for _, s := range []string{"gpt-5", "..", ".", "a/../b", "x?y=z#w", "a b\r\nX: y", "%2e%2e", "modèle", "a:b@c", "\x00\xff", ""} {
		for i := range uint(23) {
			f.Add(i, s, s, s, s)
		}
	}
	f.Add(uint(2), "m", "id", "a=b&key=c&%61lt=json&&model=x&api%2Dversion=1", "sk-x")
	var adapters []Adapter
	var names []string
	for _, facts := range provider.All() {
		a, err := New(Channel{Provider: facts.Provider, Preset: facts.Preset, Region: "r", Project: "p", Host: "h"})
		if err != nil {
			f.Fatal(err)
		}
		adapters, names = append(adapters, a), append(names, facts.Name)
	}
	f.Fuzz(func(t *testing.T, which uint, model, id, query, secret string) {
		i := which % uint(len(adapters))
		a := adapters[i]
		for op := range operation.Count {
			op := operation.Operation(op)
			if planned, ok := a.Plan(op, model); !ok || planned != op {
				continue
			}
			for _, stream := range []bool{false, true} {
				r := Request{Op: op, Model: model, ID: id, Query: []byte(query), Stream: stream, Now: time.Unix(0, 0)}
				plain := Request{Op: op, Model: sameFamily(model), ID: "i", Stream: stream, Now: r.Now}
				checkTarget(t, names[i]+" "+op.String(), string(a.AppendTarget(nil, &r)), string(a.AppendTarget(nil, &plain)))
				head, _ := a.AppendHeaders(nil, &r, &Credential{Secret: secret, Organization: secret})
				checkHead(t, names[i], head)
				head, _ = a.AppendHeaders(nil, &r, &Credential{Secret: secret, KeyID: secret, Session: secret})
				checkHead(t, names[i], head)
			}
		}
	})
}

// sameFamily is a plain name that is asked as model is.
func sameFamily(model string) string {
	if provider.VertexAnthropic(model) {
		return "claude-m"
	}
	return "m"
}

// checkTarget compares the form of a target with that for plain names.
func checkTarget(t *testing.T, name, got, plain string) {
	t.Helper()
	for i := range len(got) {
		if c := got[i]; c <= ' ' || c >= 0x7f || c == '#' {
			t.Fatalf("%s: %q does not fit in a request line", name, got)
		}
	}
	path, _, _ := strings.Cut(got, "?")
	want, _, _ := strings.Cut(plain, "?")
	if strings.Count(path, "/") != strings.Count(want, "/") {
		t.Fatalf("%s: %q has other segments than %q", name, got, plain)
	}
	for s := range strings.SplitSeq(path[1:], "/") {
		decoded, err := url.PathUnescape(s)
		if err != nil || decoded == "." || decoded == ".." || s == "" {
			t.Fatalf("%s: segment %q of %q", name, s, got)
		}
	}
	if i, j := strings.LastIndexByte(path, ':'), strings.LastIndexByte(want, ':'); (i < 0) != (j < 0) || i >= 0 && path[i:] != want[j:] {
		t.Fatalf("%s: %q has another verb than %q", name, got, plain)
	}
}

func checkHead(t *testing.T, name string, head []byte) {
	t.Helper()
	for len(head) > 0 {
		line, rest, ok := bytes.Cut(head, []byte("\r\n"))
		field, _, colon := bytes.Cut(line, []byte(": "))
		if !ok || !colon || bytes.ContainsAny(line, "\r\n") {
			t.Fatalf("%s: line %q", name, line)
		}
		switch string(bytes.ToLower(field)) {
		case "authorization", "openai-organization", "x-api-key", "x-goog-api-key", "api-key", "accept", "x-amz-date", "x-amz-security-token":
		default:
			t.Fatalf("%s: unexpected header %q", name, line)
		}
		head = rest
	}
}

func TestSystemRoles(t *testing.T) {
	for _, tc := range []struct{ body, want string }{
		{`{"messages":[{"role":"developer","content":"a"},{"role":"user","content":"developer"}]}`, `{"messages":[{"role":"system","content":"a"},{"role":"user","content":"developer"}]}`},
		{` { "a":1, "messages" : [ {"content":[{"role":"developer"}], "role" :  "developer" } , {"role":"developer"} ] } `, ` { "a":1, "messages" : [ {"content":[{"role":"developer"}], "role" :  "system" } , {"role":"system"} ] } `},
		{`{"role":"developer","messages":[]}`, `{"role":"developer","messages":[]}`},
		{`{"messages":"developer"}`, `{"messages":"developer"}`},
		{`{"messages":[{"role":7},"developer",null]}`, `{"messages":[{"role":7},"developer",null]}`},
		{`{}`, `{}`},
	} {
		if diff := cmp.Diff("x"+tc.want, string(AppendSystemRoles([]byte("x"), []byte(tc.body)))); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzSystemRoles compares with a decoder, for bodies that name nothing twice.
func FuzzSystemRoles(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"developer","content":"a"},{"role":"user"},{"role":"developer"}]}`))
	f.Add([]byte(`{"messages":{"a":{"role":"developer"}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		out := AppendSystemRoles(nil, body)
		if !json.Valid(body) {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%s became %s", body, out)
		}
		if d := len(body) - len(out); d < 0 || d%(len("developer")-len("system")) != 0 {
			t.Fatalf("%s became %s", body, out)
		}
	})
}

func benchmark(b *testing.B, c Channel, r Request, credential Credential) {
	a := adapter(b, c)
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		h := a.AppendTarget(dst, &r)
		if h, _ = a.AppendHeaders(h, &r, &credential); len(h) == 0 {
			b.Fatal("nothing")
		}
	}
}

var benchmarks = map[string]struct {
	channel Channel
	request Request
	free    bool
}{
	"openai":    {Channel{Provider: openAIs}, Request{Op: operation.Chat, Model: "gpt-5"}, true},
	"anthropic": {Channel{Provider: anthropics}, Request{Op: operation.Messages, Query: []byte("beta=true")}, true},
	"gemini":    {Channel{Provider: geminis}, Request{Op: operation.Generate, Model: "gemini-2.5-pro", Stream: true, Query: []byte("alt=sse")}, true},
	"azure":     {Channel{Provider: azures, APIVersion: "2024-10-21"}, Request{Op: operation.Chat, Model: "gpt-5", Query: []byte("a=b")}, true},
	"vertex":    {Channel{Provider: vertexes, Region: "us", Project: "p"}, Request{Op: operation.Messages, Model: "claude-x", Stream: true}, true},
	"bedrock":   {Channel{Provider: bedrocks, Region: "us-east-1", Host: "h"}, Request{Op: operation.Messages, Model: "us.anthropic.claude", Stream: true}, true},
	"sigv4": {Channel{Provider: bedrocks, Region: "us-east-1", Host: "h"}, Request{
		Op: operation.Messages, Model: "us.anthropic.claude", Body: bytes.Repeat([]byte("x"), 4096), Now: time.Unix(1e9, 0),
	}, false},
}

var secret = Credential{Secret: "sk-" + strings.Repeat("x", 48), Organization: "org-x"}

func BenchmarkHead(b *testing.B) {
	for name, c := range benchmarks {
		credential := secret
		if !c.free {
			credential.KeyID = "AKIDEXAMPLE"
		}
		b.Run(name, func(b *testing.B) { benchmark(b, c.channel, c.request, credential) })
	}
}

func TestHeadsDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 4096)
	for name, c := range benchmarks {
		a := adapter(t, c.channel)
		if n := testing.AllocsPerRun(100, func() {
			a.AppendHeaders(a.AppendTarget(dst, &c.request), &c.request, &secret)
		}); c.free && n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkUnframe(b *testing.B) {
	for name, p := range map[string][]byte{
		"converse": event(b, "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" word"},"p":"abcdefgh"}`),
		"invoke":   chunk(b, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}`),
	} {
		b.Run(name, func(b *testing.B) {
			u, dst := &eventStream{invoke: name == "invoke"}, make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := u.Feed(dst, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
