package gateway

import (
	"testing"

	"fairway/dataplane/internal/ingress"
)

// One conversation has one session however far it has come, and another one has another.
func TestSession(t *testing.T) {
	type said struct{ headers, body string }
	session := func(s said) string {
		t.Helper()
		in, f := ingress.Parse([]byte("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + s.headers + "\r\n"))
		if f != nil {
			t.Fatal(f)
		}
		x := &exchange{}
		x.in, x.body = in, loose([]byte(s.body))
		if f := x.readTarget(); f != nil {
			t.Fatal(f)
		}
		if f := x.peekBody(); f != nil {
			t.Fatal(f)
		}
		var room [24]byte
		out := string(x.session(&room))
		if n := testing.AllocsPerRun(100, func() { x.session(&room) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		return out
	}
	const begun = `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}]}`
	for _, tc := range []struct {
		name string
		a, b said
		same bool
	}{
		{"goes on", said{"", begun}, said{"", `{"stream":true,"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"}],"model":"m"}`}, true},
		{"another first turn", said{"", begun}, said{"", `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"v"}]}`}, false},
		{"another system", said{"", begun}, said{"", `{"model":"m","messages":[{"role":"system","content":"t"},{"role":"user","content":"u"}]}`}, false},
		{"a header wins", said{"X-Session-Id: 7\r\n", begun}, said{"x-session-id: 7\r\n", `{"model":"m","messages":[]}`}, true},
		{"another header's word", said{"X-Session-Id: 7\r\n", begun}, said{"X-Session-Id: 8\r\n", begun}, false},
		{"of a coding client", said{"X-Claude-Code-Session-Id: 7\r\n", begun}, said{"X-Claude-Code-Session-Id: 7\r\n", `{"model":"m"}`}, true},
		{"a cache key wins over headers", said{"X-Session-Id: 7\r\n", `{"model":"m","prompt_cache_key":"k"}`}, said{"X-Session-Id: 8\r\n", `{"prompt_cache_key":"k","model":"m","messages":[{"role":"user"}]}`}, true},
		{"an empty cache key is none", said{"", `{"model":"m","prompt_cache_key":"","messages":[{"role":"user","content":"u"}]}`}, said{"", `{"model":"m","messages":[{"role":"user","content":"u"}]}`}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := session(tc.a), session(tc.b)
			if a == "" || b == "" || (a == b) != tc.same {
				t.Errorf("%q and %q, same should be %v", a, b, tc.same)
			}
		})
	}
	if got := session(said{"", `{"model":"m","messages":[]}`}); got != "" {
		t.Errorf("no conversation is %q", got)
	}
}
