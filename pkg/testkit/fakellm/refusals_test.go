package fakellm

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// asAnthropic makes a good request one of Anthropic's.
var asAnthropic = []string{"Authorization: Bearer ", "anthropic-version: 2023-06-01\r\nX-Api-Key: "}

// messageBody is a good request with other members.
func messageBody(members string) string {
	return `{"model":"fake-large","max_tokens":4096,` + members + `}`
}

const userTurn = `{"role":"user","content":"hello"}`

func TestAnthropicRefusals(t *testing.T) {
	think := `"thinking":{"type":"enabled","budget_tokens":1024},`
	tool := `"tools":[{"name":"weather","input_schema":{"type":"object"}}],`
	call := `{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}]}`
	answered := `{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"sunny"}]}`
	thought := func(text, signature string) string {
		return `{"role":"assistant","content":[{"type":"thinking","thinking":"` + text + `","signature":"` + signature + `"},` +
			`{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}]}`
	}
	user := func(block string) string {
		return messageBody(`"messages":[{"role":"user","content":[` + block + `]}]`)
	}
	turns := func(more string, turns ...string) string {
		return messageBody(more + `"messages":[` + strings.Join(turns, ",") + `]`)
	}
	tests := map[string]struct{ body, want string }{
		"no model":            {`{"max_tokens":1,"messages":[` + userTurn + `]}`, "model: Field required"},
		"no messages":         {`{"model":"fake-large","max_tokens":1}`, "messages: Field required"},
		"empty messages":      {turns(""), "messages: at least one message is required"},
		"no max_tokens":       {`{"model":"fake-large","messages":[` + userTurn + `]}`, "max_tokens: Field required"},
		"max_tokens of zero":  {`{"model":"fake-large","max_tokens":0,"messages":[` + userTurn + `]}`, "max_tokens: Input should be greater than or equal to 1"},
		"max_tokens as text":  {`{"model":"fake-large","max_tokens":"1","messages":[` + userTurn + `]}`, "max_tokens: Input should be a valid integer"},
		"another's member":    {turns(`"n":2,`, userTurn), "n: Extra inputs are not permitted"},
		"member of a beta":    {turns(`"context_management":{},`, userTurn), "context_management: Extra inputs are not permitted"},
		"member of a block":   {user(`{"type":"text","text":"a","x":1}`), "messages.0.content.0.text.x: Extra inputs are not permitted"},
		"member of a turn":    {turns("", `{"role":"user","content":"a","name":"b"}`), "messages.0.name: Extra inputs are not permitted"},
		"unknown role":        {turns("", `{"role":"tool","content":"a"}`), "messages.0.role: Input should be 'user', 'assistant' or 'system'"},
		"assistant first":     {turns("", `{"role":"assistant","content":"a"}`), `messages: first message must use the "user" role`},
		"one role twice":      {turns("", userTurn, userTurn), `but found multiple "user" roles in a row`},
		"empty content":       {turns("", `{"role":"user","content":""}`), "messages.0: all messages must have non-empty content"},
		"empty text":          {user(`{"type":"text","text":""}`), "messages: text content blocks must be non-empty"},
		"unknown block":       {user(`{"type":"input_text","text":"a"}`), "messages.0.content.0: Input tag 'input_text' found using 'type'"},
		"block without type":  {user(`{"text":"a"}`), "messages.0.content.0.type: Field required"},
		"assistant's image":   {turns("", userTurn, `{"role":"assistant","content":[{"type":"image","source":{}}]}`), "messages.1.content.0: Input tag 'image'"},
		"white space at end":  {turns("", userTurn, `{"role":"assistant","content":"so "}`), "cannot end with trailing whitespace"},
		"image's type":        {user(`{"type":"image","source":{"type":"base64","media_type":"image/bmp","data":"AA=="}}`), "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'"},
		"image's data":        {user(`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"data:x"}}`), "image.source.base64.data: Invalid base64 data"},
		"image's URL":         {user(`{"type":"image","source":{"type":"url","url":"file:///a"}}`), "image.source.url.url: Only HTTPS"},
		"temperature":         {turns(`"temperature":1.5,`, userTurn), "temperature: range: 0..1"},
		"blank stop":          {turns(`"stop_sequences":[" "],`, userTurn), "stop_sequences: each stop sequence must contain non-whitespace"},
		"stop is text":        {turns(`"stop_sequences":"a",`, userTurn), "stop_sequences: Input should be a valid list"},
		"metadata":            {turns(`"metadata":{"a":"b"},`, userTurn), "metadata.a: Extra inputs are not permitted"},
		"cache_control":       {user(`{"type":"text","text":"a","cache_control":{"type":"forever"}}`), "cache_control.type: Input should be 'ephemeral'"},
		"tool's name":         {turns(`"tools":[{"name":"a.b","input_schema":{"type":"object"}}],`, userTurn), "tools.0.custom.name: String should match pattern"},
		"tool's schema":       {turns(`"tools":[{"name":"a","input_schema":{}}],`, userTurn), "tools.0.custom.input_schema.type: Field required"},
		"chat's tool":         {turns(`"tools":[{"type":"custom","function":{"name":"a"}}],`, userTurn), "tools.0.custom.function: Extra inputs are not permitted"},
		"tools of one name":   {turns(`"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"a","input_schema":{"type":"object"}}],`, userTurn), "Tool names must be unique"},
		"choice without tool": {turns(`"tool_choice":{"type":"auto"},`, userTurn), "tool_choice may only be specified while providing tools"},
		"choice of unknown":   {turns(tool+`"tool_choice":{"type":"tool","name":"x"},`, userTurn), "Tool 'x' not found in provided tools"},
		"choice as in chat":   {turns(tool+`"tool_choice":"auto",`, userTurn), "tool_choice: Input should be an object"},
		"call unanswered":     {turns(tool, userTurn, call, userTurn), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1"},
		"call at the end":     {turns(tool, userTurn, call), "messages.1: `tool_use` ids were found without `tool_result`"},
		"result of nothing":   {turns(tool, answered), "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"},
		"result after text": {
			turns(tool, userTurn, call, `{"role":"user","content":[{"type":"text","text":"a"},{"type":"tool_result","tool_use_id":"toolu_1"}]}`),
			"messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
		},
		"two results": {
			turns(tool, userTurn, call, `{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1"},{"type":"tool_result","tool_use_id":"toolu_1"}]}`),
			"each tool_use must have a single result",
		},
		"arguments as text": {
			turns(tool, userTurn, `{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"weather","input":"{}"}]}`),
			"messages.1.content.0.tool_use.input: Input should be an object",
		},
		"call's id": {
			turns(tool, userTurn, `{"role":"assistant","content":[{"type":"tool_use","id":"a:b","name":"weather","input":{}}]}`),
			"messages.1.content.0.tool_use.id: String should match pattern",
		},
		"budget too small": {turns(`"thinking":{"type":"enabled","budget_tokens":1023},`, userTurn), "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"},
		"budget too big":   {turns(`"thinking":{"type":"enabled","budget_tokens":4096},`, userTurn), "`max_tokens` must be greater than `thinking.budget_tokens`"},
		"no budget":        {turns(`"thinking":{"type":"enabled"},`, userTurn), "thinking.enabled.budget_tokens: Field required"},
		"cool thinking":    {turns(think+`"temperature":0.5,`, userTurn), "`temperature` may only be set to 1 when thinking is enabled"},
		"thinking, top_p":  {turns(think+`"top_p":0.9,`, userTurn), "`top_p` must be greater than or equal to 0.95"},
		"thinking, top_k":  {turns(think+`"top_k":5,`, userTurn), "`top_k` must be unset"},
		"thinking, forced": {turns(think+tool+`"tool_choice":{"type":"any"},`, userTurn), "Thinking may not be enabled when tool_choice forces tool use."},
		"no thinking block": {
			turns(think+tool, userTurn, call, answered),
			"messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
		},
		"no signature": {
			turns(think+tool, userTurn, strings.Replace(thought("hm", ""), `,"signature":""`, "", 1), answered),
			"messages.1.content.0.thinking.signature: Field required",
		},
		"wrong signature":        {turns(think+tool, userTurn, thought("hm", "c2ln"), answered), "messages.1.content.0: Invalid `signature` in `thinking` block"},
		"other thought's":        {turns(think+tool, userTurn, thought("hm", thinkingSignature("hmm")), answered), "messages.1.content.0: Invalid `signature`"},
		"wrong redaction":        {turns(think, userTurn, `{"role":"assistant","content":[{"type":"redacted_thinking","data":"eA=="}]}`), "Invalid `data` in `redacted_thinking` block"},
		"open schema":            {turns(`"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}},`, userTurn), "'additionalProperties' must be explicitly set to false"},
		"chat's response_format": {turns(`"response_format":{"type":"json_object"},`, userTurn), "response_format: Extra inputs are not permitted"},
		"no tokens":              {turns("", `{"role":"user","content":"fakellm_output=x"}`), "fakellm_output is not a number of tokens"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			w := dial(t, s)
			w.send(t, post(s, messagesPath, test.body, asAnthropic...))
			resp, text, err := w.answer(t)
			if err != nil {
				t.Fatal(err)
			}
			var body struct {
				Error struct {
					Type    string `json:"type"`
					Message string `json:"message"`
				} `json:"error"`
			}
			if err := json.Unmarshal([]byte(text), &body); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if resp.StatusCode != 400 || body.Error.Type != "invalid_request_error" || !strings.Contains(body.Error.Message, test.want) {
				t.Errorf("status %d %s, want %q", resp.StatusCode, text, test.want)
			}
			if p.Books().Total.Started != 0 {
				t.Error("counted as started")
			}
		})
	}
}

