package fakellm

import (
	"encoding/json"
	"fmt"
	"strings"
)

// decodeCountTokens counts the tokens of contents, or of a whole request, which costs none.
func (x *exchange) decodeCountTokens(body []byte, model string) (answer, *apiError) {
	var r geminiCount
	if fault := decodeShape(body, &r); fault != nil {
		return answer{}, fault
	}
	if fault := x.knowsGeminiModel(model, "countTokens"); fault != nil {
		return answer{}, fault
	}
	whole := r.GenerateContentRequest
	switch {
	case whole == nil:
		whole = &geminiGenerate{Contents: r.Contents}
	case len(r.Contents) > 0:
		return answer{}, geminiBad("Only one of contents and generate_content_request may be set.")
	case whole.Model != "models/"+model:
		return answer{}, geminiBad("* CountTokensRequest.generate_content_request.model: unexpected model name format\n")
	}
	p, fault := whole.check(model)
	if fault != nil {
		return answer{}, fault
	}
	s, fault := p.say()
	if fault != nil {
		return answer{}, fault
	}
	return answer{model: model, whole: func(stamp, bool) []byte {
		return fmt.Appendf(nil, `{"totalTokens":%d,"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]}`,
			s.usage.input, s.usage.input)
	}}, nil
}

func (x *exchange) decodeEmbedContent(body []byte, model string) (answer, *apiError) {
	var r geminiEmbed
	if fault := decodeShape(body, &r); fault != nil {
		return answer{}, fault
	}
	if fault := x.knowsGeminiModel(model, "embedContent"); fault != nil {
		return answer{}, fault
	}
	values, u, fault := r.values("EmbedContentRequest", model, false)
	if fault != nil {
		return answer{}, fault
	}
	return answer{model: model, usage: u, whole: func(stamp, bool) []byte {
		return append(append([]byte(`{"embedding":`), values...), '}')
	}}, nil
}

func (x *exchange) decodeBatchEmbed(body []byte, model string) (answer, *apiError) {
	var r geminiBatchEmbed
	if fault := decodeShape(body, &r); fault != nil {
		return answer{}, fault
	}
	if fault := x.knowsGeminiModel(model, "batchEmbedContents"); fault != nil {
		return answer{}, fault
	}
	if len(r.Requests) == 0 || len(r.Requests) > 100 {
		return answer{}, geminiBad("* BatchEmbedContentsRequest.requests: at least one and at most 100 requests can be in one batch\n")
	}
	var u usage
	out := []byte(`{"embeddings":[`)
	for i := range r.Requests {
		values, one, fault := r.Requests[i].values(fmt.Sprintf("BatchEmbedContentsRequest.requests[%d]", i), model, true)
		if fault != nil {
			return answer{}, fault
		}
		u.input += one.input
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, values...)
	}
	out = append(out, "]}"...)
	return answer{model: model, usage: u, whole: func(stamp, bool) []byte { return out }}, nil
}

// values embeds one content. In a batch, each request names the model once more.
func (r *geminiEmbed) values(path, model string, named bool) ([]byte, usage, *apiError) {
	dimensions := int64(defaultDimensions)
	if r.OutputDimensionality != nil {
		dimensions = *r.OutputDimensionality
	}
	switch {
	case r.Model == "" && named:
		return nil, usage{}, geminiBad("* %s.model: model is required\n", path)
	case r.Model != "" && r.Model != "models/"+model:
		return nil, usage{}, geminiBad("* %s.model: model does not match the one in the request's path\n", path)
	case r.Content == nil:
		return nil, usage{}, geminiBad("* %s.content: contents is not specified\n", path)
	case dimensions < 1 || dimensions > maxDimensions:
		return nil, usage{}, geminiBad("* %s.output_dimensionality: must be between 1 and %d\n", path, maxDimensions)
	case r.Title != "" && r.TaskType != "RETRIEVAL_DOCUMENT":
		return nil, usage{}, geminiBad("* %s.title: only allowed with task_type RETRIEVAL_DOCUMENT\n", path)
	}
	if fault := r.Content.check(path + ".content"); fault != nil {
		return nil, usage{}, fault
	}
	texts := make([]string, 0, len(r.Content.Parts))
	for _, part := range r.Content.Parts {
		if part.Text == nil {
			return nil, usage{}, geminiBad("* %s.content: only text is supported\n", path)
		}
		texts = append(texts, *part.Text)
	}
	text := strings.Join(texts, " ")
	values, err := json.Marshal(vector([]byte(text), int(dimensions)))
	if err != nil {
		// Its numbers are finite.
		panic(err)
	}
	return append(append([]byte(`{"values":`), values...), '}'), usage{input: words(text)}, nil
}
