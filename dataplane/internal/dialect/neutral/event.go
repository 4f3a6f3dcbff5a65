package neutral

import (
	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

// EventKind says what a step of a stream is.
type EventKind uint8

// The kinds of events, in the order of a stream:
//
//	Begin (PartBegin Delta* PartEnd)* Finish? Usage? End
//
// Parts come one after the other and never overlap: a reader of a dialect in which they can (OpenAI's tool calls) puts
// them in order (see Sequencer). Failed may come anywhere and is the last. Usage may come more than once, at any place
// after Begin: counts are totals, the last one holds.
const (
	Begin EventKind = iota + 1
	PartBegin
	Delta
	PartEnd
	Finish
	Usage
	End
	Failed
)

// Event is one step of a stream. It is valid, with its bytes, until the call that it was given to returns.
type Event struct {
	Kind EventKind
	// Part that PartBegin begins: Text, Refusal, Think, Redacted, Call, or Image and Audio, which come whole in PartBegin.
	Part Kind
	// ID and Name of a Call at PartBegin; ID and Name (the model's) of the answer at Begin.
	ID, Name string
	// Created at Begin, Unix seconds; 0 = unsaid.
	Created int64
	// Raw is what a Delta adds to its part's text, or to the text of a Call's arguments: the inside of a JSON string,
	// escaped, without its quotes, so that most of it goes through without being touched. No escape is cut in two.
	Raw []byte
	// Signature at PartEnd of Think, Call and Text, and at PartBegin of Redacted.
	Signature Signature
	// Media and Data of Image and Audio at PartBegin.
	Media, Data string
	// Stop and Sequence at Finish.
	Stop     Stop
	Sequence string
	// Tokens at Usage.
	Tokens money.Tokens
	// Failure at Failed.
	Failure *dialect.UpstreamError
}

// Emit takes an event. It must not keep it.
type Emit func(e *Event)