func TestAnthropicAccepts(t *testing.T) {
	sign := thinkingSignature("hm")
	for name, body := range map[string]string{
		"old thinking without a call": messageBody(`"thinking":{"type":"enabled","budget_tokens":1024},"messages":[` + userTurn +
			`,{"role":"assistant","content":[{"type":"text","text":"a"}]},` + userTurn + `]`),
		"thinking brought back": messageBody(`"thinking":{"type":"enabled","budget_tokens":1024},"messages":[` + userTurn +
			`,{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"` + sign + `"},{"type":"tool_use","id":"a","name":"b","input":{}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":true,"content":[{"type":"text","text":"no"}]}]}]`),
		"system on the way": messageBody(`"messages":[` + userTurn + `,{"role":"system","content":"be brief"},{"role":"assistant","content":"a"}]`),
		"no thinking":       messageBody(`"thinking":{"type":"disabled"},"temperature":0.2,"messages":[` + userTurn + `]`),
		"server's tool":     messageBody(`"tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[` + userTurn + `]`),
		"document":          messageBody(`"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"}}]}]`),
	} {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			w := dial(t, s)
			w.send(t, post(s, messagesPath, body, asAnthropic...))
			if resp, text, err := w.answer(t); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%v %v %s", err, resp, text)
			}
			wantNoViolations(t, p)
		})
	}
}

