package gemini

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// words draws text with what must be escaped in it.
func words(t *rapid.T, label string) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("ab \"\\\n\t\u0001é😀\u2028</")), 1, 12, -1).Draw(t, label)
}

// object draws JSON as a client may spell it.
func jsonObject(t *rapid.T, label string) string {
	m := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), rapid.SampledFrom([]string{
		`1.50`, `"a\u00e9\n"`, `[1, 2]`, `{"b": null}`, `true`, `-0e+10`,
	}), 0, 3).Draw(t, label)
	b := []byte{'{'}
	for name, v := range m {
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = append(b, `"`+name+`": `+v...)
	}
	return string(append(b, '}'))
}

func signature(t *rapid.T, label string, own bool) neutral.Signature {
	value := rapid.StringMatching(`[A-Za-z0-9+/]{0,8}`).Draw(t, label)
	if value == "" {
		return neutral.Signature{}
	}
	origin := neutral.FromGemini
	if !own {
		origin = rapid.SampledFrom([]neutral.Origin{neutral.FromAnthropic, neutral.FromGemini, neutral.FromOpenAI}).Draw(t, label+" origin")
	}
	return neutral.Signature{Value: value, Origin: origin}
}

func media(t *rapid.T, label string, kinds ...neutral.Kind) neutral.Part {
	p := neutral.Part{Kind: rapid.SampledFrom(kinds).Draw(t, label)}
	p.Media = map[neutral.Kind]string{neutral.Image: "image/png", neutral.Audio: "audio/wav", neutral.File: "application/pdf"}[p.Kind]
	switch rapid.IntRange(0, 2).Draw(t, label+" place") {
	case 0:
		p.Data = base64.StdEncoding.EncodeToString([]byte(words(t, label+" data")))
	case 1:
		p.URL = "https://example.com/" + rapid.StringMatching(`[a-z]{1,5}`).Draw(t, label)
	default:
		p.FileID = "gs://bucket/" + rapid.StringMatching(`[a-z]{1,5}`).Draw(t, label)
	}
	return p
}

// answerParts draws what a model says. Pieces that are one part again when they are read do not stand together.
func answerParts(t *rapid.T, own bool, calls *int) []neutral.Part {
	var parts []neutral.Part
	for range rapid.IntRange(1, 5).Draw(t, "parts") {
		p := neutral.Part{Signature: signature(t, "signature", own)}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			p.Kind, p.Text = neutral.Text, words(t, "text")
		case 1:
			p.Kind, p.Text = neutral.Think, words(t, "thought")
		case 2:
			p.Kind, p.Name, p.Args = neutral.Call, rapid.SampledFrom([]string{"f", "g"}).Draw(t, "name"), jsonObject(t, "args")
			p.ID = "id-" + strconv.Itoa(*calls)
			*calls++
		default:
			p = media(t, "media", neutral.Image)
		}
		if n := len(parts); n > 0 && parts[n-1].Kind == p.Kind && parts[n-1].Signature.Value == "" &&
			(p.Kind == neutral.Text || p.Kind == neutral.Think) {
			continue
		}
		parts = append(parts, p)
	}
	return parts
}

func maybe(t *rapid.T, label string, values ...string) neutral.Number {
	return neutral.Number(rapid.SampledFrom(append(values, "")).Draw(t, label))
}

