package fakellm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// checkTurns checks that calls are answered at once, each of them.
func (r *geminiGenerate) checkTurns(*dialogue) *apiError {
	if r.Contents[0].Role == "model" && len(r.Contents[0].calls()) > 0 {
		return geminiBad("Please ensure that function call turn comes immediately after a user turn or after a function response turn.")
	}
	for i, c := range r.Contents {
		var open []*geminiCall
		if i > 0 {
			open = r.Contents[i-1].calls()
			if r.Contents[i-1].Role == "model" && c.Role == "model" && len(c.calls()) > 0 {
				return geminiBad("Please ensure that function call turn comes immediately after a user turn or after a function response turn.")
			}
		}
		results := c.results()
		if len(results) > 0 && len(open) == 0 {
			return geminiBad("Please ensure that function response turn comes immediately after a function call turn.")
		}
		if len(open) != len(results) {
			return geminiBad("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.")
		}
		for _, result := range results {
			at := slices.IndexFunc(open, func(call *geminiCall) bool {
				return call.Name == result.Name && (call.ID == result.ID || call.ID == "" || result.ID == "")
			})
			if at < 0 {
				return geminiBad("Function response %s %s answers no function call of the turn before.", result.Name, result.ID)
			}
			open = slices.Delete(open, at, at+1)
		}
	}
	if len(r.Contents[len(r.Contents)-1].calls()) > 0 {
		return geminiBad("Please ensure that function call turn is followed by a function response turn.")
	}
	return nil
}

func (c *geminiContent) calls() []*geminiCall {
	var out []*geminiCall
	for _, part := range c.Parts {
		if part.FunctionCall != nil {
			out = append(out, part.FunctionCall)
		}
	}
	return out
}

func (c *geminiContent) results() []*geminiResult {
	var out []*geminiResult
	for _, part := range c.Parts {
		if part.FunctionResponse != nil {
			out = append(out, part.FunctionResponse)
		}
	}
	return out
}

// skipSignatures says whether a signature is one of the words that Google documents for calls that another model made.
func skipSignatures(encoded string) bool {
	for _, word := range []string{"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"} {
		raw, err := base64.RawURLEncoding.DecodeString(word)
		if err == nil && encoded == base64.StdEncoding.EncodeToString(raw) {
			return true
		}
	}
	return false
}

// checkSignatures checks every signature, and that the calls of the current turn, which began with the last user turn
// that is more than results, bring theirs: the first of each step.
func (r *geminiGenerate) checkSignatures(p *dialogue) *apiError {
	turn := 0
	for i, c := range r.Contents {
		if c.Role != "model" && len(c.results()) == 0 {
			turn = i
		}
	}
	for i, c := range r.Contents {
		first := true
		for j, part := range c.Parts {
			sign := base64.StdEncoding.EncodeToString(part.ThoughtSignature)
			call := part.FunctionCall
			if sign != "" && !skipSignatures(sign) && (!signed(sign) || call != nil && sign != callSignature(call.Name, argsOf(call))) {
				return geminiBad("Corrupted thought signature.")
			}
			if call == nil {
				continue
			}
			if first && sign == "" && p.thinks && i > turn {
				return geminiBad("Function call is missing a thought_signature in functionCall parts. This is required for tools to "+
					"work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function "+
					"call `default_api:%s` , position %d. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures "+
					"for more details.", call.Name, j+1)
			}
			first = false
		}
	}
	return nil
}

func argsOf(call *geminiCall) string {
	if !given(call.Args) {
		return "{}"
	}
	return string(call.Args)
}

// canonical is JSON with sorted names and no spaces; anything else stays as it is.
func canonical(text string) string {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return text
	}
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(out)
}

// hear takes from the contents what the answer depends on.
func (r *geminiGenerate) hear(p *dialogue) {
	for i, c := range r.Contents {
		var texts []string
		last := i == len(r.Contents)-1
		for _, part := range c.Parts {
			switch {
			case part.Text != nil && !part.Thought:
				p.input += words(*part.Text)
				texts = append(texts, *part.Text)
			case part.FunctionResponse != nil:
				p.input += words(part.FunctionResponse.said())
				p.answered = p.answered || last
			case last && part.InlineData != nil && strings.HasPrefix(part.InlineData.MIMEType, "image/"):
				p.sights = append(p.sights, sightOf(len(part.InlineData.Data)))
			case last && part.FileData != nil:
				p.sights = append(p.sights, "I see an image at a URL.")
			}
		}
		if c.Role != "model" {
			p.last = strings.Join(texts, " ")
		}
	}
}

// said is a result's text: its only member if that is a string, else all of it.
func (r *geminiResult) said() string {
	members := gjson.ParseBytes(r.Response).Map()
	for _, one := range members {
		if len(members) == 1 && one.Type == gjson.String {
			return one.Str
		}
	}
	return string(r.Response)
}
