package fakellm

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
)

func upload(name, media, content string) io.Reader {
	return openai.File(strings.NewReader(content), name, media)
}

func TestImages(t *testing.T) {
	p, s := start(t, Healthy())
	client := sdk(t, s)
	got, err := client.Images.Generate(t.Context(), openai.ImageGenerateParams{Model: model, Prompt: "a red house", N: openai.Int(2)})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Data) != 2 || got.Usage.InputTokens != 3 || got.Usage.OutputTokens != 32 || got.Usage.TotalTokens != 35 {
		t.Errorf("generated %s", got.RawJSON())
	}
	raw, err := base64.StdEncoding.DecodeString(got.Data[0].B64JSON)
	if err == nil {
		_, err = png.Decode(bytes.NewReader(raw))
	}
	if err != nil {
		t.Errorf("the image is no PNG: %v", err)
	}
	edited, err := client.Images.Edit(t.Context(), openai.ImageEditParams{
		Model: model, Prompt: "make it blue", Image: openai.ImageEditParamsImageUnion{OfFileArray: []io.Reader{
			upload("a.png", "image/png", "one"), upload("b.png", "image/png", "two"),
		}}, Mask: upload("m.png", "image/png", "mask"),
	})
	if err != nil || edited.Usage.InputTokensDetails.ImageTokens != 48 || edited.Usage.InputTokens != 51 {
		t.Errorf("edited %v %v", edited, err)
	}
	//nolint:staticcheck // deprecated by OpenAI for want of models, and still served
	varied, err := client.Images.NewVariation(t.Context(), openai.ImageNewVariationParams{
		Model: model, Image: upload("a.png", "image/png", "one"), ResponseFormat: "url",
	})
	if err != nil || !strings.HasPrefix(varied.Data[0].URL, "https://") {
		t.Errorf("varied %v %v", varied, err)
	}
	for name, refused := range map[string]struct{ media, code string }{
		"text": {"text/plain", "unsupported_file_mimetype"}, "none": {"image/png", "invalid_image_file"},
	} {
		content := ""
		if name == "text" {
			content = "x"
		}
		wantError(t, lastError(client.Images.Edit(t.Context(), openai.ImageEditParams{
			Model: model, Prompt: "x", Image: openai.ImageEditParamsImageUnion{OfFile: upload("a.png", refused.media, content)},
		})), http.StatusBadRequest, refused.code)
	}
	if diff := cmp.Diff(Counters{Started: 3, Finished: 3, Input: 3 + 51 + 16, Output: 32 + 16 + 16}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
	wantNoViolations(t, p)
}

func TestImageStream(t *testing.T) {
	p, s := start(t, Healthy())
	client := sdk(t, s)
	made := client.Images.GenerateStreaming(t.Context(), openai.ImageGenerateParams{
		Model: model, Prompt: "a red house", PartialImages: openai.Int(2),
	})
	var names []string
	for made.Next() {
		names = append(names, made.Current().Type)
		if e := made.Current(); e.Type == "image_generation.completed" && e.Usage.TotalTokens != 3+16+8 {
			t.Errorf("usage %s", e.RawJSON())
		}
	}
	edited := client.Images.EditStreaming(t.Context(), openai.ImageEditParams{
		Model: model, Prompt: "blue", Image: openai.ImageEditParamsImageUnion{OfFile: upload("a.png", "image/png", "one")},
		PartialImages: openai.Int(1),
	})
	for edited.Next() {
		names = append(names, edited.Current().Type)
	}
	if made.Err() != nil || edited.Err() != nil {
		t.Fatal(made.Err(), edited.Err())
	}
	if diff := cmp.Diff([]string{
		"image_generation.partial_image", "image_generation.partial_image", "image_generation.completed",
		"image_edit.partial_image", "image_edit.completed",
	}, names); diff != "" {
		t.Error(diff)
	}
	wantNoViolations(t, p)
}

