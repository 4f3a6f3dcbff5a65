package gemini

import (
	"fairway/dataplane/internal/dialect"
	"fairway/pkg/fault"
)

// PeekText checks that body is one JSON object and says about how many bytes of it are text that a model reads, for
// estimates. The model and whether to stream stand in the path, so there is nothing else to find. What is inside strings is
// left to the upstream.
func PeekText(body []byte) (int, *fault.Error) {
	s := dialect.Scanner{B: body}
	s.Space()
	if !s.Take('{') {
		return 0, fault.New(fault.Invalid, "the request body must be a JSON object")
	}
	if why := s.Members(func([]byte) bool { return s.Value() }); why != "" {
		return 0, fault.New(fault.Invalid, "%s", why)
	}
	s.Space()
	if s.At != len(body) {
		return 0, fault.New(fault.Invalid, "something follows the JSON object of the request body")
	}
	return s.Text, nil
}
