package responses

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"fairway/dataplane/internal/dialect/neutral"
)

// sdk is the official client of a server that reads what it is asked with the codec, and answers with what the codec makes of
// an upstream's recorded stream.
func sdk(t *testing.T, recorded string) (openai.Client, func() *neutral.Request) {
	t.Helper()
	var asked *neutral.Request
	stream := []byte(file(t, recorded))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var peek struct{ Stream bool }
		if err := json.Unmarshal(body, &peek); err != nil {
			t.Error(err)
		}
		request, f := Codec{}.ReadRequest(body, "gpt-5", peek.Stream)
		if f != nil {
			t.Error(f)
			return
		}
		asked = request
		a := neutral.Answering{Model: "gpt-5", ID: "a1b2", Created: 1700000000, Request: request}
		if peek.Stream {
			w.Header().Set("Content-Type", "text/event-stream")
			writer := Codec{}.NewEventWriter(&a)
			relay(t, stream, func(e *neutral.Event) { w.Write(writer.Append(nil, e)) })
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer := collect{t: t}
		relay(t, stream, answer.take)
		w.Write(Codec{}.AppendResponse(nil, &answer.r, &a))
	}))
	t.Cleanup(server.Close)
	client := openai.NewClient(option.WithBaseURL(server.URL), option.WithAPIKey("k"), option.WithMaxRetries(0))
	return client, func() *neutral.Request { return asked }
}

func params() responses.ResponseNewParams {
	return responses.ResponseNewParams{
		Model:           "gpt-5",
		Instructions:    openai.String("Be terse."),
		MaxOutputTokens: openai.Int(200),
		Input: responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
			responses.ResponseInputItemParamOfMessage("Weather?", responses.EasyInputMessageRoleUser),
			{OfReasoning: &responses.ResponseReasoningItemParam{
				ID: "rs_0", Summary: []responses.ResponseReasoningItemSummaryParam{{Text: "Hm"}}, EncryptedContent: openai.String("gAAAA"),
			}},
			responses.ResponseInputItemParamOfFunctionCall(`{"city":"Paris"}`, "call_0", "get_weather"),
			{OfFunctionCallOutput: &responses.ResponseInputItemFunctionCallOutputParam{
				CallID: param.NewOpt("call_0"), Output: responses.ResponseInputItemFunctionCallOutputOutputUnionParam{OfString: openai.String("21")},
			}},
		}},
		Tools: []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{
			Name: "get_weather", Strict: openai.Bool(true), Parameters: map[string]any{"type": "object"},
		}}},
		Reasoning: shared.ReasoningParam{Effort: shared.ReasoningEffortLow, Summary: shared.ReasoningSummaryAuto},
	}
}

func TestSDKStream(t *testing.T) {
	client, asked := sdk(t, "reasoning_tools.sse")
	stream := client.Responses.NewStreaming(t.Context(), params())
	var text, args, thought strings.Builder
	var final responses.Response
	for stream.Next() {
		switch e := stream.Current().AsAny().(type) {
		case responses.ResponseTextDeltaEvent:
			text.WriteString(e.Delta)
		case responses.ResponseFunctionCallArgumentsDeltaEvent:
			args.WriteString(e.Delta)
		case responses.ResponseReasoningSummaryTextDeltaEvent:
			thought.WriteString(e.Delta)
		case responses.ResponseCompletedEvent:
			final = e.Response
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	got := []string{text.String(), args.String(), thought.String(), final.OutputText(), string(final.Status), final.ID}
	want := []string{"Let me check.", `{"city":"Paris"}{}`, "**Looking** at it\n\nThen more", "Let me check.", "completed", "resp_a1b2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	checkFinal(t, &final)

	r := asked()
	if r.Losses != 0 || len(r.Turns) != 3 || len(r.Turns[1].Parts) != 2 || r.Turns[1].Parts[0].Signature.Value != "rs_0:gAAAA" ||
		r.Turns[2].Parts[0].Parts[0].Text != "21" || r.Thinking.Effort != "low" || !r.Stream {
		t.Errorf("asked %+v", r)
	}
}

func TestSDKPlain(t *testing.T) {
	client, _ := sdk(t, "reasoning_tools.sse")
	response, err := client.Responses.New(t.Context(), params())
	if err != nil {
		t.Fatal(err)
	}
	checkFinal(t, response)
}

// checkFinal holds a response against what the SDK says that every one has.
func checkFinal(t *testing.T, r *responses.Response) {
	t.Helper()
	for name, field := range map[string]interface{ Valid() bool }{
		"id": r.JSON.ID, "created_at": r.JSON.CreatedAt, "model": r.JSON.Model, "output": r.JSON.Output, "metadata": r.JSON.Metadata,
		"parallel_tool_calls": r.JSON.ParallelToolCalls, "temperature": r.JSON.Temperature, "tool_choice": r.JSON.ToolChoice,
		"tools": r.JSON.Tools, "top_p": r.JSON.TopP, "usage": r.JSON.Usage, "text": r.JSON.Text, "truncation": r.JSON.Truncation,
		"instructions": r.JSON.Instructions, "max_output_tokens": r.JSON.MaxOutputTokens, "reasoning": r.JSON.Reasoning,
	} {
		if !field.Valid() {
			t.Errorf("the response has no %s: %s", name, r.RawJSON())
		}
	}
	var kinds []string
	for _, item := range r.Output {
		kinds = append(kinds, item.Type)
	}
	if d := cmp.Diff([]string{"reasoning", "reasoning", "message", "function_call", "function_call"}, kinds); d != "" {
		t.Error(d)
	}
	if len(r.Output) == 5 && (r.Output[3].AsFunctionCall().CallID != "call_a" || r.Output[3].AsFunctionCall().Arguments != `{"city":"Paris"}`) {
		t.Errorf("the call: %+v", r.Output[3])
	}
	u := r.Usage
	if u.InputTokens != 300 || u.InputTokensDetails.CachedTokens != 256 || u.OutputTokensDetails.ReasoningTokens != 64 || u.TotalTokens != 390 {
		t.Errorf("usage %+v", u)
	}
	if len(r.Tools) != 1 || r.Tools[0].AsFunction().Name != "get_weather" || r.Instructions.OfString != "Be terse." {
		t.Errorf("the request's own values: %s", r.RawJSON())
	}
}

// A stream that fails must not look like a short answer.
func TestSDKFailure(t *testing.T) {
	client, _ := sdk(t, "failed.sse")
	stream := client.Responses.NewStreaming(t.Context(), params())
	for stream.Next() {
	}
	if err := stream.Err(); err == nil || !strings.Contains(err.Error(), "The server had an error") {
		t.Errorf("the error is %v", err)
	}
}
