package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"

	"fairway/pkg/testkit/fakellm"
)

// A cloud that has another's models has errors of its own: clients of the model's dialect get theirs all the same.
func TestErrorsOfClouds(t *testing.T) {
	w := manyWorlds(t)
	w.provider.SetBehaviour(secretB, fakellm.Status(429, "", time.Second))
	c := w.claude(t)
	q := anthropic.MessageNewParams{
		Model: "anthropic.claude-sonnet-4-5-v1", MaxTokens: 64,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Hello?"))},
	}
	_, plain := c.Messages.New(t.Context(), q)
	stream := c.Messages.NewStreaming(t.Context(), q)
	if stream.Next() {
		t.Errorf("an event: %s", stream.Current().RawJSON())
	}
	for name, err := range map[string]error{"plain": plain, "stream": stream.Err()} {
		var e *anthropic.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", name, err)
		}
		if e.StatusCode != 429 && e.StatusCode != 503 || !strings.HasPrefix(e.RawJSON(), `{"type":"error","error":{"type":"`) {
			t.Errorf("%s: %d %s", name, e.StatusCode, e.RawJSON())
		}
	}
}

// The results of a batch are where it was asked for, not at the provider, whom clients and their keys do not concern.
func TestResultsOfBatches(t *testing.T) {
	w := manyWorlds(t)
	c := w.claude(t)
	made, err := c.Messages.Batches.New(t.Context(), anthropic.MessageBatchNewParams{Requests: []anthropic.MessageBatchNewParamsRequest{{
		CustomID: "a",
		Params: anthropic.MessageBatchNewParamsRequestParams{
			Model: "claude-sonnet-4-5", MaxTokens: 64,
			Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Hello?"))},
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	ended, err := c.Messages.Batches.Get(t.Context(), made.ID, anthropic.MessageBatchGetParams{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "/v1/messages/batches/" + made.ID + "/results"; ended.ResultsURL != want {
		t.Errorf("results_url = %q, want %q", ended.ResultsURL, want)
	}
}

// Streams of what is no text have no [DONE], and are complete for all that.
func TestStreamsWithoutDone(t *testing.T) {
	w := newWorld(t)
	w.channel("c", 0, secretA).Models = []string{"gpt-x"}
	w.publish()
	c := w.client()
	images := c.Images.GenerateStreaming(t.Context(), openai.ImageGenerateParams{Model: "gpt-x", Prompt: "a fairway", PartialImages: openai.Int(1)})
	var types []string
	for images.Next() {
		types = append(types, images.Current().Type)
	}
	if err := images.Err(); err != nil || strings.Join(types, " ") != "image_generation.partial_image image_generation.completed" {
		t.Errorf("images: %q, %v", types, err)
	}
	transcript := c.Audio.Transcriptions.NewStreaming(t.Context(), openai.AudioTranscriptionNewParams{
		Model: "gpt-x", File: openai.File(strings.NewReader("some sound"), "sound.wav", "audio/wav"),
	})
	last := ""
	for transcript.Next() {
		last = transcript.Current().Type
	}
	if err := transcript.Err(); err != nil || last != "transcript.text.done" {
		t.Errorf("a transcript ends with %q, %v", last, err)
	}
	for range 2 {
		if r := <-w.books.came; r.Output == 0 || r.Error || r.Estimated {
			t.Errorf("nothing is on the books: %+v", r)
		}
	}

	// One that dies is not.
	w.provider.SetBehaviour(secretA, fakellm.DieMidStream(1, fakellm.CleanEnd))
	broken := c.Images.GenerateStreaming(t.Context(), openai.ImageGenerateParams{Model: "gpt-x", Prompt: "a fairway", PartialImages: openai.Int(1)})
	for broken.Next() {
		if e := broken.Current(); e.Type == "image_generation.completed" {
			t.Errorf("it is complete: %s", e.RawJSON())
		}
	}
	if broken.Err() == nil {
		t.Error("a stream that died ends well")
	}
}
