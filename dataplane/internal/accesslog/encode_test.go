package accesslog

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/journal"
	"fairway/pkg/money"
)

// How long strings of an entry may be.
const (
	maxText  = 64
	maxLong  = 128
	maxModel = 256
)

// bodies are two that were kept whole.
func bodies(request, response string) *journal.Bodies {
	b := journal.NewRoom(1<<20, 1<<30).Take()
	b.AddRequest([]byte(request))
	b.AddResponse([]byte(response))
	return b
}

// encode is what becomes of an entry on its way through a queue.
func encode(e *journal.Entry) []byte {
	q := journal.NewQueue(1, true)
	q.Put(e)
	return appendLine(nil, q.Next())
}

func TestLine(t *testing.T) {
	everything := full()
	tests := []struct {
		name  string
		entry journal.Entry
		want  string
	}{
		{"everything", everything, `{"time":"2026-11-21T22:04:05.006Z","request_id":"req_1","client_request_id":"mine-1","upstream_request_id":"up-1",` +
			`"trace_id":"01000000000000000000000000000002","remote_ip":"192.0.2.7",` +
			`"method":"POST","operation":"chat","model":"gpt-4o","upstream_model":"gpt-4o-deployed",` +
			`"response_model":"gpt-4o-2024-08-06","stream":true,"status":200,"key_id":"key_1","key_name":"laptop","tenant":"acme","group":"default",` +
			`"channel":"openai","account":"acc_1","attempts":2,"retried":true,` +
			`"trail":[{"after_ms":1.000,"took_ms":2.000,"channel":"azure","account":"acc_0","upstream_model":"m0","status":429,"error":"rate_limit"},` +
			`{"after_ms":3.000,"took_ms":4.000,"channel":"openai","account":"acc_1","upstream_model":"gpt-4o-deployed","status":200}],"client_gone":true,"ttft_ms":123.456,"duration_ms":9000.001,` +
			`"bytes_in":1024,"bytes_out":2048,"input_tokens":10,"cached_tokens":4,"output_tokens":20,` +
			`"cache_write_tokens":5,"cache_write_long_tokens":6,"reasoning_tokens":7,"audio_input_tokens":8,"audio_output_tokens":9,` +
			`"estimated":true,"cost_nano_usd":1234567,"unpriced":true,"price_version":12,"error":"the upstream closed the connection"}`},
		{"almost nothing", journal.Entry{Time: time.Unix(0, 0), Status: 401, RemoteIP: netip.MustParseAddr("fe80::1%eth0"), Duration: -time.Second},
			`{"time":"1970-01-01T00:00:00.000Z","remote_ip":"fe80::1","stream":false,"status":401,"attempts":0,"retried":false,"client_gone":false,` +
				`"duration_ms":0.000,"bytes_in":0,"bytes_out":0,"input_tokens":0,"cached_tokens":0,"output_tokens":0,"estimated":false,"cost_nano_usd":0}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want+"\n", string(encode(&tt.entry))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    `"plain"`,
		`a"b\c`:                    `"a\"b\\c"`,
		"\r\n\t\x00\x1b[31m\x7f":   `"\u000d\u000a\u0009\u0000\u001b[31m\u007f"`,
		"Größe 東京 😀":               `"Größe 東京 😀"`,
		"\u0085\u009b\u2028":       `"\u0085\u009b\u2028"`,
		"evil\u202etxt\ufeff":      `"evil\u202etxt\ufeff"`,
		"\U000e0041":               `"\udb40\udc41"`,
		"\xff\xc0\xaf\xed\xa0\x80": `"\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"`,
		"\ufffd":                   "\"\ufffd\"",
	} {
		if got := string(appendString(nil, []byte(in))); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// FuzzLine: whatever clients send, a line is one line, prints on any terminal, and is JSON that says exactly that.
func FuzzLine(f *testing.F) {
	f.Add("mine", "gpt-4o", "reason", "POST", int64(1234567), int64(5), 200, true)
	f.Add("\"},{\"", "\\\x00\n\u2028", "\xff\xfe", "\x1b]0;x\x07", int64(-1), int64(1)<<62, -1, false)
	f.Add(strings.Repeat("é", 40), strings.Repeat("\u202e", 100), strings.Repeat("😀", 40), "\xed\xa0\x80", int64(999), int64(0), 1<<30, true)
	f.Fuzz(func(t *testing.T, client, name, reason, verb string, ns, n int64, status int, flag bool) {
		e := journal.Entry{
			Time: time.Unix(0, n), RequestID: "req_1", ClientRequestID: client, Model: name, Error: reason, Method: verb, Operation: verb,
			KeyID: client, Group: name, Channel: reason, Account: verb, Status: int(int32(status)), Stream: flag, ClientGone: flag,
			Duration: time.Duration(ns), BytesIn: n, CostNanoUSD: ns, Tokens: money.Tokens{Input: n}, KeyName: client, Tenant: name, UpstreamModel: reason, ResponseModel: client,
			UpstreamRequestID: name, Attempts: 1, Trail: []journal.Attempt{{Channel: client, Account: name, Model: reason, Verdict: verb + "!"}},
			Bodies: bodies(client, name),
		}
		got := encode(&e)
		if bytes.Count(got, []byte{'\n'}) != 1 || got[len(got)-1] != '\n' {
			t.Fatalf("not one line: %q", got)
		}
		for _, r := range string(got[:len(got)-1]) {
			if !strconv.IsPrint(r) {
				t.Errorf("%q does not print: %q", r, got)
			}
		}
		type attempt struct{ Channel, Account, Error string }
		type fields struct {
			RequestID       string      `json:"request_id"`
			ClientRequestID string      `json:"client_request_id"`
			Model           string      `json:"model"`
			Error           string      `json:"error"`
			Method          string      `json:"method"`
			Operation       string      `json:"operation"`
			KeyID           string      `json:"key_id"`
			Group           string      `json:"group"`
			Channel         string      `json:"channel"`
			Account         string      `json:"account"`
			Status          int         `json:"status"`
			Stream          bool        `json:"stream"`
			ClientGone      bool        `json:"client_gone"`
			BytesIn         int64       `json:"bytes_in"`
			Cost            int64       `json:"cost_nano_usd"`
			Input           int64       `json:"input_tokens"`
			Duration        json.Number `json:"duration_ms"`
			RequestBody     string      `json:"request_body"`
			ResponseBody    string      `json:"response_body"`
			Trail           []attempt
			Time            time.Time `json:"time"`
		}
		var back fields
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("not JSON: %v: %q", err, got)
		}
		us := max(ns, 0) / 1000
		want := fields{
			RequestID: "req_1", ClientRequestID: shown(client, maxText), Model: shown(name, maxModel), Error: shown(reason, maxLong),
			Method: shown(verb, maxText), Operation: shown(verb, maxLong), KeyID: shown(client, maxText), Group: shown(name, maxText),
			Channel: shown(reason, maxText), Account: shown(verb, maxText), Status: e.Status, Stream: flag, ClientGone: flag,
			BytesIn: n, Cost: ns, Input: n, Time: time.Unix(0, n).UTC().Truncate(time.Millisecond),
			Duration:    json.Number(strconv.FormatInt(us/1000, 10) + "." + strconv.FormatInt(1000+us%1000, 10)[1:]),
			RequestBody: shownBody(client), ResponseBody: shownBody(name),
			Trail: []attempt{{shown(client, maxText), shown(name, maxText), shown(verb+"!", maxText)}},
		}
		if diff := cmp.Diff(want, back); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// shown is what a reader of the line is to see of a string.
func shown(s string, most int) string {
	if len(s) > most {
		n := most
		for i := range utf8.UTFMax {
			if utf8.RuneStart(s[most-i]) {
				n = most - i
				break
			}
		}
		s = s[:n]
	}
	return string([]rune(s)) // invalid bytes become U+FFFD, one each
}

// shownBody is what a reader is to see of a body.
func shownBody(s string) string {
	if strings.Contains(s, "\x00") {
		return "(binary)"
	}
	return string([]rune(s))
}
