package fakellm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// conversation is the input of a response, with what came before it.
type conversation struct {
	shelf *shelf
	owner string
	id    string // of the response that is being made

	words    int64
	image    int
	resulted bool
	items    [][]byte // as GET …/input_items shows them
	open     map[string]struct{}
}

// follow continues the response that previous_response_id names. To another account it does not exist.
func (c *conversation) follow(previous *string) *apiError {
	c.open = map[string]struct{}{}
	if previous == nil {
		return nil
	}
	m := c.shelf.find(c.owner, *previous)
	if m == nil {
		return badRequest("previous_response_not_found", "previous_response_id",
			"Previous response with id '%s' not found.", *previous)
	}
	c.words = m.words
	for i := range m.said.calls {
		c.open[m.callID(i)] = struct{}{}
	}
	return nil
}

func (c *conversation) read(raw json.RawMessage) *apiError {
	var text string
	if json.Unmarshal(raw, &text) == nil && len(raw) > 0 && raw[0] == '"' {
		c.words += words(text)
		item := appendString([]byte(`{"type":"message","status":"completed","role":"user","content":[{"type":"input_text","text":`), text)
		c.keep("", append(item, "}]}"...))
		return c.close()
	}
	var items []json.RawMessage
	if len(raw) == 0 || string(raw) == "null" {
		return badRequest("missing_required_parameter", "input", "Missing required parameter: 'input'.")
	}
	if json.Unmarshal(raw, &items) != nil {
		return badRequest("invalid_type", "input", "Invalid type for 'input': expected one of a string or array of objects.")
	}
	thought := "" // the reasoning item that waits for what it led to
	for i, item := range items {
		kind, fault := c.readItem(i, item)
		if fault != nil {
			return fault
		}
		var head struct {
			ID   string `json:"id"`
			Role string `json:"role"`
		}
		// It has been decoded before.
		_ = json.Unmarshal(item, &head)
		if thought != "" && (kind == "function_call_output" || (kind == "message" && head.Role != "assistant")) {
			return badRequest("", "input", "Item '%s' of type 'reasoning' was provided without its required following item.",
				thought)
		}
		thought = ""
		if kind == "reasoning" {
			thought = head.ID
		}
	}
	if thought != "" {
		return badRequest("", "input", "Item '%s' of type 'reasoning' was provided without its required following item.", thought)
	}
	return c.close()
}

// close is the end of the input: every call must have its output.
func (c *conversation) close() *apiError {
	if len(c.open) > 0 {
		return badRequest("", "input", "No tool output found for function call %s.", slices.Min(slices.Collect(maps.Keys(c.open))))
	}
	return nil
}

// keep lists an item as GET …/input_items will show it, with an id if it has none.
func (c *conversation) keep(id string, raw []byte) {
	if id == "" {
		head := fmt.Appendf(nil, `{"id":"item_%s_%d",`, c.id, len(c.items))
		raw = append(head, raw[1:]...)
	}
	c.items = append(c.items, raw)
}

