package gateway

import (
	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/dialect/openai"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
	"fairway/pkg/sse"
)

// codec turns a dialect's conversations into the neutral form and back.
type codec interface {
	neutral.Reader
	neutral.Writer
	neutral.Asker
	neutral.Hearer
}

// answersOf is how the answers of an operation are understood.
func answersOf(op operation.Operation) dialect.Answers {
	switch op {
	default:
		return openai.Answers{}
	}
}

// codecOf is the codec of a client's operation; nil = it converts to nothing.
func codecOf(op operation.Operation) codec {
	return nil
}

// askerOf is how an upstream's operation is asked.
func askerOf(op operation.Operation) neutral.Asker {
	if c := codecOf(op); c != nil {
		return c
	}
	return nil
}

// hearerOf is how an upstream's operation answers.
func hearerOf(op operation.Operation) neutral.Hearer {
	if c := codecOf(op); c != nil {
		return c
	}
	return nil
}

// appendError appends the body of an error in a dialect.
func appendError(dst []byte, d operation.Dialect, f *fault.Error, requestID string) []byte {
	switch d {
	default:
		return fault.AppendOpenAI(dst, f)
	}
}

// appendModels appends a list of models in a dialect.
func appendModels(dst []byte, d operation.Dialect, names []string) []byte {
	switch d {
	default:
		return openai.AppendModels(dst, names)
	}
}

// appendModel appends the description of one model in a dialect.
func appendModel(dst []byte, d operation.Dialect, name string) []byte {
	switch d {
	default:
		return openai.AppendModel(dst, name)
	}
}

// counts says whether an operation counts a conversation's tokens.
func counts(op operation.Operation) bool {
	return op == operation.CountTokens || op == operation.GeminiCountTokens || op == operation.ResponseTokens
}

// appendErrorEvent appends the event with which a dialect's stream ends in an error; tail is the end of what the client has
// of the stream.
func (x *exchange) appendErrorEvent(dst []byte, f *fault.Error, tail []byte) []byte {
	switch x.target.Dialect {
	default:
		return sse.AppendEvent(dst, "", appendError(nil, x.target.Dialect, f, x.requestID()))
	}
}
