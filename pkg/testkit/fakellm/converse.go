package fakellm

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

type converseRequest struct {
	Messages        []converseMessage `json:"messages"`
	System          []json.RawMessage `json:"system"`
	RequestMetadata map[string]string `json:"requestMetadata"`
	InferenceConfig struct {
		MaxTokens     *int64   `json:"maxTokens"`
		Temperature   *float64 `json:"temperature"`
		TopP          *float64 `json:"topP"`
		StopSequences []string `json:"stopSequences"`
	} `json:"inferenceConfig"`
	ToolConfig *struct {
		Tools []struct {
			ToolSpec *struct {
				Name        string `json:"name"`
				InputSchema struct {
					JSON json.RawMessage `json:"json"`
				} `json:"inputSchema"`
			} `json:"toolSpec"`
			CachePoint json.RawMessage `json:"cachePoint"`
		} `json:"tools"`
		ToolChoice struct {
			Auto json.RawMessage `json:"auto"`
			Any  json.RawMessage `json:"any"`
			Tool *struct {
				Name string `json:"name"`
			} `json:"tool"`
		} `json:"toolChoice"`
	} `json:"toolConfig"`
	Additional struct {
		Thinking *thinkingSwitch `json:"thinking"`
	} `json:"additionalModelRequestFields"`
	OutputConfig struct {
		TextFormat struct {
			Type      string `json:"type"`
			Structure struct {
				JSONSchema struct {
					Schema string `json:"schema"`
				} `json:"jsonSchema"`
			} `json:"structure"`
		} `json:"textFormat"`
	} `json:"outputConfig"`
}

// thinkingSwitch is Anthropic's, which Bedrock hands on.
type thinkingSwitch struct {
	Type         string `json:"type"`
	BudgetTokens int64  `json:"budget_tokens"`
}

// leastBudget is the least that one may think with.
const leastBudget = 1024

// fixedThinking is how many tokens a budget makes.
const fixedThinking = 8

// check says how many tokens are thought.
func (t *thinkingSwitch) check(limit *int64) (int64, *apiError) {
	switch {
	case t == nil || t.Type == "disabled":
		return 0, nil
	case t.Type == "adaptive":
		return fixedThinking, nil
	case t.Type != "enabled":
		return 0, validation("thinking.type: Input should be 'enabled', 'disabled' or 'adaptive'")
	case t.BudgetTokens < leastBudget:
		return 0, validation("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
	case limit != nil && *limit <= t.BudgetTokens:
		return 0, validation("`max_tokens` must be greater than `thinking.budget_tokens`.")
	}
	return fixedThinking, nil
}

type converseMessage struct {
	Role    string                       `json:"role"`
	Content []map[string]json.RawMessage `json:"content"`
}

func converseFields() []string {
	return []string{
		"messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "additionalModelRequestFields",
		"additionalModelResponseFieldPaths", "promptVariables", "requestMetadata", "performanceConfig", "serviceTier",
		"outputConfig",
	}
}

func decodeConverse(body []byte, stream bool) (answer, *apiError) {
	if fault := known(body, converseFields()...); fault != nil {
		return answer{}, validation("%s", fault.message)
	}
	var r converseRequest
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, validation("%s", fault.message)
	}
	p, fault := r.prompt()
	if fault != nil {
		return answer{}, fault
	}
	c := converseAnswer{said: p.say()}
	if c.said.usage, fault = c.said.usage.override(r.RequestMetadata); fault != nil {
		return answer{}, validation("%s", fault.message)
	}
	return answer{
		stream: stream, usage: c.said.usage, whole: c.whole, events: c.events,
		cut: &framing{media: amazonMedia, last: c.last, fault: streamException},
	}, nil
}