func TestSpeech(t *testing.T) {
	p, s := start(t, Healthy())
	client := sdk(t, s)
	q := openai.AudioSpeechNewParams{
		Model: model, Input: "say it loud", Voice: openai.AudioSpeechNewParamsVoiceUnion{OfString: openai.String("alloy")},
	}
	got, err := client.Audio.Speech.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(got.Body)
	if err != nil || len(whole) != 3*soundOfWord || got.Header.Get("Content-Type") != "audio/mpeg" {
		t.Errorf("%d bytes of %s, %v", len(whole), got.Header.Get("Content-Type"), err)
	}
	q.StreamFormat = "sse"
	q.ResponseFormat = "wav"
	got, err = client.Audio.Speech.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(got.Body)
	if err != nil || strings.Count(string(text), `"speech.audio.delta"`) != 3 || strings.Contains(string(text), "[DONE]") ||
		!strings.HasSuffix(string(text), `"usage":{"input_tokens":3,"output_tokens":3,"total_tokens":6}}`+"\n\n") {
		t.Errorf("stream %q, %v", text, err)
	}
	q.Voice = openai.AudioSpeechNewParamsVoiceUnion{}
	wantError(t, lastError(client.Audio.Speech.New(t.Context(), q)), http.StatusBadRequest, "missing_required_parameter")
	wantNoViolations(t, p)
}

func TestTranscriptions(t *testing.T) {
	p, s := start(t, Healthy())
	p.AddModel("whisper-1")
	client := sdk(t, s)
	heard := "I hear a sound of 1000 bytes."
	ask := func(model openai.AudioModel, format openai.AudioResponseFormat) openai.AudioTranscriptionNewParams {
		return openai.AudioTranscriptionNewParams{
			Model: model, File: upload("a.wav", "audio/wav", strings.Repeat("x", 1000)), ResponseFormat: format,
			Prompt: openai.String("two words"),
		}
	}
	got, err := client.Audio.Transcriptions.New(t.Context(), ask(model, "json"))
	if err != nil || got.Text != heard || got.Usage.InputTokens != 6 || got.Usage.InputTokenDetails.AudioTokens != 4 ||
		got.Usage.Type != "tokens" {
		t.Errorf("json %v %v", got, err)
	}
	got, err = client.Audio.Transcriptions.New(t.Context(), ask("whisper-1", "verbose_json"))
	if err != nil || got.Text != heard || got.Usage.Type != "duration" || got.Usage.Seconds != 1 || len(got.Segments) != 1 {
		t.Errorf("verbose_json %v %v", got, err)
	}
	var text string
	if err := client.Post(t.Context(), "audio/transcriptions", ask(model, "text"), &text); err != nil || text != heard+"\n" {
		t.Errorf("text %q %v", text, err)
	}
	stream := client.Audio.Transcriptions.NewStreaming(t.Context(), ask(model, ""))
	deltas, done := "", ""
	for stream.Next() {
		switch e := stream.Current(); e.Type {
		case "transcript.text.delta":
			deltas += e.Delta
		case "transcript.text.done":
			done = e.Text
			if e.Usage.TotalTokens != 6+7 {
				t.Errorf("usage %s", e.RawJSON())
			}
		}
	}
	if stream.Err() != nil || deltas != heard || done != heard {
		t.Errorf("stream %q %q %v", deltas, done, stream.Err())
	}
	//nolint:staticcheck // deprecated by OpenAI for want of models, and still served
	translated, err := client.Audio.Translations.New(t.Context(), openai.AudioTranslationNewParams{
		Model: "whisper-1", File: upload("a.mp3", "audio/mpeg", "x"),
	})
	if err != nil || translated.Text != "I hear a sound of 1 bytes." {
		t.Errorf("translation %v %v", translated, err)
	}
	wrong := ask(model, "json")
	wrong.File = upload("a.txt", "text/plain", "x")
	wantError(t, lastError(client.Audio.Transcriptions.New(t.Context(), wrong)), http.StatusBadRequest, "")
	wantNoViolations(t, p)
}

