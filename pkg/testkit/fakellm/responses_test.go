package fakellm

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

func said(text string) responses.ResponseNewParams {
	return responses.ResponseNewParams{
		Model: model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(text)},
	}
}

func weatherTool() responses.ToolUnionParam {
	return responses.ToolUnionParam{OfFunction: &responses.FunctionToolParam{
		Name: "weather", Strict: openai.Bool(true), Parameters: map[string]any{
			"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"},
		},
	}}
}

// play collects a stream: its events' names, and the final response.
func play(t *testing.T, client *openai.Client, q responses.ResponseNewParams) ([]string, responses.Response) {
	t.Helper()
	stream := client.Responses.NewStreaming(t.Context(), q)
	var names []string
	var final responses.Response
	texts := map[string]string{}
	for stream.Next() {
		e := stream.Current()
		if e.SequenceNumber != int64(len(names)) {
			t.Errorf("event %d has sequence number %d", len(names), e.SequenceNumber)
		}
		names = append(names, e.Type)
		kind, last, _ := strings.Cut(strings.TrimPrefix(e.Type, "response."), ".")
		switch last {
		case "delta":
			texts[kind] += e.Delta
		case "done":
			if whole := e.Text + e.Arguments; whole != "" && whole != texts[kind] {
				t.Errorf("%s: deltas make %q, done has %q", kind, texts[kind], whole)
			}
			delete(texts, kind)
		}
		switch e.Type {
		case "response.completed", "response.incomplete", "response.failed":
			final = e.Response
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return names, final
}

func TestResponse(t *testing.T) {
	p, s := start(t, Healthy())
	got, err := sdk(t, s).Responses.New(t.Context(), said("how are you today"))
	if err != nil {
		t.Fatal(err)
	}
	if got.OutputText() != fixedText || got.Status != "completed" || got.Model != model {
		t.Errorf("answer %s", got.RawJSON())
	}
	if u := got.Usage; u.InputTokens != 4 || u.OutputTokens != 6 || u.TotalTokens != 10 {
		t.Errorf("usage %+v", u)
	}
	if diff := cmp.Diff(Counters{Started: 1, Finished: 1, Input: 4, Output: 6}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
	wantNoViolations(t, p)
}

func TestResponseStream(t *testing.T) {
	p, s := start(t, Healthy())
	client := sdk(t, s)
	text := []string{
		"response.output_item.added", "response.content_part.added", "response.output_text.delta",
		"response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done",
	}
	opening := []string{"response.created", "response.in_progress"}
	thinking := said("think")
	thinking.MaxOutputTokens = openai.Int(6)
	thinking.Reasoning = shared.ReasoningParam{Effort: "low", Summary: "auto"}
	thinking.Include = []responses.ResponseIncludable{"reasoning.encrypted_content"}
	short := said("short")
	short.MaxOutputTokens = openai.Int(2)
	calling := said("call")
	calling.Tools = []responses.ToolUnionParam{weatherTool()}
	failing := said("fail")
	failing.Metadata = shared.Metadata{"fakellm_fail": "server_error"}
	background := short
	background.Background = openai.Bool(true)
	tests := map[string]struct {
		ask    responses.ResponseNewParams
		want   []string
		status responses.ResponseStatus
		output []string
	}{
		"text": {short, slices.Concat(opening, text, []string{"response.incomplete"}), "incomplete", []string{"message"}},
		"background": {
			background, slices.Concat([]string{"response.created", "response.queued", "response.in_progress"}, text,
				[]string{"response.incomplete"}), "incomplete", []string{"message"},
		},
		"thinking": {thinking, slices.Concat(opening, []string{
			"response.output_item.added", "response.reasoning_summary_part.added", "response.reasoning_summary_text.delta",
			"response.reasoning_summary_text.delta", "response.reasoning_summary_text.delta",
			"response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
			"response.reasoning_summary_part.done", "response.output_item.done",
		}, text, []string{"response.incomplete"}), "incomplete", []string{"reasoning", "message"}},
		"a call": {calling, slices.Concat(opening, []string{
			"response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.delta",
			"response.function_call_arguments.done", "response.output_item.done", "response.completed",
		}), "completed", []string{"function_call"}},
		"a failure": {failing, slices.Concat(opening, []string{"response.failed"}), "failed", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			names, final := play(t, client, test.ask)
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Error(diff)
			}
			var kinds []string
			for _, item := range final.Output {
				kinds = append(kinds, item.Type)
				if item.Type == "reasoning" && (!genuine(item.EncryptedContent) || len(item.Summary) != 1) {
					t.Errorf("reasoning %s", item.RawJSON())
				}
			}
			if final.Status != test.status || !slices.Equal(kinds, test.output) {
				t.Errorf("status %s, output %q", final.Status, kinds)
			}
			if test.status == "failed" && (final.Error.Code != "server_error" || final.JSON.Usage.Valid()) {
				t.Errorf("failed %s", final.RawJSON())
			}
		})
	}
	wantNoViolations(t, p)
}

// A conversation with tools and thoughts, by previous_response_id and by items.
func TestResponseTurns(t *testing.T) {
	p, s := start(t, Healthy())
	client := sdk(t, s)
	q := said("what is the weather")
	q.Tools = []responses.ToolUnionParam{weatherTool()}
	q.Reasoning = shared.ReasoningParam{Effort: "low"}
	q.Include = []responses.ResponseIncludable{"reasoning.encrypted_content"}
	first, err := client.Responses.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	thought, call := first.Output[0], first.Output[1]
	if first.Usage.OutputTokensDetails.ReasoningTokens != 4 || call.Name != "weather" || call.Arguments.OfString != `{"city":"fake"}` {
		t.Fatalf("first %s", first.RawJSON())
	}
	result := responses.ResponseInputItemParamOfFunctionCallOutput("it is sunny")
	result.OfFunctionCallOutput.CallID = openai.String(call.CallID)
	items := func(list ...responses.ResponseInputItemUnionParam) responses.ResponseNewParamsInputUnion {
		return responses.ResponseNewParamsInputUnion{OfInputItemList: list}
	}
	follow := q
	follow.PreviousResponseID = openai.String(first.ID)
	follow.Input = items(result)
	second, err := client.Responses.New(t.Context(), follow)
	if err != nil {
		t.Fatal(err)
	}
	if second.OutputText() != fixedText || second.Usage.InputTokens != 4+3 {
		t.Errorf("second %s", second.RawJSON())
	}
	called := responses.ResponseInputItemParamOfFunctionCall(`{"city":"fake"}`, call.CallID, "weather")
	reasoning := responses.ResponseInputItemParamOfReasoning(thought.ID, []responses.ResponseReasoningItemSummaryParam{})
	reasoning.OfReasoning.EncryptedContent = openai.String(thought.EncryptedContent)
	user := responses.ResponseInputItemParamOfMessage("what is the weather", responses.EasyInputMessageRoleUser)
	stateless := q
	stateless.Store = openai.Bool(false)
	stateless.Input = items(user, reasoning, called, result)
	third, err := client.Responses.New(t.Context(), stateless)
	if err != nil || third.OutputText() != fixedText {
		t.Errorf("third: %v %v", third, err)
	}
	if err := lastError(client.Responses.Get(t.Context(), third.ID, responses.ResponseGetParams{})); err == nil {
		t.Error("a response that was not to be stored is there")
	}
	changed := responses.ResponseInputItemParamOfReasoning(thought.ID, []responses.ResponseReasoningItemSummaryParam{})
	changed.OfReasoning.EncryptedContent = openai.String(thought.EncryptedContent + "0")
	forgotten := responses.ResponseInputItemParamOfReasoning("rs_other", []responses.ResponseReasoningItemSummaryParam{})
	refusals := map[string]struct {
		input  responses.ResponseNewParamsInputUnion
		status int
		code   string
		want   string
	}{
		"changed thoughts":    {items(user, changed, called, result), 400, "invalid_encrypted_content", "could not be verified"},
		"a foreign item":      {items(user, forgotten, called, result), 404, "", "Item with id 'rs_other' not found"},
		"thoughts alone":      {items(user, reasoning), 400, "", "without its required following item"},
		"thoughts, then user": {items(reasoning, user), 400, "", "without its required following item"},
		"no output":           {items(user, called), 400, "", "No tool output found for function call " + call.CallID},
		"no call":             {items(user, result), 400, "", "No tool call found for function call output with call_id " + call.CallID},
		"a part of the other side": {
			items(responses.ResponseInputItemParamOfMessage(responses.ResponseInputMessageContentListParam{
				responses.ResponseInputContentParamOfInputText("x"),
			}, "assistant")), 400, "invalid_value", "Invalid value: 'input_text'",
		},
	}
	for name, test := range refusals {
		t.Run(name, func(t *testing.T) {
			wrong := stateless
			wrong.Input = test.input
			err := lastError(client.Responses.New(t.Context(), wrong))
			wantError(t, err, test.status, test.code)
			var e *openai.Error
			if errors.As(err, &e) && !strings.Contains(e.Message, test.want) {
				t.Errorf("%s, want %q", e.Message, test.want)
			}
		})
	}
	wantNoViolations(t, p)
}

func TestResponsesBelongToAnAccount(t *testing.T) {
	p, s := start(t, Healthy())
	p.SetBehaviour("other", Healthy())
	client := sdk(t, s)
	other := option.WithAPIKey("other")
	made, err := client.Responses.New(t.Context(), said("mine"))
	if err != nil {
		t.Fatal(err)
	}
	get := responses.ResponseGetParams{}
	again, err := client.Responses.Get(t.Context(), made.ID, get)
	if err != nil || again.RawJSON() != made.RawJSON() {
		t.Errorf("retrieved %v %v", again, err)
	}
	list, err := client.Responses.InputItems.List(t.Context(), made.ID, responses.InputItemListParams{})
	if err != nil || len(list.Data) != 1 || list.Data[0].Content.OfInputItemContentList[0].Text != "mine" {
		t.Errorf("items %v %v", list, err)
	}
	wantError(t, lastError(client.Responses.Get(t.Context(), made.ID, get, other)), 404, "")
	wantError(t, lastError(client.Responses.InputItems.List(t.Context(), made.ID, responses.InputItemListParams{}, other)), 404, "")
	wantError(t, client.Responses.Delete(t.Context(), made.ID, other), 404, "")
	next := said("next")
	next.PreviousResponseID = openai.String(made.ID)
	wantError(t, lastError(client.Responses.New(t.Context(), next, other)), http.StatusBadRequest, "previous_response_not_found")
	if _, err := client.Responses.New(t.Context(), next); err != nil {
		t.Error(err)
	}
	wantError(t, lastError(client.Responses.Cancel(t.Context(), made.ID)), 400, "")
	if err := client.Responses.Delete(t.Context(), made.ID); err != nil {
		t.Error(err)
	}
	wantError(t, lastError(client.Responses.Get(t.Context(), made.ID, get)), 404, "")
	wantNoViolations(t, p)
}

func TestResponseInTheBackground(t *testing.T) {
	_, s := start(t, Healthy())
	client := sdk(t, s)
	q := said("later")
	q.Background = openai.Bool(true)
	get := responses.ResponseGetParams{}
	var statuses []responses.ResponseStatus
	made, err := client.Responses.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	statuses = append(statuses, made.Status)
	for range 2 {
		got, err := client.Responses.Get(t.Context(), made.ID, get)
		if err != nil {
			t.Fatal(err)
		}
		statuses = append(statuses, got.Status)
	}
	if diff := cmp.Diff([]responses.ResponseStatus{"queued", "in_progress", "completed"}, statuses); diff != "" {
		t.Error(diff)
	}
	made, err = client.Responses.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := client.Responses.Cancel(t.Context(), made.ID)
		if err != nil || got.Status != "cancelled" || len(got.Output) != 0 {
			t.Errorf("canceled %v %v", got, err)
		}
	}
}

