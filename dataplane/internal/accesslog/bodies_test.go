package accesslog

import (
	"encoding/json"
	"strings"
	"testing"

	"fairway/dataplane/internal/journal"
	"fairway/pkg/clientkey"
)

// said is a line, as far as bodies are concerned.
type said struct {
	Request     string `json:"request_body"`
	RequestCut  bool   `json:"request_body_cut"`
	Response    string `json:"response_body"`
	ResponseCut bool   `json:"response_body_cut"`
}

// tell runs requests through a log and returns their lines.
func tell(t *testing.T, o Options, requests ...[2]string) []said {
	t.Helper()
	var out text
	o.File, o.Stdout, o.Sample = "-", &out, 1
	f := start(t, o)
	for _, r := range requests {
		b := f.Bodies()
		if (b != nil) != o.Bodies {
			t.Errorf("bodies are kept: %t, wanted: %t", b != nil, o.Bodies)
		}
		b.AddRequest([]byte(r[0]))
		b.AddResponse([]byte(r[1]))
		f.Record(&journal.Entry{Bodies: b})
	}
	f.end(t)
	var lines []said
	for l := range strings.Lines(out.String()) {
		var s said
		if err := json.Unmarshal([]byte(l), &s); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		lines = append(lines, s)
	}
	return lines
}

// Nothing of what is said is kept unless the operator wants it.
func TestNoBodies(t *testing.T) {
	got := tell(t, Options{}, [2]string{"the prompt", "the answer"})
	if len(got) != 1 || got[0] != (said{}) {
		t.Errorf("lines: %+v", got)
	}
	var none *Log
	if none.Bodies() != nil {
		t.Error("a log that is off keeps bodies")
	}
}

func TestBodies(t *testing.T) {
	got := tell(t, Options{Bodies: true, MaxBody: 16},
		[2]string{`{"a":"prompt"}`, "an answer"},
		[2]string{"sixteen bytes ok", "several words of it"},
		[2]string{strings.Repeat("x", 17), "\x89PNG\x00\x01"})
	want := []said{
		{Request: `{"a":"prompt"}`, Response: "an answer"},
		{Request: "sixteen bytes ok", Response: "several words ", ResponseCut: true},
		{RequestCut: true, Response: "(binary)"},
	}
	if len(got) != len(want) {
		t.Fatalf("lines: %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// When bodies have taken all room, lines come without them, and room comes back with each line that is written.
func TestBodiesBounded(t *testing.T) {
	var out text
	f := prepare(t, Options{File: "-", Stdout: &out, Bodies: true, MaxBody: 8, MaxBodies: 3 * 16})
	var kept int
	for range 10 {
		b := f.Bodies()
		if b != nil {
			kept++
		}
		b.AddRequest([]byte("hello"))
		f.Record(&journal.Entry{Bodies: b})
	}
	if n := f.count(t, "bodies_dropped_total"); kept != 3 || n != 7 {
		t.Errorf("%d kept and %d dropped of 10 with room for 3", kept, n)
	}
	f.run(t)
	f.end(t)
	if n := strings.Count(out.String(), "hello"); n != 3 {
		t.Errorf("%d bodies were written, want 3", n)
	}
	if f.Bodies() == nil {
		t.Error("the room of bodies that were written is not given back")
	}
}

// What finds the queue full must not hold its room for ever.
func TestBodiesOfDroppedLines(t *testing.T) {
	f := prepare(t, Options{File: "-", Stdout: &text{}, Buffer: 16, Bodies: true, MaxBody: 8, MaxBodies: 17 * 16})
	for i := range 100 {
		b := f.Bodies()
		if b == nil {
			t.Fatalf("no room for request %d", i)
		}
		f.Record(&journal.Entry{Bodies: b})
	}
}

func TestRedact(t *testing.T) {
	ours := clientkey.New().Reveal()
	r := newRedactor()
	for _, secret := range []string{
		ours, "sk-proj-abcDEF0123456789abcDEF", "sk-ant-api03-AAAAbbbbCCCCdddd", "AIzaSyA1234567890abcdefghijklmnopqrstu",
		"gsk_abcdefghijklmnop1234", "hf_abcdefghijklmnop1234", "AKIAIOSFODNN7EXAMPLE", "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
		"xoxb-123456789012-abcdefghij", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "glpat-abcdefghij0123456789",
	} {
		for _, in := range []string{"my key is " + secret + ", ok?", `{"content":"` + secret + `"}`, "data: {\"x\":\"" + secret + "\"}\n\n", secret} {
			if got := string(r.mask([]byte(in))); strings.Contains(got, secret[:12]) || len(got) != len(in) {
				t.Errorf("%q became %q", in, got)
			}
		}
	}
	for in, secret := range map[string]string{
		`{"tools":[{"type":"mcp","authorization":"opaque value"}]}`:    "opaque value",
		`{"headers":{"Authorization": "opaque"}}`:                      "opaque",
		`{"api_key":"hunter2","x":1}`:                                  "hunter2",
		`{"arguments":"{\"password\":\"hunter2\"}"}`:                   "hunter2",
		`{"client_secret" : "a\"b"}`:                                   `a\"b`,
		"Authorization: Bearer abcdefgh.123":                           "abcdefgh.123",
		"postgres://admin:hunter2@db/prod":                             "hunter2",
		"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE ": "MIIE",
		"-----BEGIN PRIVATE KEY-----\\nMIIEcut off":                    "MIIEcut",
		`{"x-goog-api-key":"opaque"}`:                                  "opaque",
	} {
		if got := string(r.mask([]byte(in))); strings.Contains(got, secret) || len(got) != len(in) {
			t.Errorf("%q became %q", in, got)
		}
	}
	for _, in := range []string{
		`{"model":"gpt-4o","messages":[{"role":"user","content":"tell me about risk-averse tokens"}],"max_tokens":100}`,
		`{"usage":{"prompt_tokens":9,"completion_tokens":12}}`, "basic needs; a bearer of news; https://example.com/a:b@c",
	} {
		if got := string(r.mask([]byte(in))); got != in {
			t.Errorf("%q became %q", in, got)
		}
	}
}

// A credential that the cap cuts in two has no form any more.
func TestRedactCut(t *testing.T) {
	key := clientkey.New().Reveal()
	for n := range len(key) + 20 {
		prompt := `{"content":"use ` + key + ` please"}`
		got := tell(t, Options{Bodies: true, MaxBody: 8 + n}, [2]string{prompt, prompt})
		if strings.Contains(got[0].Request+got[0].Response, "sk-fw") {
			t.Fatalf("cut after %d bytes: %+v", 8+n, got[0])
		}
	}
}