// request draws a request that says only what Gemini can say.
func request(t *rapid.T) *neutral.Request {
	r := &neutral.Request{Model: "m", Stream: rapid.Bool().Draw(t, "stream")}
	for range rapid.IntRange(0, 2).Draw(t, "system") {
		r.System = append(r.System, neutral.Part{Kind: neutral.Text, Text: words(t, "system text")})
	}
	calls := 0
	for range rapid.IntRange(1, 3).Draw(t, "rounds") {
		user := neutral.Turn{Role: neutral.User}
		if n := len(r.Turns); n > 0 {
			for _, p := range r.Turns[n-1].Parts {
				if p.Kind != neutral.Call {
					continue
				}
				q := neutral.Part{Kind: neutral.Result, ID: p.ID, Name: p.Name, Failed: rapid.Bool().Draw(t, "failed")}
				if rapid.Bool().Draw(t, "said") {
					q.Parts = append(q.Parts, neutral.Part{Kind: neutral.Text, Text: words(t, "result")})
				}
				if rapid.Bool().Draw(t, "shown") {
					q.Parts = append(q.Parts, media(t, "result media", neutral.Image, neutral.File))
				}
				user.Parts = append(user.Parts, q)
			}
		}
		user.Parts = append(user.Parts, neutral.Part{Kind: neutral.Text, Text: words(t, "user text")})
		if rapid.Bool().Draw(t, "attached") {
			user.Parts = append(user.Parts, media(t, "user media", neutral.Image, neutral.File, neutral.Audio))
		}
		r.Turns = append(r.Turns, user, neutral.Turn{Role: neutral.Assistant, Parts: answerParts(t, true, &calls)})
	}
	r.Turns = append(r.Turns, neutral.Turn{Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Text, Text: words(t, "last")}}})
	for range rapid.IntRange(0, 2).Draw(t, "tools") {
		r.Tools = append(r.Tools, neutral.Tool{Name: "f", Description: words(t, "description"), Schema: jsonObject(t, "schema")})
	}
	if len(r.Tools) > 0 {
		r.Choice.How = neutral.Choose(rapid.IntRange(0, int(neutral.ChooseTool)).Draw(t, "choice"))
		if r.Choice.How == neutral.ChooseTool {
			r.Choice.Name = "f"
		}
	}
	r.MaxTokens, r.Temperature = maybe(t, "max", "1", "4096"), maybe(t, "temperature", "0", "0.70", "2e0")
	r.TopP, r.TopK, r.Seed = maybe(t, "top p", "0.9"), maybe(t, "top k", "40"), maybe(t, "seed", "-7")
	r.FrequencyPenalty, r.PresencePenalty = maybe(t, "frequency", "-0.5"), maybe(t, "presence", "1.0")
	for range rapid.IntRange(0, maxStops).Draw(t, "stops") {
		r.Stop = append(r.Stop, words(t, "stop"))
	}
	r.Format.Kind = neutral.FormatKind(rapid.IntRange(0, int(neutral.FormatSchema)).Draw(t, "format"))
	if r.Format.Kind == neutral.FormatSchema {
		r.Format.Schema = jsonObject(t, "format schema")
	}
	switch rapid.IntRange(0, 2).Draw(t, "thinking") {
	case 0:
		r.Thinking.Effort = rapid.SampledFrom([]string{"", "minimal", "low", "medium", "high"}).Draw(t, "effort")
	case 1:
		r.Thinking.Budget = maybe(t, "budget", "-1", "512", "30000")
	}
	if rapid.Bool().Draw(t, "shows") {
		show := rapid.Bool().Draw(t, "show")
		r.Thinking.Show = &show
	}
	r.Tier = rapid.SampledFrom([]string{"", "default", "flex", "priority"}).Draw(t, "tier")
	return r
}

// What is asked of Gemini is read back as it was, and nothing is lost.
func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := request(t)
		body, f := Codec{}.AppendRequest(nil, want, "gemini-3-flash")
		if f != nil {
			t.Fatal(f)
		}
		if !json.Valid(body) {
			t.Fatalf("not JSON: %s", body)
		}
		got, f := Codec{}.ReadRequest(body, want.Model, want.Stream)
		if f != nil {
			t.Fatalf("%v: %s", f, body)
		}
		if diff := cmp.Diff(want, got); diff != "" || want.Losses != 0 {
			t.Fatalf("losses %s\n%s\n%s", want.Losses, body, diff)
		}
	})
}

func drawTokens(t *rapid.T) money.Tokens {
	n := func(label string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, label) }
	u := money.Tokens{Input: n("input", 1e6), Output: n("output", 1e6)}
	u.Cached, u.AudioInput, u.Reasoning = n("cached", u.Input), n("audio in", u.Input), n("reasoning", u.Output)
	u.AudioOutput = n("audio out", u.Output-u.Reasoning)
	return u
}

// restored is an answer's parts as a client gets and keeps them: signatures of others travel in an envelope that only a
// request is searched for, so the history that the answer becomes is read instead.
func restored(t *rapid.T, body []byte) []neutral.Part {
	var answer struct {
		Candidates []struct{ Content json.RawMessage }
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	history := `{"contents":[{"parts":[{"text":"q"}]},` + string(answer.Candidates[0].Content) + `]}`
	r, f := Codec{}.ReadRequest([]byte(history), "m", false)
	if f != nil || r.Losses != 0 {
		t.Fatalf("%v %v: %s", f, r, history)
	}
	return r.Turns[1].Parts
}

// An answer that is written is read back as it was, by an upstream's reader and from a client's history.
func TestResponseRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		calls := 0
		own := rapid.Bool().Draw(t, "own")
		want := &neutral.Response{ID: "r", Model: "alias", Parts: answerParts(t, own, &calls), Counted: rapid.Bool().Draw(t, "counted")}
		if want.Counted {
			want.Usage = drawTokens(t)
		}
		want.Stop = rapid.SampledFrom([]neutral.Stop{neutral.StopEnd, neutral.StopLength, neutral.StopFilter, neutral.StopPause}).Draw(t, "stop")
		if calls > 0 && want.Stop == neutral.StopEnd {
			want.Stop = neutral.StopCall
		}
		body := Codec{}.AppendResponse(nil, want, answering())
		if diff := cmp.Diff(want.Parts, restored(t, body)); diff != "" {
			t.Fatalf("history: %s\n%s", body, diff)
		}
		if !own {
			return
		}
		got, err := Codec{}.ReadResponse(body)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\n%s", body, diff)
		}
	})
}

