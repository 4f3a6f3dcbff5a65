// Package dialecttest holds what is true of all dialects together, and can be said in none of their rooms: that any two of
// them carry to each other what both can say, and that none of them can be hurt by what a stranger sends. It has tests
// only, and refuses to know how any dialect is spelt.
package dialecttest

import (
	"fairway/dataplane/internal/dialect/anthropic"
	"fairway/dataplane/internal/dialect/converse"
	"fairway/dataplane/internal/dialect/gemini"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/dialect/openai"
	"fairway/dataplane/internal/dialect/responses"
)

// can is a set of what a dialect can say beyond what all of them can.
type can uint32

const (
	stops       can = 1 << iota // stop sequences
	seed                        // seed and penalties
	topK                        // top_k
	user                        // the end user's id
	parallel                    // whether several tools may be called
	abstains                    // that no tool may be called
	strict                      // strict arguments
	jsonFormat                  // any JSON object, or plain text, as the format
	namedSchema                 // names, descriptions and strictness of schemas
	efforts                     // how hard to think, in words
	systemTurns                 // a system turn in the middle
	failures                    // that a tool failed
	shown                       // images in results
	details                     // how closely to look at an image
	files                       // files with a name
	audio                       // sounds in requests
	thoughts                    // reasoning with its proof in requests, whoever's it is
	callProofs                  // signatures of calls
	refusals                    // refusals as a part of their own
	hidden                      // reasoning that only its provider can read
	images                      // images in answers
	ordered                     // the order of all parts in a plain answer
	reasonings                  // how many tokens were reasoning
	cacheWrites                 // what was written to a cache
)

// side is a dialect.
type side struct {
	name   string
	reader neutral.Reader
	writer neutral.Writer
	asker  neutral.Asker
	hearer neutral.Hearer
	model  string // of its upstream
	origin neutral.Origin
	proof  string // what signatures of its own begin with
	can    can
}

// clients are the dialects that clients speak; all are upstreams' as well.
func clients() []side {
	return []side{
		{
			name: "chat", reader: openai.Codec{}, writer: openai.Codec{}, asker: openai.ReasoningCodec{}, hearer: openai.Codec{},
			model: "gpt-5", origin: neutral.FromAnthropic, // as a gateway to others' models answers
			can: abstains | stops | seed | user | parallel | strict | jsonFormat | namedSchema | efforts | systemTurns | details | files | audio | thoughts |
				callProofs | refusals | hidden | images | reasonings | cacheWrites,
		},
		{
			name: "responses", reader: responses.Codec{}, writer: responses.Codec{}, asker: responses.Codec{}, hearer: responses.Codec{},
			model: "gpt-5", origin: neutral.FromOpenAI, proof: "rs_1:",
			can: abstains | user | parallel | strict | jsonFormat | namedSchema | efforts | systemTurns | failures | shown | details | files | refusals | hidden | images |
				ordered | reasonings | cacheWrites,
		},
		{
			name: "anthropic", reader: anthropic.Codec{}, writer: anthropic.Codec{}, asker: anthropic.Codec{}, hearer: anthropic.Codec{},
			model: "claude-3-5-haiku-latest", origin: neutral.FromAnthropic,
			can: abstains | stops | topK | user | parallel | strict | failures | shown | files | hidden | ordered | cacheWrites,
		},
		{
			name: "gemini", reader: gemini.Codec{}, writer: gemini.Codec{}, asker: gemini.Codec{}, hearer: gemini.Codec{},
			model: "gemini-3-flash", origin: neutral.FromGemini,
			can: abstains | stops | seed | topK | jsonFormat | efforts | failures | shown | audio | callProofs | images | ordered | reasonings,
		},
	}
}

// bedrock is the dialect that only upstreams speak.
func bedrock() side {
	return side{
		name: "converse", asker: converse.Codec{}, hearer: converse.Codec{}, model: "anthropic.claude-3-5-haiku-20241022-v1:0",
		origin: neutral.FromAnthropic, can: stops | topK | failures | shown | hidden | images | cacheWrites,
	}
}
