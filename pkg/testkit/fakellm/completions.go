package fakellm

import (
	"encoding/json"
	"fmt"
	"strings"
)

type completionRequest struct {
	Model         string            `json:"model"`
	Prompt        json.RawMessage   `json:"prompt"`
	Stream        bool              `json:"stream"`
	StreamOptions *streamOptions    `json:"stream_options"`
	MaxTokens     *int64            `json:"max_tokens"`
	Metadata      map[string]string `json:"metadata"`
}

func decodeCompletion(body []byte) (answer, *apiError) {
	var r completionRequest
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, fault
	}
	switch {
	case r.Model == "":
		return answer{}, badRequest("missing_required_parameter", "model", "you must provide a model parameter")
	case r.StreamOptions != nil && !r.Stream:
		return answer{}, badRequest("invalid_value", "stream_options",
			"The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if fault := checkLimit("max_tokens", r.MaxTokens); fault != nil {
		return answer{}, fault
	}
	inputs, fault := decodeInputs("prompt", r.Prompt)
	if fault != nil {
		return answer{}, fault
	}
	c := completionAnswer{model: r.Model, includeUsage: r.StreamOptions != nil && r.StreamOptions.IncludeUsage}
	c.parts, c.finish = reply(r.MaxTokens)
	c.usage.output = int64(len(c.parts))
	for _, in := range inputs {
		c.usage.input += in.tokens
	}
	if c.usage, fault = c.usage.override(r.Metadata); fault != nil {
		return answer{}, fault
	}
	return answer{model: r.Model, stream: r.Stream, usage: c.usage, whole: c.whole, events: c.events}, nil
}

// completionAnswer is text in parts, for the first prompt only.
type completionAnswer struct {
	model        string
	parts        []string
	finish       string
	usage        usage
	includeUsage bool
}

func (c completionAnswer) whole(s stamp, withUsage bool) []byte {
	out := c.head(s)
	out = c.choice(out, strings.Join(c.parts, ""), c.finish)
	out = append(out, ']')
	if withUsage {
		out = append(out, `,"usage":`...)
		out = append(out, c.usage.chat()...)
	}
	return append(out, '}')
}

func (c completionAnswer) events(s stamp, withUsage bool, yield func([]byte) bool) {
	head := append([]byte("data: "), c.head(s)...)
	tail := "]}\n\n"
	if c.includeUsage && withUsage {
		tail = "],\"usage\":null}\n\n"
	}
	var buf []byte
	for i, part := range c.parts {
		finish := ""
		if i == len(c.parts)-1 {
			finish = c.finish
		}
		buf = c.choice(append(buf[:0], head...), part, finish)
		if buf = append(buf, tail...); !yield(buf) {
			return
		}
	}
	if c.includeUsage && withUsage {
		buf = append(append(buf[:0], head...), `],"usage":`...)
		yield(append(append(buf, c.usage.chat()...), "}\n\n"...))
	}
}

// head opens the object, up to the choices.
func (c completionAnswer) head(s stamp) []byte {
	out := fmt.Appendf(nil, `{"id":"cmpl-fake%d","object":"text_completion","created":%d,"model":`, s.sequence, s.created)
	return append(appendString(out, c.model), `,"choices":[`...)
}

func (c completionAnswer) choice(dst []byte, text, finish string) []byte {
	dst = append(dst, `{"text":`...)
	dst = appendString(dst, text)
	dst = append(dst, `,"index":0,"logprobs":null,"finish_reason":`...)
	if finish == "" {
		return append(dst, "null}"...)
	}
	return append(appendString(dst, finish), '}')
}

// input is one prompt or text to embed; text is empty when it came as token numbers.
type input struct {
	raw    []byte
	tokens int64
}

// decodeInputs reads what prompt and input may be: a string, strings, token numbers, or lists of those.
func decodeInputs(param string, raw json.RawMessage) ([]input, *apiError) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, badRequest("missing_required_parameter", param, "Missing required parameter: '%s'.", param)
	}
	var (
		text    string
		texts   []string
		numbers []int64
		lists   [][]int64
	)
	switch {
	case json.Unmarshal(raw, &text) == nil:
		return []input{{raw: []byte(text), tokens: words(text)}}, nil
	case json.Unmarshal(raw, &texts) == nil && len(texts) > 0:
		out := make([]input, len(texts))
		for i, t := range texts {
			out[i] = input{raw: []byte(t), tokens: words(t)}
		}
		return out, nil
	case json.Unmarshal(raw, &numbers) == nil && len(numbers) > 0:
		return []input{{raw: raw, tokens: int64(len(numbers))}}, nil
	case json.Unmarshal(raw, &lists) == nil && len(lists) > 0:
		out := make([]input, len(lists))
		for i, l := range lists {
			out[i] = input{raw: fmt.Appendf(nil, "%d", l), tokens: int64(len(l))}
		}
		return out, nil
	}
	return nil, badRequest("invalid_type", param, "'%s' must be a string or a list of strings or tokens", param)
}
