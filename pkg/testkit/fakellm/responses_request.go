package fakellm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// responsesRequest is POST /v1/responses. What answers repeat is kept as it came.
type responsesRequest struct {
	Model              string            `json:"model"`
	Input              json.RawMessage   `json:"input"`
	Instructions       *string           `json:"instructions"`
	Tools              []json.RawMessage `json:"tools"`
	ToolChoice         json.RawMessage   `json:"tool_choice"`
	ParallelToolCalls  *bool             `json:"parallel_tool_calls"`
	Stream             bool              `json:"stream"`
	StreamOptions      json.RawMessage   `json:"stream_options"`
	MaxOutputTokens    *int64            `json:"max_output_tokens"`
	Include            []string          `json:"include"`
	PreviousResponseID *string           `json:"previous_response_id"`
	Store              *bool             `json:"store"`
	Background         bool              `json:"background"`
	Metadata           map[string]string `json:"metadata"`
	Temperature        json.Number       `json:"temperature"`
	TopP               json.Number       `json:"top_p"`
	Truncation         string            `json:"truncation"`
	User               *string           `json:"user"`
	PromptCacheKey     *string           `json:"prompt_cache_key"`
	SafetyIdentifier   *string           `json:"safety_identifier"`
	Reasoning          struct {
		Effort  *string `json:"effort"`
		Summary *string `json:"summary"`
	} `json:"reasoning"`
	Text struct {
		Verbosity string          `json:"verbosity"`
		Format    json.RawMessage `json:"format"`
	} `json:"text"`
}

func responsesFields() []string {
	return []string{
		"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options",
		"max_output_tokens", "max_tool_calls", "include", "previous_response_id", "store", "background", "metadata",
		"temperature", "top_p", "top_logprobs", "truncation", "user", "prompt_cache_key", "prompt_cache_retention",
		"safety_identifier", "service_tier", "reasoning", "text", "context_management", "moderation", "prompt_cache_options",
	}
}

// decodeResponses makes a response for the account; now is its creation.
func (x *exchange) decodeResponses(body []byte) (answer, *apiError) {
	m, fault := x.readResponses(body)
	if fault != nil {
		return answer{}, fault
	}
	s := &responseStream{m: m, shelf: x.p.shelf}
	a := answer{
		model: m.request.Model, stream: m.request.Stream, usage: m.said.usage,
		whole: func(stamp, bool) []byte {
			x.p.shelf.keep(m)
			return m.object(m.firstStatus())
		},
		events: s.events,
		cut:    &framing{last: s.last, fault: responseFault},
	}
	return a, nil
}

// readResponses checks the request and decides on the response.
func (x *exchange) readResponses(body []byte) (*modelResponse, *apiError) {
	var r responsesRequest
	if fault := known(body, responsesFields()...); fault != nil {
		return nil, fault
	}
	if fault := decodeInto(body, &r); fault != nil {
		return nil, fault
	}
	m := &modelResponse{
		request: r, owner: x.request.Credential, created: x.p.now().Unix(), billed: !x.behaviour.NoUsage,
		sequence: x.request.Sequence, id: fmt.Sprintf("resp_fake%d", x.request.Sequence),
	}
	ask := prompt{
		quiet: string(r.ToolChoice) == `"none"`, single: r.ParallelToolCalls != nil && !*r.ParallelToolCalls,
		limit: r.MaxOutputTokens,
	}
	for _, check := range []func(*prompt) *apiError{r.checkSwitches, r.readTools, r.readText} {
		if fault := check(&ask); fault != nil {
			return nil, fault
		}
	}
	c := &conversation{shelf: x.p.shelf, owner: m.owner, id: m.id}
	if fault := c.follow(r.PreviousResponseID); fault != nil {
		return nil, fault
	}
	if fault := c.read(r.Input); fault != nil {
		return nil, fault
	}
	ask.words, ask.image, ask.resulted = c.words, c.image, c.resulted
	if r.Instructions != nil {
		ask.words += words(*r.Instructions)
	}
	m.items = c.items
	m.said = ask.say()
	m.words = c.words + int64(len(m.said.parts))
	var fault *apiError
	if m.said.usage, fault = m.said.usage.override(r.Metadata); fault != nil {
		return nil, fault
	}
	if code := r.Metadata["fakellm_fail"]; code != "" {
		m.failure = code
		m.said = saying{}
	}
	return m, nil
}

