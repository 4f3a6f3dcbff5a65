package fakellm

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// decodeGenerate checks a request for content and decides what is answered.
func (x *exchange) decodeGenerate(body []byte, model string, form geminiForm) (answer, *apiError) {
	var r geminiGenerate
	if fault := decodeShape(body, &r); fault != nil {
		return answer{}, fault
	}
	if fault := x.knowsGeminiModel(model, "generateContent"); fault != nil {
		return answer{}, fault
	}
	if r.Model != "" && r.Model != "models/"+model {
		return answer{}, geminiBad("* GenerateContentRequest.model: model does not match the one in the request's path\n")
	}
	p, fault := r.check(model)
	if fault != nil {
		return answer{}, fault
	}
	s, fault := p.say()
	if fault != nil {
		return answer{}, fault
	}
	if s.blocked != "" {
		s.usage.output, s.reasoning = 0, 0
	}
	c := contentAnswer{utterance: s, model: model, form: form, thinks: p.thinks, shown: r.shown()}
	media := ""
	if form == arrayGemini {
		media = "application/json; charset=UTF-8"
	}
	return answer{
		model: model, stream: form != wholeGemini, usage: s.usage,
		whole: c.whole, events: c.events, cut: x.framing(c.last, media),
	}, nil
}

// thinks says whether the model thinks: because it was asked to, or because by its name it always does.
func (r *geminiGenerate) thinks(model string) bool {
	if r.GenerationConfig != nil && r.GenerationConfig.ThinkingConfig != nil {
		t := r.GenerationConfig.ThinkingConfig
		if t.ThinkingBudget != nil {
			return *t.ThinkingBudget != 0
		}
		if t.ThinkingLevel != "" || t.IncludeThoughts {
			return true
		}
	}
	return strings.HasPrefix(model, "gemini-3") || strings.Contains(model, "think")
}

func (r *geminiGenerate) shown() bool {
	return r.GenerationConfig != nil && r.GenerationConfig.ThinkingConfig != nil && r.GenerationConfig.ThinkingConfig.IncludeThoughts
}

// check looks for what makes no sense, in the order in which Google would come upon it.
func (r *geminiGenerate) check(model string) (dialogue, *apiError) {
	p := dialogue{thinks: r.thinks(model)}
	if len(r.Contents) == 0 {
		return p, geminiBad("* GenerateContentRequest.contents: contents is not specified\n")
	}
	for i, c := range r.Contents {
		path := "GenerateContentRequest.contents[" + strconv.Itoa(i) + "]"
		if fault := c.check(path); fault != nil {
			return p, fault
		}
		if c.Role == "system" || c.Role == "" && len(r.Contents) > 1 {
			return p, geminiBad("Please use a valid role: user, model.")
		}
	}
	if r.SystemInstruction != nil {
		if fault := r.SystemInstruction.check("GenerateContentRequest.system_instruction"); fault != nil {
			return p, fault
		}
		for _, part := range r.SystemInstruction.Parts {
			if part.Text == nil {
				return p, geminiBad("* GenerateContentRequest.system_instruction: only text is supported\n")
			}
			p.input += words(*part.Text)
		}
	}
	for _, check := range []func(*dialogue) *apiError{r.checkTools, r.checkConfig, r.checkTurns, r.checkSignatures} {
		if fault := check(&p); fault != nil {
			return p, fault
		}
	}
	r.hear(&p)
	return p, nil
}

