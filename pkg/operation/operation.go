// Package operation names what clients can ask for: the operations of the dialects that Fairway speaks, and the facts about
// each that do not depend on who serves it.
//
// It refuses to know bodies, providers and errors: it is the list that both planes, the documentation and the fake provider
// go by.
package operation

// Dialect is a family of operations with one way to write keys, errors and lists of models.
type Dialect uint8

// The dialects.
const (
	OpenAI Dialect = iota + 1
	Anthropic
	Gemini
)

// String names the dialect, for metrics, logs and documentation.
func (d Dialect) String() string {
	switch d {
	case OpenAI:
		return "openai"
	case Anthropic:
		return "anthropic"
	case Gemini:
		return "gemini"
	}
	return "unknown"
}

// Operation is one thing to ask for.
type Operation uint8

// The operations. Names of dialects other than OpenAI's stand in front where two dialects have the like.
const (
	// Unknown is everything that is not one of the others.
	Unknown Operation = iota

	Chat
	Completions
	// Responses creates a response; the others name one that exists.
	Responses
	Response
	ResponseDelete
	ResponseCancel
	ResponseItems
	ResponseTokens // counts what a response would take in
	Embeddings
	Images
	ImageEdits
	ImageVariations
	Speech
	Transcriptions
	Translations
	Moderations
	Rerank
	Realtime
	Models
	Model

	Messages
	CountTokens
	Batches
	Batch
	BatchList
	BatchDelete
	BatchCancel
	BatchResults
	AnthropicModels
	AnthropicModel

	Generate
	StreamGenerate
	GeminiCountTokens
	EmbedContent
	BatchEmbedContents
	GeminiModels
	GeminiModel

	// Converse and ConverseStream are Bedrock's own; no client asks for them.
	Converse
	ConverseStream

	end
)

// Count is how many operations there are, Unknown included: for tables that an Operation indexes.
const Count = int(end)

// Body says what a request carries.
type Body uint8

// The bodies.
const (
	NoBody Body = iota
	JSON
	Multipart
	WebSocket
)

// Place says where a request names its model, and where it says that the answer shall be a stream.
type Place uint8

// The places.
const (
	Nowhere Place = iota
	InBody        // the member "model" or "stream", or the part of that name
	InPath
	InQuery
)

// Facts are what is known of an operation.
type Facts struct {
	// Name is for metrics and logs: constant, in lower case with underscores.
	Name    string
	Dialect Dialect
	Method  string
	// Path is the request target without its query. {model} and {id} stand for one segment each.
	Path   string
	Body   Body
	Model  Place
	Stream Place
	// Talk: a conversation, which other dialects can carry.
	Talk bool
	// Pinned: {id} is something that one account holds.
	Pinned bool
	// Billed: it uses tokens.
	Billed bool
}

