package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3/option"
	"google.golang.org/genai"
)

func TestSurfaceGeminiCountTokens(t *testing.T) {
	w := manyWorlds(t)
	c := w.google(t)
	for model, want := range map[string]int32{"gemini-3-pro": 4, "claude-sonnet-4-5": 0, "o-think": 0} {
		got, err := c.Models.CountTokens(t.Context(), model, genai.Text("one two three four"), nil)
		if err != nil || want != 0 && got.TotalTokens != want || got.TotalTokens < 4 {
			t.Errorf("%s: %+v, %v", model, got, err)
			continue
		}
		if lossy := got.SDKHTTPResponse.Headers.Get("X-Fairway-Lossy"); (lossy == "token_estimate") == (want != 0) {
			t.Errorf("%s: lossy %q", model, lossy)
		}
	}
	if n := len(w.books.all()); n != 0 {
		t.Errorf("%d records for what costs nothing", n)
	}
}

func TestSurfaceGeminiEmbeddings(t *testing.T) {
	w := manyWorlds(t)
	c := w.google(t)
	// The SDK embeds through batchEmbedContents, one content too.
	got, err := c.Models.EmbedContent(t.Context(), "gemini-3-pro", append(genai.Text("one two"), genai.Text("three")...), nil)
	if err != nil || len(got.Embeddings) != 2 || len(got.Embeddings[0].Values) == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	response, body := w.call(t, "POST", "/v1beta/models/gemini-3-pro:embedContent", `{"content":{"parts":[{"text":"one two"}]}}`, "x-goog-api-key: "+w.key)
	if response.StatusCode != 200 || !strings.Contains(body, `"embedding":{"values":[`) {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	// Google says nothing of usage here, so what was read is estimated; nothing is written.
	w.quiet()
	for _, r := range w.books.all() {
		if r.Error || r.Input == 0 || r.Output != 0 {
			t.Errorf("record %+v", r)
		}
	}
	if n := len(w.books.all()); n != 2 {
		t.Errorf("%d records", n)
	}
	_, err = c.Models.EmbedContent(t.Context(), "o-think", genai.Text("one"), nil)
	if e := toldGemini(t, err); e.status != 400 || e.kind != "INVALID_ARGUMENT" || !strings.Contains(e.message, "not served") {
		t.Errorf("at OpenAI: %+v", e)
	}
}

func TestSurfaceGeminiModels(t *testing.T) {
	w := manyWorlds(t)
	c := w.google(t)
	var got []string
	for m, err := range c.Models.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Name)
	}
	if !slices.Contains(got, "models/gemini-3-pro") || !slices.Contains(got, "models/o-think") || len(got) != len(upstreamKinds()) {
		t.Errorf("%q", got)
	}
	one, err := c.Models.Get(t.Context(), "gemini-3-pro", nil)
	if err != nil || one.Name != "models/gemini-3-pro" {
		t.Errorf("%+v, %v", one, err)
	}
	_, err = c.Models.Get(t.Context(), "nobody", nil)
	if e := toldGemini(t, err); e.status != 404 || e.kind != "NOT_FOUND" {
		t.Errorf("%+v", e)
	}
}

func TestSurfaceGeminiErrors(t *testing.T) {
	w := manyWorlds(t)
	ask := func(model, key string, contents []*genai.Content) error {
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		c, err := genai.NewClient(t.Context(), &genai.ClientConfig{
			APIKey: key, Backend: genai.BackendGeminiAPI, HTTPClient: &http.Client{Transport: transport},
			HTTPOptions: genai.HTTPOptions{BaseURL: "http://" + w.addr},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Models.GenerateContent(t.Context(), model, contents, nil)
		return err
	}
	nonsense := []*genai.Content{{Role: "nobody", Parts: []*genai.Part{{Text: "x"}}}}
	for _, tc := range []struct {
		name   string
		err    error
		status int
		kind   string
	}{
		{"no such model", ask("nobody", w.key, genai.Text("x")), 404, "NOT_FOUND"},
		{"no such key", ask("gemini-3-pro", "wrong", genai.Text("x")), 401, "UNAUTHENTICATED"},
		{"nonsense", ask("gemini-3-pro", w.key, nonsense), 400, "INVALID_ARGUMENT"},
		{"nonsense that must be converted", ask("o-think", w.key, nonsense), 400, "INVALID_ARGUMENT"},
	} {
		if got := toldGemini(t, tc.err); got.status != tc.status || got.kind != tc.kind {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
	// A stream as one JSON array is nothing that a relay could pass on event by event.
	for _, query := range []string{"", "?alt=json"} {
		response, body := w.call(t, "POST", "/v1beta/models/gemini-3-pro:streamGenerateContent"+query,
			`{"contents":[{"role":"user","parts":[{"text":"x"}]}]}`, "x-goog-api-key: "+w.key)
		if response.StatusCode != 400 || !strings.Contains(body, `"status":"INVALID_ARGUMENT"`) || !strings.Contains(body, "alt=sse") {
			t.Errorf("%q: %d %s", query, response.StatusCode, body)
		}
	}
}

// Google serves OpenAI's shapes under a path of its own; clients that were made for it find them here, too, for any model.
func TestSurfaceGeminiAsOpenAI(t *testing.T) {
	w := manyWorlds(t)
	c := w.client(option.WithBaseURL("http://" + w.addr + "/v1beta/openai"))
	for _, model := range []string{"gemini-3-pro", "o-think", "claude-sonnet-4-5"} {
		got, err := c.Chat.Completions.New(t.Context(), hello(model))
		if err != nil || !strings.HasPrefix(got.Choices[0].Message.Content, "Hello!") {
			t.Errorf("%s: %s, %v", model, got.RawJSON(), err)
		}
		stream := c.Chat.Completions.NewStreaming(t.Context(), hello(model))
		text := ""
		for stream.Next() {
			for _, choice := range stream.Current().Choices {
				text += choice.Delta.Content
			}
		}
		if stream.Err() != nil || !strings.HasPrefix(text, "Hello!") {
			t.Errorf("%s: %q, %v", model, text, stream.Err())
		}
	}
	w.booksAgree(t)
	if m, err := c.Models.Get(t.Context(), "gemini-3-pro"); err != nil || m.ID != "gemini-3-pro" {
		t.Errorf("%s, %v", m.RawJSON(), err)
	}
	_, err := c.Chat.Completions.New(t.Context(), hello("nobody"))
	if e := toldOpenAI(t, err); e.status != 404 || e.code != "model_not_found" {
		t.Errorf("%+v", e)
	}
}