func (c *geminiContent) check(path string) *apiError {
	if !slices.Contains([]string{"", "user", "model", "function", "system"}, c.Role) {
		return geminiBad("Please use a valid role: user, model.")
	}
	if len(c.Parts) == 0 {
		return geminiBad("* %s.parts: contents.parts must not be empty.\n", path)
	}
	for i, part := range c.Parts {
		path := path + ".parts[" + strconv.Itoa(i) + "]"
		set := 0
		for _, is := range []bool{
			part.Text != nil, part.InlineData != nil, part.FileData != nil, part.FunctionCall != nil,
			part.FunctionResponse != nil, given(part.ExecutableCode), given(part.CodeExecutionResult),
		} {
			if is {
				set++
			}
		}
		switch {
		case set == 0:
			return geminiBad("* %s.data: required oneof field 'data' must have one initialized field\n", path)
		case set > 1:
			return geminiBad("Invalid value at '%s' (oneof), oneof field 'data' is already set.", path)
		case part.InlineData != nil && !geminiMedia(part.InlineData.MIMEType):
			return geminiBad("Unsupported MIME type: %s", part.InlineData.MIMEType)
		case part.InlineData != nil && len(part.InlineData.Data) == 0:
			return geminiBad("* %s.inline_data.data: Unable to process input image.\n", path)
		case part.FunctionCall != nil && part.FunctionCall.Name == "":
			return geminiBad("* %s.function_call.name: Name cannot be empty.\n", path)
		case part.FunctionCall != nil && given(part.FunctionCall.Args) && part.FunctionCall.Args[0] != '{':
			return geminiBad("Invalid value at '%s.function_call.args' (type.googleapis.com/google.protobuf.Struct)", path)
		case part.FunctionResponse != nil && part.FunctionResponse.Name == "":
			return geminiBad("* %s.function_response.name: Name cannot be empty.\n", path)
		case part.FunctionResponse != nil && (!given(part.FunctionResponse.Response) || part.FunctionResponse.Response[0] != '{'):
			return geminiBad("Invalid value at '%s.function_response.response' (type.googleapis.com/google.protobuf.Struct)", path)
		case part.FunctionCall != nil && c.Role != "model":
			return geminiBad("Please ensure that function call turns have the role model.")
		case part.FunctionResponse != nil && c.Role == "model":
			return geminiBad("Please ensure that function response turns have the role user.")
		}
	}
	return nil
}

// given says whether a raw value is there.
func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func geminiMedia(media string) bool {
	switch media {
	case "image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "application/pdf", "application/json":
		return true
	}
	kind, _, _ := strings.Cut(media, "/")
	return kind == "audio" || kind == "video" || kind == "text"
}

func (r *geminiGenerate) checkTools(p *dialogue) *apiError {
	for i, tool := range r.Tools {
		for j, f := range tool.FunctionDeclarations {
			path := "GenerateContentRequest.tools[" + strconv.Itoa(i) + "].function_declarations[" + strconv.Itoa(j) + "]"
			if !toolName(f.Name, 64, ".:") || strings.IndexByte("0123456789.:-", f.Name[0]) >= 0 {
				return geminiBad("* %s.name: [FIELD_INVALID] Invalid function name. Must start with a letter or an underscore. "+
					"Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum "+
					"length of 64.\n", path)
			}
			if slices.ContainsFunc(p.tools, func(t offeredTool) bool { return t.name == f.Name }) {
				return geminiBad("Duplicate function declaration found: %s", f.Name)
			}
			if f.Parameters != nil && given(f.ParametersJSONSchema) {
				return geminiBad("* %s: only one of parameters and parameters_json_schema may be set\n", path)
			}
			if fault := f.Parameters.check(path + ".parameters"); fault != nil {
				return fault
			}
			p.tools = append(p.tools, offeredTool{name: f.Name, schema: f.schema()})
		}
	}
	if r.ToolConfig == nil || r.ToolConfig.FunctionCallingConfig == nil {
		return nil
	}
	c := r.ToolConfig.FunctionCallingConfig
	switch c.Mode {
	case "", "MODE_UNSPECIFIED", "AUTO":
	case "NONE":
		p.silent = true
	case "ANY", "VALIDATED":
		if len(p.tools) == 0 {
			return geminiBad("Function calling config is set without function_declarations.")
		}
		p.only = c.AllowedFunctionNames
	default:
		return geminiBad("Invalid value at 'tool_config.function_calling_config.mode' "+
			"(type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode), %q", c.Mode)
	}
	if len(c.AllowedFunctionNames) > 0 && c.Mode != "ANY" && c.Mode != "VALIDATED" {
		return geminiBad("Allowed function names can only be set when function calling mode is ANY.")
	}
	for _, name := range c.AllowedFunctionNames {
		if !slices.ContainsFunc(p.tools, func(t offeredTool) bool { return t.name == name }) {
			return geminiBad("Allowed function name %s is not among the function declarations.", name)
		}
	}
	return nil
}

// schema is what the function's arguments are to look like.
func (f *geminiFunction) schema() json.RawMessage {
	if f.Parameters == nil {
		return f.ParametersJSONSchema
	}
	return f.Parameters.raw()
}

func (s *geminiSchema) raw() json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		// It was decoded from JSON.
		panic(err)
	}
	return withoutEmpty(raw)
}

// withoutEmpty leaves out what marshaling a struct adds, so that an empty enum is none.
func withoutEmpty(raw []byte) []byte {
	v := gjson.ParseBytes(raw)
	if !v.IsObject() {
		return raw
	}
	out := []byte{'{'}
	v.ForEach(func(key, value gjson.Result) bool {
		if value.Type == gjson.Null || value.Raw == `""` || value.Raw == "[]" {
			return true
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, key.Raw...), ':'), withoutEmpty([]byte(value.Raw))...)
		return true
	})
	return append(out, '}')
}

