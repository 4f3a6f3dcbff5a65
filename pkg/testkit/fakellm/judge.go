package fakellm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Operations that judge texts and write none: moderations and rerank.

// badWord is what the moderation finds violent.
const badWord = "violence"

// defaultModeration is the model for those who name none.
const defaultModeration = "omni-moderation-latest"

func moderationCategories() []string {
	return []string{
		"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
		"self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
	}
}

func decodeModeration(body []byte) (answer, *apiError) {
	if fault := known(body, "model", "input"); fault != nil {
		return answer{}, fault
	}
	var r struct {
		Model string          `json:"model"`
		Input json.RawMessage `json:"input"`
	}
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, fault
	}
	if r.Model == "" {
		r.Model = defaultModeration
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	texts, fault := decodeInputs("input", r.Input)
	if fault != nil {
		if json.Unmarshal(r.Input, &parts) != nil || len(parts) == 0 {
			return answer{}, fault
		}
		// Parts of one input, of which images are not judged.
		var all []byte
		for i, part := range parts {
			if part.Type != "text" && part.Type != "image_url" {
				return answer{}, badRequest("invalid_value", fmt.Sprintf("input[%d].type", i), "Invalid value: '%s'.", part.Type)
			}
			all = append(append(all, part.Text...), ' ')
		}
		texts = []input{{raw: all}}
	}
	whole := func(s stamp, _ bool) []byte {
		out := fmt.Appendf(nil, `{"id":"modr-fake%d","model":`, s.sequence)
		out = append(appendString(out, r.Model), `,"results":[`...)
		for i, in := range texts {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendVerdict(out, strings.Contains(string(in.raw), badWord))
		}
		return append(out, "]}"...)
	}
	return answer{model: r.Model, whole: whole}, nil
}

func appendVerdict(dst []byte, flagged bool) []byte {
	dst = strconv.AppendBool(append(dst, `{"flagged":`...), flagged)
	for _, member := range []string{"categories", "category_scores", "category_applied_input_types"} {
		dst = fmt.Appendf(dst, `,%q:{`, member)
		for i, name := range moderationCategories() {
			if i > 0 {
				dst = append(dst, ',')
			}
			hit := flagged && name == badWord
			dst = fmt.Appendf(dst, `%q:`, name)
			switch member {
			case "categories":
				dst = strconv.AppendBool(dst, hit)
			case "category_scores":
				if hit {
					dst = append(dst, "0.99"...)
				} else {
					dst = append(dst, "0.01"...)
				}
			default:
				dst = append(dst, `["text"]`...)
			}
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

type rerankRequest struct {
	Model           string            `json:"model"`
	Query           string            `json:"query"`
	Documents       []json.RawMessage `json:"documents"`
	TopN            *int              `json:"top_n"`
	ReturnDocuments *bool             `json:"return_documents"`
}

// decodeRerank reads the request as Jina and Cohere have it. A document is the more relevant, the more of the query's
// words it has.
func decodeRerank(body []byte) (answer, *apiError) {
	if fault := known(body, "model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc",
		"max_chunks_per_doc", "rank_fields", "truncation"); fault != nil {
		return answer{}, fault
	}
	var r rerankRequest
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, fault
	}
	switch {
	case r.Model == "":
		return answer{}, badRequest("missing_required_parameter", "model", "you must provide a model parameter")
	case r.Query == "":
		return answer{}, badRequest("missing_required_parameter", "query", "Missing required parameter: 'query'.")
	case len(r.Documents) == 0:
		return answer{}, badRequest("missing_required_parameter", "documents", "Missing required parameter: 'documents'.")
	case r.TopN != nil && *r.TopN < 1:
		return answer{}, badRequest("invalid_value", "top_n", "'top_n' must be at least 1")
	}
	type ranked struct {
		index int
		text  string
		score float64
	}
	u := usage{input: words(r.Query)}
	wanted := strings.Fields(r.Query)
	order := make([]ranked, 0, len(r.Documents))
	for i, raw := range r.Documents {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			var document struct {
				Text *string `json:"text"`
			}
			if json.Unmarshal(raw, &document) != nil || document.Text == nil {
				return answer{}, badRequest("invalid_type", fmt.Sprintf("documents[%d]", i), "a document is a string or has text")
			}
			text = *document.Text
		}
		u.input += words(text)
		has, hits := strings.Fields(text), 0
		for _, w := range wanted {
			if slices.Contains(has, w) {
				hits++
			}
		}
		order = append(order, ranked{i, text, float64(hits) / float64(max(1, len(wanted)))})
	}
	slices.SortStableFunc(order, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
	if r.TopN != nil {
		order = order[:min(*r.TopN, len(order))]
	}
	whole := func(s stamp, withUsage bool) []byte {
		out := fmt.Appendf(nil, `{"id":"rerank-fake%d","model":`, s.sequence)
		out = append(appendString(out, r.Model), `,"object":"list","results":[`...)
		for i, d := range order {
			if i > 0 {
				out = append(out, ',')
			}
			out = fmt.Appendf(out, `{"index":%d,"relevance_score":%s`, d.index, strconv.FormatFloat(d.score, 'f', -1, 64))
			if r.ReturnDocuments == nil || *r.ReturnDocuments {
				out = append(appendString(append(out, `,"document":{"text":`...), d.text), '}')
			}
			out = append(out, '}')
		}
		out = append(out, ']')
		if withUsage {
			out = fmt.Appendf(out, `,"usage":{"total_tokens":%d}`, u.input)
		}
		return append(out, '}')
	}
	return answer{model: r.Model, usage: u, whole: whole}, nil
}
