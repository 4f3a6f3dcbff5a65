package neutral

import "strings"

// Loss names something that one side said and the other cannot be told. The names are public: clients see them in
// x-fairway-lossy and operators in metrics.
type Loss uint8

// The losses.
const (
	LossAudio         Loss = iota // audio in or out
	LossCacheControl              // hints for the provider's cache
	LossCitations                 // sources of what is said
	LossFiles                     // a file, or a way to name one, that the other side cannot take
	LossImageDetail               // how closely to look at an image
	LossImages                    // an image where the other side takes none
	LossLogitBias                 // logit_bias
	LossLogprobs                  // logprobs, top_logprobs
	LossMetadata                  // metadata that is not the user's id
	LossN                         // more than one answer
	LossNames                     // names of participants
	LossPenalties                 // frequency_penalty, presence_penalty
	LossPrediction                // predicted output
	LossSafety                    // safety settings
	LossSchema                    // structured output, or parts of a schema
	LossSeed                      // seed
	LossServerTools               // tools that the provider runs itself
	LossSignature                 // a proof of reasoning that only its own provider takes
	LossState                     // conversations that the provider remembers
	LossStopSequences             // stop sequences
	LossStrict                    // strict arguments or output
	LossTemperature               // temperature or top_p, or a value out of the other side's range
	LossThinking                  // how much to think, or the thinking itself
	LossTier                      // service tier
	LossToolChoice                // which tool to call, or whether several may be
	LossTopK                      // top_k
	LossTruncation                // what to leave out of too long a conversation
	LossUser                      // the end user's id
	LossVerbosity                 // verbosity
	LossUnknownField              // something that this build does not know
	LossUnknownPart               // a kind of content that this build does not know
	LossTokenEstimate             // not a loss of content: the count is an estimate

	lossCount
)

//nolint:gochecknoglobals // names of constants
var lossNames = [lossCount]string{
	LossAudio: "audio", LossCacheControl: "cache_control", LossCitations: "citations", LossFiles: "files",
	LossImageDetail: "image_detail", LossImages: "images", LossLogitBias: "logit_bias", LossLogprobs: "logprobs",
	LossMetadata: "metadata", LossN: "n", LossNames: "names", LossPenalties: "penalties", LossPrediction: "prediction",
	LossSafety: "safety", LossSchema: "schema", LossSeed: "seed", LossServerTools: "server_tools",
	LossSignature: "signature", LossState: "state", LossStopSequences: "stop_sequences", LossStrict: "strict",
	LossTemperature: "temperature", LossThinking: "thinking", LossTier: "tier", LossToolChoice: "tool_choice",
	LossTopK: "top_k", LossTruncation: "truncation", LossUser: "user", LossVerbosity: "verbosity",
	LossUnknownField: "unknown_field", LossUnknownPart: "unknown_part", LossTokenEstimate: "token_estimate",
}

// String is the public name.
func (l Loss) String() string {
	if l >= lossCount {
		return "unknown"
	}
	return lossNames[l]
}

// Losses is a set of losses.
type Losses uint64

// Add notes a loss.
func (s *Losses) Add(l Loss) { *s |= 1 << l }

// AddIf notes a loss where lost is true.
func (s *Losses) AddIf(lost bool, l Loss) {
	if lost {
		s.Add(l)
	}
}

// Has says whether l is noted.
func (s Losses) Has(l Loss) bool { return s>>l&1 != 0 }

// All yields the losses in the order of their names.
func (s Losses) All(yield func(Loss) bool) {
	for l := range lossCount {
		if s.Has(l) && !yield(l) {
			return
		}
	}
}

// String lists the names, with a comma between them: the value of x-fairway-lossy.
func (s Losses) String() string {
	var b strings.Builder
	for l := range s.All {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(l.String())
	}
	return b.String()
}