func (s *geminiSchema) check(path string) *apiError {
	if s == nil {
		return nil
	}
	switch strings.ToUpper(s.Type) {
	case "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL":
	case "":
		if len(s.AnyOf) == 0 {
			return geminiBad("* %s.type: must be specified\n", path)
		}
	default:
		return geminiBad("Invalid value at '%s.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), %q", path, s.Type)
	}
	if strings.EqualFold(s.Type, "ARRAY") && s.Items == nil {
		return geminiBad("* %s.items: missing field.\n", path)
	}
	for _, name := range s.Required {
		if _, ok := s.Properties[name]; !ok {
			return geminiBad("* %s.required: property is not defined: %s\n", path, name)
		}
	}
	for name, inner := range s.Properties {
		if fault := inner.check(path + ".properties[" + name + "]"); fault != nil {
			return fault
		}
	}
	for i, inner := range s.AnyOf {
		if fault := inner.check(path + ".any_of[" + strconv.Itoa(i) + "]"); fault != nil {
			return fault
		}
	}
	return s.Items.check(path + ".items")
}

func (r *geminiGenerate) checkConfig(p *dialogue) *apiError {
	const path = "* GenerateContentRequest.generation_config."
	c := r.GenerationConfig
	if c == nil {
		return nil
	}
	switch {
	case c.Temperature != nil && (*c.Temperature < 0 || *c.Temperature > 2):
		return geminiBad(path + "temperature: temperature must be in the range [0.0, 2.0].\n")
	case c.TopP != nil && (*c.TopP < 0 || *c.TopP > 1):
		return geminiBad(path + "top_p: top_p must be in the range [0.0, 1.0].\n")
	case c.MaxOutputTokens != nil && *c.MaxOutputTokens < 1:
		return geminiBad(path + "max_output_tokens: max_output_tokens must be positive.\n")
	case c.CandidateCount != nil && *c.CandidateCount != 1:
		return geminiBad("Multiple candidates is not enabled for this model")
	case len(c.StopSequences) > 5:
		return geminiBad(path + "stop_sequences: at most 5 stop sequences may be specified.\n")
	case c.ResponseSchema != nil && given(c.ResponseJSONSchema):
		return geminiBad(path + "response_schema: only one of response_schema and response_json_schema may be set\n")
	case (c.ResponseSchema != nil || given(c.ResponseJSONSchema)) && c.ResponseMIMEType != "application/json":
		return geminiBad(path + "response_schema: only allowed with response_mime_type application/json\n")
	case !slices.Contains([]string{"", "text/plain", "application/json", "text/x.enum"}, c.ResponseMIMEType):
		return geminiBad(path + "response_mime_type: allowed mimetypes are `text/plain`, `application/json` and `text/x.enum`.\n")
	case c.Logprobs != nil && (c.ResponseLogprobs == nil || !*c.ResponseLogprobs):
		return geminiBad("logprobs requires response_logprobs to be true.")
	}
	if fault := c.ResponseSchema.check("GenerateContentRequest.generation_config.response_schema"); fault != nil {
		return fault
	}
	p.limit, p.stops = c.MaxOutputTokens, c.StopSequences
	switch {
	case c.ResponseSchema != nil:
		p.schema = c.ResponseSchema.raw()
	case given(c.ResponseJSONSchema):
		p.schema = c.ResponseJSONSchema
	case c.ResponseMIMEType == "application/json":
		p.schema = json.RawMessage(`{"type":"object"}`)
	}
	if t := c.ThinkingConfig; t != nil {
		switch {
		case t.ThinkingBudget != nil && t.ThinkingLevel != "":
			return geminiBad("You can only set only one of thinking budget and thinking level.")
		case t.ThinkingBudget != nil && (*t.ThinkingBudget < -1 || *t.ThinkingBudget > 32768):
			return geminiBad("The thinking budget %d is invalid. Please choose a value between 0 and 32768.", *t.ThinkingBudget)
		case !slices.Contains([]string{"", "THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH"}, strings.ToUpper(t.ThinkingLevel)):
			return geminiBad("Invalid value at 'generation_config.thinking_config.thinking_level' "+
				"(type.googleapis.com/google.ai.generativelanguage.v1beta.ThinkingConfig.ThinkingLevel), %q", t.ThinkingLevel)
		case t.IncludeThoughts && t.ThinkingBudget != nil && *t.ThinkingBudget == 0:
			return geminiBad("Unable to include thoughts when thinking is disabled.")
		}
	}
	return nil
}
