package openai

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tidwall/gjson"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// The generators make what chat can carry, in the order in which it is read.

func words(t *rapid.T, name string) string {
	return rapid.OneOf(rapid.StringN(1, 20, -1), rapid.Just("\"\\\n\r\t\x00\u2028</😀")).Draw(t, name)
}

func someOf(t *rapid.T, name string, atMost int, f func()) {
	for range rapid.IntRange(0, atMost).Draw(t, name) {
		f()
	}
}

func anArgs(t *rapid.T) string {
	raw, err := json.Marshal(rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "args"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func aSignature(t *rapid.T) neutral.Signature {
	return neutral.Signature{
		Value:  rapid.StringMatching(`[A-Za-z0-9+/]{1,30}={0,2}`).Draw(t, "signature"),
		Origin: neutral.Origin(rapid.IntRange(1, 3).Draw(t, "origin")),
	}
}

func someReasoning(t *rapid.T) (parts []neutral.Part) {
	someOf(t, "thoughts", 3, func() {
		switch rapid.IntRange(0, 2).Draw(t, "thought") {
		case 0:
			parts = append(parts, neutral.Part{Kind: neutral.Think, Text: words(t, "think")})
		case 1:
			parts = append(parts, neutral.Part{Kind: neutral.Think, Text: rapid.String().Draw(t, "think"), Signature: aSignature(t)})
		case 2:
			parts = append(parts, neutral.Part{Kind: neutral.Redacted, Signature: aSignature(t)})
		}
	})
	return parts
}

func someCalls(t *rapid.T) (parts []neutral.Part) {
	someOf(t, "calls", 3, func() {
		p := neutral.Part{Kind: neutral.Call, ID: words(t, "id"), Name: words(t, "name"), Args: anArgs(t)}
		if rapid.Bool().Draw(t, "signed") {
			p.Signature = aSignature(t)
		}
		parts = append(parts, p)
	})
	return parts
}

func TestResponseRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := neutral.Response{
			ID: words(t, "id"), Model: words(t, "model"), Created: rapid.Int64Range(1, 1<<40).Draw(t, "created"), Parts: someReasoning(t),
		}
		if rapid.Bool().Draw(t, "text") {
			want.Parts = append(want.Parts, neutral.Part{Kind: neutral.Text, Text: words(t, "text")})
		}
		if rapid.Bool().Draw(t, "refusal") {
			want.Parts = append(want.Parts, neutral.Part{Kind: neutral.Refusal, Text: words(t, "refusal")})
		}
		someOf(t, "images", 2, func() {
			want.Parts = append(want.Parts, neutral.Part{Kind: neutral.Image, Media: "image/png", Data: "AAAA"})
		})
		calls := someCalls(t)
		want.Parts = append(want.Parts, calls...)
		stops := []neutral.Stop{neutral.StopLength, neutral.StopFilter, neutral.StopCall}
		if len(calls) == 0 {
			stops = append(stops, neutral.StopEnd)
		}
		want.Stop = rapid.SampledFrom(stops).Draw(t, "stop")
		if rapid.Bool().Draw(t, "counted") {
			want.Counted, want.Usage = true, someTokens(t)
		}
		r := want
		body := Codec{}.AppendResponse(nil, &r, &neutral.Answering{Model: r.Model})
		got, err := Codec{}.ReadResponse(body)
		if err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if d := cmp.Diff(&want, got, cmpopts.EquateEmpty()); d != "" || r.Losses != 0 {
			t.Fatalf("lost %q, (-want +got):\n%s\n%s", r.Losses, d, body)
		}
	})
}

func someTokens(t *rapid.T) money.Tokens {
	n := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, name) }
	u := money.Tokens{Input: n("input", 1e9), Output: n("output", 1e9)}
	u.Cached = n("cached", u.Input)
	u.CacheWrite = n("written", u.Input-u.Cached)
	u.AudioInput, u.AudioOutput, u.Reasoning = n("heard", u.Input), n("spoken", u.Output), n("thought", u.Output)
	return u
}

func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := aRequest(t)
		r := *want
		body, fault := ReasoningCodec{}.AppendRequest(nil, &r, r.Model)
		if fault != nil {
			t.Fatal(fault)
		}
		got, fault := Codec{}.ReadRequest(body, r.Model, r.Stream)
		if fault != nil {
			t.Fatalf("%v in %s", fault, body)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || r.Losses != 0 {
			t.Fatalf("lost %q, (-want +got):\n%s\n%s", r.Losses, d, body)
		}
	})
}