func (r *converseRequest) prompt() (prompt, *apiError) {
	p := prompt{limit: r.InferenceConfig.MaxTokens}
	if fault := checkLimit("inferenceConfig.maxTokens", p.limit); fault != nil {
		return p, validation("%s", fault.message)
	}
	var fault *apiError
	if p.thinking, fault = r.Additional.Thinking.check(p.limit); fault != nil {
		return p, fault
	}
	if t := r.InferenceConfig.Temperature; t != nil && (*t < 0 || *t > 1) {
		return p, validation("Value '%g' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have "+
			"value less than or equal to 1", *t)
	}
	if t := r.InferenceConfig.Temperature; t != nil && *t != 1 && p.thinking > 0 {
		return p, validation("`temperature` may only be set to 1 when thinking is enabled.")
	}
	if f := r.OutputConfig.TextFormat; f.Type == "json_schema" {
		p.schema = json.RawMessage(f.Structure.JSONSchema.Schema)
		if !json.Valid(p.schema) {
			return p, validation("outputConfig.textFormat.structure.jsonSchema.schema is not a JSON schema")
		}
	}
	for i, raw := range r.System {
		var block struct {
			Text *string `json:"text"`
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil || len(members) != 1 || json.Unmarshal(raw, &block) != nil {
			return p, validation("system.%d is not one of text, guardContent, cachePoint", i)
		}
		if block.Text != nil {
			p.words += words(*block.Text)
		}
	}
	if fault := r.readTools(&p); fault != nil {
		return p, fault
	}
	return p, r.readMessages(&p)
}

func (r *converseRequest) readTools(p *prompt) *apiError {
	if r.ToolConfig == nil {
		return nil
	}
	if len(r.ToolConfig.Tools) == 0 {
		return validation("Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or " +
			"equal to 1")
	}
	for i, t := range r.ToolConfig.Tools {
		if t.ToolSpec == nil {
			if len(t.CachePoint) == 0 {
				return validation("toolConfig.tools.%d is none of toolSpec, systemTool, cachePoint", i)
			}
			continue
		}
		if t.ToolSpec.Name == "" || len(t.ToolSpec.InputSchema.JSON) == 0 {
			return validation("toolConfig.tools.%d.toolSpec needs a name and inputSchema.json", i)
		}
		tool, err := function(t.ToolSpec.Name, t.ToolSpec.InputSchema.JSON)
		if err != nil {
			return validation("The value at toolConfig.tools.%d.toolSpec.inputSchema.json is invalid.", i)
		}
		p.tools = append(p.tools, tool)
	}
	if choice := r.ToolConfig.ToolChoice.Tool; choice != nil {
		p.tool = choice.Name
	}
	return nil
}

// readMessages checks that turns take turns, and that every call is answered in the turn after it.
func (r *converseRequest) readMessages(p *prompt) *apiError {
	if len(r.Messages) == 0 || r.Messages[0].Role != "user" {
		return validation("A conversation must start with a user message. Try again with a conversation that starts with a " +
			"user message.")
	}
	var asked map[string]struct{}
	for i, m := range r.Messages {
		want := "user"
		if i%2 == 1 {
			want = "assistant"
		}
		if m.Role != want {
			return validation("A conversation must alternate between user and assistant roles. Make sure the conversation "+
				"alternates between user and assistant roles and try again: messages.%d has role %q.", i, m.Role)
		}
		if len(m.Content) == 0 {
			return validation("The content field in the Message object at messages.%d is empty. Add a ContentBlock object to "+
				"the content field and try again.", i)
		}
		turn := converseTurn{at: fmt.Sprintf("messages.%d.content", i), role: m.Role, asked: asked, calls: map[string]struct{}{}}
		for k, block := range m.Content {
			if fault := turn.read(k, block, p); fault != nil {
				return fault
			}
		}
		if len(turn.asked) > 0 {
			return validation("Expected toolResult blocks at %s for the following Ids: %s", turn.at,
				slices.Min(slices.Collect(maps.Keys(turn.asked))))
		}
		if turn.tools && r.ToolConfig == nil {
			return validation("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
		}
		if len(turn.calls) > 0 && p.thinking > 0 && !turn.thought {
			return validation("The model returned the following errors: messages.%d.content.0.type: Expected `thinking` or "+
				"`redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start "+
				"with a thinking block (preceding the lastmost set of `tool_use` and `tool_result` blocks).", i)
		}
		asked, p.resulted = turn.calls, turn.results
	}
	if len(asked) > 0 {
		return validation("Expected toolResult blocks after messages.%d for its toolUse blocks", len(r.Messages)-1)
	}
	return nil
}

// converseTurn is one message while it is read.
type converseTurn struct {
	at, role       string
	asked, calls   map[string]struct{} // ids of the turn before that wait for a result; of this turn
	tools, results bool
	thought        bool
}

func (t *converseTurn) read(k int, block map[string]json.RawMessage, p *prompt) *apiError {
	at := fmt.Sprintf("%s.%d", t.at, k)
	if len(block) != 1 {
		return validation("ContentBlock object at %s must set one of the following keys: text, image, toolUse, toolResult, "+
			"document, video, cachePoint, reasoningContent, citationsContent, searchResult.", at)
	}
	for kind, raw := range block {
		switch kind {
		case "text":
			var text string
			if json.Unmarshal(raw, &text) != nil || text == "" {
				return validation("The text field in the ContentBlock object at %s is blank. Add text to the text field, and "+
					"try again.", at)
			}
			p.words += words(text)
		case "image":
			return readConverseImage(at, raw, p)
		case "toolUse":
			return t.readUse(at, raw)
		case "toolResult":
			return t.readResult(at, raw, p)
		case "reasoningContent":
			if t.role != "assistant" || k != 0 {
				return validation("%s: reasoningContent must begin an assistant's message", at)
			}
			t.thought = true
			return readThought(at, raw)
		case "document", "video", "audio", "guardContent", "cachePoint", "citationsContent", "searchResult":
		default:
			return validation("%s: unknown content block %q", at, kind)
		}
	}
	return nil
}

func readConverseImage(at string, raw json.RawMessage, p *prompt) *apiError {
	var image struct {
		Format string `json:"format"`
		Source struct {
			Bytes      []byte          `json:"bytes"`
			S3Location json.RawMessage `json:"s3Location"`
		} `json:"source"`
	}
	if json.Unmarshal(raw, &image) != nil || !slices.Contains([]string{"png", "jpeg", "gif", "webp"}, image.Format) {
		return validation("Value at '%s.image.format' failed to satisfy constraint: Member must satisfy enum value set: "+
			"[png, jpeg, gif, webp]", at)
	}
	if len(image.Source.Bytes) == 0 && len(image.Source.S3Location) == 0 {
		return validation("%s.image.source has neither bytes nor s3Location", at)
	}
	p.image = max(len(image.Source.Bytes), 1)
	return nil
}

func (t *converseTurn) readUse(at string, raw json.RawMessage) *apiError {
	var use struct {
		ID    string                     `json:"toolUseId"`
		Name  string                     `json:"name"`
		Input map[string]json.RawMessage `json:"input"`
	}
	if json.Unmarshal(raw, &use) != nil || use.ID == "" || use.Name == "" || use.Input == nil || t.role != "assistant" {
		return validation("The format of the value at %s.toolUse.input is invalid. Provide a json object for the field and try "+
			"again.", at)
	}
	t.calls[use.ID], t.tools = struct{}{}, true
	return nil
}

func (t *converseTurn) readResult(at string, raw json.RawMessage, p *prompt) *apiError {
	var result struct {
		ID      string                       `json:"toolUseId"`
		Status  string                       `json:"status"`
		Content []map[string]json.RawMessage `json:"content"`
	}
	if json.Unmarshal(raw, &result) != nil || result.Content == nil || !slices.Contains([]string{"", "success", "error"}, result.Status) {
		return validation("%s.toolResult needs toolUseId and content, and a status of success or error", at)
	}
	if _, waits := t.asked[result.ID]; !waits {
		return validation("The number of toolResult blocks at %s exceeds the number of toolUse blocks of previous turn.", t.at)
	}
	delete(t.asked, result.ID)
	for _, block := range result.Content {
		var text string
		if json.Unmarshal(block["text"], &text) == nil {
			p.words += words(text)
		}
	}
	t.tools, t.results = true, true
	return nil
}

// thoughtSignature vouches for a thought; nobody else can make it by accident.
func thoughtSignature(thought string) string {
	sum := sha256.Sum256([]byte("a thought of the fake provider: " + thought))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func readThought(at string, raw json.RawMessage) *apiError {
	var thought struct {
		Text *struct {
			Text      string `json:"text"`
			Signature string `json:"signature"`
		} `json:"reasoningText"`
		Redacted []byte `json:"redactedContent"`
	}
	if json.Unmarshal(raw, &thought) != nil || (thought.Text == nil) == (len(thought.Redacted) == 0) {
		return validation("%s.reasoningContent must be one of reasoningText, redactedContent", at)
	}
	if thought.Text != nil && thought.Text.Signature != thoughtSignature(thought.Text.Text) {
		return validation("The model returned the following errors: %s: Invalid `signature` in `thinking` block", at)
	}
	return nil
}
