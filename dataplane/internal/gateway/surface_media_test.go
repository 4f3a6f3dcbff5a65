package gateway

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// mapped are models that clients call by a longer, a shorter, and the upstream's very own name.
var mapped = map[string]string{"m": "a-much-longer-name", "a-name-that-is-longer": "up", "same": ""}

// mappedWorld has a channel at OpenAI that knows its models under other names.
func mappedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	ch := w.offer("a", resourcev1.Provider_PROVIDER_OPENAI, []string{"m", "a-name-that-is-longer", "same"}, secretA)
	ch.ModelMapping = map[string]string{}
	for from, to := range mapped {
		if to != "" {
			ch.ModelMapping[from] = to
			w.provider.AddModel(to)
		}
	}
	w.update("a", ch)
	return w
}

// eachMapped runs a test for each of them, and looks under which name the upstream was asked, and what is on the books.
func eachMapped(t *testing.T, do func(t *testing.T, w *world, model string)) {
	t.Helper()
	for from, to := range mapped {
		t.Run(from, func(t *testing.T) {
			w := mappedWorld(t)
			if to == "" {
				to = from
			}
			do(t, w, from)
			for _, r := range w.provider.Requests() {
				if r.Model != to {
					t.Errorf("the upstream was asked for %q, want %q", r.Model, to)
				}
			}
			w.booksAgree(t)
			for _, r := range w.books.all() {
				if r.Model != from {
					t.Errorf("on the books: %q", r.Model)
				}
			}
		})
	}
}

const onePixel = "\x89PNG\r\n\x1a\n0123456789"

func TestSurfaceImages(t *testing.T) {
	eachMapped(t, func(t *testing.T, w *world, model string) {
		c := w.client()
		got, err := c.Images.Generate(t.Context(), openai.ImageGenerateParams{Model: model, Prompt: "a red house", N: openai.Int(2)})
		if err != nil || len(got.Data) != 2 || got.Data[0].B64JSON == "" || got.Usage.InputTokens != 3 {
			t.Fatalf("%+v, %v", got, err)
		}
		stream := c.Images.GenerateStreaming(t.Context(), openai.ImageGenerateParams{Model: model, Prompt: "a house", PartialImages: openai.Int(2)})
		var types []string
		var tokens int64
		for stream.Next() {
			e := stream.Current()
			types, tokens = append(types, e.Type), e.Usage.OutputTokens
		}
		if stream.Err() != nil || strings.Join(types, " ") != "image_generation.partial_image image_generation.partial_image image_generation.completed" || tokens == 0 {
			t.Errorf("%q, %d tokens, %v", types, tokens, stream.Err())
		}
		if n := len(w.books.all()); n != 2 {
			t.Errorf("%d records", n)
		}
	})
}

// An edit is a form with files; the model's name is spliced into it, be it longer or shorter.
func TestSurfaceImageEdits(t *testing.T) {
	eachMapped(t, func(t *testing.T, w *world, model string) {
		c := w.client()
		p := func() openai.ImageEditParams {
			return openai.ImageEditParams{
				Model: model, Prompt: "make it blue",
				Image: openai.ImageEditParamsImageUnion{OfFileArray: []io.Reader{
					openai.File(strings.NewReader(onePixel), "a.png", "image/png"),
					// What looks like another part's name is only a file's content.
					openai.File(strings.NewReader(onePixel+"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nnobody\r\n"), "b.png", "image/png"),
				}},
				Mask: openai.File(strings.NewReader(onePixel), "mask.png", "image/png"),
			}
		}
		got, err := c.Images.Edit(t.Context(), p())
		if err != nil || len(got.Data) != 1 || got.Usage.InputTokens != 3+3*16 {
			t.Fatalf("%+v, %v", got, err)
		}
		q := p()
		q.PartialImages = openai.Int(1)
		stream := c.Images.EditStreaming(t.Context(), q)
		var types []string
		for stream.Next() {
			types = append(types, stream.Current().Type)
		}
		if stream.Err() != nil || strings.Join(types, " ") != "image_edit.partial_image image_edit.completed" {
			t.Errorf("%q, %v", types, stream.Err())
		}
		variation, err := c.Images.NewVariation(t.Context(), openai.ImageNewVariationParams{ //nolint:staticcheck // clients still have it
			Model: model, Image: openai.File(strings.NewReader(onePixel), "a.png", "image/png"),
		})
		if err != nil || len(variation.Data) != 1 {
			t.Errorf("variation: %+v, %v", variation, err)
		}
	})
}

