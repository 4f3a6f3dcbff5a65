package neutral

import "fairway/pkg/fault"

// Reader reads what clients of a dialect ask, and Writer answers them: the client's half of a dialect. Asker and Hearer are
// the upstream's half. All are stateless and safe for concurrent use.
type (
	// Reader reads a request. body is one JSON object, already checked for its grammar; model and stream are what the
	// path or the peek said. A fault (400) is a request that makes no sense in its own dialect, in words that name the
	// field. What the form cannot hold is in Losses.
	Reader interface {
		ReadRequest(body []byte, model string, stream bool) (*Request, *fault.Error)
	}
	// Writer writes an answer for the client.
	Writer interface {
		AppendResponse(dst []byte, r *Response, a *Answering) []byte
		NewEventWriter(a *Answering) EventWriter
	}
	// Asker writes a request for an upstream, and notes in r.Losses what it could not say. A fault is a request that
	// cannot be said there at all.
	Asker interface {
		AppendRequest(dst []byte, r *Request, model string) ([]byte, *fault.Error)
	}
	// Hearer reads what an upstream answers. A response that makes no sense is an error.
	Hearer interface {
		ReadResponse(body []byte) (*Response, error)
		NewEventReader() EventReader
	}
)

// Answering is what a Writer needs to know of the request that it answers.
type Answering struct {
	Model   string // as the client asked; what answers say
	ID      string // for dialects that need one where the upstream said none: random, without a prefix
	Created int64  // Unix seconds, for dialects that need it where the upstream said none
	// WantUsage: the client asked for usage in the stream (OpenAI's stream_options.include_usage).
	WantUsage bool
	// Request is what was asked, for dialects whose answers repeat parts of it.
	Request *Request
}

// EventReader turns one upstream stream into events. It belongs to one stream and one goroutine.
type EventReader interface {
	// Read takes one event of the stream, by its name ("" = none) and data, and emits what it means. It emits Failed for
	// an event that says so or makes no sense. data is not kept.
	Read(name, data []byte, emit Emit)
	// Close is the end of the stream's bytes: it emits what is still due (PartEnd, Finish, Usage, End) if the stream was
	// complete, and says whether it was.
	Close(emit Emit) bool
	// Losses are what the stream said so far that events cannot hold.
	Losses() Losses
}

// EventWriter turns events into one client stream. It belongs to one stream and one goroutine, and holds no more of it than
// what the dialect forces it to.
type EventWriter interface {
	// Append appends the events of the dialect that e becomes, whole with their blank lines; perhaps nothing.
	Append(dst []byte, e *Event) []byte
	// Losses are what could not be said so far.
	Losses() Losses
}
