package responses

import (
	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// customSchema is the schema of a tool that takes free text instead of JSON. Other dialects have no such tools, so it becomes
// a function with one argument. Its words are how an answer's writer knows it again: no client's own schema has them.
const customSchema = `{"type":"object","properties":{"input":{"type":"string",` +
	`"description":"The whole input of the tool, as free text."}},"required":["input"],"additionalProperties":false}`

func (a *asking) tools(list gjson.Result) {
	if !a.want(list.IsArray(), "tools", "must be an array") {
		return
	}
	i := -1
	list.ForEach(func(_, v gjson.Result) bool {
		i++
		switch kind := v.Get("type").Str; kind {
		case "function", "custom":
			a.tool(at("tools", i), kind, v)
		case "":
			a.refuse(at("tools", i)+".type", "is missing")
		default: // web_search, file_search, mcp, code_interpreter and what else the provider runs
			a.r.Losses.Add(neutral.LossServerTools)
		}
		return a.fault == nil
	})
}

func (a *asking) tool(path, kind string, v gjson.Result) {
	t := neutral.Tool{}
	if kind == "custom" {
		t.Schema = customSchema
	}
	v.ForEach(func(key, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		switch key.Str {
		case "type":
		case "name":
			t.Name = v.String()
		case "description":
			t.Description = v.String()
		case "parameters":
			if a.want(v.IsObject(), path+".parameters", "must be an object") && kind == "function" {
				t.Schema = v.Raw
			}
		case "strict":
			strict := v.Bool()
			t.Strict = &strict
		case "format": // of a custom tool: text, or a grammar
			a.r.Losses.AddIf(v.Get("type").Str != "text", neutral.LossSchema)
		case "defer_loading":
			a.r.Losses.AddIf(v.Bool(), neutral.LossServerTools)
		default:
			a.r.Losses.Add(neutral.LossUnknownField)
		}
		return true
	})
	if a.want(t.Name != "", path+".name", "is missing") {
		a.r.Tools = append(a.r.Tools, t)
	}
}

func (a *asking) choice(v gjson.Result) {
	c := &a.r.Choice
	mode := v.Str
	if v.IsObject() {
		switch v.Get("type").Str {
		case "function", "custom":
			*c = neutral.Choice{How: neutral.ChooseTool, Name: v.Get("name").String()}
			a.want(c.Name != "", "tool_choice.name", "is missing")
			return
		case "allowed_tools":
			// How is kept; that it shall be one of a few is not.
			a.r.Losses.Add(neutral.LossToolChoice)
			mode = v.Get("mode").Str
		case "":
			a.refuse("tool_choice.type", "is missing")
			return
		default:
			a.r.Losses.Add(neutral.LossToolChoice)
			a.r.Losses.Add(neutral.LossServerTools)
			return
		}
	}
	switch mode {
	case "auto":
		c.How = neutral.ChooseAuto
	case "none":
		c.How = neutral.ChooseNone
	case "required":
		c.How = neutral.ChooseAny
	default:
		a.refuse("tool_choice", "must be none, auto, required or an object")
	}
}