func aRequest(t *rapid.T) *neutral.Request {
	text := func() neutral.Part { return neutral.Part{Kind: neutral.Text, Text: words(t, "text")} }
	maybe := func(name string) *bool {
		switch rapid.IntRange(0, 2).Draw(t, name) {
		case 1:
			return new(bool)
		case 2:
			b := true
			return &b
		}
		return nil
	}
	number := func(name string) neutral.Number {
		return rapid.SampledFrom([]neutral.Number{"", "0", "1.50", "1e-1", "-0.0"}).Draw(t, name)
	}
	r := &neutral.Request{
		Model: words(t, "model"), MaxTokens: number("max"), Temperature: number("temperature"), TopP: number("top_p"), Seed: number("seed"),
		FrequencyPenalty: number("frequency"), PresencePenalty: number("presence"),
		Stop: rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "stop"), User: rapid.String().Draw(t, "user"),
		Tier: rapid.SampledFrom([]string{"", "auto", "flex"}).Draw(t, "tier"), Stream: rapid.Bool().Draw(t, "stream"),
		Thinking: rapid.SampledFrom([]neutral.Thinking{{}, {Off: true}, {Effort: "minimal"}, {Effort: "xhigh"}}).Draw(t, "thinking"),
	}
	someOf(t, "system", 2, func() { r.System = append(r.System, text()) })
	someOf(t, "tools", 3, func() {
		r.Tools = append(r.Tools, neutral.Tool{
			Name: words(t, "tool"), Description: rapid.String().Draw(t, "description"), Strict: maybe("strict"),
			Schema: rapid.SampledFrom([]string{"", "{}", `{"type": "object"}`}).Draw(t, "schema"),
		})
	})
	if len(r.Tools) > 0 {
		r.Parallel = maybe("parallel")
		r.Choice.How = neutral.Choose(rapid.IntRange(0, 4).Draw(t, "choice"))
		if r.Choice.How == neutral.ChooseTool {
			r.Choice.Name = r.Tools[0].Name
		}
	}
	switch rapid.IntRange(0, 3).Draw(t, "format") {
	case 1:
		r.Format.Kind = neutral.FormatText
	case 2:
		r.Format.Kind = neutral.FormatJSON
	case 3:
		r.Format = neutral.Format{
			Kind: neutral.FormatSchema, Name: words(t, "schema"), Description: rapid.String().Draw(t, "description"),
			Schema: `{"type":"object"}`, Strict: maybe("strict"),
		}
	}
	// A user begins, so that a system turn is in the middle.
	role := neutral.User
	for range rapid.IntRange(1, 5).Draw(t, "turns") {
		turn := neutral.Turn{Role: role}
		switch role {
		case neutral.User:
			turn.Parts = userParts(t, text)
			role = rapid.SampledFrom([]neutral.Role{neutral.Assistant, neutral.System}).Draw(t, "role")
		case neutral.Assistant:
			turn.Parts = someReasoning(t)
			someOf(t, "texts", 2, func() { turn.Parts = append(turn.Parts, text()) })
			if rapid.Bool().Draw(t, "refusal") {
				turn.Parts = append(turn.Parts, neutral.Part{Kind: neutral.Refusal, Text: words(t, "refusal")})
			}
			turn.Parts = append(turn.Parts, someCalls(t)...)
			if len(turn.Parts) == 0 {
				turn.Parts = []neutral.Part{text()}
			}
			role = neutral.User
		case neutral.System:
			turn.Parts = []neutral.Part{text(), text()}
			role = neutral.User
		}
		r.Turns = append(r.Turns, turn)
	}
	return r
}

func userParts(t *rapid.T, text func() neutral.Part) (parts []neutral.Part) {
	someOf(t, "results", 2, func() {
		p := neutral.Part{Kind: neutral.Result, ID: words(t, "id")}
		someOf(t, "texts", 2, func() { p.Parts = append(p.Parts, text()) })
		parts = append(parts, p)
	})
	someOf(t, "parts", 3, func() {
		parts = append(parts, rapid.SampledFrom([]neutral.Part{
			text(),
			{Kind: neutral.Image, Media: "image/png", Data: "AAAA", Detail: "high"},
			{Kind: neutral.Image, URL: "https://example.com/\"x\""},
			{Kind: neutral.Audio, Media: "audio/wav", Data: "AAAA"},
			{Kind: neutral.Audio, Media: "audio/mpeg", Data: "AAAA"},
			{Kind: neutral.File, Media: "application/pdf", Data: "AAAA", Name: "a b"},
			{Kind: neutral.File, FileID: "file-1"},
		}).Draw(t, "part"))
	})
	if len(parts) == 0 {
		parts = []neutral.Part{text()}
	}
	return parts
}

