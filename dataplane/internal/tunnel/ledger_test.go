package tunnel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/money"
)

// doneEvent is as OpenAI documents it, with a text that tries to pass for usage.
const doneEvent = `{"event_id":"event_1","type":"response.done","response":{"object":"realtime.response","id":"resp_1",` +
	`"status":"completed","status_details":null,"output":[{"type":"message","content":[{"type":"output_text",` +
	`"text":"\"usage\":{\"input_tokens\":9999}"}]}],"usage":{"total_tokens":275,"input_tokens":127,"output_tokens":148,` +
	`"input_token_details":{"cached_tokens":64,"text_tokens":119,"audio_tokens":8,"cached_tokens_details":` +
	`{"text_tokens":64,"audio_tokens":0}},"output_token_details":{"text_tokens":36,"audio_tokens":112}}}}`

func textDelta(text string) string {
	return fmt.Sprintf(`{"type":"response.output_text.delta","event_id":"event_9","response_id":"resp_1","delta":%q}`, text)
}

func exact(input, cached, output int64) Usage {
	return Usage{Tokens: money.Tokens{Input: input, Cached: cached, Output: output}}
}

func guess(input, output int64) Usage {
	return Usage{Tokens: money.Tokens{Input: input, Output: output}, Estimated: true}
}

// facts are what a ledger came to, without its books of the moment.
type facts struct {
	Used                                    []Usage
	Responses, Estimates, Unmetered, Errors int64
	LastError                               string
}

func (f *facts) take(u Usage) *Farewell {
	f.Used = append(f.Used, u)
	return nil
}