// A stream that broke is taken up again where it ended.
func TestResponseIsReplayed(t *testing.T) {
	_, s := start(t, Healthy())
	client := sdk(t, s)
	first := client.Responses.NewStreaming(t.Context(), said("stream"))
	var events []string
	id := ""
	for first.Next() {
		events = append(events, first.Current().RawJSON())
		if r := first.Current().Response; r.ID != "" {
			id = r.ID
		}
	}
	for _, after := range []int64{-1, 0, 5} {
		q := responses.ResponseGetParams{}
		if after >= 0 {
			q.StartingAfter = openai.Int(after)
		}
		// The SDK says it in the body of the GET only, where nobody looks.
		again := client.Responses.GetStreaming(t.Context(), id, q, option.WithQuery("stream", "true"))
		var got []string
		for again.Next() {
			got = append(got, again.Current().RawJSON())
		}
		if err := again.Err(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events[after+1:], got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestResponseFormats(t *testing.T) {
	_, s := start(t, Healthy())
	client := sdk(t, s)
	q := said("structure")
	q.Text = responses.ResponseTextConfigParam{Format: responses.ResponseFormatTextConfigUnionParam{
		OfJSONSchema: &responses.ResponseFormatTextJSONSchemaConfigParam{Name: "place", Schema: map[string]any{
			"type": "object", "required": []string{"name", "at"}, "properties": map[string]any{
				"name": map[string]any{"type": "string"}, "at": map[string]any{"$ref": "#/$defs/point"},
			},
			"$defs": map[string]any{"point": map[string]any{
				"type": "array", "minItems": 2, "items": map[string]any{"type": []string{"number", "null"}},
			}},
		}},
	}}
	got, err := client.Responses.New(t.Context(), q)
	if err != nil || got.OutputText() != `{"name":"fake","at":[1,1]}` {
		t.Errorf("%v %v", got, err)
	}
	image := said("")
	image.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
		responses.ResponseInputItemParamOfMessage(responses.ResponseInputMessageContentListParam{
			{OfInputImage: &responses.ResponseInputImageParam{Detail: "auto", ImageURL: openai.String("data:image/png;base64,AAAA")}},
		}, responses.EasyInputMessageRoleUser),
	}}
	got, err = client.Responses.New(t.Context(), image)
	if err != nil || got.OutputText() != "I see an image of 3 bytes." {
		t.Errorf("%v %v", got, err)
	}
	count, err := client.Responses.InputTokens.Count(t.Context(), responses.InputTokenCountParams{
		Model: openai.String(model), Input: responses.InputTokenCountParamsInputUnion{OfString: openai.String("one two three")},
	})
	if err != nil || count.InputTokens != 3 {
		t.Errorf("count %v %v", count, err)
	}
}

func TestResponseRefusals(t *testing.T) {
	tests := map[string]struct{ body, code, param string }{
		"chat's field":      {`{"model":"fake-large","input":"x","messages":[]}`, "unknown_parameter", "messages"},
		"no input":          {`{"model":"fake-large"}`, "missing_required_parameter", "input"},
		"chat's tool":       {`{"model":"fake-large","input":"x","tools":[{"type":"function","function":{"name":"f"}}]}`, "missing_required_parameter", "tools[0].name"},
		"chat's choice":     {`{"model":"fake-large","input":"x","tool_choice":{"type":"function","function":{"name":"f"}}}`, "invalid_value", "tool_choice"},
		"format":            {`{"model":"fake-large","input":"x","text":{"format":{"type":"json_schema"}}}`, "missing_required_parameter", "text.format.name"},
		"effort":            {`{"model":"fake-large","input":"x","reasoning":{"effort":"huge"}}`, "invalid_value", "reasoning.effort"},
		"include":           {`{"model":"fake-large","input":"x","include":["all"]}`, "invalid_value", "include[0]"},
		"stream options":    {`{"model":"fake-large","input":"x","stream_options":{"include_usage":true}}`, "invalid_value", "stream_options"},
		"role":              {`{"model":"fake-large","input":[{"role":"tool","content":"x"}]}`, "invalid_value", "input[0].role"},
		"kind of item":      {`{"model":"fake-large","input":[{"type":"tool_use"}]}`, "invalid_value", "input[0].type"},
		"kind of part":      {`{"model":"fake-large","input":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`, "invalid_value", "input[0].content[0]"},
		"an item no object": {`{"model":"fake-large","input":["x"]}`, "invalid_type", "input[0]"},
		"bad arguments":     {`{"model":"fake-large","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{"}]}`, "invalid_value", "input[0].arguments"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, s := start(t, Healthy())
			w := dial(t, s)
			w.send(t, post(s, "/v1/responses", test.body))
			resp, text, err := w.answer(t)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Error struct{ Code, Param string } `json:"error"`
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil || resp.StatusCode != 400 || got.Error.Code != test.code ||
				got.Error.Param != test.param {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
		})
	}
}

// The script of behaviours holds for this dialect too: its own error event, and no end after a death.
func TestResponseBehaviours(t *testing.T) {
	p, s := start(t, ErrorMidStream(3, "server_error"))
	client := sdk(t, s)
	stream := client.Responses.NewStreaming(t.Context(), said("x"))
	var names []string
	for stream.Next() {
		names = append(names, stream.Current().Type)
	}
	if len(names) < 3 || names[len(names)-1] == "response.completed" {
		t.Errorf("events %q", names)
	}
	for _, how := range []Death{RST, FIN, CleanEnd} {
		p.SetBehaviour(credential, DieMidStream(4, how))
		stream := client.Responses.NewStreaming(t.Context(), said("x"))
		n, last := 0, ""
		for stream.Next() {
			n, last = n+1, stream.Current().Type
		}
		if n != 4 || last == "response.completed" || (how != CleanEnd && stream.Err() == nil) {
			t.Errorf("death %d: %d events, last %s, %v", how, n, last, stream.Err())
		}
	}
	p.SetBehaviour(credential, Status(429, "rate_limit_exceeded", 0))
	wantError(t, lastError(client.Responses.New(t.Context(), said("x"))), 429, "rate_limit_exceeded")
	p.SetBehaviour(credential, NoUsage())
	got, err := client.Responses.New(t.Context(), said("x"))
	if err != nil || got.JSON.Usage.Valid() {
		t.Errorf("usage came: %v %v", got, err)
	}
	if got := p.Books().Total.Finished; got != 1 {
		t.Errorf("%d finished, want 1", got)
	}
}

func TestChatThinksAndSees(t *testing.T) {
	_, s := start(t, Healthy())
	client := sdk(t, s)
	q := question("think")
	q.ReasoningEffort = "low"
	got, err := client.Chat.Completions.New(t.Context(), q)
	if err != nil || got.Usage.CompletionTokensDetails.ReasoningTokens != 4 || got.Usage.CompletionTokens != 10 {
		t.Errorf("%v %v", got, err)
	}
	q = question("look")
	q.Messages = []openai.ChatCompletionMessageParamUnion{
		openai.DeveloperMessage("be brief"), openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
			openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "data:image/png;base64,AAAAAAAA"}),
		}),
	}
	got, err = client.Chat.Completions.New(t.Context(), q)
	if err != nil || got.Choices[0].Message.Content != "I see an image of 6 bytes." {
		t.Errorf("%v %v", got, err)
	}
	q = question("structure")
	q.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{
		Name: "n", Schema: map[string]any{"type": "object", "required": []string{"a"}, "properties": map[string]any{
			"a": map[string]any{"enum": []string{"yes", "no"}},
		}},
	}}
	got, err = client.Chat.Completions.New(t.Context(), q)
	if err != nil || got.Choices[0].Message.Content != `{"a":"yes"}` {
		t.Errorf("%v %v", got, err)
	}
	q = question("x")
	q.Messages = append(q.Messages, openai.ToolMessage("alone", "call_1"))
	var e *openai.Error
	if err := lastError(client.Chat.Completions.New(t.Context(), q)); !errors.As(err, &e) || !strings.Contains(e.Message, "preceding") {
		t.Errorf("a result without a call: %v", err)
	}
}

