package dialecttest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect/neutral"
)

// draw draws what both sides of a pair can say.
type draw struct {
	*rapid.T
	can   can
	calls int // so far
}

// texts are never blank: some dialects refuse what is.
var texts = rapid.OneOf(
	rapid.StringMatching("[ -~\n\t\r\\\\\"äß€\U0001F600]{0,20}"),
	rapid.SampledFrom([]string{"\x00", "\u2028", "</s>", "data: x\n\n", `\u00e9`, "\x7f"}),
)

func (d *draw) words(label string) string { return texts.Draw(d.T, label) + "." }

func (d *draw) yes(label string) bool { return rapid.Bool().Draw(d.T, label) }

// may says whether something that both sides can say is said.
func (d *draw) may(what can, label string) bool { return d.can&what != 0 && d.yes(label) }

func (d *draw) pick(label string, of ...string) string { return rapid.SampledFrom(of).Draw(d.T, label) }

func (d *draw) number(label string, of ...string) neutral.Number {
	return neutral.Number(d.pick(label, append(of, "")...))
}

func (d *draw) maybe(what can, label string) *bool {
	if !d.may(what, label) {
		return nil
	}
	b := d.yes(label + " is")
	return &b
}

func (d *draw) args() string {
	return d.pick("args", "{}", `{"a":1.50,"b":"\"\\\n"}`, `{"ü": [null, -0e+10]}`)
}

func (d *draw) schema() string {
	return d.pick("schema", `{"type":"object","properties":{}}`, `{"type": "object","properties":{"usage":{"type":"string","enum":["a\n"]}},"required":["usage"]}`)
}

func (d *draw) request() *neutral.Request {
	r := &neutral.Request{
		Stream: d.yes("stream"), MaxTokens: neutral.Number(d.pick("max tokens", "1", "4096")),
		Temperature: d.number("temperature", "0", "0.70", "1e-1"), TopP: d.number("top p", "0.9"),
		System: []neutral.Part{{Kind: neutral.Text, Text: d.words("system")}},
	}
	if d.can&stops != 0 {
		r.Stop = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "\n.", `"`}), 0, 4).Draw(d.T, "stops")
	}
	if d.can&seed != 0 {
		r.Seed = d.number("seed", "-7", "0")
		r.FrequencyPenalty, r.PresencePenalty = d.number("frequency", "-0.5"), d.number("presence", "1.0")
	}
	if d.can&topK != 0 {
		r.TopK = d.number("top k", "40")
	}
	if d.may(user, "user") {
		r.User = d.words("user id")
	}
	if d.may(efforts, "thinks") {
		r.Thinking.Effort = d.pick("effort", "low", "high")
	}
	d.tools(r)
	d.format(r)
	d.turns(r)
	return r
}

func (d *draw) tools(r *neutral.Request) {
	for i := range rapid.IntRange(0, 2).Draw(d.T, "tools") {
		r.Tools = append(r.Tools, neutral.Tool{
			Name: "f" + strconv.Itoa(i), Description: d.words("description"), Schema: d.schema(), Strict: d.maybe(strict, "strict"),
		})
	}
	if len(r.Tools) == 0 {
		return
	}
	r.Choice.How = neutral.Choose(rapid.IntRange(int(neutral.ChooseAuto), int(neutral.ChooseTool)).Draw(d.T, "choice"))
	if r.Choice.How == neutral.ChooseNone && d.can&abstains == 0 {
		r.Choice.How = 0
	}
	if r.Choice.How == neutral.ChooseTool {
		r.Choice.Name = "f0"
	}
	if r.Choice.How != neutral.ChooseNone {
		r.Parallel = d.maybe(parallel, "parallel")
	}
}

func (d *draw) format(r *neutral.Request) {
	if len(r.Tools) > 0 && d.can&strict == 0 {
		return // older models of Google's have it only without tools
	}
	switch rapid.IntRange(0, 3).Draw(d.T, "format") {
	case 1:
		r.Format = neutral.Format{Kind: neutral.FormatSchema, Schema: d.schema()}
		if d.can&namedSchema != 0 {
			r.Format.Name, r.Format.Description, r.Format.Strict = "n", d.words("about the format"), d.maybe(strict, "strict format")
		}
	case 2:
		if d.can&jsonFormat != 0 {
			r.Format.Kind = neutral.FormatJSON
		}
	case 3:
		if d.can&jsonFormat != 0 {
			r.Format.Kind = neutral.FormatText
		}
	}
}

// turns draws a conversation in which every call is answered.
func (d *draw) turns(r *neutral.Request) {
	r.Turns = []neutral.Turn{{Role: neutral.User, Parts: d.says(nil)}}
	for range rapid.IntRange(0, 2).Draw(d.T, "rounds") {
		if d.may(systemTurns, "system turn") {
			r.Turns = append(r.Turns, neutral.Turn{Role: neutral.System, Parts: []neutral.Part{{Kind: neutral.Text, Text: d.words("system")}}})
		}
		model := neutral.Turn{Role: neutral.Assistant}
		if d.may(thoughts, "thought") {
			model.Parts = append(model.Parts, neutral.Part{
				Kind: neutral.Think, Text: d.words("think"), Signature: neutral.Signature{Value: "c2ln", Origin: neutral.FromOpenAI},
			})
		}
		if d.yes("text") {
			model.Parts = append(model.Parts, neutral.Part{Kind: neutral.Text, Text: d.words("answer")})
		}
		if d.may(refusals, "refuses") {
			model.Parts = append(model.Parts, neutral.Part{Kind: neutral.Refusal, Text: d.words("refusal")})
		}
		for range rapid.IntRange(0, 2).Draw(d.T, "calls") {
			model.Parts = append(model.Parts, d.call())
		}
		if len(model.Parts) == 0 {
			model.Parts = []neutral.Part{{Kind: neutral.Text, Text: d.words("answer")}}
		}
		r.Turns = append(r.Turns, model, neutral.Turn{Role: neutral.User, Parts: d.says(model.Parts)})
	}
}

