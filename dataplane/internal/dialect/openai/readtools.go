package openai

import (
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// readTools reads the tools and which of them to call, in their newest spelling and in the one with functions.
func (q *requestReader) readTools() {
	if said(q.tools) && !q.tools.IsArray() {
		q.refuse("tools", "must be an array")
		return
	}
	i := 0
	q.each(q.tools, func(_ string, v gjson.Result) {
		q.tool("tools["+strconv.Itoa(i)+"]", v)
		i++
	})
	if said(q.functions) && !q.functions.IsArray() {
		q.refuse("functions", "must be an array")
		return
	}
	i = 0
	q.each(q.functions, func(_ string, v gjson.Result) {
		// The answer calls a tool, where this client waits for a function_call.
		q.r.Losses.Add(neutral.LossUnknownField)
		q.function("functions["+strconv.Itoa(i)+"]", v)
		i++
	})
	switch {
	case q.fault != nil:
	case said(q.choice):
		q.toolChoice(q.choice)
	case said(q.functionCall):
		q.oldChoice(q.functionCall)
	}
}

func (q *requestReader) tool(at string, v gjson.Result) {
	kind, function := v.Get("type").Str, v.Get("function")
	switch {
	case !v.IsObject():
		q.refuse(at, "must be an object")
	case kind == "function" || kind == "" && function.IsObject():
		q.unknown(v, "type", "function")
		q.function(at+".function", function)
	case kind == "custom":
		q.unknown(v, "type", "custom")
		q.custom(at+".custom", v.Get("custom"))
	case kind == "":
		q.refuse(at+".type", "is required")
	default:
		q.r.Losses.Add(neutral.LossServerTools)
	}
}

// unknown notes members that none of known names.
func (q *requestReader) unknown(v gjson.Result, known ...string) {
	q.each(v, func(key string, _ gjson.Result) {
		switch {
		case slices.Contains(known, key):
		case key == "cache_control":
			q.r.Losses.Add(neutral.LossCacheControl)
		default:
			q.r.Losses.Add(neutral.LossUnknownField)
		}
	})
}

func (q *requestReader) function(at string, v gjson.Result) {
	if !v.IsObject() {
		q.refuse(at, "must be an object")
		return
	}
	t := neutral.Tool{}
	q.each(v, func(key string, v gjson.Result) {
		switch at := at + "." + key; key {
		case "name":
			q.text(at, v, &t.Name)
		case "description":
			q.text(at, v, &t.Description)
		case "parameters":
			if !v.IsObject() {
				q.refuse(at, "must be an object")
			}
			t.Schema = v.Raw
		case "strict":
			t.Strict = q.boolean(at, v)
		case "cache_control":
			q.r.Losses.Add(neutral.LossCacheControl)
		default:
			q.r.Losses.Add(neutral.LossUnknownField)
		}
	})
	if t.Name == "" {
		q.refuse(at+".name", "is required")
	}
	q.r.Tools = append(q.r.Tools, t)
}

// custom reads a tool that takes any text: it becomes a function with that text as its only argument.
func (q *requestReader) custom(at string, v gjson.Result) {
	if !v.IsObject() {
		q.refuse(at, "must be an object")
		return
	}
	t := neutral.Tool{Schema: customSchema}
	q.each(v, func(key string, v gjson.Result) {
		switch at := at + "." + key; key {
		case "name":
			q.text(at, v, &t.Name)
		case "description":
			q.text(at, v, &t.Description)
		case "format":
			q.r.Losses.AddIf(v.Get("type").Str != "text", neutral.LossSchema) // a grammar for the text
		default:
			q.r.Losses.Add(neutral.LossUnknownField)
		}
	})
	if t.Name == "" {
		q.refuse(at+".name", "is required")
	}
	q.r.Tools = append(q.r.Tools, t)
}

const choices = "must be none, auto, required or an object that names a tool"

func (q *requestReader) toolChoice(v gjson.Result) {
	const at = "tool_choice"
	if v.Type == gjson.String {
		how, ok := chooseOf(v.Str)
		if !ok {
			q.refuse(at, choices)
		}
		q.r.Choice.How = how
		return
	}
	switch v.Get("type").Str {
	case "function":
		q.named(at+".function.name", v.Get("function.name"))
	case "custom":
		q.named(at+".custom.name", v.Get("custom.name"))
	case "allowed_tools":
		q.allowed(at+".allowed_tools", v.Get("allowed_tools"))
	default:
		q.refuse(at, choices)
	}
}

func chooseOf(word string) (neutral.Choose, bool) {
	switch word {
	case "auto":
		return neutral.ChooseAuto, true
	case "none":
		return neutral.ChooseNone, true
	case "required":
		return neutral.ChooseAny, true
	}
	return 0, false
}

func (q *requestReader) named(at string, name gjson.Result) {
	if name.Str == "" {
		q.refuse(at, "is required")
		return
	}
	q.r.Choice = neutral.Choice{How: neutral.ChooseTool, Name: name.Str}
}

// allowed reads a choice that leaves only some tools: the others are not offered at all, which says the same.
func (q *requestReader) allowed(at string, v gjson.Result) {
	how, ok := chooseOf(v.Get("mode").Str)
	tools := v.Get("tools")
	switch {
	case !ok || how == neutral.ChooseNone:
		q.refuse(at+".mode", "must be auto or required")
		return
	case !tools.IsArray():
		q.refuse(at+".tools", "must be an array")
		return
	}
	names := map[string]bool{} // there may be many
	q.each(tools, func(_ string, v gjson.Result) {
		name := v.Get("function.name").Str
		if name == "" {
			name = v.Get("custom.name").Str
		}
		names[name] = true
	})
	q.r.Choice.How = how
	q.r.Tools = slices.DeleteFunc(q.r.Tools, func(t neutral.Tool) bool { return !names[t.Name] })
}

// oldChoice reads function_call.
func (q *requestReader) oldChoice(v gjson.Result) {
	switch how, ok := chooseOf(v.Str); {
	case ok && how != neutral.ChooseAny:
		q.r.Choice.How = how
	case v.IsObject():
		q.named("function_call.name", v.Get("name"))
	default:
		q.refuse("function_call", "must be none, auto or an object that names a function")
	}
}

// wrapInput is the arguments of a call of a custom tool.
func wrapInput(input string) string {
	b := make([]byte, 0, len(input)+16)
	b = append(b, `{"input":`...)
	b = dialect.AppendQuoted(b, input)
	return string(append(b, '}'))
}
