package fakellm

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
)

// What a conversation is answered, whichever dialect it is held in: tools are called when some are offered and the last
// turn is no tool's result; else a schema is answered by an instance, images by their sizes, and all else by fixedText.
//
// Words in the last user turn that begin with "fakellm_" direct the answer, in every dialect that has no better place
// for it: fakellm_input=N, fakellm_cached=N, fakellm_cache_write=N, fakellm_output=N and fakellm_reasoning=N replace
// counts, fakellm_words=N the number of words, fakellm_finish=WORD the reason why it ends and fakellm_block=WORD lets a
// Gemini prompt be blocked for that reason.

// thoughtText is what a model that thinks, thinks.
const thoughtText = "Let me think about this first."

// wishLimit parts two uses of a maximum. One below it is a wish for so many words, as in OpenAI's dialect; one from it on
// is a bound, as it must be where every request has to name one.
const wishLimit = 1024

// dialogue is what of a request decides the answer.
type dialogue struct {
	input    int64  // words
	last     string // text of the last user turn
	sights   []string
	tools    []offeredTool
	answered bool // the last turn has tools' results
	silent   bool // no tool may be called
	only     []string
	single   bool
	schema   json.RawMessage
	thinks   bool
	limit    *int64
	stops    []string
}

type offeredTool struct {
	name   string
	schema json.RawMessage
}

// ending is why an answer ends.
type ending uint8

const (
	endStop ending = iota
	endLength
	endCalls
	endSequence
)

// utterance is an answer before a dialect renders it.
type utterance struct {
	thoughts []string
	parts    []string
	calls    []toolCall
	end      ending
	sequence string // that ended it
	finish   string // replaces the dialect's own word for end
	blocked  string
	usage    usage
	// reasoning is part of usage.output, cacheWrite of usage.input.
	reasoning, cacheWrite int64
}

func (p dialogue) say() (utterance, *apiError) {
	script := directives(p.last)
	var s utterance
	s.finish, s.blocked = script["fakellm_finish"], script["fakellm_block"]
	if p.thinks {
		s.thoughts = strings.SplitAfter(thoughtText, " ")
	}
	s.calls = p.calls()
	switch {
	case len(s.calls) > 0:
		s.end = endCalls
		for _, call := range s.calls {
			s.usage.output += int64(1 + len(call.arguments))
		}
	default:
		if fault := p.text(&s, script); fault != nil {
			return utterance{}, fault
		}
		s.usage.output = int64(len(s.parts))
	}
	s.usage.input = p.input
	s.reasoning = int64(len(s.thoughts))
	s.usage.output += s.reasoning
	for name, field := range map[string]*int64{"fakellm_reasoning": &s.reasoning, "fakellm_cache_write": &s.cacheWrite} {
		if text, given := script[name]; given {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return utterance{}, badRequest("", "", "%s is not a number of tokens", name)
			}
			*field = n
		}
	}
	var fault *apiError
	s.usage, fault = s.usage.override(script)
	s.usage.cached = min(s.usage.cached, s.usage.input)
	s.cacheWrite = min(s.cacheWrite, s.usage.input-s.usage.cached)
	s.reasoning = min(s.reasoning, s.usage.output)
	return s, fault
}

// text decides the words.
func (p dialogue) text(s *utterance, script map[string]string) *apiError {
	limit := p.limit
	if given, ok := script["fakellm_words"]; ok {
		n, err := strconv.ParseInt(given, 10, 64)
		if err != nil || n < 1 || n > maxOutput {
			return badRequest("", "", "fakellm_words must be between 1 and %d", maxOutput)
		}
		s.parts, _ = reply(&n)
	} else {
		switch {
		case len(p.schema) > 0:
			s.parts = pieces(sampleOf(p.schema), 12)
		case len(p.sights) > 0:
			s.parts = strings.SplitAfter(strings.Join(p.sights, " "), " ")
		case limit != nil && *limit < wishLimit:
			s.parts, _ = reply(limit)
			s.end = endLength
		default:
			s.parts, _ = reply(nil)
		}
	}
	if limit != nil && int64(len(s.parts)) > *limit {
		s.parts, s.end = s.parts[:*limit], endLength
	}
	p.stop(s)
	return nil
}

// stop cuts the text before the first stop sequence in it.
func (p dialogue) stop(s *utterance) {
	whole, at := strings.Join(s.parts, ""), -1
	for _, stop := range p.stops {
		if i := strings.Index(whole, stop); stop != "" && i >= 0 && (at < 0 || i < at) {
			at, s.sequence = i, stop
		}
	}
	if at < 0 {
		return
	}
	s.end = endSequence
	left := at
	for i, part := range s.parts {
		if len(part) >= left {
			if s.parts[i] = part[:left]; left > 0 {
				i++
			}
			s.parts = s.parts[:i]
			return
		}
		left -= len(part)
	}
}

// calls decides which tools are called, as chat does.
func (p dialogue) calls() []toolCall {
	if p.answered || p.silent {
		return nil
	}
	most := 2
	if p.single {
		most = 1
	}
	var out []toolCall
	for _, tool := range p.tools {
		if len(out) == most {
			break
		}
		if len(p.only) > 0 && !contains(p.only, tool.name) {
			continue
		}
		out = append(out, toolCall{name: tool.name, arguments: pieces(sampleOf(tool.schema), 8)})
	}
	return out
}

func contains(list []string, want string) bool {
	for _, one := range list {
		if one == want {
			return true
		}
	}
	return false
}

// directives are the words that direct the answer.
func directives(text string) map[string]string {
	out := map[string]string{}
	for word := range strings.FieldsSeq(text) {
		if !strings.HasPrefix(word, "fakellm_") {
			continue
		}
		if name, value, ok := strings.Cut(word, "="); ok {
			out[name] = strings.TrimRightFunc(value, unicode.IsPunct)
		}
	}
	return out
}

// sightOf says what is seen of an image of so many bytes.
func sightOf(n int) string { return "I see an image of " + strconv.Itoa(n) + " bytes." }

// signatureOf is a function of what it signs, and long enough to look like one. Its second half proves that it is one of
// ours, whatever it signs.
func signatureOf(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	proof := sha256.Sum256(append([]byte("fakellm\x00"), sum[:]...))
	return base64.StdEncoding.EncodeToString(append(sum[:], proof[:]...))
}

// signed says whether a signature is one of ours.
func signed(s string) bool {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) != 2*sha256.Size {
		return false
	}
	proof := sha256.Sum256(append([]byte("fakellm\x00"), raw[:sha256.Size]...))
	return string(proof[:]) == string(raw[sha256.Size:])
}