func TestSurfaceSpeech(t *testing.T) {
	w := mappedWorld(t)
	c := w.client()
	p := openai.AudioSpeechNewParams{Model: "m", Input: strings.Repeat("hello there ", 200)}
	p.Voice.OfString = openai.String("alloy")
	response, err := c.Audio.Speech.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	sound, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || len(sound) != 400*240 || response.Header.Get("Content-Type") != "audio/mpeg" {
		t.Errorf("%d bytes of %q, %v", len(sound), response.Header.Get("Content-Type"), err)
	}
	// Sound has no place for usage.
	if r := w.record(); !r.Estimated || r.Input == 0 || r.Error || r.Model != "m" {
		t.Errorf("record = %+v", r)
	}
	p.Input, p.StreamFormat = "one two three", openai.AudioSpeechNewParamsStreamFormatSSE
	response, err = c.Audio.Speech.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	events, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if n := bytes.Count(events, []byte(`"speech.audio.delta"`)); err != nil || n != 3 || !bytes.Contains(events, []byte(`"speech.audio.done"`)) ||
		!strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("%s, %v", events, err)
	}
	if r := w.record(); r.Estimated || r.Error || r.Input != 3 || r.Output != 3 {
		t.Errorf("record = %+v", r)
	}
}

func TestSurfaceTranscriptions(t *testing.T) {
	eachMapped(t, func(t *testing.T, w *world, model string) {
		c := w.client()
		file := func() io.Reader {
			return openai.File(strings.NewReader(strings.Repeat("z", 1000)), "a.wav", "audio/wav")
		}
		const want = "I hear a sound of 1000 bytes."
		p := openai.AudioTranscriptionNewParams{Model: model, File: file(), Prompt: openai.String("one two")}
		got, err := c.Audio.Transcriptions.New(t.Context(), p)
		if err != nil || got.Text != want || got.Usage.InputTokens != 2+4 {
			t.Fatalf("%+v, %v", got, err)
		}
		p.File = file()
		stream := c.Audio.Transcriptions.NewStreaming(t.Context(), p)
		text, done := "", ""
		for stream.Next() {
			e := stream.Current()
			text += e.Delta
			if e.Type == "transcript.text.done" {
				done = e.Text
			}
		}
		if stream.Err() != nil || text != want || done != want {
			t.Errorf("%q, then %q, %v", text, done, stream.Err())
		}
		translated, err := c.Audio.Translations.New(t.Context(), openai.AudioTranslationNewParams{Model: model, File: file()}) //nolint:staticcheck // clients still have it
		if err != nil || translated.Text != want {
			t.Errorf("%+v, %v", translated, err)
		}
		if n := len(w.books.all()); n != 3 {
			t.Errorf("%d records", n)
		}
	})
	t.Run("as text", func(t *testing.T) {
		w := mappedWorld(t)
		c := w.client()
		// The SDK cannot read this format by itself.
		var head *http.Response
		var text []byte
		_, err := c.Audio.Transcriptions.New(t.Context(), openai.AudioTranscriptionNewParams{
			Model: "m", File: openai.File(strings.NewReader("zzz"), "a.wav", "audio/wav"), ResponseFormat: openai.AudioResponseFormatText,
		}, option.WithResponseInto(&head), option.WithResponseBodyInto(&text))
		if err != nil || string(text) != "I hear a sound of 3 bytes.\n" || !strings.HasPrefix(head.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%q, %v", text, err)
		}
		if r := w.record(); !r.Estimated || r.Error || r.Output == 0 {
			t.Errorf("record = %+v", r)
		}
	})
}

func TestSurfaceModerations(t *testing.T) {
	w := newWorld(t)
	w.offer("a", resourcev1.Provider_PROVIDER_OPENAI, []string{"omni-moderation-latest", "mod-x"}, secretA)
	w.publish()
	c := w.client()
	for _, model := range []string{"", "mod-x"} {
		p := openai.ModerationNewParams{Model: model}
		p.Input.OfStringArray = []string{"flowers", "violence"}
		got, err := c.Moderations.New(t.Context(), p)
		if err != nil || len(got.Results) != 2 || got.Results[0].Flagged || !got.Results[1].Flagged {
			t.Errorf("%q: %+v, %v", model, got, err)
		}
	}
	asked := w.provider.Requests()
	if len(asked) != 2 || asked[0].Model != "omni-moderation-latest" || asked[1].Model != "mod-x" {
		t.Errorf("asked: %+v", asked)
	}
	if n := len(w.books.all()); n != 0 {
		t.Errorf("%d records for what costs nothing", n)
	}
}

// No official SDK has a rerank; Jina's and Cohere's clients post JSON.
func TestSurfaceRerank(t *testing.T) {
	w := newWorld(t)
	ch := w.offer("a", resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE, []string{"rerank-x"}, secretA)
	ch.ModelMapping = map[string]string{"rerank-x": "rr"}
	w.provider.AddModel("rr")
	w.update("a", ch)
	got, body := w.call(t, "POST", "/v1/rerank", `{"model":"rerank-x","query":"red house","documents":["a blue car","the red house"],"top_n":1}`,
		"Authorization: Bearer "+w.key)
	if got.StatusCode != 200 || !strings.Contains(body, `"index":1`) {
		t.Errorf("%d %s", got.StatusCode, body)
	}
	w.booksAgree(t)
	if r := w.record(); r.Input == 0 || r.Model != "rerank-x" {
		t.Errorf("record = %+v", r)
	}
}