// readItem reads one item of the input list and says what kind it is.
func (c *conversation) readItem(i int, raw json.RawMessage) (string, *apiError) {
	at := fmt.Sprintf("input[%d]", i)
	var item struct {
		Type      string          `json:"type"`
		ID        string          `json:"id"`
		Role      string          `json:"role"`
		Content   json.RawMessage `json:"content"`
		CallID    string          `json:"call_id"`
		Name      string          `json:"name"`
		Arguments *string         `json:"arguments"`
		Output    json.RawMessage `json:"output"`
		Encrypted *string         `json:"encrypted_content"`
		Summary   json.RawMessage `json:"summary"`
	}
	if json.Unmarshal(raw, &item) != nil || raw[0] != '{' {
		return "", badRequest("invalid_type", at, "Invalid type for '%s': expected an object.", at)
	}
	require := func(ok bool, name string) *apiError {
		if ok {
			return nil
		}
		return badRequest("missing_required_parameter", at+"."+name, "Missing required parameter: '%s.%s'.", at, name)
	}
	c.keep(item.ID, raw)
	if item.Type == "" && item.Role != "" {
		item.Type = "message"
	}
	c.resulted = item.Type == "function_call_output" || item.Type == "custom_tool_call_output"
	var fault *apiError
	switch item.Type {
	case "message":
		fault = c.readMessage(at, item.Role, item.Content)
	case "function_call":
		if fault = require(item.CallID != "", "call_id"); fault == nil {
			fault = require(item.Name != "" && item.Arguments != nil, "arguments")
		}
		if fault == nil && !json.Valid([]byte(*item.Arguments)) {
			fault = badRequest("invalid_value", at+".arguments", "the arguments are not JSON")
		}
		c.open[item.CallID] = struct{}{}
	case "function_call_output":
		if _, asked := c.open[item.CallID]; !asked {
			return "", badRequest("", "input", "No tool call found for function call output with call_id %s.", item.CallID)
		}
		delete(c.open, item.CallID)
		if fault = require(len(item.Output) > 0, "output"); fault == nil {
			fault = c.readContent(at+".output", "user", item.Output)
		}
	case "reasoning":
		if fault = require(len(item.Summary) > 0, "summary"); fault == nil {
			fault = c.readReasoning(item.ID, item.Encrypted)
		}
	case "item_reference":
		if !c.shelf.holds(c.owner, item.ID) {
			fault = missingItem(item.ID)
		}
	case "custom_tool_call", "custom_tool_call_output", "web_search_call", "file_search_call", "computer_call",
		"computer_call_output", "image_generation_call", "code_interpreter_call", "local_shell_call",
		"local_shell_call_output", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call", "compaction",
		"compaction_trigger", "tool_search_call", "tool_search_output", "shell_call", "shell_call_output", "apply_patch_call",
		"apply_patch_call_output", "additional_tools", "configuration_update", "program", "program_output":
	default:
		fault = badRequest("invalid_value", at+".type", "Invalid value: '%s'.", item.Type)
	}
	return item.Type, fault
}

func missingItem(id string) *apiError {
	fault := badRequest("", "input", "Item with id '%s' not found. Items are not persisted when `store` is set to false. "+
		"Try again with `store` set to true, or remove this item from your input.", id)
	fault.status = 404
	return fault
}

// readReasoning accepts what this provider has thought: by its own encryption, or by an id that it has kept.
func (c *conversation) readReasoning(id string, encrypted *string) *apiError {
	if encrypted == nil {
		if !c.shelf.holds(c.owner, id) {
			return missingItem(id)
		}
		return nil
	}
	if !genuine(*encrypted) {
		return badRequest("invalid_encrypted_content", "", "The encrypted content for item %s could not be verified.", id)
	}
	return nil
}

func (c *conversation) readMessage(at, role string, content json.RawMessage) *apiError {
	if !slices.Contains([]string{"user", "assistant", "system", "developer"}, role) {
		return badRequest("invalid_value", at+".role", "Invalid value: '%s'. Supported values are: 'assistant', 'system', "+
			"'developer', and 'user'.", role)
	}
	if len(content) == 0 {
		return badRequest("missing_required_parameter", at+".content", "Missing required parameter: '%s.content'.", at)
	}
	return c.readContent(at+".content", role, content)
}

// readContent reads a string or parts. What the model said and what it was told have parts of different kinds.
func (c *conversation) readContent(at, role string, raw json.RawMessage) *apiError {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		c.words += words(text)
		return nil
	}
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		Refusal  string `json:"refusal"`
		ImageURL string `json:"image_url"`
		FileID   string `json:"file_id"`
		FileURL  string `json:"file_url"`
		FileData string `json:"file_data"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return badRequest("invalid_type", at, "Invalid type for '%s': expected one of a string or array of objects.", at)
	}
	kinds := []string{"input_text", "input_image", "input_file"}
	if role == "assistant" {
		kinds = []string{"output_text", "refusal"}
	}
	for i, part := range parts {
		if !slices.Contains(kinds, part.Type) {
			return badRequest("invalid_value", fmt.Sprintf("%s[%d]", at, i), "Invalid value: '%s'. Supported values are: %s.",
				part.Type, "'"+strings.Join(kinds, "', '")+"'")
		}
		c.words += words(part.Text) + words(part.Refusal)
		if part.Type == "input_image" && part.FileID == "" {
			size, err := imageSize(part.ImageURL)
			if err != nil {
				return badRequest("invalid_value", fmt.Sprintf("%s[%d].image_url", at, i), "%s", err.Error())
			}
			c.image = size
		}
		if part.Type == "input_file" && part.FileID == "" && part.FileURL == "" && part.FileData == "" {
			return badRequest("missing_required_parameter", fmt.Sprintf("%s[%d]", at, i), "a file is given by id, URL or data")
		}
	}
	return nil
}