func TestLedger(t *testing.T) {
	prompted := `>{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"` +
		strings.Repeat("a", 40) + `"}]}}`
	spoken := `>{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("A", 12_000) + `"}`
	tests := map[string]struct {
		events []string // ">" marks the client's
		want   facts
	}{
		"nothing":             {nil, facts{}},
		"a response":          {[]string{prompted, textDelta("x"), doneEvent}, facts{Used: []Usage{exact(127, 64, 148)}, Responses: 1}},
		"two":                 {[]string{doneEvent, doneEvent}, facts{Used: []Usage{exact(127, 64, 148), exact(127, 64, 148)}, Responses: 2}},
		"nothing delivered":   {[]string{prompted, `{"type":"response.created"}`}, facts{}},
		"unfinished":          {[]string{prompted, textDelta("12345678"), textDelta("9")}, facts{Used: []Usage{guess(10, 3)}, Estimates: 1}},
		"unfinished, audio":   {[]string{spoken, `{"type":"response.output_audio.delta","delta":"` + strings.Repeat("A", 6300) + `"}`}, facts{Used: []Usage{guess(2, 2)}, Estimates: 1}},
		"after a settled one": {[]string{prompted, doneEvent, textDelta("1234")}, facts{Used: []Usage{exact(127, 64, 148), guess(0, 1)}, Responses: 1, Estimates: 1}},
		"usage null": {[]string{prompted, textDelta("1234"), `{"type":"response.done","response":{"status":"cancelled","usage":null}}`, textDelta("12345")},
			facts{Used: []Usage{guess(10, 1), guess(0, 2)}, Estimates: 2}},
		"failed": {[]string{prompted, `{"type":"response.done","response":{"status":"failed","status_details":{"type":"failed","error":{"code":"rate_limit_exceeded"}},"usage":null}}`},
			facts{Errors: 1, LastError: "rate_limit_exceeded"}},
		"error event": {[]string{`{"type":"error","event_id":"e","error":{"type":"invalid_request_error","code":"invalid_value","message":"no"}}`},
			facts{Errors: 1, LastError: "invalid_value"}},
		"error without a code": {[]string{`{"type":"error","error":{"code":null}}`, `{"type":"error"}`}, facts{Errors: 2}},
		"long code":            {[]string{`{"type":"error","error":{"code":"` + strings.Repeat("x", 65) + `"}}`}, facts{Errors: 1}},
		"responses API": {[]string{`{"type":"response.completed","response":{"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":3}}}`},
			facts{Used: []Usage{exact(5, 2, 3)}, Responses: 1}},
		"responses API, failed": {[]string{`{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"},"usage":null}}`},
			facts{Errors: 1, LastError: "server_error"}},
		"cached beyond input": {[]string{`{"type":"response.done","response":{"usage":{"input_tokens":5,"output_tokens":0,"input_token_details":{"cached_tokens":7}}}}`},
			facts{Used: []Usage{exact(5, 5, 0)}, Responses: 1}},
		"nonsense counts": {[]string{`{"type":"response.done","response":{"usage":{"input_tokens":-1,"output_tokens":1e300}}}`}, facts{}},
		"counts in strings": {[]string{`{"type":"response.done","response":{"usage":{"input_tokens":"5","output_tokens":[1]}}}`},
			facts{}},
		"escaped": {[]string{`{"\u0074ype":"response\u002edone","response":{"usage":{"input_tokens":1,"output_tokens":2}}}`},
			facts{Used: []Usage{exact(1, 0, 2)}, Responses: 1}},
		"type within": {[]string{`{"item":{"type":"response.done","response":{"usage":{"input_tokens":1}}},"type":"conversation.item.added"}`}, facts{}},
		"no JSON":     {[]string{"", "x", "[]", `{"type":`, `{"type":5}`, `{"type"`, `"type":"response.done"`, ">", ">{{{{", `{"a":]]]]`}, facts{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got facts
			l := ledger{on: got.take}
			for _, event := range test.events {
				if sent, client := strings.CutPrefix(event, ">"); client {
					l.fromClient([]byte(sent), int64(len(sent)))
				} else {
					l.fromUpstream([]byte(event), int64(len(event)))
				}
			}
			l.estimate()
			got.Responses, got.Estimates, got.Unmetered, got.Errors = l.responses, l.estimates, l.unmetered, l.errors
			got.LastError = l.lastError
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			var sum Usage
			for _, u := range got.Used {
				sum.Input, sum.Cached, sum.Output = sum.Input+u.Input, sum.Cached+u.Cached, sum.Output+u.Output
				sum.Estimated = sum.Estimated || u.Estimated
			}
			if diff := cmp.Diff(sum, l.usage); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProse(t *testing.T) {
	tests := map[string]int64{
		`{"instructions":"12345","tools":[{"type":"function","name":"n","description":"1234"}]}`:                        9,
		`{"content":[{"type":"input_text","text":"123"},{"type":"input_audio","audio":"AAAA"},{"image_url":"data:x"}]}`: 3,
		`{"content":{"other":"x"}}`:        0,
		`{"text" : "a\"b"}`:                4,
		`{"text":"unfinished`:              0,
		`{"text":{"type":"x"},"y":"text"}`: 0,
	}
	for event, want := range tests {
		if got := prose([]byte(event)); got != want {
			t.Errorf("%s: %d, want %d", event, got, want)
		}
	}
}

// Events come in one piece or in many, of one frame or of many, masked or not, below a limit or beyond it: the ledger says
// the same of the same message.
func TestMessagesHoweverTheyCome(t *testing.T) {
	long := strings.Replace(doneEvent, `"resp_1"`, `"`+strings.Repeat("r", 20_000)+`"`, 1)
	last := strings.Replace(doneEvent, `"event_1"`, `"`+strings.Repeat("e", 100_000)+`"`, 1)
	audio := `{"type":"response.output_audio.delta","delta":"` + strings.Repeat("A", 30_000) + `"}`
	tests := map[string]struct {
		event string
		limit int
		want  facts
	}{
		"short":               {doneEvent, 0, facts{Used: []Usage{exact(127, 64, 148)}, Responses: 1}},
		"long":                {long, 0, facts{Used: []Usage{exact(127, 64, 148)}, Responses: 1}},
		"very long":           {last, 0, facts{Used: []Usage{exact(127, 64, 148)}, Responses: 1}},
		"audio":               {audio, 0, facts{Used: []Usage{guess(0, 10)}, Estimates: 1}},
		"at the limit":        {doneEvent, len(doneEvent), facts{Used: []Usage{exact(127, 64, 148)}, Responses: 1}},
		"beyond the limit":    {doneEvent, len(doneEvent) - 3, facts{Unmetered: 1}},
		"beyond, tiny":        {doneEvent, 10, facts{Unmetered: 1}},
		"beyond, only audio":  {audio, 100, facts{Used: []Usage{guess(0, 10)}, Estimates: 1}},
		"beyond, an open end": {`{"type":"response.output_text.delta","delta":"12345"}`, 50, facts{Used: []Usage{guess(0, 14)}, Estimates: 1, Unmetered: 1}},
	}
	for name, test := range tests {
		for _, fragment := range []int{0, 1 << 10, 7777} {
			for _, piece := range []int{1 << 20, 4096, 1001, 3} {
				var got facts
				l := ledger{on: got.take}
				var m messages
				m.reset(New(Options{MaxMessage: test.limit}), &l, false)
				stream := fragmented(test.event, fragment, nil)
				for at := 0; at < len(stream); at += piece {
					part := stream[at:min(at+piece, len(stream))]
					if good, err := m.feed(part); good != len(part) || err != nil {
						t.Fatalf("%s: %d of %d bytes: %v", name, good, len(part), err)
					}
				}
				l.estimate()
				got.Responses, got.Estimates, got.Unmetered, got.Errors = l.responses, l.estimates, l.unmetered, l.errors
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s, fragments of %d, pieces of %d: %s", name, fragment, piece, diff)
				}
				if m.count != 1 || m.small != nil || m.large != nil || len(m.held) != 0 {
					t.Errorf("%s: %d messages, and something is held", name, m.count)
				}
			}
		}
	}
}

// fragmented puts an event into frames of at most size bytes; 0 = one.
func fragmented(event string, size int, mask []byte) []byte {
	if size == 0 {
		size = len(event)
	}
	var out []byte
	op := opText
	for len(event) > size {
		out = append(out, frame(op, false, []byte(event[:size]), mask)...)
		op, event = opContinuation, event[size:]
	}
	return append(out, frame(op, true, []byte(event), mask)...)
}

// The client's events are read through their masks.
func TestClientMessagesHoweverTheyCome(t *testing.T) {
	// The text begins where a larger buffer does, within a frame.
	prompt := `{"type":"session.update","session":{"id":"`
	prompt += strings.Repeat("i", smallSize-len(prompt)) + `","instructions":"` + strings.Repeat("a", 9_000) + `"}}`
	speech := `{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("A", 30_000) + `"}`
	for _, fragment := range []int{0, 777} {
		for _, piece := range []int{1 << 20, 1001, 1} {
			var l ledger
			var m messages
			m.reset(New(Options{}), &l, true)
			stream := append(fragmented(prompt, fragment, []byte{3, 1, 4, 1}), fragmented(speech, fragment, []byte{5, 9, 2, 6})...)
			before := bytes.Clone(stream)
			for at := 0; at < len(stream); at += piece {
				if _, err := m.feed(stream[at:min(at+piece, len(stream))]); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(stream, before) {
				t.Error("bytes were changed")
			}
			if text, audio := l.sentText.Load(), l.sentAudio.Load(); text != 9_000 || audio != int64(len(speech)) || l.sentUnmetered != 0 {
				t.Errorf("text %d, audio %d, unmetered %d", text, audio, l.sentUnmetered)
			}
		}
	}
}

// In valid JSON, member finds what a decoder finds first, and nothing else; in anything, it comes to an end.
func FuzzMember(f *testing.F) {
	for _, seed := range []string{
		doneEvent, `{"type":"a","type":"b"}`, `{"\u0074ype":null}`, `{}`, `[]`, `{"type":{"x":["}"]}}`, `{"a":"\\","type":"\""}`,
		` { "type" : -1.5e3 , "b":[{}]}`, `{"type":tru`, `{"a":1`, "{",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		got, found := member(event, "type")
		for _, k := range []bool{true, false} {
			_ = kindOf(event, k)
		}
		_ = prose(event)
		l := ledger{}
		l.fromUpstream(event, int64(len(event)))
		if l.usage.Input < 0 || l.usage.Cached < 0 || l.usage.Cached > l.usage.Input || l.usage.Output < 0 {
			t.Errorf("usage %+v", l.usage)
		}
		if !json.Valid(event) {
			return
		}
		want, exists := firstMember(t, event)
		if exists != found || !bytes.Equal(got, want) {
			t.Errorf("%s: %q %t, want %q %t", event, got, found, want, exists)
		}
	})
}

// firstMember is the first value under "type" that a decoder finds.
func firstMember(t *testing.T, event []byte) (json.RawMessage, bool) {
	d := json.NewDecoder(bytes.NewReader(event))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			// Too deep for it.
			t.Skip(err)
		}
		if key == "type" {
			return value, true
		}
	}
	return nil, false
}