func TestGeminiRefusals(t *testing.T) {
	tool := `"tools":[{"functionDeclarations":[{"name":"weather","parameters":{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}}]}],`
	user := `{"role":"user","parts":[{"text":"hello"}]}`
	call := `{"role":"model","parts":[{"functionCall":{"id":"c1","name":"weather","args":{}}}]}`
	turns := func(more string, turns ...string) string {
		return `{` + more + `"contents":[` + strings.Join(turns, ",") + `]}`
	}
	parts := func(parts string) string { return turns("", `{"role":"user","parts":[`+parts+`]}`) }
	config := func(members string) string { return turns(`"generationConfig":{`+members+`},`, user) }
	tests := map[string]struct{ body, want string }{
		"no contents":         {`{}`, "contents is not specified"},
		"unknown name":        {turns(`"max_tokens":5,`, user), `Invalid JSON payload received. Unknown name "max_tokens": Cannot find field.`},
		"unknown, deep":       {parts(`{"text":"a","type":"text"}`), `Unknown name "type" at 'contents[0].parts[0]': Cannot find field.`},
		"JSON schema":         {turns(`"tools":[{"function_declarations":[{"name":"a","parameters":{"type":"object","additionalProperties":false}}]}],`, user), `Unknown name "additionalProperties" at 'tools[0].function_declarations[0].parameters': Cannot find field.`},
		"schema, deep":        {config(`"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"a":{"type":"STRING","const":"b"}}}`), `at 'generation_config.response_schema.properties[0].value'`},
		"wrong type":          {parts(`{"text":5}`), `Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5`},
		"wrong number":        {config(`"maxOutputTokens":"many"`), `Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), "many"`},
		"wrong base64":        {parts(`{"inlineData":{"mimeType":"image/png","data":"data:image"}}`), "Base64 decoding failed"},
		"role":                {turns("", `{"role":"assistant","parts":[{"text":"a"}]}`), "Please use a valid role: user, model."},
		"no parts":            {turns("", `{"role":"user"}`), "contents.parts must not be empty"},
		"empty part":          {parts(`{}`), "required oneof field 'data' must have one initialized field"},
		"two data":            {parts(`{"text":"a","fileData":{"fileUri":"b"}}`), "oneof field 'data' is already set"},
		"media":               {parts(`{"inlineData":{"mimeType":"image/bmp","data":"AA=="}}`), "Unsupported MIME type: image/bmp"},
		"function's name":     {turns(`"tools":[{"functionDeclarations":[{"name":"1a"}]}],`, user), "Invalid function name"},
		"functions of a name": {turns(`"tools":[{"functionDeclarations":[{"name":"a"},{"name":"a"}]}],`, user), "Duplicate function declaration found: a"},
		"array of what":       {turns(`"tools":[{"functionDeclarations":[{"name":"a","parameters":{"type":"ARRAY"}}]}],`, user), "parameters.items: missing field"},
		"required of what":    {turns(`"tools":[{"functionDeclarations":[{"name":"a","parameters":{"type":"OBJECT","required":["b"]}}]}],`, user), "property is not defined: b"},
		"mode":                {turns(tool+`"toolConfig":{"functionCallingConfig":{"mode":"REQUIRED"}},`, user), "FunctionCallingConfig.Mode"},
		"names without ANY":   {turns(tool+`"toolConfig":{"functionCallingConfig":{"mode":"AUTO","allowedFunctionNames":["weather"]}},`, user), "Allowed function names can only be set when function calling mode is ANY"},
		"ANY of none":         {turns(`"toolConfig":{"functionCallingConfig":{"mode":"ANY"}},`, user), "without function_declarations"},
		"name not declared":   {turns(tool+`"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["x"]}},`, user), "Allowed function name x"},
		"temperature":         {config(`"temperature":2.5`), "temperature must be in the range [0.0, 2.0]"},
		"candidates":          {config(`"candidateCount":2`), "Multiple candidates is not enabled"},
		"six stops":           {config(`"stopSequences":["a","b","c","d","e","f"]`), "at most 5 stop sequences"},
		"schema without MIME": {config(`"responseSchema":{"type":"OBJECT"}`), "only allowed with response_mime_type application/json"},
		"budget and level":    {config(`"thinkingConfig":{"thinkingBudget":5,"thinkingLevel":"LOW"}`), "You can only set only one of thinking budget and thinking level."},
		"level":               {config(`"thinkingConfig":{"thinkingLevel":"xhigh"}`), "ThinkingLevel"},
		"call unanswered":     {turns(tool, user, call, user), "number of function response parts is equal to the number of function call parts"},
		"call at the end":     {turns(tool, user, call), "Please ensure that function call turn is followed by a function response turn."},
		"response to nothing": {turns(tool, `{"role":"user","parts":[{"functionResponse":{"name":"weather","response":{}}}]}`), "function response turn comes immediately after a function call turn"},
		"response to another": {turns(tool, user, call, `{"role":"user","parts":[{"functionResponse":{"id":"c2","name":"weather","response":{}}}]}`), "answers no function call"},
		"response's name":     {turns(tool, user, call, `{"role":"user","parts":[{"functionResponse":{"id":"c1","response":{}}}]}`), "Name cannot be empty"},
		"response as text":    {turns(tool, user, call, `{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"weather","response":"a"}}]}`), "google.protobuf.Struct"},
		"model's first call":  {turns(tool, call, `{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"weather","response":{}}}]}`), "function call turn comes immediately after a user turn"},
		"system in contents":  {turns("", `{"role":"system","parts":[{"text":"a"}]}`), "Please use a valid role"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			text := ask(t, s, geminiModels+"/"+model+":generateContent", test.body, http.StatusBadRequest)
			var body struct {
				Error struct {
					Code    int    `json:"code"`
					Status  string `json:"status"`
					Message string `json:"message"`
				} `json:"error"`
			}
			if err := json.Unmarshal([]byte(text), &body); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if body.Error.Code != 400 || body.Error.Status != "INVALID_ARGUMENT" || !strings.Contains(body.Error.Message, test.want) {
				t.Errorf("%s, want %q", text, test.want)
			}
			if p.Books().Total.Started != 0 {
				t.Error("counted as started")
			}
		})
	}
}

