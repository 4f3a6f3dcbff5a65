package anthropic

import (
	"encoding/json"
	"testing"
)

func TestKeepResultsHere(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"absolute", `{"id":"b","results_url":"https://api.anthropic.com/v1/messages/batches/b/results","type":"message_batch"}`,
			`{"id":"b","results_url":"/v1/messages/batches/b/results","type":"message_batch"}`},
		{"below a prefix, with spaces", `{"results_url" : "https://h:8/p/v1/messages/batches/b/results"}`, `{"results_url" : "/v1/messages/batches/b/results"}`},
		{"none yet", `{"results_url":null}`, `{"results_url":null}`},
		{"a path already", `{"results_url":"/v1/messages/batches/b/results"}`, `{"results_url":"/v1/messages/batches/b/results"}`},
		{"elsewhere", `{"results_url":"https://files.example/b"}`, `{"results_url":"https://files.example/b"}`},
		{"several", `[{"results_url":"https://a/v1/messages/batches/1/results"},{"results_url":null},{"results_url":"https://a/v1/messages/batches/2/results"}]`,
			`[{"results_url":"/v1/messages/batches/1/results"},{"results_url":null},{"results_url":"/v1/messages/batches/2/results"}]`},
		{"a value of that name", `{"x":"results_url","y":"https://a/v1/messages/batches/1"}`, `{"x":"results_url","y":"https://a/v1/messages/batches/1"}`},
		{"cut off", `{"results_url":"https://a/v1/messages/batches/1`, `{"results_url":"https://a/v1/messages/batches/1`},
		{"empty", ``, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(KeepResultsHere([]byte(tt.in))); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What was JSON is JSON, never longer, and a second time changes nothing.
func FuzzKeepResultsHere(f *testing.F) {
	f.Add([]byte(`{"data":[{"results_url":"https://api.anthropic.com/v1/messages/batches/b/results"},{"results_url":null}]}`))
	f.Add([]byte(`{"results_url":"results_url\":\"/v1/messages/batches/"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		valid := json.Valid(body)
		got := KeepResultsHere(append([]byte(nil), body...))
		if len(got) > len(body) || valid && !json.Valid(got) {
			t.Fatalf("%q becomes %q", body, got)
		}
		if again := string(KeepResultsHere(append([]byte(nil), got...))); again != string(got) {
			t.Fatalf("%q becomes %q, and again %q", body, got, again)
		}
	})
}
