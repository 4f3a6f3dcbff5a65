package fakellm

import "encoding/json"

// The messages of Google's API, as far as a field may be named: what a request has beyond them is refused.

type geminiGenerate struct {
	Model             string            `json:"model"`
	Contents          []geminiContent   `json:"contents"`
	SystemInstruction *geminiContent    `json:"systemInstruction"`
	Tools             []geminiTool      `json:"tools"`
	ToolConfig        *geminiToolConfig `json:"toolConfig"`
	SafetySettings    []geminiSafety    `json:"safetySettings"`
	GenerationConfig  *geminiConfig     `json:"generationConfig"`
	CachedContent     string            `json:"cachedContent"`
	ServiceTier       string            `json:"serviceTier"`
	Store             *bool             `json:"store"`
}

type geminiContent struct {
	Role  string       `json:"role"`
	Parts []geminiPart `json:"parts"`
}

type geminiPart struct {
	Text                *string         `json:"text"`
	InlineData          *geminiBlob     `json:"inlineData"`
	FileData            *geminiFile     `json:"fileData"`
	FunctionCall        *geminiCall     `json:"functionCall"`
	FunctionResponse    *geminiResult   `json:"functionResponse"`
	ExecutableCode      json.RawMessage `json:"executableCode"`
	CodeExecutionResult json.RawMessage `json:"codeExecutionResult"`
	Thought             bool            `json:"thought"`
	ThoughtSignature    []byte          `json:"thoughtSignature"`
	VideoMetadata       json.RawMessage `json:"videoMetadata"`
	MediaResolution     json.RawMessage `json:"mediaResolution"`
	PartMetadata        json.RawMessage `json:"partMetadata"`
}

type geminiBlob struct {
	MIMEType    string `json:"mimeType"`
	Data        []byte `json:"data"`
	DisplayName string `json:"displayName"`
}

type geminiFile struct {
	MIMEType string `json:"mimeType"`
	FileURI  string `json:"fileUri"`
}

type geminiCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type geminiResult struct {
	ID           string             `json:"id"`
	Name         string             `json:"name"`
	Response     json.RawMessage    `json:"response"`
	Parts        []geminiResultPart `json:"parts"`
	WillContinue *bool              `json:"willContinue"`
	Scheduling   string             `json:"scheduling"`
}

type geminiResultPart struct {
	InlineData *geminiBlob `json:"inlineData"`
}

type geminiTool struct {
	FunctionDeclarations  []geminiFunction `json:"functionDeclarations"`
	GoogleSearch          json.RawMessage  `json:"googleSearch"`
	GoogleSearchRetrieval json.RawMessage  `json:"googleSearchRetrieval"`
	CodeExecution         json.RawMessage  `json:"codeExecution"`
	URLContext            json.RawMessage  `json:"urlContext"`
	ComputerUse           json.RawMessage  `json:"computerUse"`
	FileSearch            json.RawMessage  `json:"fileSearch"`
	GoogleMaps            json.RawMessage  `json:"googleMaps"`
	MCPServers            json.RawMessage  `json:"mcpServers"`
}

type geminiFunction struct {
	Name                 string          `json:"name"`
	Description          string          `json:"description"`
	Behavior             string          `json:"behavior"`
	Parameters           *geminiSchema   `json:"parameters"`
	ParametersJSONSchema json.RawMessage `json:"parametersJsonSchema"`
	Response             *geminiSchema   `json:"response"`
	ResponseJSONSchema   json.RawMessage `json:"responseJsonSchema"`
}

// geminiSchema is Google's own selection of OpenAPI's schema, which is why so many JSON schemas are refused.
type geminiSchema struct {
	Type             string                   `json:"type"`
	Format           string                   `json:"format"`
	Title            string                   `json:"title"`
	Description      string                   `json:"description"`
	Nullable         *bool                    `json:"nullable"`
	Enum             []string                 `json:"enum"`
	MaxItems         *int64                   `json:"maxItems"`
	MinItems         *int64                   `json:"minItems"`
	Properties       map[string]*geminiSchema `json:"properties"`
	Required         []string                 `json:"required"`
	MinProperties    *int64                   `json:"minProperties"`
	MaxProperties    *int64                   `json:"maxProperties"`
	MinLength        *int64                   `json:"minLength"`
	MaxLength        *int64                   `json:"maxLength"`
	Pattern          string                   `json:"pattern"`
	Example          json.RawMessage          `json:"example"`
	AnyOf            []*geminiSchema          `json:"anyOf"`
	PropertyOrdering []string                 `json:"propertyOrdering"`
	Default          json.RawMessage          `json:"default"`
	Items            *geminiSchema            `json:"items"`
	Minimum          *float64                 `json:"minimum"`
	Maximum          *float64                 `json:"maximum"`
}

type geminiToolConfig struct {
	FunctionCallingConfig *geminiCalling  `json:"functionCallingConfig"`
	RetrievalConfig       json.RawMessage `json:"retrievalConfig"`
	// IncludeServerSideToolInvocations concerns tools that are not called here.
	IncludeServerSideToolInvocations *bool `json:"includeServerSideToolInvocations"`
}

type geminiCalling struct {
	Mode                 string   `json:"mode"`
	AllowedFunctionNames []string `json:"allowedFunctionNames"`
}

type geminiSafety struct {
	Category  string `json:"category"`
	Threshold string `json:"threshold"`
}

type geminiConfig struct {
	StopSequences      []string        `json:"stopSequences"`
	ResponseMIMEType   string          `json:"responseMimeType"`
	ResponseSchema     *geminiSchema   `json:"responseSchema"`
	ResponseJSONSchema json.RawMessage `json:"responseJsonSchema"`
	ResponseModalities []string        `json:"responseModalities"`
	CandidateCount     *int64          `json:"candidateCount"`
	MaxOutputTokens    *int64          `json:"maxOutputTokens"`
	Temperature        *float64        `json:"temperature"`
	TopP               *float64        `json:"topP"`
	TopK               *float64        `json:"topK"`
	Seed               *int64          `json:"seed"`
	PresencePenalty    *float64        `json:"presencePenalty"`
	FrequencyPenalty   *float64        `json:"frequencyPenalty"`
	ResponseLogprobs   *bool           `json:"responseLogprobs"`
	Logprobs           *int64          `json:"logprobs"`
	SpeechConfig       json.RawMessage `json:"speechConfig"`
	ThinkingConfig     *geminiThinking `json:"thinkingConfig"`
	ImageConfig        json.RawMessage `json:"imageConfig"`
	MediaResolution    string          `json:"mediaResolution"`
	// EnableEnhancedCivicAnswers concerns nothing here.
	EnableEnhancedCivicAnswers *bool `json:"enableEnhancedCivicAnswers"`
}

type geminiThinking struct {
	IncludeThoughts bool   `json:"includeThoughts"`
	ThinkingBudget  *int64 `json:"thinkingBudget"`
	ThinkingLevel   string `json:"thinkingLevel"`
}

type geminiCount struct {
	Contents               []geminiContent `json:"contents"`
	GenerateContentRequest *geminiGenerate `json:"generateContentRequest"`
}

type geminiEmbed struct {
	Model                string         `json:"model"`
	Content              *geminiContent `json:"content"`
	TaskType             string         `json:"taskType"`
	Title                string         `json:"title"`
	OutputDimensionality *int64         `json:"outputDimensionality"`
}

type geminiBatchEmbed struct {
	Requests []geminiEmbed `json:"requests"`
}