func (d *draw) call() neutral.Part {
	p := neutral.Part{Kind: neutral.Call, ID: "call_" + strconv.Itoa(d.calls), Name: d.pick("tool", "f0", "f1"), Args: d.args()}
	d.calls++
	if d.may(callProofs, "signed call") {
		p.Signature = neutral.Signature{Value: "Z2Vt", Origin: neutral.FromGemini}
	}
	return p
}

// says draws what a user says to an answer.
func (d *draw) says(to []neutral.Part) (parts []neutral.Part) {
	for _, p := range to {
		if p.Kind != neutral.Call {
			continue
		}
		result := neutral.Part{
			Kind: neutral.Result, ID: p.ID, Failed: d.may(failures, "failed"),
			Parts: []neutral.Part{{Kind: neutral.Text, Text: d.words("result")}},
		}
		if d.may(shown, "shown") {
			result.Parts = append(result.Parts, neutral.Part{Kind: neutral.Image, Media: "image/png", Data: "aGVsbG8="})
		}
		parts = append(parts, result)
	}
	parts = append(parts, neutral.Part{Kind: neutral.Text, Text: d.words("question")})
	if d.yes("image") {
		p := neutral.Part{Kind: neutral.Image, Media: "image/png", Data: "aGVsbG8="}
		if d.can&details != 0 {
			p.Detail = d.pick("detail", "low", "high")
		}
		parts = append(parts, p)
	}
	if d.may(files, "file") {
		parts = append(parts, neutral.Part{Kind: neutral.File, Media: "application/pdf", Data: "aGVsbG8=", Name: "a b.pdf"})
	}
	if d.may(audio, "audio") {
		parts = append(parts, neutral.Part{Kind: neutral.Audio, Media: "audio/wav", Data: "aGVsbG8="})
	}
	return parts
}

// read reads what a side was asked.
func read(t *rapid.T, s *side, body []byte, stream bool) *neutral.Request {
	t.Helper()
	if !json.Valid(body) {
		t.Fatalf("%s is asked what is no JSON: %s", s.name, body)
	}
	r, f := s.reader.ReadRequest(body, "", stream)
	if f != nil {
		t.Fatalf("%s: %v: %s", s.name, f, body)
	}
	return r
}

// asked writes a request for an upstream.
func asked(t *rapid.T, s *side, r *neutral.Request) []byte {
	t.Helper()
	body, f := s.asker.AppendRequest(nil, r, s.model)
	if f != nil || r.Losses != 0 || !json.Valid(body) {
		t.Fatalf("%s: %v, losses %s: %s", s.name, f, r.Losses, body)
	}
	return body
}

// same compares conversations, without what one side has to say and the other has no word for.
func (d *draw) same(want, got *neutral.Request) string {
	a, b := d.plain(want), d.plain(got)
	if reflect.DeepEqual(a, b) {
		return "" // cmp takes its time
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

// plain is a copy of r without what only one of two dialects says.
func (d *draw) plain(r *neutral.Request) *neutral.Request {
	c := *r
	if d.can&namedSchema == 0 {
		c.Format.Name = "" // chat's must have one
	}
	c.Format.Strict = only(c.Format.Strict)
	c.Tools = slices.Clone(c.Tools)
	for i := range c.Tools {
		c.Tools[i].Strict = only(c.Tools[i].Strict)
	}
	c.Turns = slices.Clone(c.Turns)
	for i := range c.Turns {
		c.Turns[i].Parts = plainParts(c.Turns[i].Parts)
	}
	return &c
}

func plainParts(parts []neutral.Part) []neutral.Part {
	parts = slices.Clone(parts)
	for i := range parts {
		p := &parts[i]
		if p.Kind == neutral.Result {
			p.Name = "" // only Gemini says it again
		}
		p.Detail = strings.TrimPrefix(p.Detail, "auto") // the default
		p.Parts = plainParts(p.Parts)
	}
	return parts
}

// only is a strictness that is no default anywhere.
func only(strict *bool) *bool {
	if strict == nil || !*strict {
		return nil
	}
	return strict
}

// What a client asks in its dialect, and both sides can say, reaches the upstream as it was meant.
func TestRequests(t *testing.T) {
	for _, client := range clients() {
		for _, upstream := range append(clients(), bedrock()) {
			t.Run(client.name+" to "+upstream.name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					d := &draw{T: t, can: client.can & upstream.can}
					want := d.request()
					r := *want
					body := asked(t, &client, &r)
					got := read(t, &client, body, want.Stream)
					if diff := d.same(want, got); diff != "" {
						t.Fatalf("%s (-want +got):\n%s\n%s", client.name, diff, body)
					}
					body = asked(t, &upstream, got)
					if upstream.reader == nil {
						return
					}
					if diff := d.same(want, read(t, &upstream, body, want.Stream)); diff != "" {
						t.Fatalf("%s (-want +got):\n%s\n%s", upstream.name, diff, body)
					}
				})
			})
		}
	}
}
