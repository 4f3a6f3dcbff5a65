// Package responses speaks OpenAI's Responses API (POST /v1/responses and what is answered there): it understands answers
// that are passed through (Answers), and translates requests, answers and streams to the neutral form and back (Codec).
//
// What is particular here: reasoning travels in items of its own, whose proof (encrypted_content) is worth something only
// with the item's id; a neutral signature of OpenAI's therefore holds both, as "id:encrypted_content". Proofs of other
// providers lie in encrypted_content too, in the envelope of neutral.Signature.Wrap.
//
// It refuses what only the provider's memory can answer: a request that names an earlier response, a conversation, a stored
// prompt or an item by its id can be passed through, but never translated. And it refuses to remember: a request that it
// writes asks the provider to store nothing, and to hand out reasoning so that the client can carry it.
package responses

import "fairway/dataplane/internal/dialect/neutral"

// Codec translates the dialect. Its zero value is ready, and safe for concurrent use.
type Codec struct{}

var (
	_ neutral.Reader = Codec{}
	_ neutral.Writer = Codec{}
	_ neutral.Asker  = Codec{}
	_ neutral.Hearer = Codec{}
)
