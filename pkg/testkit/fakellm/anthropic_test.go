package fakellm

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"
)

// claudeSDK is Anthropic's official client, as a gateway would have to behave: it does not offer gzip.
func claudeSDK(t *testing.T, s *Server, options ...option.RequestOption) *anthropic.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := anthropic.NewClient(append([]option.RequestOption{
		option.WithoutEnvironmentDefaults(), option.WithBaseURL(s.URL()), option.WithAPIKey(credential), option.WithMaxRetries(0),
		option.WithHTTPClient(&http.Client{Transport: transport}),
	}, options...)...)
	return &client
}

func message(text string) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{
		Model: model, MaxTokens: 4096,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(text))},
	}
}

// both asks plainly and for a stream, and returns the two answers, which must say the same.
func both(t *testing.T, client *anthropic.Client, q anthropic.MessageNewParams) (whole anthropic.Message) {
	t.Helper()
	got, err := client.Messages.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	streamed, _ := listenTo(t, client, q)
	if diff := cmp.Diff(saidBy(t, *got), saidBy(t, streamed)); diff != "" {
		t.Errorf("the stream says something else: %s", diff)
	}
	return *got
}

func listenTo(t *testing.T, client *anthropic.Client, q anthropic.MessageNewParams) (sum anthropic.Message, order []string) {
	t.Helper()
	stream := client.Messages.NewStreaming(t.Context(), q)
	for stream.Next() {
		event := stream.Current()
		order = append(order, event.Type)
		if err := sum.Accumulate(event); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return sum, order
}

// saidBy is what two answers to one question have in common.
func saidBy(t *testing.T, m anthropic.Message) []string {
	t.Helper()
	out := []string{string(m.StopReason), m.StopSequence}
	for _, b := range m.Content {
		out = append(out, b.Type, b.Text, b.Thinking, b.Signature, b.Data, b.Name, string(b.Input))
	}
	counts, err := json.Marshal([]int64{m.Usage.InputTokens, m.Usage.CacheReadInputTokens, m.Usage.CacheCreationInputTokens, m.Usage.OutputTokens})
	if err != nil {
		t.Fatal(err)
	}
	return append(out, string(counts))
}

func TestAnthropicMessages(t *testing.T) {
	tests := map[string]struct {
		change func(q *anthropic.MessageNewParams)
		want   []string // stop reason, stop sequence, of each block its parts, counts
	}{
		"plain": {
			change: func(*anthropic.MessageNewParams) {},
			want:   []string{"end_turn", "", "text", fixedText, "", "", "", "", "", "[4,0,0,6]"},
		},
		"short": {
			change: func(q *anthropic.MessageNewParams) { q.MaxTokens = 3 },
			want:   []string{"max_tokens", "", "text", "Hello! This is ", "", "", "", "", "", "[4,0,0,3]"},
		},
		"stopped": {
			change: func(q *anthropic.MessageNewParams) { q.StopSequences = []string{"fake", "This"} },
			want:   []string{"stop_sequence", "This", "text", "Hello! ", "", "", "", "", "", "[4,0,0,1]"},
		},
		"system": {
			change: func(q *anthropic.MessageNewParams) { q.System = []anthropic.TextBlockParam{{Text: "be brief"}} },
			want:   []string{"end_turn", "", "text", fixedText, "", "", "", "", "", "[6,0,0,6]"},
		},
		"image": {
			change: func(q *anthropic.MessageNewParams) {
				q.Messages[0].Content = append(q.Messages[0].Content, anthropic.NewImageBlockBase64("image/png", "AAECAw=="))
			},
			want: []string{"end_turn", "", "text", "I see an image of 4 bytes.", "", "", "", "", "", "[4,0,0,7]"},
		},
		"schema": {
			change: func(q *anthropic.MessageNewParams) {
				q.OutputConfig.Format.Schema = map[string]any{
					"type": "object", "additionalProperties": false, "required": []string{"name"},
					"properties": map[string]any{"name": map[string]any{"type": "string"}},
				}
			},
			want: []string{"end_turn", "", "text", `{"name":"fake"}`, "", "", "", "", "", "[4,0,0,2]"},
		},
		"thinking": {
			change: func(q *anthropic.MessageNewParams) {
				q.Thinking = anthropic.ThinkingConfigParamOfEnabled(1024)
			},
			want: []string{
				"end_turn", "", "thinking", "", thoughtText, thinkingSignature(thoughtText), "", "", "",
				"text", fixedText, "", "", "", "", "", "[4,0,0,12]",
			},
		},
		"thinking left out": {
			change: func(q *anthropic.MessageNewParams) {
				q.Thinking = anthropic.ThinkingConfigParamUnion{OfAdaptive: &anthropic.ThinkingConfigAdaptiveParam{Display: "omitted"}}
			},
			want: []string{
				"end_turn", "", "thinking", "", "", thinkingSignature(""), "", "", "",
				"text", fixedText, "", "", "", "", "", "[4,0,0,12]",
			},
		},
		"redacted": {
			change: func(q *anthropic.MessageNewParams) {
				q.Thinking = anthropic.ThinkingConfigParamOfEnabled(1024)
				q.Messages[0].Content[0] = anthropic.NewTextBlock(redactionTrigger)
			},
			want: []string{
				"end_turn", "", "redacted_thinking", "", "", "", signatureOf("redacted"), "", "",
				"text", fixedText, "", "", "", "", "", "[1,0,0,12]",
			},
		},
		"refused": {
			change: func(q *anthropic.MessageNewParams) { q.Messages[0].Content[0] = anthropic.NewTextBlock(refusalTrigger) },
			want:   []string{"refusal", "", "[1,0,0,1]"},
		},
		"counts as told": {
			change: func(q *anthropic.MessageNewParams) {
				q.Messages[0].Content[0] = anthropic.NewTextBlock(
					"fakellm_input=100 fakellm_cached=40 fakellm_cache_write=10 fakellm_output=9 fakellm_finish=pause_turn.")
			},
			want: []string{"pause_turn", "", "text", fixedText, "", "", "", "", "", "[50,40,10,9]"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			q := message("how are you today")
			test.change(&q)
			got := both(t, claudeSDK(t, s), q)
			if diff := cmp.Diff(test.want, saidBy(t, got)); diff != "" {
				t.Error(diff)
			}
			u := got.Usage
			input := u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens
			want := Counters{Started: 2, Finished: 2, Input: 2 * input, Cached: 2 * u.CacheReadInputTokens, Output: 2 * u.OutputTokens}
			if diff := cmp.Diff(want, p.Books().Credentials[credential]); diff != "" {
				t.Error(diff)
			}
			wantNoViolations(t, p)
		})
	}
}

func TestAnthropicEventsInOrder(t *testing.T) {
	_, s := start(t, Healthy())
	q := message("hello")
	q.Thinking = anthropic.ThinkingConfigParamOfEnabled(1024)
	w := dial(t, s)
	body, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	w.send(t, post(s, messagesPath, `{"stream":true,`+string(body[1:]), "Host:", "anthropic-version: 2023-06-01\r\nHost:"))
	resp, text, err := w.answer(t)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Request-Id") == "" {
		t.Fatalf("%v %v %s", err, resp, text)
	}
	var got []string
	for event := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(strings.TrimPrefix(event, "event: "), "\ndata: ")
		var body struct {
			Type  string `json:"type"`
			Index *int   `json:"index"`
			Delta struct {
				Type string `json:"type"`
			} `json:"delta"`
		}
		if err := json.Unmarshal([]byte(data), &body); err != nil || !ok || body.Type != name {
			t.Fatalf("event %q: %v", event, err)
		}
		if name == "content_block_delta" {
			name = body.Delta.Type
		}
		if n := len(got); n == 0 || got[n-1] != name {
			got = append(got, name)
		}
	}
	want := []string{
		"message_start", "content_block_start", "ping", "thinking_delta", "signature_delta", "content_block_stop",
		"content_block_start", "text_delta", "content_block_stop", "message_delta", "message_stop",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func weatherTools() []anthropic.ToolUnionParam {
	var out []anthropic.ToolUnionParam
	for _, name := range []string{"weather", "time"} {
		out = append(out, anthropic.ToolUnionParam{OfTool: &anthropic.ToolParam{
			Name: name, InputSchema: anthropic.ToolInputSchemaParam{
				Properties: map[string]any{"city": map[string]any{"type": "string"}, "days": map[string]any{"type": "integer"}},
				Required:   []string{"city", "days"},
			},
		}})
	}
	return out
}

func TestAnthropicToolsAndThinkingRoundTrip(t *testing.T) {
	for _, thinks := range []bool{false, true} {
		p, s := start(t, Healthy())
		client := claudeSDK(t, s)
		q := message("weather please")
		q.Tools = weatherTools()
		if thinks {
			q.Thinking = anthropic.ThinkingConfigParamOfEnabled(2048)
		}
		first := both(t, client, q)
		if first.StopReason != "tool_use" {
			t.Fatalf("stopped by %s", first.StopReason)
		}
		var results []anthropic.ContentBlockParamUnion
		for _, b := range first.Content {
			if b.Type == "tool_use" {
				if string(b.Input) != `{"city":"fake","days":1}` {
					t.Errorf("call %s", b.RawJSON())
				}
				results = append(results, anthropic.NewToolResultBlock(b.ID, "sunny", false))
			}
		}
		if len(results) != 2 {
			t.Fatalf("%d calls", len(results))
		}
		q.Messages = append(q.Messages, first.ToParam(), anthropic.NewUserMessage(results...))
		if end := both(t, client, q); end.StopReason != "end_turn" || end.Content[len(end.Content)-1].Text != fixedText {
			t.Errorf("after the results: %s", end.RawJSON())
		}
		if thinks {
			// Without its thinking, the turn is refused.
			turn := q.Messages[1]
			turn.Content = turn.Content[1:]
			q.Messages[1] = turn
			_, err := client.Messages.New(t.Context(), q)
			wantAnthropicError(t, err, 400, "invalid_request_error", "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`")
		}
		q = message("weather please")
		q.Tools = weatherTools()
		q.ToolChoice = anthropic.ToolChoiceParamOfTool("time")
		if one := both(t, client, q); len(one.Content) != 1 || one.Content[0].Name != "time" {
			t.Errorf("the named tool: %s", one.RawJSON())
		}
		q.ToolChoice = anthropic.ToolChoiceUnionParam{OfNone: &anthropic.ToolChoiceNoneParam{}}
		if none := both(t, client, q); none.StopReason != "end_turn" {
			t.Errorf("no tool: %s", none.RawJSON())
		}
		wantNoViolations(t, p)
	}
}

func wantAnthropicError(t *testing.T, err error, status int, kind, text string) {
	t.Helper()
	apiErr := (*anthropic.Error)(nil)
	if !errors.As(err, &apiErr) {
		t.Errorf("error %v, want Anthropic's", err)
		return
	}
	var body struct {
		Type  string `json:"type"`
		Error struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"error"`
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(apiErr.RawJSON()), &body); err != nil {
		t.Errorf("%v in %s", err, apiErr.RawJSON())
	}
	if apiErr.StatusCode != status || body.Type != "error" || body.Error.Type != kind || !strings.Contains(body.Error.Message, text) {
		t.Errorf("error %d %s, want %d %s %q", apiErr.StatusCode, apiErr.RawJSON(), status, kind, text)
	}
	if body.RequestID == "" || body.RequestID != apiErr.RequestID {
		t.Errorf("request id %q, header %q", body.RequestID, apiErr.RequestID)
	}
}

func TestAnthropicCountAndModels(t *testing.T) {
	p, s := start(t, Healthy())
	client := claudeSDK(t, s)
	count, err := client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{
		Model: model, Messages: message("one two three").Messages,
	})
	if err != nil || count.InputTokens != 3 {
		t.Errorf("count %v %v", count, err)
	}
	if diff := cmp.Diff(Counters{Started: 1, Finished: 1}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
	var names []string
	models := client.Models.ListAutoPaging(t.Context(), anthropic.ModelListParams{Limit: anthropic.Int(1)})
	for models.Next() {
		names = append(names, models.Current().ID)
	}
	if diff := cmp.Diff([]string{model, "fake-small"}, names); diff != "" || models.Err() != nil {
		t.Error(diff, models.Err())
	}
	if one, err := client.Models.Get(t.Context(), model, anthropic.ModelGetParams{}); err != nil || one.ID != model || one.DisplayName == "" {
		t.Errorf("model %v %v", one, err)
	}
	_, err = client.Models.Get(t.Context(), "none", anthropic.ModelGetParams{})
	wantAnthropicError(t, err, 404, "not_found_error", "model: none")
	wantNoViolations(t, p)
}

func TestAnthropicBatches(t *testing.T) {
	p, s := start(t, Healthy())
	p.SetBehaviour("other", Healthy())
	client := claudeSDK(t, s)
	stranger := claudeSDK(t, s, option.WithAPIKey("other"))
	ctx := t.Context()
	create := func() *anthropic.MessageBatch {
		t.Helper()
		b, err := client.Messages.Batches.New(ctx, anthropic.MessageBatchNewParams{Requests: []anthropic.MessageBatchNewParamsRequest{
			{CustomID: "good", Params: anthropic.MessageBatchNewParamsRequestParams{Model: model, MaxTokens: 2, Messages: message("one two").Messages}},
			{CustomID: "bad", Params: anthropic.MessageBatchNewParamsRequestParams{Model: model, MaxTokens: 0, Messages: message("one").Messages}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := create()
	if b.ProcessingStatus != "in_progress" || b.RequestCounts.Processing != 2 {
		t.Errorf("created: %s", b.RawJSON())
	}
	_, err := client.Messages.Batches.Delete(ctx, b.ID, anthropic.MessageBatchDeleteParams{})
	wantAnthropicError(t, err, 400, "invalid_request_error", "cannot be deleted")
	_, err = stranger.Messages.Batches.Get(ctx, b.ID, anthropic.MessageBatchGetParams{})
	wantAnthropicError(t, err, 404, "not_found_error", b.ID)
	b, err = client.Messages.Batches.Get(ctx, b.ID, anthropic.MessageBatchGetParams{})
	if err != nil || b.ProcessingStatus != "ended" || b.RequestCounts.Succeeded != 1 || b.RequestCounts.Errored != 1 || b.ResultsURL == "" {
		t.Fatalf("ended: %v %v", b, err)
	}
	results := client.Messages.Batches.ResultsStreaming(ctx, b.ID, anthropic.MessageBatchResultsParams{})
	got := map[string]string{}
	for results.Next() {
		one := results.Current()
		got[one.CustomID] = one.Result.Type
		if one.CustomID == "good" && one.Result.Message.Content[0].Text != "Hello! This " {
			t.Errorf("result %s", one.RawJSON())
		}
	}
	if diff := cmp.Diff(map[string]string{"good": "succeeded", "bad": "errored"}, got); diff != "" || results.Err() != nil {
		t.Error(diff, results.Err())
	}
	if diff := cmp.Diff(Counters{Started: 2, Finished: 2, Input: 2, Output: 2}, p.Books().Total); diff != "" {
		t.Error(diff)
	}

	second := create()
	canceled, err := client.Messages.Batches.Cancel(ctx, second.ID, anthropic.MessageBatchCancelParams{})
	if err != nil || canceled.ProcessingStatus != "canceling" {
		t.Fatalf("canceling: %v %v", canceled, err)
	}
	canceled, err = client.Messages.Batches.Get(ctx, second.ID, anthropic.MessageBatchGetParams{})
	if err != nil || canceled.ProcessingStatus != "ended" || canceled.RequestCounts.Canceled != 2 {
		t.Fatalf("canceled: %v %v", canceled, err)
	}
	list, err := client.Messages.Batches.List(ctx, anthropic.MessageBatchListParams{})
	if err != nil || len(list.Data) != 2 || list.Data[0].ID != second.ID {
		t.Errorf("list %v %v", list, err)
	}
	if list, err := stranger.Messages.Batches.List(ctx, anthropic.MessageBatchListParams{}); err != nil || len(list.Data) != 0 {
		t.Errorf("a stranger's list %v %v", list, err)
	}
	if _, err := client.Messages.Batches.Delete(ctx, b.ID, anthropic.MessageBatchDeleteParams{}); err != nil {
		t.Error(err)
	}
	_, err = client.Messages.Batches.Get(ctx, b.ID, anthropic.MessageBatchGetParams{})
	wantAnthropicError(t, err, 404, "not_found_error", b.ID)
	wantNoViolations(t, p)
}

func TestAnthropicFailures(t *testing.T) {
	tests := map[string]struct {
		behaviour Behaviour
		status    int
		kind      string
		header    string
	}{
		"overloaded":   {behaviour: Status(529, "", 0), status: 529, kind: "overloaded_error"},
		"rate limit":   {behaviour: Status(429, "", 1500*time.Millisecond), status: 429, kind: "rate_limit_error", header: "2"},
		"kind by code": {behaviour: Status(400, "billing_error", 0), status: 400, kind: "billing_error"},
		"internal":     {behaviour: Status(500, "", 0), status: 500, kind: "api_error"},
		"unauthorized": {behaviour: Status(401, "", 0), status: 401, kind: "authentication_error"},
		"forbidden":    {behaviour: Status(403, "", 0), status: 403, kind: "permission_error"},
		"too large":    {behaviour: EarlyResponse(), status: 413, kind: "request_too_large"},
		"event":        {behaviour: ErrorFirstEvent("overloaded_error"), status: 500, kind: "overloaded_error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, s := start(t, test.behaviour)
			_, err := claudeSDK(t, s).Messages.New(t.Context(), message("hello"))
			wantAnthropicError(t, err, test.status, test.kind, "")
			apiErr := (*anthropic.Error)(nil)
			if errors.As(err, &apiErr) && apiErr.Response.Header.Get("Retry-After") != test.header {
				t.Errorf("Retry-After %q, want %q", apiErr.Response.Header.Get("Retry-After"), test.header)
			}
		})
	}
}

func TestAnthropicStreamsThatFail(t *testing.T) {
	tests := map[string]struct {
		behaviour Behaviour
		events    int
		want      string
	}{
		"error first": {behaviour: ErrorFirstEvent("overloaded_error"), want: "overloaded_error"},
		"error later": {behaviour: ErrorMidStream(3, ""), events: 3, want: "api_error"},
		"cut":         {behaviour: DieMidStream(3, FIN), events: 3, want: "EOF"},
		"clean end":   {behaviour: DieMidStream(4, CleanEnd), events: 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, test.behaviour)
			stream := claudeSDK(t, s).Messages.NewStreaming(t.Context(), message("hello"))
			n := 0
			for stream.Next() {
				n++
				if stream.Current().Type == "message_stop" {
					t.Error("the message stopped")
				}
			}
			// The client does not count pings.
			if want := max(0, test.events-1); n != want && n != test.events {
				t.Errorf("%d events, want %d", n, test.events)
			}
			if err := stream.Err(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if p.Books().Total.Finished != 0 {
				t.Error("counted as finished")
			}
		})
	}
}