// Whatever comes, an answer is JSON and a stream is numbered.
func FuzzResponses(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m","input":"x"}`,
		`{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"é"}]}],"reasoning":{"effort":"high","summary":"auto"},"max_output_tokens":9}`,
		`{"model":"m","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"x"}],"tools":[{"type":"function","name":"f","parameters":{"required":["a"],"properties":{"a":{"type":"string"}}}}]}`,
		`{"model":"m","input":"x","text":{"format":{"type":"json_schema","name":"n","schema":{"$ref":"#"}}}}`,
		`{"model":"m","input":"x","metadata":{"fakellm_output":"3","fakellm_fail":"x"},"tool_choice":null,"temperature":1e3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if inspectBody(body) != nil {
			return
		}
		x := &exchange{p: New(Options{}), request: Request{Sequence: 1, Credential: "c"}}
		m, fault := x.readResponses(body)
		if fault != nil {
			if !json.Valid(fault.envelope()) {
				t.Errorf("refusal of %q is not JSON", body)
			}
			return
		}
		for _, status := range []string{"queued", m.status()} {
			if !json.Valid(m.object(status)) {
				t.Errorf("answer to %q is not JSON: %s", body, m.object(status))
			}
		}
		next := 0
		m.play(0, func(event []byte) bool {
			_, payload, _ := strings.Cut(string(event), "\ndata: ")
			var e struct {
				Sequence *int `json:"sequence_number"`
			}
			if err := json.Unmarshal([]byte(payload), &e); err != nil || e.Sequence == nil || *e.Sequence != next {
				t.Errorf("event %d of %q is %q", next, body, event)
			}
			next++
			return true
		})
	})
}
