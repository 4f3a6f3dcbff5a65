package anthropic

import (
	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// tools reads what the model may call. Those that Anthropic defines by a type of their own are lost.
func (r *reader) tools(v gjson.Result) []neutral.Tool {
	if v.Type == gjson.Null {
		return nil
	}
	if !v.IsArray() {
		r.refuse("tools", "must be an array")
		return nil
	}
	var tools []neutral.Tool
	n := 0
	v.ForEach(func(_, t gjson.Result) bool {
		at := place{turn: inTools, part: n, inner: whole}
		n++
		if kind := t.Get("type"); kind.Type == gjson.String && kind.Str != "custom" {
			r.losses.Add(neutral.LossServerTools)
			return true
		}
		if !t.IsObject() {
			r.refuse(at.String(), "must be an object")
			return false
		}
		tools = append(tools, r.tool(t, at))
		return r.fault == nil
	})
	return tools
}

func (r *reader) tool(v gjson.Result, at place) neutral.Tool {
	var t neutral.Tool
	var name bool
	v.ForEach(func(key, v gjson.Result) bool {
		switch {
		case key.Str == "name":
			t.Name, name = r.need(v, at, "name"), true
		case v.Type == gjson.Null:
		case key.Str == "description":
			t.Description = r.need(v, at, "description")
		case key.Str == "input_schema":
			if !v.IsObject() {
				r.refuse(at.field("input_schema"), "must be an object")
			}
			t.Schema = v.Raw
		case key.Str == "strict":
			strict := r.yes(v, at, "strict")
			t.Strict = &strict
		case key.Str == "cache_control":
			r.losses.Add(neutral.LossCacheControl)
		case key.Str == "type", key.Str == "eager_input_streaming": // of no meaning to anyone else
		case key.Str == "defer_loading":
			r.losses.AddIf(v.Bool(), neutral.LossServerTools)
		case key.Str == "allowed_callers":
			r.losses.AddIf(v.Raw != `["direct"]`, neutral.LossServerTools)
		default:
			r.losses.Add(neutral.LossUnknownField)
		}
		return r.fault == nil
	})
	if !name {
		r.refuse(at.field("name"), "is required")
	}
	return t
}

func (r *reader) choice(q *neutral.Request, v gjson.Result) {
	if v.Type == gjson.Null {
		return
	}
	switch v.Get("type").Str {
	case "auto":
		q.Choice.How = neutral.ChooseAuto
	case "any":
		q.Choice.How = neutral.ChooseAny
	case "none":
		q.Choice.How = neutral.ChooseNone
	case "tool":
		q.Choice = neutral.Choice{How: neutral.ChooseTool, Name: r.str(v.Get("name"), "tool_choice.name")}
	default:
		r.refuse("tool_choice.type", "must be auto, any, tool or none")
	}
	if one := r.flag(v.Get("disable_parallel_tool_use"), "tool_choice.disable_parallel_tool_use"); one != nil {
		many := !*one
		q.Parallel = &many
	}
}

// thinking reads how much to think. "adaptive" without an effort is as much as the model likes.
func (r *reader) thinking(q *neutral.Request, v gjson.Result) {
	if v.Type == gjson.Null {
		return
	}
	switch v.Get("type").Str {
	case "disabled":
		q.Thinking.Off = true
	case "enabled":
		if q.Thinking.Budget = r.number(v.Get("budget_tokens"), "thinking.budget_tokens"); q.Thinking.Budget == "" {
			r.refuse("thinking.budget_tokens", "is required")
		}
	case "adaptive":
		if q.Thinking.Effort == "" {
			q.Thinking.Budget = unbounded
		}
	default:
		r.refuse("thinking.type", "must be enabled, adaptive or disabled")
	}
	switch v.Get("display").Str {
	case "summarized":
		show := true
		q.Thinking.Show = &show
	case "omitted":
		show := false
		q.Thinking.Show = &show
	default:
		r.losses.AddIf(v.Get("display").Type != gjson.Null, neutral.LossThinking)
	}
}

// output reads output_config, which may come before or after thinking.
func (r *reader) output(q *neutral.Request, v gjson.Result) {
	if v.Type == gjson.Null {
		return
	}
	if !v.IsObject() {
		r.refuse("output_config", "must be an object")
		return
	}
	v.ForEach(func(key, v gjson.Result) bool {
		switch {
		case v.Type == gjson.Null:
		case key.Str == "effort":
			r.effort(q, r.str(v, "output_config.effort"))
		case key.Str == "format":
			r.format(q, v, "output_config.format")
		default:
			r.losses.Add(neutral.LossUnknownField)
		}
		return r.fault == nil
	})
}

func (r *reader) effort(q *neutral.Request, effort string) {
	switch effort {
	case "low", "medium", "high", "xhigh":
		q.Thinking.Effort = effort
	case "max":
		q.Thinking.Effort = "xhigh" // the most that others know
	default:
		r.losses.Add(neutral.LossThinking)
		return
	}
	if q.Thinking.Budget == unbounded {
		q.Thinking.Budget = ""
	}
}

func (r *reader) format(q *neutral.Request, v gjson.Result, path string) {
	if v.Type == gjson.Null {
		return
	}
	if v.Get("type").Str != "json_schema" {
		r.refuse(path+".type", "must be json_schema")
		return
	}
	schema := v.Get("schema")
	if !schema.IsObject() {
		r.refuse(path+".schema", "must be an object")
		return
	}
	q.Format = neutral.Format{Kind: neutral.FormatSchema, Name: v.Get("name").Str, Schema: schema.Raw}
}
