package fakellm

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestViolations(t *testing.T) {
	const auth = "Authorization: Bearer " + credential + "\r\n"
	const kind = "Content-Type: application/json\r\n"
	add := func(line string) []string { return []string{auth, auth + line + "\r\n"} }
	length := "Content-Length: " + strconv.Itoa(len(chatBody)) + "\r\n"
	tests := map[string]struct {
		path, body string
		change     []string
		status     int    // 0 = 400
		want       string // in the error and in the violation
	}{
		"no credential":         {change: []string{auth, ""}, status: 401, want: "You didn't provide an API key"},
		"not a bearer":          {change: []string{"Bearer", "Basic"}, status: 401, want: "not one bearer credential"},
		"two in one":            {change: []string{credential, "a, b"}, status: 401, want: "not one bearer credential"},
		"unknown credential":    {change: []string{credential, "other"}, status: 401, want: "Incorrect API key"},
		"two credentials":       {change: add("Authorization: Bearer x"), want: "Authorization came 2 times"},
		"two content types":     {change: add("Content-Type: application/json"), want: "Content-Type came 2 times"},
		"forwarded for":         {change: add("X-Forwarded-For: 10.0.0.1"), want: "X-Forwarded-For must not"},
		"forwarded":             {change: add("Forwarded: for=10.0.0.1"), want: "Forwarded must not"},
		"via":                   {change: add("Via: 1.1 gateway"), want: "Via must not"},
		"cookie":                {change: add("Cookie: a=b"), want: "Cookie must not"},
		"proxy credential":      {change: add("Proxy-Authorization: Basic eA=="), want: "Proxy-Authorization must not"},
		"own header":            {change: add("x-fairway-explain: 1"), want: "X-Fairway-Explain must not"},
		"another api key":       {change: add("x-api-key: k"), want: "X-Api-Key must not"},
		"connection token":      {change: add("Connection: close, x-secret"), want: `names "x-secret"`},
		"te":                    {change: add("TE: trailers"), want: "Te must not"},
		"gzip":                  {change: add("Accept-Encoding: gzip, identity"), want: `offers "gzip"`},
		"client key in header":  {change: add("X-Trace: sk-fw-abc"), want: "client key is in header X-Trace"},
		"client key as bearer":  {change: []string{credential, "sk-fw-abc"}, want: "client key is in header Authorization"},
		"client key in body":    {body: `{"model":"fake-large","user":"sk-fw-abc"}`, want: "client key is in the body"},
		"client key in path":    {path: chatPath + "?key=sk-fw-abc", want: "client key is in the request target"},
		"host":                  {change: []string{"Host: 127.0.0.1", "Host: api.openai.com"}, want: "is not this server's"},
		"double slash":          {path: "/v1//chat/completions", want: "not a clean"},
		"dots":                  {path: "/v1/x/../chat/completions", want: "not a clean"},
		"unknown path":          {path: "/v1/none", status: 404, want: "Unknown request URL"},
		"content type":          {change: []string{kind, "Content-Type: text/plain\r\n"}, want: "not application/json"},
		"no content type":       {change: []string{kind, ""}, want: "not application/json"},
		"charset":               {change: []string{"application/json", "application/json; charset=latin1"}, want: `charset "latin1"`},
		"chunked":               {body: "", change: []string{length, "Transfer-Encoding: chunked\r\n"}, want: "Content-Length is missing"},
		"trailing bytes":        {body: chatBody + "{}", want: "2 bytes after the JSON object"},
		"not JSON":              {body: `{"model":`, want: "not JSON"},
		"not an object":         {body: `[1]`, want: "not a JSON object"},
		"a name twice":          {body: `{"model":"a","model":"fake-large"}`, want: `has "model" twice`},
		"a name twice, escaped": {body: `{"model":"a","mod\u0065l":"fake-large"}`, want: `has "model" twice`},
		"unknown model":         {body: `{"model":"none","messages":[{"role":"user"}]}`, status: 404, want: "`none` does not exist"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			path, body := test.path, test.body
			if path == "" {
				path = chatPath
			}
			if body == "" {
				body = chatBody
			}
			request := post(s, path, body, test.change...)
			if strings.Contains(request, "chunked") {
				head, _, _ := strings.Cut(request, "\r\n\r\n")
				request = head + "\r\n\r\n0\r\n\r\n"
			}
			w := dial(t, s)
			w.send(t, request)
			resp, text, err := w.answer(t)
			if err != nil {
				t.Fatal(err)
			}
			status := test.status
			if status == 0 {
				status = http.StatusBadRequest
			}
			if resp.StatusCode != status || !json.Valid([]byte(text)) {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, status, text)
			}
			violations := strings.Join(p.Violations(), "\n")
			if !strings.Contains(violations, test.want) {
				t.Errorf("violations %q, want %q", violations, test.want)
			}
			if strings.Contains(violations+text, "sk-fw-abc") || strings.Contains(violations+text, credential) {
				t.Errorf("a secret comes back: %s %s", violations, text)
			}
			if p.Books().Total.Finished != 0 {
				t.Error("counted as finished")
			}
		})
	}
}

// What a gateway may send and a client may ask for.
func TestHarmlessRequests(t *testing.T) {
	tests := map[string][]string{
		"plain":           {},
		"charset":         {"application/json", "application/json; charset=UTF-8"},
		"identity":        {"Host:", "Accept-Encoding: identity\r\nHost:"},
		"kept alive":      {"Host:", "Connection: keep-alive\r\nHost:"},
		"stainless":       {"Host:", "X-Stainless-Lang: go\r\nHost:"},
		"localhost":       {"Host: 127.0.0.1", "Host: localhost"},
		"white space end": {},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			body := chatBody
			if name == "white space end" {
				body += " \n"
			}
			w := dial(t, s)
			w.send(t, post(s, chatPath, body, change...))
			resp, text, err := w.answer(t)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%v %v %s", resp, err, text)
			}
			wantNoViolations(t, p)
		})
	}
}

func TestViolationsAreBounded(t *testing.T) {
	p := New(Options{})
	for range maxViolations + 5 {
		p.violate("x")
	}
	got := p.Violations()
	if len(got) != maxViolations+1 || got[maxViolations] != "and 5 more" {
		t.Errorf("%d violations, last %q", len(got), got[len(got)-1])
	}
}

// A body that passes is one JSON object and nothing else; one that does not never panics.
func FuzzInspectBody(f *testing.F) {
	for _, seed := range []string{chatBody, streamBody, `{"a":1}{"b":2}`, `{"a":{"a":1}}`, `{"a":1,"a":2}`, `[]`, `{`, "", `{"a":1} x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if inspectBody(body) != nil {
			return
		}
		if !json.Valid(body) || bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
			t.Errorf("%q passed", body)
		}
		for _, decode := range []func([]byte) (answer, *apiError){decodeChat, decodeCompletion, decodeEmbedding} {
			a, fault := decode(body)
			if fault != nil {
				continue
			}
			if whole := a.whole(stamp{}, true); !json.Valid(whole) {
				t.Errorf("answer to %q is not JSON: %q", body, whole)
			}
		}
	})
}
