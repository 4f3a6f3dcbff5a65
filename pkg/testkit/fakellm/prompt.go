package fakellm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// prompt is what decides an answer, whatever the dialect it was asked in: so that one conversation goes alike in all of
// them.
type prompt struct {
	words int64
	image int // bytes of the last image; 0 = none was seen
	tools []chatTool
	// tool, when set, is the only one that may be called; quiet forbids every call, single allows one.
	tool          string
	quiet, single bool
	resulted      bool // the last turn brings tools' results
	schema        json.RawMessage
	limit         *int64 // of output tokens
	thinking      int64  // tokens to think
}

// saying is an answer: thoughts, then calls or text, in pieces of one token each.
type saying struct {
	thoughts []string
	parts    []string
	calls    []toolCall
	// cut says that the answer ended because it was at its limit.
	cut   bool
	usage usage
}

// say decides on the answer.
func (p prompt) say() saying {
	out := saying{usage: usage{input: p.words}}
	limit := p.limit
	if p.thinking > 0 {
		n := p.thinking
		if limit != nil {
			n = min(n, *limit)
			left := *limit - n
			limit = &left
		}
		out.thoughts = repeat("I am thinking about it. ", n)
	}
	if out.calls = p.call(); len(out.calls) > 0 {
		for _, call := range out.calls {
			out.usage.output += int64(1 + len(call.arguments))
		}
	} else {
		out.parts, out.cut = p.text(limit)
		out.usage.output = int64(len(out.parts))
	}
	out.usage.reasoning = int64(len(out.thoughts))
	out.usage.output += out.usage.reasoning
	return out
}

// text is what is said when no tool is called: an instance of the schema, what was seen, or the fixed words.
func (p prompt) text(limit *int64) (parts []string, cut bool) {
	switch {
	case len(p.schema) > 0:
		parts = pieces(string(instance(p.schema)), 8)
	case p.image > 0:
		parts = strings.SplitAfter(fmt.Sprintf("I see an image of %d bytes.", p.image), " ")
	case limit != nil && *p.limit < wishLimit:
		parts, _ = reply(limit)
		return parts, true
	default:
		parts, _ = reply(nil)
	}
	if limit != nil && int64(len(parts)) > *limit {
		return parts[:*limit], true
	}
	return parts, false
}

// call decides which tools are called: none when the last turn is a tool's result or the caller forbids it, the one
// that was chosen, else the first two, or the first alone when parallel calls are off.
func (p prompt) call() []toolCall {
	if p.resulted || p.quiet {
		return nil
	}
	most := 2
	if p.single {
		most = 1
	}
	var calls []toolCall
	for _, tool := range p.tools {
		if len(calls) == most {
			break
		}
		if tool.Type == "function" && (p.tool == "" || p.tool == tool.Function.Name) {
			calls = append(calls, toolCall{name: tool.Function.Name, arguments: pieces(tool.arguments(), 8)})
		}
	}
	return calls
}

// function is a tool by what it is called and takes.
func function(name string, parameters json.RawMessage) (chatTool, error) {
	t := chatTool{Type: "function"}
	t.Function.Name = name
	if len(parameters) > 0 && string(parameters) != "null" {
		if err := json.Unmarshal(parameters, &t.Function.Parameters); err != nil {
			return t, fmt.Errorf("decode the parameters of %s: %w", name, err)
		}
	}
	return t, nil
}

// repeat is so many words of a text that ends with a space, over and over.
func repeat(text string, n int64) []string {
	all := strings.SplitAfter(strings.TrimSuffix(text, " "), " ")
	out := make([]string, n)
	for i := range out {
		out[i] = strings.TrimSuffix(all[i%len(all)], " ") + " "
	}
	return out
}

// thoughtsFor is how many tokens an effort makes; false = there is no such effort.
func thoughtsFor(effort string) (int64, bool) {
	efforts := []string{"", "none", "minimal", "low", "medium", "high", "xhigh", "max"}
	switch at := slices.Index(efforts, effort); {
	case at < 0:
		return 0, false
	case at < 2:
		return 0, true
	default:
		return 1 << (at - 1), true
	}
}

// instance is the least JSON value that satisfies a schema, as far as structured output allows schemas.
func instance(schema json.RawMessage) []byte {
	return appendInstance(nil, schema, schema, 0)
}

func appendInstance(dst []byte, root, raw json.RawMessage, depth int) []byte {
	var s struct {
		Type       json.RawMessage            `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
		Items      json.RawMessage            `json:"items"`
		MinItems   int                        `json:"minItems"`
		Minimum    json.Number                `json:"minimum"`
		Enum       []json.RawMessage          `json:"enum"`
		Const      json.RawMessage            `json:"const"`
		AnyOf      []json.RawMessage          `json:"anyOf"`
		Ref        string                     `json:"$ref"`
	}
	const deepest = 32
	if json.Unmarshal(raw, &s) != nil || depth > deepest {
		return append(dst, "null"...)
	}
	switch {
	case len(s.Const) > 0:
		return append(dst, s.Const...)
	case len(s.Enum) > 0:
		return append(dst, s.Enum[0]...)
	case len(s.AnyOf) > 0:
		return appendInstance(dst, root, s.AnyOf[0], depth+1)
	case s.Ref != "":
		return appendInstance(dst, root, referred(root, s.Ref), depth+1)
	}
	switch kind(s.Type, len(s.Properties) > 0) {
	case "object":
		dst = append(dst, '{')
		for i, name := range s.Required {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, name), ':')
			dst = appendInstance(dst, root, s.Properties[name], depth+1)
		}
		return append(dst, '}')
	case "array":
		dst = append(dst, '[')
		for i := range min(s.MinItems, deepest) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendInstance(dst, root, s.Items, depth+1)
		}
		return append(dst, ']')
	case "string":
		return append(dst, `"fake"`...)
	case "integer", "number":
		if s.Minimum != "" {
			return append(dst, s.Minimum...)
		}
		return append(dst, '1')
	case "boolean":
		return append(dst, "true"...)
	}
	return append(dst, "null"...)
}

// kind is a schema's type, the first when it has several; Gemini writes them in capitals.
func kind(raw json.RawMessage, properties bool) string {
	var one string
	var several []string
	switch {
	case json.Unmarshal(raw, &one) == nil:
	case json.Unmarshal(raw, &several) == nil && len(several) > 0:
		one = several[0]
	case properties:
		one = "object"
	}
	return strings.ToLower(one)
}

// referred finds what "#/$defs/name" stands for.
func referred(root json.RawMessage, ref string) json.RawMessage {
	path, local := strings.CutPrefix(ref, "#/")
	if !local {
		return nil
	}
	at := root
	for step := range strings.SplitSeq(path, "/") {
		var members map[string]json.RawMessage
		if json.Unmarshal(at, &members) != nil {
			return nil
		}
		at = members[step]
	}
	return at
}
