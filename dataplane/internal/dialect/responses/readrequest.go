package responses

import (
	"strconv"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// asking reads one request.
type asking struct {
	r     *neutral.Request
	fault *fault.Error // the first thing that makes no sense
}

// ReadRequest implements neutral.Reader.
func (Codec) ReadRequest(body []byte, model string, stream bool) (*neutral.Request, *fault.Error) {
	a := asking{r: &neutral.Request{Model: model, Stream: stream}}
	input := gjson.Result{}
	parse(body).ForEach(func(key, v gjson.Result) bool {
		// null is unsaid everywhere.
		if v.Type == gjson.Null {
			return true
		}
		switch key.Str {
		case "input":
			input = v
		case "instructions":
			if a.want(v.Type == gjson.String, "instructions", "must be a string") && v.Str != "" {
				a.r.System = append(a.r.System, neutral.Part{Kind: neutral.Text, Text: v.Str})
			}
		default:
			if !a.setting(key.Str, v) {
				a.member(key.Str, v)
			}
		}
		return a.fault == nil
	})
	if a.fault == nil {
		a.input(input)
	}
	if a.fault != nil {
		return nil, a.fault
	}
	return a.r, nil
}

// parse reads JSON without a copy: what it finds aliases b.
func parse(b []byte) gjson.Result { return gjson.Parse(unsafe.String(unsafe.SliceData(b), len(b))) }

// refuse notes what makes no sense, and where.
func (a *asking) refuse(param, why string) {
	if a.fault == nil {
		a.fault = fault.New(fault.Invalid, "%s", param+" "+why).WithParam(param)
	}
}

// want refuses param where ok is false.
func (a *asking) want(ok bool, param, why string) bool {
	if !ok {
		a.refuse(param, why)
	}
	return ok
}

// setting reads what the form has a field for; false = it is none of these.
func (a *asking) setting(name string, v gjson.Result) bool {
	r := a.r
	switch name {
	case "max_output_tokens":
		a.number(&r.MaxTokens, name, v)
	case "temperature":
		a.number(&r.Temperature, name, v)
	case "top_p":
		a.number(&r.TopP, name, v)
	case "parallel_tool_calls":
		if a.want(v.IsBool(), name, "must be a boolean") {
			parallel := v.Bool()
			r.Parallel = &parallel
		}
	case "user":
		if r.User == "" { // safety_identifier is its successor, and wins
			r.User = v.String()
		}
	case "safety_identifier":
		r.User = v.String()
	case "service_tier":
		r.Tier = v.String()
	case "reasoning":
		a.reasoning(v)
	case "text":
		a.text(v)
	case "tools":
		a.tools(v)
	case "tool_choice":
		a.choice(v)
	default:
		return false
	}
	return true
}

// member reads what the form has no field for.
func (a *asking) member(name string, v gjson.Result) {
	lost := &a.r.Losses
	switch name {
	case "model", "stream", "stream_options":
		// Who calls knows the first two; how streams are padded is between us and the client.
	case "previous_response_id", "conversation", "prompt":
		a.refuse(name, "names what another provider holds: this request is translated for a provider that does not have it; "+
			"send the conversation in input instead")
	case "background":
		a.want(v.Type == gjson.False, name, "is not possible where the request is translated for another provider")
	case "store":
		lost.AddIf(v.Bool(), neutral.LossState)
	case "metadata":
		lost.AddIf(len(v.Map()) > 0, neutral.LossMetadata)
	case "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options":
		lost.Add(neutral.LossCacheControl)
	case "truncation":
		lost.AddIf(v.Str != "disabled", neutral.LossTruncation)
	case "context_management":
		lost.Add(neutral.LossTruncation)
	case "top_logprobs":
		lost.AddIf(v.Int() != 0, neutral.LossLogprobs)
	case "max_tool_calls": // it bounds the provider's own tools only
		lost.Add(neutral.LossServerTools)
	case "moderation":
		lost.Add(neutral.LossSafety)
	case "include":
		v.ForEach(func(_, what gjson.Result) bool {
			switch what.Str {
			case "reasoning.encrypted_content": // always given
			case "message.output_text.logprobs":
				lost.Add(neutral.LossLogprobs)
			default:
				lost.Add(neutral.LossServerTools)
			}
			return true
		})
	default:
		lost.Add(neutral.LossUnknownField)
	}
}

func (a *asking) number(n *neutral.Number, name string, v gjson.Result) {
	if a.want(v.Type == gjson.Number, name, "must be a number") {
		*n = neutral.Number(v.Raw)
	}
}

func (a *asking) reasoning(v gjson.Result) {
	if !a.want(v.IsObject(), "reasoning", "must be an object") {
		return
	}
	t := &a.r.Thinking
	v.ForEach(func(key, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		switch key.Str {
		case "effort":
			switch v.Str {
			case "none":
				t.Off = true
			case "minimal", "low", "medium", "high", "xhigh":
				t.Effort = v.Str
			case "max": // what is beyond the last word of the form
				t.Effort = "xhigh"
				a.r.Losses.Add(neutral.LossThinking)
			default:
				a.refuse("reasoning.effort", "must be none, minimal, low, medium, high or xhigh")
			}
		case "summary", "generate_summary":
			show := true
			t.Show, t.Summary = &show, v.String()
		default:
			a.r.Losses.Add(neutral.LossUnknownField)
		}
		return true
	})
}

func (a *asking) text(v gjson.Result) {
	if !a.want(v.IsObject(), "text", "must be an object") {
		return
	}
	v.ForEach(func(key, v gjson.Result) bool {
		switch {
		case v.Type == gjson.Null:
		case key.Str == "format":
			a.format(v)
		case key.Str == "verbosity":
			a.r.Losses.Add(neutral.LossVerbosity)
		default:
			a.r.Losses.Add(neutral.LossUnknownField)
		}
		return true
	})
}

func (a *asking) format(v gjson.Result) {
	f := &a.r.Format
	switch v.Get("type").Str {
	case "text":
		f.Kind = neutral.FormatText
	case "json_object":
		f.Kind = neutral.FormatJSON
	case "json_schema":
		f.Kind = neutral.FormatSchema
	default:
		a.refuse("text.format.type", "must be text, json_object or json_schema")
		return
	}
	v.ForEach(func(key, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		switch key.Str {
		case "type":
		case "name":
			f.Name = v.String()
		case "description":
			f.Description = v.String()
		case "schema":
			if a.want(v.IsObject(), "text.format.schema", "must be an object") {
				f.Schema = v.Raw
			}
		case "strict":
			strict := v.Bool()
			f.Strict = &strict
		default:
			a.r.Losses.Add(neutral.LossUnknownField)
		}
		return true
	})
	if f.Kind == neutral.FormatSchema {
		a.want(f.Schema != "", "text.format.schema", "is missing")
	}
}

// at is the path of an element: name[i].
func at(name string, i int) string { return name + "[" + strconv.Itoa(i) + "]" }