// checkSwitches checks what is neither input nor tool.
func (r *responsesRequest) checkSwitches(ask *prompt) *apiError {
	if fault := checkLimit("max_output_tokens", r.MaxOutputTokens); fault != nil {
		return fault
	}
	effort := ""
	if r.Reasoning.Effort != nil {
		effort = *r.Reasoning.Effort
	}
	var ok bool
	if ask.thinking, ok = thoughtsFor(effort); !ok {
		return badRequest("invalid_value", "reasoning.effort", "Invalid value: '%s'.", effort)
	}
	if s := r.Reasoning.Summary; s != nil && *s != "auto" && *s != "concise" && *s != "detailed" {
		return badRequest("invalid_value", "reasoning.summary", "Invalid value: '%s'.", *s)
	}
	includes := []string{
		"file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
		"message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
		"reasoning.encrypted_content", "message.output_text.logprobs",
	}
	for i, name := range r.Include {
		if !slices.Contains(includes, name) {
			return badRequest("invalid_value", fmt.Sprintf("include[%d]", i), "Invalid value: '%s'.", name)
		}
	}
	switch {
	case r.Model == "":
		return badRequest("missing_required_parameter", "model", "Missing required parameter: 'model'.")
	case len(r.StreamOptions) > 0 && string(r.StreamOptions) != "null" && !r.Stream:
		return badRequest("invalid_value", "stream_options",
			"The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	case r.Background && r.Store != nil && !*r.Store:
		return badRequest("invalid_value", "background", "Background mode requires 'store' to be true.")
	case r.Truncation != "" && r.Truncation != "auto" && r.Truncation != "disabled":
		return badRequest("invalid_value", "truncation", "Invalid value: '%s'.", r.Truncation)
	}
	return nil
}

// readTools knows every kind of tool, and calls functions only.
func (r *responsesRequest) readTools(ask *prompt) *apiError {
	kinds := []string{
		"function", "file_search", "web_search", "web_search_preview", "computer_use_preview", "mcp", "code_interpreter",
		"image_generation", "local_shell", "shell", "custom", "apply_patch", "computer", "web_search_2025_08_26",
		"web_search_preview_2025_03_11", "programmatic_tool_calling", "namespace", "tool_search",
	}
	for i, raw := range r.Tools {
		var t struct {
			Type       string          `json:"type"`
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		}
		if json.Unmarshal(raw, &t) != nil || !slices.Contains(kinds, t.Type) {
			return badRequest("invalid_value", fmt.Sprintf("tools[%d].type", i), "Invalid value: '%s'.", t.Type)
		}
		if t.Type != "function" {
			continue
		}
		if t.Name == "" {
			param := fmt.Sprintf("tools[%d].name", i)
			return badRequest("missing_required_parameter", param, "Missing required parameter: '%s'.", param)
		}
		tool, err := function(t.Name, t.Parameters)
		if err != nil {
			return badRequest("invalid_function_parameters", fmt.Sprintf("tools[%d].parameters", i),
				"Invalid schema for function '%s'.", t.Name)
		}
		ask.tools = append(ask.tools, tool)
	}
	if raw := bytes.TrimSpace(r.ToolChoice); len(raw) > 0 && raw[0] == '{' {
		var choice struct {
			Type string `json:"type"`
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &choice) != nil || choice.Type == "" {
			return badRequest("missing_required_parameter", "tool_choice.type", "Missing required parameter: 'tool_choice.type'.")
		}
		if choice.Type == "function" {
			ask.tool = choice.Name
			if !slices.ContainsFunc(ask.tools, func(t chatTool) bool { return t.Function.Name == choice.Name }) {
				return badRequest("invalid_value", "tool_choice", "Tool choice '%s' not found in 'tools' parameter.", choice.Name)
			}
		}
	} else if len(raw) > 0 && !slices.Contains([]string{`"none"`, `"auto"`, `"required"`, "null"}, string(raw)) {
		return badRequest("invalid_value", "tool_choice", "Invalid value: %s.", raw)
	}
	return nil
}

func (r *responsesRequest) readText(ask *prompt) *apiError {
	if !slices.Contains([]string{"", "low", "medium", "high"}, r.Text.Verbosity) {
		return badRequest("invalid_value", "text.verbosity", "Invalid value: '%s'.", r.Text.Verbosity)
	}
	if len(r.Text.Format) == 0 {
		return nil
	}
	var f struct {
		Type   string          `json:"type"`
		Name   string          `json:"name"`
		Schema json.RawMessage `json:"schema"`
	}
	if json.Unmarshal(r.Text.Format, &f) != nil {
		return badRequest("invalid_type", "text.format", "Invalid type for 'text.format'.")
	}
	switch f.Type {
	case "text", "":
	case "json_object":
		ask.schema = json.RawMessage(`{"type":"object"}`)
	case "json_schema":
		if f.Name == "" || len(f.Schema) == 0 {
			return badRequest("missing_required_parameter", "text.format."+cmp.Or(missing("name", f.Name == ""), "schema"),
				"Missing required parameter: 'text.format.%s'.", cmp.Or(missing("name", f.Name == ""), "schema"))
		}
		ask.schema = f.Schema
	default:
		return badRequest("invalid_value", "text.format.type", "Invalid value: '%s'.", f.Type)
	}
	return nil
}

// missing is the name if it is missing.
func missing(name string, is bool) string {
	if is {
		return name
	}
	return ""
}
