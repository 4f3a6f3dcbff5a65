package fakellm

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

type chatTool struct {
	Type     string `json:"type"`
	Function struct {
		Name       string `json:"name"`
		Parameters struct {
			Properties map[string]struct {
				Type string `json:"type"`
			} `json:"properties"`
			Required []string `json:"required"`
		} `json:"parameters"`
	} `json:"function"`
}

// toolCall is a call of one function. The arguments are JSON in pieces, as a stream sends them.
type toolCall struct {
	name      string
	arguments []string
}

// chosen is the function that tool_choice names; "" = it names none.
func (r *chatRequest) chosen() string {
	var choice struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	// Anything but an object names no function.
	_ = json.Unmarshal(r.ToolChoice, &choice)
	return choice.Function.Name
}

// arguments fills every required property with a value of its type.
func (t chatTool) arguments() string {
	out := []byte{'{'}
	for i, name := range t.Function.Parameters.Required {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, name), ':')
		switch t.Function.Parameters.Properties[name].Type {
		case "string":
			out = append(out, `"fake"`...)
		case "integer", "number":
			out = append(out, '1')
		case "boolean":
			out = append(out, "true"...)
		case "array":
			out = append(out, "[]"...)
		case "object":
			out = append(out, "{}"...)
		default:
			out = append(out, "null"...)
		}
	}
	return string(append(out, '}'))
}

// pieces cuts text into pieces of about so many bytes, between characters.
func pieces(text string, size int) []string {
	var out []string
	for len(text) > size {
		cut := size
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		out = append(out, text[:cut])
		text = text[cut:]
	}
	return append(out, text)
}

// append renders the call as an element of tool_calls.
func (c toolCall) append(dst []byte, s stamp, index int, arguments string, withIndex bool) []byte {
	dst = append(dst, '{')
	if withIndex {
		dst = fmt.Appendf(dst, `"index":%d,`, index)
	}
	dst = fmt.Appendf(dst, `"id":"call_fake%d_%d","type":"function","function":{"name":`, s.sequence, index)
	dst = appendString(dst, c.name)
	dst = append(dst, `,"arguments":`...)
	dst = appendString(dst, arguments)
	return append(dst, "}}"...)
}
