package fakellm

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Gemini's content as Vertex takes and gives it.

type vertexGeminiRequest struct {
	Contents          []vertexContent   `json:"contents"`
	SystemInstruction *vertexContent    `json:"systemInstruction"`
	Labels            map[string]string `json:"labels"`
	Tools             []struct {
		FunctionDeclarations []struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
			JSONSchema json.RawMessage `json:"parametersJsonSchema"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
	ToolConfig struct {
		FunctionCallingConfig struct {
			Mode    string   `json:"mode"`
			Allowed []string `json:"allowedFunctionNames"`
		} `json:"functionCallingConfig"`
	} `json:"toolConfig"`
	GenerationConfig struct {
		MaxOutputTokens *int64          `json:"maxOutputTokens"`
		MIME            string          `json:"responseMimeType"`
		Schema          json.RawMessage `json:"responseSchema"`
		JSONSchema      json.RawMessage `json:"responseJsonSchema"`
		Thinking        struct {
			Budget  *int64 `json:"thinkingBudget"`
			Level   string `json:"thinkingLevel"`
			Include bool   `json:"includeThoughts"`
		} `json:"thinkingConfig"`
	} `json:"generationConfig"`
}

type vertexContent struct {
	Role  string       `json:"role"`
	Parts []vertexPart `json:"parts"`
}

type vertexPart struct {
	Text       *string `json:"text"`
	Thought    bool    `json:"thought"`
	Signature  string  `json:"thoughtSignature"`
	InlineData *struct {
		Data []byte `json:"data"`
	} `json:"inlineData"`
	FileData         json.RawMessage `json:"fileData"`
	FunctionCall     *vertexCall     `json:"functionCall"`
	FunctionResponse *vertexCall     `json:"functionResponse"`
}

type vertexCall struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// unsigned is what Google documents for a call that another model made.
const unsigned = "skip_thought_signature_validator"

func readVertexGemini(body []byte) (*vertexGeminiRequest, prompt, *apiError) {
	var r vertexGeminiRequest
	if fault := known(body, "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings",
		"cachedContent", "labels"); fault != nil {
		return nil, prompt{}, badRequest("", "", "Invalid JSON payload received. Unknown name \"%s\": Cannot find field.", fault.param)
	}
	if fault := decodeInto(body, &r); fault != nil {
		return nil, prompt{}, fault
	}
	g := r.GenerationConfig
	p := prompt{limit: g.MaxOutputTokens, quiet: r.ToolConfig.FunctionCallingConfig.Mode == "NONE"}
	if fault := checkLimit("maxOutputTokens", p.limit); fault != nil {
		return nil, p, fault
	}
	if t := g.Thinking; t.Level != "" || t.Include || t.Budget != nil && *t.Budget != 0 {
		p.thinking = fixedThinking
	}
	if g.MIME == "application/json" {
		if p.schema = g.JSONSchema; len(p.schema) == 0 {
			p.schema = g.Schema
		}
	}
	if allowed := r.ToolConfig.FunctionCallingConfig.Allowed; len(allowed) > 0 {
		p.tool = allowed[0]
	}
	for _, t := range r.Tools {
		for _, d := range t.FunctionDeclarations {
			schema := d.JSONSchema
			if len(schema) == 0 {
				schema = lowerTypes(d.Parameters)
			}
			tool, err := function(d.Name, schema)
			if err != nil || d.Name == "" {
				return nil, p, badRequest("", "", "Invalid function declaration %q.", d.Name)
			}
			p.tools = append(p.tools, tool)
		}
	}
	fault := r.readContents(&p)
	return &r, p, fault
}

func (r *vertexGeminiRequest) readContents(p *prompt) *apiError {
	if len(r.Contents) == 0 {
		return badRequest("", "", "Unable to submit request because at least one contents field is required.")
	}
	if r.SystemInstruction != nil {
		for _, part := range r.SystemInstruction.Parts {
			if part.Text != nil {
				p.words += words(*part.Text)
			}
		}
	}
	calls := 0
	for i, c := range r.Contents {
		if c.Role != "user" && c.Role != "model" {
			return badRequest("", "", "Please use a valid role: user, model.")
		}
		if len(c.Parts) == 0 {
			return badRequest("", "", "Unable to submit request because it must include at least one parts field.")
		}
		asked, results := 0, 0
		for k, part := range c.Parts {
			switch {
			case part.FunctionCall != nil:
				if asked == 0 && p.thinking > 0 && part.Signature == "" {
					return badRequest("", "", "Function call is missing a thought_signature in functionCall parts. This is required "+
						"for tools to work correctly, and missing thought_signature may lead to degraded model performance. "+
						"Additional data, function call `%s`, position %d.", part.FunctionCall.Name, i+1)
				}
				asked++
			case part.FunctionResponse != nil:
				results++
			case part.Text != nil:
				p.words += words(*part.Text)
			case part.InlineData != nil:
				p.image = max(1, len(part.InlineData.Data))
			case len(part.FileData) > 0:
				p.image = len(part.FileData)
			default:
				return badRequest("", "", "Unable to submit request because contents[%d].parts[%d] must have one initialized field: data.", i, k)
			}
			if part.Signature != "" && part.Signature != unsigned && part.Signature != thoughtSignature("vertex") {
				return badRequest("", "", "Corrupted thought signature.")
			}
		}
		if results != calls {
			return badRequest("", "", "Please ensure that the number of function response parts is equal to the number of function "+
				"call parts of the function call turn.")
		}
		calls, p.resulted = asked, results > 0
	}
	return nil
}

// lowerTypes spells the types of a schema of Google's own as JSON Schema does.
func lowerTypes(schema json.RawMessage) json.RawMessage {
	out := string(schema)
	for _, name := range []string{"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"} {
		out = strings.ReplaceAll(out, `"`+name+`"`, `"`+strings.ToLower(name)+`"`)
	}
	return json.RawMessage(out)
}

func decodeVertexCount(body []byte) (answer, *apiError) {
	_, p, fault := readVertexGemini(body)
	if fault != nil {
		return answer{}, fault
	}
	return answer{whole: func(stamp, bool) []byte {
		return fmt.Appendf(nil, `{"totalTokens":%d,"totalBillableCharacters":%d}`, p.words, p.words)
	}}, nil
}

// decodeVertexGemini streams when alt says how: sse or json.
func decodeVertexGemini(body []byte, model, alt string) (answer, *apiError) {
	r, p, fault := readVertexGemini(body)
	if fault != nil {
		return answer{}, fault
	}
	v := vertexAnswer{said: p.say(), model: model, array: alt == "json", thoughts: r.GenerationConfig.Thinking.Include}
	if v.said.usage, fault = v.said.usage.override(r.Labels); fault != nil {
		return answer{}, fault
	}
	cut := &framing{last: v.last, fault: func(e *apiError, sent int) []byte { return v.frame(vertexForm(e, nil), sent == 0) }}
	if v.array {
		cut.media = "application/json; charset=UTF-8"
	}
	return answer{stream: alt != "", usage: v.said.usage, whole: v.whole, events: v.events, cut: cut}, nil
}

// vertexAnswer is an answer as Gemini writes it.
type vertexAnswer struct {
	said            saying
	model           string
	array, thoughts bool
}

func (v vertexAnswer) parts() []string {
	var out []string
	if v.thoughts {
		for _, piece := range v.said.thoughts {
			out = append(out, fmt.Sprintf(`{"thought":true,"text":%s}`, appendString(nil, piece)))
		}
	}
	for _, piece := range v.said.parts {
		out = append(out, fmt.Sprintf(`{"text":%s}`, appendString(nil, piece)))
	}
	for i, call := range v.said.calls {
		part := fmt.Sprintf(`{"functionCall":{"name":%s,"args":%s}`, appendString(nil, call.name), strings.Join(call.arguments, ""))
		if i == 0 && len(v.said.thoughts) > 0 {
			part += fmt.Sprintf(`,"thoughtSignature":%q`, thoughtSignature("vertex"))
		}
		out = append(out, part+"}")
	}
	return out
}

// chunk is one response object; finish "" = it is not the last.
func (v vertexAnswer) chunk(s stamp, parts, finish string, withUsage bool) []byte {
	out := fmt.Appendf(nil, `{"candidates":[{"content":{"role":"model","parts":[%s]}`, parts)
	if finish != "" {
		out = fmt.Appendf(out, `,"finishReason":%q`, finish)
	}
	out = append(out, `}]`...)
	if withUsage {
		u := v.said.usage
		out = fmt.Appendf(out, `,"usageMetadata":{"promptTokenCount":%d,"candidatesTokenCount":%d,"totalTokenCount":%d,`+
			`"cachedContentTokenCount":%d,"thoughtsTokenCount":%d,"trafficType":"ON_DEMAND"}`,
			u.input, u.output-u.reasoning, u.input+u.output, u.cached, u.reasoning)
	}
	return fmt.Appendf(out, `,"modelVersion":%s,"createTime":"2026-01-01T00:00:00.000000Z","responseId":"fake%d"}`,
		appendString(nil, v.model), s.sequence)
}

func (v vertexAnswer) finish() string {
	if v.said.cut {
		return "MAX_TOKENS"
	}
	return "STOP"
}

func (v vertexAnswer) whole(s stamp, withUsage bool) []byte {
	joined := v
	if len(v.said.parts) > 0 {
		joined.said.parts = []string{strings.Join(v.said.parts, "")}
	}
	if len(v.said.thoughts) > 0 {
		joined.said.thoughts = []string{strings.Join(v.said.thoughts, "")}
	}
	return v.chunk(s, strings.Join(joined.parts(), ","), v.finish(), withUsage)
}

// frame puts a chunk into the stream.
func (v vertexAnswer) frame(chunk []byte, first bool) []byte {
	switch {
	case !v.array:
		return fmt.Appendf(nil, "data: %s\r\n\r\n", chunk)
	case first:
		return fmt.Appendf(nil, "[%s\n", chunk)
	}
	return fmt.Appendf(nil, ",\r\n%s\n", chunk)
}

func (v vertexAnswer) events(s stamp, withUsage bool, yield func([]byte) bool) {
	parts := v.parts()
	for i, part := range parts[:max(0, len(parts)-1)] {
		if !yield(v.frame(v.chunk(s, part, "", withUsage), i == 0)) {
			return
		}
	}
}

func (v vertexAnswer) last(s stamp, withUsage bool) []byte {
	parts, final := v.parts(), ""
	if len(parts) > 0 {
		final = parts[len(parts)-1]
	}
	out := v.frame(v.chunk(s, final, v.finish(), withUsage), len(parts) < 2)
	if v.array {
		out = append(out, ']')
	}
	return out
}
