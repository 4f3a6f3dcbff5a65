// Package neutral is the hub between dialects: a small form of conversations that every dialect can be read into and
// written from, so that N dialects need N readers and N writers and never a translator for a pair.
//
// What a dialect says and the form cannot hold, and what the form holds and a dialect cannot say, is noted as a Loss:
// nothing is dropped in silence. The form holds text as it is meant (decoded), numbers as they were written, and JSON of
// tools and schemas as raw text.
//
// It refuses to be complete. It knows what two dialects have in common; what only one has is passed through where both
// sides speak it, and is a loss where they do not. It refuses to know HTTP, streams of bytes, accounts and prices.
package neutral

import "fairway/pkg/money"

// Request is a conversation and how it shall go on. Strings may alias the body that they were read from.
type Request struct {
	Model  string
	System []Part // text only
	Turns  []Turn // neighbours never have the same role
	Tools  []Tool
	Choice Choice
	// Parallel: may the model call several tools at once; nil = the provider's default.
	Parallel *bool

	MaxTokens   Number // of the answer, thinking included
	Temperature Number
	TopP        Number
	TopK        Number
	Seed        Number
	// FrequencyPenalty and PresencePenalty are as in OpenAI's API, -2 to 2.
	FrequencyPenalty Number
	PresencePenalty  Number
	Stop             []string

	Format   Format
	Thinking Thinking
	// User is an opaque id of the end user.
	User string
	// Tier is the service tier in the words of OpenAI's API ("auto", "default", "flex", "priority"); "" = unsaid.
	Tier   string
	Stream bool
	// Losses are what the reader could not put into the form, and, after writing, what the writer could not say.
	Losses Losses
}

// Number is a JSON number as it was written; "" = absent.
type Number string

// Role says whose turn it is.
type Role uint8

// The roles. Tool results are parts of the user's turn. A system turn stands in the middle of a conversation.
const (
	User Role = iota + 1
	Assistant
	System
)

// Turn is what one side says at once.
type Turn struct {
	Role  Role
	Parts []Part
}

// Kind says what a part is.
type Kind uint8

// The kinds of parts.
const (
	Text Kind = iota + 1
	// Refusal is text in which the model says that it will not answer.
	Refusal
	Image
	File
	Audio
	// Call is the model's wish to call a tool; Result is what came of it.
	Call
	Result
	// Think is the model's reasoning; Redacted is reasoning that only its provider can read.
	Think
	Redacted
)

// Part is a piece of a turn. Which fields are set depends on the kind.
type Part struct {
	Kind Kind
	// Text of Text, Refusal and Think.
	Text string
	// Media is the MIME type of Image, File and Audio. Exactly one of Data (base64, standard alphabet, padded), URL and
	// FileID (of the provider's own store) is set.
	Media, Data, URL, FileID string
	// Detail of an Image: "low", "high", "auto" or "".
	Detail string
	// Name of the tool (Call; Result, where the dialect says it) or of a File.
	Name string
	// ID of a Call, and of the Call that a Result answers.
	ID string
	// Args of a Call: a JSON object as text.
	Args string
	// Parts of a Result: Text, Image and File.
	Parts []Part
	// Failed: the Result says that the tool failed.
	Failed bool
	// Signature of Think, Call and Text, and the content of Redacted: opaque, for its provider only.
	Signature Signature
}

// Tool is a function that the model may ask for.
type Tool struct {
	Name, Description string
	// Schema of the arguments: JSON; "" = none.
	Schema string
	// Strict: the arguments must follow the schema; nil = unsaid.
	Strict *bool
}

// Choose says whether the model must call a tool.
type Choose uint8

// The choices. The zero value is the provider's default.
const (
	ChooseAuto Choose = iota + 1
	ChooseNone
	ChooseAny
	ChooseTool // the one that is named
)

// Choice says which tool the model must call.
type Choice struct {
	How  Choose
	Name string // of ChooseTool
}

// FormatKind says what the answer must be.
type FormatKind uint8

// The formats. The zero value is unsaid; FormatText is said.
const (
	FormatText FormatKind = iota + 1
	FormatJSON            // any JSON object
	FormatSchema
)

// Format is structured output.
type Format struct {
	Kind FormatKind
	// Name and Schema (JSON) of FormatSchema; Name may be "".
	Name, Description, Schema string
	Strict                    *bool
}

// Thinking says how much the model shall think. The zero value is the provider's default.
type Thinking struct {
	Off bool
	// Effort in the words of OpenAI's API: "minimal", "low", "medium", "high", "xhigh"; "" = unsaid.
	Effort string
	// Budget in tokens; "" = unsaid. "-1" = as much as the model likes.
	Budget Number
	// Show: the reasoning or a summary of it is wanted in the answer; nil = the provider's default.
	Show *bool
	// Summary is the kind of summary asked for in OpenAI's words ("auto", "concise", "detailed"); "" = unsaid.
	Summary string
}

// Stop says why an answer ended.
type Stop uint8

// The reasons. The zero value is unknown.
const (
	StopEnd      Stop = iota + 1
	StopLength        // MaxTokens was reached
	StopSequence      // one of Stop was written
	StopCall          // a tool shall be called
	StopFilter        // a filter, or the model's refusal
	StopPause         // the provider's own tools take long; the same conversation goes on
	StopContext       // the context window is full
)

// Response is an answer that has ended.
type Response struct {
	ID, Model string
	Created   int64 // Unix seconds; 0 = unsaid
	Parts     []Part
	Stop      Stop
	// Sequence is which of the stop sequences was written; "" = unsaid.
	Sequence string
	Usage    money.Tokens
	Counted  bool // Usage was said
	Losses   Losses
}
