package gemini

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/sse"
)

func seeds(f *testing.F, patterns ...string) {
	for _, pattern := range patterns {
		for _, b := range files(f, pattern) {
			f.Add(b)
		}
	}
}

// FuzzReadRequest: what is read can be asked again, as valid JSON that is read without a fault; what is refused is no object,
// or refused with 400.
func FuzzReadRequest(f *testing.F) {
	seeds(f, "testdata/requests/*.json")
	for _, s := range []string{
		`{"contents":[{"parts":[{"thoughtSignature":"ZmFpcndheTo="}],"role":"model"}]}`, `{"contents":{"parts":{"function_response":{"name":"f"}}}}`,
		string(say(`"tools":[{"functionDeclarations":[{"name":"f","parameters":{"properties":{"a":1},"propertyOrdering":["a"]}}]}]`)),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, bad := PeekText(body); bad != nil {
			return // the gateway asks first
		}
		r, bad := Codec{}.ReadRequest(body, "m", true)
		if bad != nil {
			if bad.HTTPStatus() != 400 || json.Valid(body) && bad.Message == "the request body is not valid JSON" {
				t.Fatalf("%v: %q", bad, body)
			}
			return
		}
		for i := range r.Turns {
			if len(r.Turns[i].Parts) == 0 || i > 0 && r.Turns[i].Role == r.Turns[i-1].Role {
				t.Fatalf("turn %d of %q", i, body)
			}
		}
		for _, model := range []string{"gemini-3-pro", "gemini-2.5-flash", "gemini-2.0-flash"} {
			out, bad := Codec{}.AppendRequest(nil, r, model)
			if bad != nil {
				continue // nothing of it is Google's, such as a turn that is only another's signature
			}
			if !json.Valid(out) {
				t.Fatalf("%q became %q", body, out)
			}
			if _, bad := (Codec{}).ReadRequest(out, "m", true); bad != nil {
				t.Fatalf("%q became %q: %v", body, out, bad)
			}
		}
	})
}

// FuzzReadResponse: what is read can be told to a client as valid JSON, and is read again with the same parts.
func FuzzReadResponse(f *testing.F) {
	seeds(f, "testdata/responses/*.json")
	f.Add([]byte(`{"candidates":[{"content":{"parts":[{"thought":true}]}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Codec{}.ReadResponse(body)
		if err != nil {
			return
		}
		out := Codec{}.AppendResponse(nil, r, answering())
		if !json.Valid(out) {
			t.Fatalf("%q became %q", body, out)
		}
		again, err := Codec{}.ReadResponse(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", body, out, err)
		}
		if again.Usage.Input != r.Usage.Input || again.Usage.Output != r.Usage.Output {
			t.Fatalf("%q: usage %+v became %+v", body, r.Usage, again.Usage)
		}
	})
}

// FuzzStream: events come in their order, what they add stands inside a JSON string, and what a writer makes of them are
// whole events of valid JSON on one line each.
func FuzzStream(f *testing.F) {
	seeds(f, "testdata/streams/*.sse")
	f.Add([]byte("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\ndata: b\"}]}}]}\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		open, begun, over, failed := false, false, false, false
		var out []byte
		w := Codec{}.NewEventWriter(answering())
		complete := hear(t, stream, func(e *neutral.Event) {
			wrong := over
			switch e.Kind {
			case neutral.Begin:
				wrong = wrong || begun
				begun = true
			case neutral.PartBegin:
				wrong = wrong || !begun || open
				open = true
			case neutral.Delta:
				wrong = wrong || !open
				if !json.Valid(append(append([]byte{'"'}, e.Raw...), '"')) {
					t.Fatalf("delta %q", e.Raw)
				}
			case neutral.PartEnd:
				wrong = wrong || !open
				open = false
			case neutral.Finish:
				wrong = wrong || !begun || open
			case neutral.Usage:
				wrong = wrong || !begun
			case neutral.End:
				over = true
			case neutral.Failed:
				over, failed = true, true
			}
			if wrong {
				t.Fatalf("%s out of order", line(e))
			}
			out = w.Append(out, e)
		})
		if complete && (failed || !over) {
			t.Fatal("complete, but it failed or has no end")
		}
		for _, event := range bytes.Split(bytes.TrimSuffix(out, []byte("\n\n")), []byte("\n\n")) {
			if len(out) > 0 && (!json.Valid(sse.Data(append(event, "\n\n"...))) || bytes.ContainsAny(bytes.TrimRight(event, "\n"), "\r\n")) {
				t.Fatalf("event %q", event)
			}
		}
	})
}

// FuzzAnswers: foreign bytes, cut anywhere, give sane answers.
func FuzzAnswers(f *testing.F) {
	seeds(f, "testdata/streams/*.sse", "testdata/responses/*.json")
	f.Add([]byte(quota("0", unsaid)))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := Answers{}
		if u, ok := a.Usage(nil, b); ok && (u.Input < 0 || u.Output < 0 || u.Cached > u.Input || u.Reasoning > u.Output ||
			u.AudioInput > u.Input || u.AudioOutput > u.Output) {
			t.Fatalf("%+v", u)
		}
		if e, ok := a.ErrorBody(b); ok && (e.Status < 400 || e.Status > 599) {
			t.Fatalf("%+v", e)
		}
		if e, ok := a.ErrorEvent(b); ok && (e.Status < 400 || e.Status > 599) {
			t.Fatalf("%+v", e)
		}
		if d := a.RetryAfter(func(string) string { return "" }, b, time.Time{}); d < 0 || d > dialect.MaxAsked {
			t.Fatal(d)
		}
		if n := a.BodyText(b) + a.OutputText(b); n < 0 {
			t.Fatal(n)
		}
		a.Finished(b)
		if n, ok := ReadCount(b); ok && n < 0 {
			t.Fatal(n)
		}
	})
}

// FuzzPeekText: it accepts every JSON object, and nothing that is none.
func FuzzPeekText(f *testing.F) {
	seeds(f, "testdata/requests/*.json")
	f.Fuzz(func(t *testing.T, body []byte) {
		var m map[string]json.RawMessage
		object := json.Unmarshal(body, &m) == nil && m != nil
		n, bad := PeekText(body)
		if object && bad != nil && bad.Message != "the request body is nested too deeply" {
			t.Fatalf("%v: %q", bad, body)
		}
		if bad == nil && (n < 0 || n > len(body) || json.Valid(body) && !object) {
			t.Fatalf("%d: %q", n, body)
		}
	})
}