func TestGeminiAccepts(t *testing.T) {
	for name, body := range map[string]string{
		"snake case": `{"system_instruction":{"parts":{"text":"a"}},"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"AAE"}}]}],` +
			`"generation_config":{"max_output_tokens":"7","top_k":40}}`,
		"skipped signature": `{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"b","args":{}},` +
			`"thoughtSignature":"skip_thought_signature_validator"}]},{"role":"user","parts":[{"functionResponse":{"name":"b","response":{"c":1}}}]}],` +
			`"generationConfig":{"thinkingConfig":{"thinkingBudget":512}}}`,
		"no signature where nobody thinks": `{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"b"}}]},` +
			`{"role":"function","parts":[{"functionResponse":{"name":"b","response":{"c":1}}}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			ask(t, s, geminiModels+"/"+model+":streamGenerateContent?alt=sse", body, http.StatusOK)
			wantNoViolations(t, p)
		})
	}
}

// What is wrong before the body is looked at, and what nobody serves.
func TestRefusedHeads(t *testing.T) {
	generate := geminiModels + "/" + model + ":generateContent"
	message := messageBody(`"messages":[` + userTurn + `]`)
	byKey := []string{"Authorization: Bearer ", "X-Goog-Api-Key: "}
	tests := map[string]struct {
		path, body, want string
		change           []string
		status           int
	}{
		"anthropic: no version":   {path: messagesPath, body: message, status: 400, want: "anthropic-version: header is required"},
		"anthropic: odd version":  {path: messagesPath, body: message, status: 400, want: "is not a valid version", change: []string{"Host:", "anthropic-version: 2\r\nHost:"}},
		"anthropic: two keys":     {path: messagesPath, body: message, status: 400, want: "credentials came in 2 places", change: []string{"Host:", "anthropic-version: 2023-06-01\r\nX-Api-Key: a\r\nHost:"}},
		"anthropic: unknown key":  {path: messagesPath, body: message, status: 401, want: "invalid x-api-key", change: []string{"Authorization: Bearer " + credential, "anthropic-version: 2023-06-01\r\nX-Api-Key: a"}},
		"anthropic: no key":       {path: messagesPath, body: message, status: 401, want: "x-api-key header is required", change: []string{"Authorization: Bearer " + credential, "anthropic-version: 2023-06-01"}},
		"anthropic: unknown path": {path: messagesPath + "/x", body: message, status: 404, want: "Not found", change: asAnthropic},
		"anthropic: model":        {path: messagesPath, body: strings.Replace(message, model, "none", 1), status: 404, want: "model: none", change: asAnthropic},
		"anthropic: Google's key": {path: messagesPath, body: message, status: 400, want: "X-Goog-Api-Key must not come through", change: []string{"Host:", "X-Goog-Api-Key: a\r\nHost:"}},
		"google: bearer":          {path: generate, body: geminiBody, status: 401, want: "Request had invalid authentication credentials."},
		"google: no key":          {path: generate, body: geminiBody, status: 403, want: "unregistered callers", change: []string{"Authorization: Bearer " + credential + "\r\n", ""}},
		"google: unknown key":     {path: generate, body: geminiBody, status: 400, want: "API key not valid.", change: []string{"Authorization: Bearer " + credential, "X-Goog-Api-Key: a"}},
		"google: two keys":        {path: generate + "?key=a", body: geminiBody, status: 400, want: "credentials came in 2 places", change: byKey},
		"google: unknown query":   {path: generate + "?a=b", body: geminiBody, status: 400, want: "Cannot bind query parameter", change: byKey},
		"google: unknown path":    {path: geminiModels + "/" + model + ":predict", body: geminiBody, status: 404, want: "Requested entity was not found.", change: byKey},
		"google: unknown alt":     {path: geminiModels + "/" + model + ":streamGenerateContent?alt=xml", body: geminiBody, status: 400, want: "query parameter alt", change: byKey},
		"google: model":           {path: geminiModels + "/none:generateContent", body: geminiBody, status: 404, want: "models/none is not found", change: byKey},
		"google: Anthropic's key": {path: generate, body: geminiBody, status: 400, want: "X-Api-Key must not come through", change: []string{"Authorization: Bearer ", "X-Api-Key: "}},
		"google as OpenAI":        {path: compatPath + "responses", body: chatBody, status: 404, want: "Requested entity was not found."},
		"openai: Google's key":    {path: chatPath, body: chatBody, status: 400, want: "X-Goog-Api-Key must not come through", change: []string{"Host:", "X-Goog-Api-Key: a\r\nHost:"}},
		"openai: key in query":    {path: chatPath + "?key=a", body: chatBody, status: 400, want: "credentials came in 2 places"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			w := dial(t, s)
			w.send(t, post(s, test.path, test.body, test.change...))
			resp, text, err := w.answer(t)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || !json.Valid([]byte(text)) {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, test.status, text)
			}
			if violations := strings.Join(p.Violations(), "\n"); !strings.Contains(violations, test.want) || strings.Contains(violations, credential) {
				t.Errorf("violations %q, want %q", violations, test.want)
			}
			if p.Books().Total.Started != 0 {
				t.Error("counted as started")
			}
		})
	}
}
