package gateway

import (
	"bytes"
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/anthropic"
	"fairway/dataplane/internal/dialect/converse"
	"fairway/dataplane/internal/dialect/gemini"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/dialect/openai"
	"fairway/dataplane/internal/dialect/responses"
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
	case operation.Responses:
		return responses.Answers{}
	case operation.Response, operation.ResponseDelete, operation.ResponseCancel, operation.ResponseItems:
		return responses.Answers{Stored: true}
	case operation.Images, operation.ImageEdits, operation.Speech, operation.Transcriptions:
		return openai.Answers{Media: true}
	case operation.Converse, operation.ConverseStream:
		return converse.Answers{}
	}
	switch op.Facts().Dialect {
	case operation.Anthropic:
		return anthropic.Answers{}
	case operation.Gemini:
		return gemini.Answers{}
	default:
		return openai.Answers{}
	}
}

// codecOf is the codec of a client's operation; nil = it converts to nothing.
func codecOf(op operation.Operation) codec {
	switch op {
	case operation.Chat:
		return openai.Codec{}
	case operation.Responses:
		return responses.Codec{}
	case operation.Messages:
		return anthropic.Codec{}
	case operation.Generate, operation.StreamGenerate:
		return gemini.Codec{}
	}
	return nil
}

// askerOf is how an upstream's operation is asked; nil = no conversion leads there.
func askerOf(op operation.Operation) neutral.Asker {
	if op.Streaming(false) == operation.Converse {
		return converse.Codec{}
	}
	if c := codecOf(op); c != nil {
		return c
	}
	return nil
}

// hearerOf is how an upstream's operation answers.
func hearerOf(op operation.Operation) neutral.Hearer {
	if op.Streaming(false) == operation.Converse {
		return converse.Codec{}
	}
	if c := codecOf(op); c != nil {
		return c
	}
	return nil
}

// appendError appends the body of an error in a dialect.
func appendError(dst []byte, d operation.Dialect, f *fault.Error, requestID string) []byte {
	switch d {
	case operation.Anthropic:
		return fault.AppendAnthropic(dst, f, requestID)
	case operation.Gemini:
		return fault.AppendGemini(dst, f)
	default:
		return fault.AppendOpenAI(dst, f)
	}
}

// appendModels appends a list of models in a dialect.
func appendModels(dst []byte, d operation.Dialect, names []string) []byte {
	switch d {
	case operation.Anthropic:
		return anthropic.AppendModels(dst, names)
	case operation.Gemini:
		return gemini.AppendModels(dst, names)
	default:
		return openai.AppendModels(dst, names)
	}
}

// appendModel appends the description of one model in a dialect.
func appendModel(dst []byte, d operation.Dialect, name string) []byte {
	switch d {
	case operation.Anthropic:
		return anthropic.AppendModel(dst, name)
	case operation.Gemini:
		return gemini.AppendModel(dst, name)
	default:
		return openai.AppendModel(dst, name)
	}
}

// appendErrorEvent appends the event with which a stream of an operation ends in an error; tail is the end of what the
// client has of the stream.
func (x *exchange) appendErrorEvent(dst []byte, f *fault.Error, tail []byte) []byte {
	switch {
	case x.target.Dialect == operation.Anthropic:
		return sse.AppendEvent(dst, "error", fault.AppendAnthropic(nil, f, x.requestID()))
	case x.op == operation.Responses || x.op == operation.Response:
		data := append([]byte(`{"type":"error","code":`), dialect.AppendQuoted(nil, f.Code)...)
		data = append(append(data, `,"message":`...), dialect.AppendQuoted(nil, f.Message)...)
		data = strconv.AppendInt(append(data, `,"param":null,"sequence_number":`...), nextNumber(tail), 10)
		return sse.AppendEvent(dst, "error", append(data, '}'))
	}
	return sse.AppendEvent(dst, "", appendError(nil, x.target.Dialect, f, x.requestID()))
}

// nextNumber is the sequence number that follows the last one in a stream's end.
func nextNumber(tail []byte) int64 {
	const name = `"sequence_number"`
	i := bytes.LastIndex(tail, []byte(name))
	if i < 0 {
		return 0
	}
	value := gjson.ParseBytes(bytes.TrimLeft(tail[i+len(name):], ": "))
	return value.Int() + 1
}