// events are the events of an answer, with its text in pieces.
func events(t *rapid.T, r *neutral.Response, each func(*neutral.Event)) {
	each(&neutral.Event{Kind: neutral.Begin, ID: r.ID, Name: "upstream's"})
	for _, p := range r.Parts {
		begin := neutral.Event{Kind: neutral.PartBegin, Part: p.Kind, ID: p.ID, Name: p.Name, Media: p.Media, Data: p.Data}
		each(&begin)
		text := p.Text
		if p.Kind == neutral.Call {
			text = p.Args
		}
		for len(text) > 0 {
			n := rapid.IntRange(1, len(text)).Draw(t, "piece")
			for n < len(text) && text[n]&0xc0 == 0x80 { // no rune is cut
				n++
			}
			each(&neutral.Event{Kind: neutral.Delta, Part: p.Kind, Raw: dialect.AppendEscaped(nil, text[:n])})
			text = text[n:]
		}
		each(&neutral.Event{Kind: neutral.PartEnd, Part: p.Kind, Signature: p.Signature})
	}
	each(&neutral.Event{Kind: neutral.Finish, Stop: r.Stop})
	if r.Counted {
		each(&neutral.Event{Kind: neutral.Usage, Tokens: r.Usage})
	}
	each(&neutral.Event{Kind: neutral.End})
}

// gathered is the answer that events make.
func gathered(t testing.TB, stream []byte) (*neutral.Response, bool) {
	r := &neutral.Response{}
	var raw []byte
	complete := hear(t, stream, func(e *neutral.Event) {
		last := len(r.Parts) - 1
		switch e.Kind {
		case neutral.Begin:
			r.ID, r.Model = strings.Clone(e.ID), strings.Clone(e.Name)
		case neutral.PartBegin:
			r.Parts = append(r.Parts, neutral.Part{
				Kind: e.Part, ID: strings.Clone(e.ID), Name: strings.Clone(e.Name), Media: strings.Clone(e.Media), Data: strings.Clone(e.Data),
			})
			raw = raw[:0]
		case neutral.Delta:
			raw = append(raw, e.Raw...)
		case neutral.PartEnd:
			said := string(appendUnescaped(nil, raw))
			if e.Part == neutral.Call {
				r.Parts[last].Args = said
			} else {
				r.Parts[last].Text = said
			}
			r.Parts[last].Signature = neutral.Signature{Value: strings.Clone(e.Signature.Value), Origin: e.Signature.Origin}
		case neutral.Finish:
			r.Stop = e.Stop
		case neutral.Usage:
			r.Usage, r.Counted = e.Tokens, true
		}
	})
	return r, complete
}

// A stream that is written is read as the answer that it was.
func TestStreamRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		calls := 0
		want := &neutral.Response{ID: "r", Model: "alias", Counted: rapid.Bool().Draw(t, "counted")}
		for _, p := range answerParts(t, true, &calls) {
			if p.Kind == neutral.Image && p.Data == "" { // streams have bytes only
				continue
			}
			if n := len(want.Parts); n > 0 && want.Parts[n-1].Kind == p.Kind && want.Parts[n-1].Signature.Value == "" && p.Text != "" {
				continue
			}
			want.Parts = append(want.Parts, p)
		}
		if want.Counted {
			want.Usage = drawTokens(t)
		}
		want.Stop = neutral.StopLength
		w := Codec{}.NewEventWriter(answering())
		var stream []byte
		events(t, want, func(e *neutral.Event) { stream = w.Append(stream, e) })
		if w.Losses() != 0 {
			t.Fatalf("losses %s", w.Losses())
		}
		got, complete := gathered(testing.TB(discard{}), stream)
		if diff := cmp.Diff(want, got); diff != "" || !complete {
			t.Fatalf("complete %v\n%s\n%s", complete, stream, diff)
		}
	})
}

// discard is a testing.TB for code that only calls Helper.
type discard struct{ testing.TB }

func (discard) Helper() {}