// collected is a stream with the deltas of each part joined.
func collected(into *[]neutral.Event) neutral.Emit {
	return func(e *neutral.Event) {
		c := *e
		c.Raw = bytes.Clone(e.Raw)
		if all := *into; e.Kind == neutral.Delta && len(all) > 0 && all[len(all)-1].Kind == neutral.Delta {
			all[len(all)-1].Raw = append(all[len(all)-1].Raw, e.Raw...)
			return
		}
		*into = append(*into, c)
	}
}

func TestStreamRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []neutral.Event
		var body []byte
		a := &neutral.Answering{Model: words(t, "model"), WantUsage: true}
		w := Codec{}.NewEventWriter(a)
		note := collected(&want)
		say := func(e neutral.Event) {
			note(&e)
			body = w.Append(body, &e)
		}
		pieces := func(s string) {
			for len(s) > 0 {
				runes := []rune(s)
				n := rapid.IntRange(1, len(runes)).Draw(t, "piece")
				say(neutral.Event{Kind: neutral.Delta, Raw: dialect.AppendEscaped(nil, string(runes[:n]))})
				s = string(runes[n:])
			}
		}
		say(neutral.Event{Kind: neutral.Begin, ID: words(t, "id"), Name: a.Model, Created: rapid.Int64Range(1, 1<<40).Draw(t, "created")})
		stop := neutral.StopEnd
		var last neutral.Kind // of words that would go on in the next part of their kind
		someOf(t, "parts", 6, func() {
			kind := rapid.SampledFrom([]neutral.Kind{neutral.Text, neutral.Refusal, neutral.Think, neutral.Redacted, neutral.Call, neutral.Image}).Draw(t, "kind")
			if kind == last {
				return
			}
			last = kind
			begin, end := neutral.Event{Kind: neutral.PartBegin, Part: kind}, neutral.Event{Kind: neutral.PartEnd}
			text := ""
			switch kind {
			case neutral.Text, neutral.Refusal:
				text = words(t, "words")
			case neutral.Think:
				text = words(t, "words")
				if rapid.Bool().Draw(t, "signed") {
					text, end.Signature, last = rapid.String().Draw(t, "words"), aSignature(t), 0
				}
			case neutral.Redacted:
				begin.Signature, last = aSignature(t), 0
			case neutral.Image:
				begin.Media, begin.Data, last = "image/png", "AAAA", 0
			case neutral.Call:
				begin.ID, begin.Name, text, last = words(t, "id"), words(t, "name"), anArgs(t), 0
				stop = neutral.StopCall
				if rapid.Bool().Draw(t, "signed") {
					end.Signature = aSignature(t)
				}
			}
			say(begin)
			pieces(text)
			say(end)
		})
		say(neutral.Event{Kind: neutral.Finish, Stop: stop})
		if rapid.Bool().Draw(t, "counted") {
			say(neutral.Event{Kind: neutral.Usage, Tokens: someTokens(t)})
		}
		say(neutral.Event{Kind: neutral.End})

		var got []neutral.Event
		if !replay(body, collected(&got)) {
			t.Fatalf("not complete:\n%s", body)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || w.Losses() != 0 {
			t.Fatalf("lost %q, (-want +got):\n%s\n%s", w.Losses(), d, body)
		}
	})
}

// What an upstream says of its counts is never more than it can be.
func TestReadCountsOfNonsense(t *testing.T) {
	got, ok := readCounts(gjson.Parse(`{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9,"cache_write_tokens":9,"audio_tokens":7},` +
		`"completion_tokens_details":{"reasoning_tokens":9,"audio_tokens":1e30},"cached_tokens":-1}`))
	want := money.Tokens{Input: 5, Cached: 5, Output: 2, AudioInput: 5, Reasoning: 2}
	if got != want || !ok {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
	if _, ok := readCounts(gjson.Parse(`{"prompt_tokens":"5","x":{}}`)); ok {
		t.Error("a usage without counts counts")
	}
}