//nolint:gochecknoglobals // the list is data, and constant; Go has no constants of this type
var facts = [Count]Facts{
	Unknown: {Name: "unknown", Dialect: OpenAI},

	Chat:           {Name: "chat", Dialect: OpenAI, Method: "POST", Path: "/v1/chat/completions", Body: JSON, Model: InBody, Stream: InBody, Talk: true, Billed: true},
	Completions:    {Name: "completions", Dialect: OpenAI, Method: "POST", Path: "/v1/completions", Body: JSON, Model: InBody, Stream: InBody, Billed: true},
	Responses:      {Name: "responses", Dialect: OpenAI, Method: "POST", Path: "/v1/responses", Body: JSON, Model: InBody, Stream: InBody, Talk: true, Billed: true},
	Response:       {Name: "response", Dialect: OpenAI, Method: "GET", Path: "/v1/responses/{id}", Stream: InQuery, Pinned: true},
	ResponseDelete: {Name: "response_delete", Dialect: OpenAI, Method: "DELETE", Path: "/v1/responses/{id}", Pinned: true},
	ResponseCancel: {Name: "response_cancel", Dialect: OpenAI, Method: "POST", Path: "/v1/responses/{id}/cancel", Pinned: true},
	ResponseItems:  {Name: "response_items", Dialect: OpenAI, Method: "GET", Path: "/v1/responses/{id}/input_items", Pinned: true},
	ResponseTokens: {Name: "response_tokens", Dialect: OpenAI, Method: "POST", Path: "/v1/responses/input_tokens", Body: JSON, Model: InBody},
	Embeddings:     {Name: "embeddings", Dialect: OpenAI, Method: "POST", Path: "/v1/embeddings", Body: JSON, Model: InBody, Billed: true},
	Images:         {Name: "images", Dialect: OpenAI, Method: "POST", Path: "/v1/images/generations", Body: JSON, Model: InBody, Stream: InBody, Billed: true},
	ImageEdits:     {Name: "image_edits", Dialect: OpenAI, Method: "POST", Path: "/v1/images/edits", Body: Multipart, Model: InBody, Stream: InBody, Billed: true},
	ImageVariations: {
		Name: "image_variations", Dialect: OpenAI, Method: "POST", Path: "/v1/images/variations", Body: Multipart, Model: InBody, Billed: true,
	},
	Speech:         {Name: "speech", Dialect: OpenAI, Method: "POST", Path: "/v1/audio/speech", Body: JSON, Model: InBody, Stream: InBody, Billed: true},
	Transcriptions: {Name: "transcriptions", Dialect: OpenAI, Method: "POST", Path: "/v1/audio/transcriptions", Body: Multipart, Model: InBody, Stream: InBody, Billed: true},
	Translations:   {Name: "translations", Dialect: OpenAI, Method: "POST", Path: "/v1/audio/translations", Body: Multipart, Model: InBody, Billed: true},
	Moderations:    {Name: "moderations", Dialect: OpenAI, Method: "POST", Path: "/v1/moderations", Body: JSON, Model: InBody},
	Rerank:         {Name: "rerank", Dialect: OpenAI, Method: "POST", Path: "/v1/rerank", Body: JSON, Model: InBody, Billed: true},
	Realtime:       {Name: "realtime", Dialect: OpenAI, Method: "GET", Path: "/v1/realtime", Body: WebSocket, Model: InQuery, Billed: true},
	Models:         {Name: "models", Dialect: OpenAI, Method: "GET", Path: "/v1/models"},
	Model:          {Name: "model", Dialect: OpenAI, Method: "GET", Path: "/v1/models/{model}", Model: InPath},

	Messages:        {Name: "messages", Dialect: Anthropic, Method: "POST", Path: "/v1/messages", Body: JSON, Model: InBody, Stream: InBody, Talk: true, Billed: true},
	CountTokens:     {Name: "count_tokens", Dialect: Anthropic, Method: "POST", Path: "/v1/messages/count_tokens", Body: JSON, Model: InBody},
	Batches:         {Name: "batches", Dialect: Anthropic, Method: "POST", Path: "/v1/messages/batches", Body: JSON, Model: InBody},
	BatchList:       {Name: "batch_list", Dialect: Anthropic, Method: "GET", Path: "/v1/messages/batches"},
	Batch:           {Name: "batch", Dialect: Anthropic, Method: "GET", Path: "/v1/messages/batches/{id}", Pinned: true},
	BatchDelete:     {Name: "batch_delete", Dialect: Anthropic, Method: "DELETE", Path: "/v1/messages/batches/{id}", Pinned: true},
	BatchCancel:     {Name: "batch_cancel", Dialect: Anthropic, Method: "POST", Path: "/v1/messages/batches/{id}/cancel", Pinned: true},
	BatchResults:    {Name: "batch_results", Dialect: Anthropic, Method: "GET", Path: "/v1/messages/batches/{id}/results", Pinned: true},
	AnthropicModels: {Name: "anthropic_models", Dialect: Anthropic, Method: "GET", Path: "/v1/models"},
	AnthropicModel:  {Name: "anthropic_model", Dialect: Anthropic, Method: "GET", Path: "/v1/models/{model}", Model: InPath},

	Generate:           {Name: "generate", Dialect: Gemini, Method: "POST", Path: "/v1beta/models/{model}:generateContent", Body: JSON, Model: InPath, Talk: true, Billed: true},
	StreamGenerate:     {Name: "stream_generate", Dialect: Gemini, Method: "POST", Path: "/v1beta/models/{model}:streamGenerateContent", Body: JSON, Model: InPath, Stream: InPath, Talk: true, Billed: true},
	GeminiCountTokens:  {Name: "gemini_count_tokens", Dialect: Gemini, Method: "POST", Path: "/v1beta/models/{model}:countTokens", Body: JSON, Model: InPath},
	EmbedContent:       {Name: "embed_content", Dialect: Gemini, Method: "POST", Path: "/v1beta/models/{model}:embedContent", Body: JSON, Model: InPath, Billed: true},
	BatchEmbedContents: {Name: "batch_embed_contents", Dialect: Gemini, Method: "POST", Path: "/v1beta/models/{model}:batchEmbedContents", Body: JSON, Model: InPath, Billed: true},
	GeminiModels:       {Name: "gemini_models", Dialect: Gemini, Method: "GET", Path: "/v1beta/models"},
	GeminiModel:        {Name: "gemini_model", Dialect: Gemini, Method: "GET", Path: "/v1beta/models/{model}", Model: InPath},

	Converse:       {Name: "converse", Method: "POST", Path: "/model/{model}/converse", Body: JSON, Model: InPath, Talk: true, Billed: true},
	ConverseStream: {Name: "converse_stream", Method: "POST", Path: "/model/{model}/converse-stream", Body: JSON, Model: InPath, Stream: InPath, Talk: true, Billed: true},
}

// Facts returns what is known of the operation. The result is shared and must not be changed.
func (o Operation) Facts() *Facts {
	if o >= end {
		o = Unknown
	}
	return &facts[o]
}

// String names the operation, for metrics and logs.
func (o Operation) String() string { return o.Facts().Name }

// Set is a set of operations.
type Set uint64

// SetOf returns the set of ops.
func SetOf(ops ...Operation) Set {
	var s Set
	for _, o := range ops {
		s |= 1 << o
	}
	return s
}

// Has says whether o is in s.
func (s Set) Has(o Operation) bool { return s>>o&1 != 0 }

// Streaming returns the operation that asks for the same as a stream, or as a whole: the two are different operations at
// Gemini and Bedrock, and one at all others.
func (o Operation) Streaming(stream bool) Operation {
	switch {
	case o == Generate && stream:
		return StreamGenerate
	case o == StreamGenerate && !stream:
		return Generate
	case o == Converse && stream:
		return ConverseStream
	case o == ConverseStream && !stream:
		return Converse
	}
	return o
}
