// Package openai is the dialect of OpenAI's HTTP API as clients and upstreams speak it: which operation a request target
// names, where a body holds the few facts that routing needs, how those are spliced without touching another byte, what
// an upstream's error means, and where usage is found.
//
// It refuses to decode a body only to forward it, to accept a body in which model or stream is said twice, to
// recognise a path by any other reading than byte for byte, and to hold state: everything here is a pure function.
package openai

import (
	"bytes"
	"net/url"
)

// Operation is one of the API's operations.
type Operation uint8

// The operations.
const (
	// Unknown is every target that is not one of the others.
	Unknown Operation = iota
	Chat
	Completions
	Embeddings
	// Models lists; Model describes one.
	Models
	Model
	// Realtime is a WebSocket connection.
	Realtime
)

// Count is how many operations there are, Unknown included: for tables that an Operation indexes.
const Count = int(Realtime) + 1

const modelPrefix = "/v1/models/"

// String names the operation, for metrics and logs.
func (o Operation) String() string {
	switch o {
	case Chat:
		return "chat"
	case Completions:
		return "completions"
	case Embeddings:
		return "embeddings"
	case Models:
		return "models"
	case Model:
		return "model"
	case Realtime:
		return "realtime"
	}
	return "unknown"
}

// Path is the request target that the operation has, at clients and at upstreams; for Model without the model's name.
func (o Operation) Path() string {
	switch o {
	case Chat:
		return "/v1/chat/completions"
	case Completions:
		return "/v1/completions"
	case Embeddings:
		return "/v1/embeddings"
	case Models:
		return "/v1/models"
	case Model:
		return modelPrefix
	case Realtime:
		return "/v1/realtime"
	}
	return ""
}

// Method is the one method that the operation answers to.
func (o Operation) Method() string {
	switch o {
	case Models, Model, Realtime:
		return "GET"
	case Chat, Completions, Embeddings:
		return "POST"
	}
	return ""
}

// Streams says whether the operation can answer with an event stream.
func (o Operation) Streams() bool { return o == Chat || o == Completions }

// Parse reads the target of a request line. Nothing is normalised: what is not byte for byte a path of the API, with or
// without a query, is Unknown. Only the name behind /v1/models/, and model in the query of Realtime, are percent-decoded,
// once, and only into model; it is looked up and never becomes part of another path. Other queries are ignored.
func Parse(target []byte) (op Operation, model string) {
	path, query, _ := bytes.Cut(target, []byte{'?'})
	switch string(path) {
	case "/v1/chat/completions":
		return Chat, ""
	case "/v1/completions":
		return Completions, ""
	case "/v1/embeddings":
		return Embeddings, ""
	case "/v1/models":
		return Models, ""
	case "/v1/realtime":
		return Realtime, queryModel(string(query))
	}
	if len(path) > len(modelPrefix) && string(path[:len(modelPrefix)]) == modelPrefix {
		name, err := url.PathUnescape(string(path[len(modelPrefix):]))
		if err != nil || name == "" {
			return Unknown, ""
		}
		return Model, name
	}
	return Unknown, ""
}