// What a gateway can break in a multipart body.
func TestFormsAreInspected(t *testing.T) {
	part := func(disposition, content string) string {
		return "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
	}
	good := part(`name="model"`, model) + part(`name="file"; filename="a.wav"`, "xyz")
	tests := map[string]struct {
		body, want string
		violation  bool
	}{
		"good":         {good + "--b--\r\n", `"usage"`, false},
		"no end":       {good, "does not end with its last boundary", true},
		"model twice":  {good + part(`name="model"`, model) + "--b--", "the form has 'model' 2 times", false},
		"no name":      {good + part(`x="y"`, "z") + "--b--", "a part has no name", true},
		"a client key": {good + part(`name="prompt"`, "sk-fw-abc") + "--b--", "a client key is in the body", true},
		"unknown part": {good + part(`name="voice"`, "z") + "--b--", "Unknown parameter: 'voice'", false},
		"no file":      {part(`name="model"`, model) + "--b--", "Missing required parameter: 'file'", false},
		"not a file":   {part(`name="model"`, model) + part(`name="file"`, "xyz") + "--b--", "'file' must be a file", false},
		"no format":    {good + part(`name="response_format"`, "xml") + "--b--", "Invalid value: 'xml'", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			w := dial(t, s)
			w.send(t, post(s, "/v1/audio/transcriptions", test.body, "application/json", "multipart/form-data; boundary=b"))
			_, text, err := w.answer(t)
			if err != nil || !strings.Contains(text, test.want) || (len(p.Violations()) > 0) != test.violation {
				t.Errorf("%s %v, violations %q", text, err, p.Violations())
			}
		})
	}
	t.Run("not multipart", func(t *testing.T) {
		p, s := start(t, Healthy())
		w := dial(t, s)
		w.send(t, post(s, "/v1/images/edits", "{}"))
		if _, text, _ := w.answer(t); !strings.Contains(text, "not multipart/form-data") || len(p.Violations()) != 1 {
			t.Errorf("%s, violations %q", text, p.Violations())
		}
	})
}

func TestModerations(t *testing.T) {
	p, s := start(t, Healthy())
	got, err := sdk(t, s).Moderations.New(t.Context(), openai.ModerationNewParams{
		Model: model, Input: openai.ModerationNewParamsInputUnion{OfStringArray: []string{"peace", "so much violence"}},
	})
	if err != nil || len(got.Results) != 2 || got.Results[0].Flagged || !got.Results[1].Flagged ||
		!got.Results[1].Categories.Violence || got.Results[1].CategoryScores.Violence != 0.99 {
		t.Errorf("%v %v", got, err)
	}
	wantNoViolations(t, p)
}

func TestRerank(t *testing.T) {
	p, s := start(t, Healthy())
	w := dial(t, s)
	w.send(t, post(s, "/v1/rerank", `{"model":"fake-large","query":"red house","documents":["a dog","a red house",{"text":"red"}],"top_n":2}`))
	_, text, err := w.answer(t)
	want := `{"id":"rerank-fake1","model":"fake-large","object":"list","results":[{"index":1,"relevance_score":1,"document":` +
		`{"text":"a red house"}},{"index":2,"relevance_score":0.5,"document":{"text":"red"}}],"usage":{"total_tokens":8}}`
	if err != nil || text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	wantNoViolations(t, p)
}

// A form that is read has the parts that its writer gave; one that is not never panics.
func FuzzForm(f *testing.F) {
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nxyz\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--"))
	f.Add([]byte("--b--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &http.Request{Header: http.Header{"Content-Type": {"multipart/form-data; boundary=b"}}}
		form, fault := readForm(r, body)
		if fault != nil {
			return
		}
		for name, values := range form.fields {
			for _, value := range values {
				if name == "" || !bytes.Contains(body, []byte(value)) {
					t.Errorf("%q makes part %q = %q", body, name, value)
				}
			}
		}
		_, _ = decodeTranscription(form, false)
	})
}
