package responses

import (
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// input reads the conversation: a text, or items.
func (a *asking) input(v gjson.Result) {
	switch {
	case v.Type == gjson.String:
		a.say(neutral.User, neutral.Part{Kind: neutral.Text, Text: v.Str})
		return
	case !v.Exists():
		a.refuse("input", "is missing")
		return
	case !a.want(v.IsArray(), "input", "must be a string or an array"):
		return
	}
	i := -1
	v.ForEach(func(_, item gjson.Result) bool {
		i++
		if path := at("input", i); a.want(item.IsObject(), path, "must be an object") {
			a.item(path, item)
		}
		return a.fault == nil
	})
}

// say adds a part to the turn of role, a new one if it is not role's now.
func (a *asking) say(role neutral.Role, p neutral.Part) {
	if n := len(a.r.Turns); n > 0 && a.r.Turns[n-1].Role == role {
		last := &a.r.Turns[n-1]
		last.Parts = append(last.Parts, p)
		return
	}
	a.r.Turns = append(a.r.Turns, neutral.Turn{Role: role, Parts: []neutral.Part{p}})
}

func (a *asking) item(path string, v gjson.Result) {
	kind := v.Get("type").Str
	if kind == "" && v.Get("role").Exists() {
		kind = "message"
	}
	if kind == "" && v.Get("id").Exists() {
		kind = "item_reference"
	}
	switch kind {
	case "message":
		a.message(path, v)
	case "function_call":
		if args := v.Get("arguments"); a.want(args.Type == gjson.String, path+".arguments", "must be a string") {
			a.call(path, v, "arguments", objectArgs(args.Str))
		}
	case "custom_tool_call":
		a.call(path, v, "input", textArgs(v.Get("input").String()))
	case "function_call_output", "custom_tool_call_output":
		a.result(path, v)
	case "reasoning":
		a.unknown(v, "type", "id", "status", "summary", "content", "encrypted_content")
		if p, ok := reasoningPart(v); ok {
			a.say(neutral.Assistant, p)
		}
	case "image_generation_call":
		if p, ok := imagePart(v); ok {
			a.say(neutral.Assistant, p)
		}
	case "item_reference":
		a.refuse(path, "names an item that another provider holds: this request is translated for a provider that does not "+
			"have it; send the item itself")
	case "compaction":
		a.refuse(path, "holds a conversation in a form that only its provider can read; this request is translated for another")
	case "":
		a.refuse(path+".type", "is missing")
	default:
		if serverItem(kind) {
			a.r.Losses.Add(neutral.LossServerTools)
		} else {
			a.r.Losses.Add(neutral.LossUnknownPart)
		}
	}
}

// serverItem says whether an item is of a tool of the provider's own.
func serverItem(kind string) bool {
	switch kind {
	case "tool_search_output", "additional_tools", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response",
		"program", "program_output":
		return true
	}
	// web_search_call, computer_call_output and their like.
	return strings.HasSuffix(kind, "_call") || strings.HasSuffix(kind, "_call_output")
}

// call reads the call of a tool; member holds what it was called with.
func (a *asking) call(path string, v gjson.Result, member, args string) {
	a.unknown(v, "type", "id", "status", "call_id", "name", member)
	p := neutral.Part{Kind: neutral.Call, ID: v.Get("call_id").String(), Name: v.Get("name").String(), Args: args}
	if a.want(p.ID != "", path+".call_id", "is missing") && a.want(p.Name != "", path+".name", "is missing") {
		a.say(neutral.Assistant, p)
	}
}

// result reads what came of a call. The dialect has no word for a tool that failed; status "incomplete" is the nearest.
func (a *asking) result(path string, v gjson.Result) {
	a.unknown(v, "type", "id", "status", "call_id", "output")
	p := neutral.Part{Kind: neutral.Result, ID: v.Get("call_id").String(), Failed: v.Get("status").Str == "incomplete"}
	if !a.want(p.ID != "", path+".call_id", "is missing") {
		return
	}
	switch output := v.Get("output"); {
	case output.Type == gjson.String:
		if output.Str != "" {
			p.Parts = []neutral.Part{{Kind: neutral.Text, Text: output.Str}}
		}
	case output.IsArray():
		a.content(path+".output", output, func(part neutral.Part) {
			if part.Kind == neutral.Audio {
				a.r.Losses.Add(neutral.LossAudio)
				return
			}
			p.Parts = append(p.Parts, part)
		})
	default:
		a.refuse(path+".output", "must be a string or an array")
		return
	}
	a.say(neutral.User, p)
}

func (a *asking) message(path string, v gjson.Result) {
	a.unknown(v, "type", "id", "status", "role", "content")
	var role neutral.Role
	switch v.Get("role").Str {
	case "user":
		role = neutral.User
	case "assistant":
		role = neutral.Assistant
	case "system", "developer":
		role = neutral.System
	default:
		a.refuse(path+".role", "must be user, assistant, system or developer")
		return
	}
	say := func(p neutral.Part) { a.say(role, p) }
	if role == neutral.System {
		say = a.instruct
	}
	switch content := v.Get("content"); {
	case content.Type == gjson.String:
		say(neutral.Part{Kind: neutral.Text, Text: content.Str})
	case content.IsArray():
		a.content(path+".content", content, say)
	default:
		a.refuse(path+".content", "must be a string or an array")
	}
}

// instruct adds a part of a system message: to the instructions as long as nobody said anything, later to a turn.
func (a *asking) instruct(p neutral.Part) {
	switch {
	case p.Kind == neutral.Image:
		a.r.Losses.Add(neutral.LossImages)
	case p.Kind == neutral.File:
		a.r.Losses.Add(neutral.LossFiles)
	case p.Kind != neutral.Text:
		a.r.Losses.Add(neutral.LossUnknownPart)
	case len(a.r.Turns) == 0:
		a.r.System = append(a.r.System, p)
	default:
		a.say(neutral.System, p)
	}
}

// unknown notes members of an item or a part that are not among those named.
func (a *asking) unknown(v gjson.Result, names ...string) {
	v.ForEach(func(key, v gjson.Result) bool {
		for _, name := range names {
			if key.Str == name {
				return true
			}
		}
		a.r.Losses.AddIf(v.Type != gjson.Null, neutral.LossUnknownField)
		return true
	})
}

// isObject says whether s is the text of a JSON object.
func isObject(s string) bool { return dialect.Valid(s) && gjson.Parse(s).IsObject() }
