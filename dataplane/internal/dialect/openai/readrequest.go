package openai

import (
	"slices"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// ReadRequest implements neutral.Reader. The request aliases body.
func (Codec) ReadRequest(body []byte, model string, stream bool) (*neutral.Request, *fault.Error) {
	q := requestReader{r: &neutral.Request{Model: model, Stream: stream}}
	q.each(view(body), q.member)
	q.finish()
	if q.fault != nil {
		return nil, q.fault
	}
	return q.r, nil
}

// requestReader reads one request. The first fault stays.
type requestReader struct {
	r     *neutral.Request
	fault *fault.Error

	// Members that stand for one another, or need others to be read before them.
	messages, tools, choice, functions, functionCall gjson.Result
	maxTokens                                        neutral.Number // the old name of max_completion_tokens
	user                                             string         // the old name of safety_identifier
}

// each calls f for the members of an object, or the elements of an array, that are not null, until there is a fault.
func (q *requestReader) each(v gjson.Result, f func(key string, v gjson.Result)) {
	if !v.IsObject() && !v.IsArray() {
		return
	}
	v.ForEach(func(key, v gjson.Result) bool {
		if said(v) {
			f(key.Str, v)
		}
		return q.fault == nil
	})
}

// refuse notes that what stands at param makes no sense; what goes on the sentence.
func (q *requestReader) refuse(param, what string) {
	if q.fault == nil {
		q.fault = fault.New(fault.Invalid, "%s %s", param, what).WithParam(param)
	}
}

func (q *requestReader) member(name string, v gjson.Result) {
	r := q.r
	switch name {
	case "model", "stream": // the caller knows them
	case "stream_options": // how to stream is between the client and us
	case "messages":
		q.messages = v
	case "max_completion_tokens":
		q.number(name, v, &r.MaxTokens)
	case "max_tokens":
		q.number(name, v, &q.maxTokens)
	case "temperature":
		q.number(name, v, &r.Temperature)
	case "top_p":
		q.number(name, v, &r.TopP)
	case "top_k": // not OpenAI's, but many servers'
		q.number(name, v, &r.TopK)
	case "seed":
		q.number(name, v, &r.Seed)
	case "frequency_penalty":
		q.number(name, v, &r.FrequencyPenalty)
	case "presence_penalty":
		q.number(name, v, &r.PresencePenalty)
	case "stop":
		q.stop(v)
	case "tools":
		q.tools = v
	case "tool_choice":
		q.choice = v
	case "functions":
		q.functions = v
	case "function_call":
		q.functionCall = v
	case "parallel_tool_calls":
		r.Parallel = q.boolean(name, v)
	case "response_format":
		q.format(v)
	case "reasoning_effort":
		q.effort(v)
	case "user":
		q.text(name, v, &q.user)
	case "safety_identifier":
		q.text(name, v, &r.User)
	case "service_tier":
		q.text(name, v, &r.Tier)
	default:
		q.lost(name, v)
	}
}

// lost notes members that the neutral form has no place for. Values that ask for nothing are no loss.
func (q *requestReader) lost(name string, v gjson.Result) {
	l := &q.r.Losses
	switch name {
	case "n":
		l.AddIf(v.Num > 1, neutral.LossN)
	case "logprobs":
		l.AddIf(v.Type != gjson.False, neutral.LossLogprobs)
	case "top_logprobs":
		l.AddIf(v.Num > 0, neutral.LossLogprobs)
	case "logit_bias":
		l.AddIf(!empty(v), neutral.LossLogitBias)
	case "metadata":
		l.AddIf(!empty(v), neutral.LossMetadata)
	case "store":
		l.AddIf(v.Type != gjson.False, neutral.LossState)
	case "prediction":
		l.Add(neutral.LossPrediction)
	case "modalities":
		q.each(v, func(_ string, v gjson.Result) { l.AddIf(v.Str != "text", neutral.LossAudio) })
	case "audio":
		l.Add(neutral.LossAudio)
	case "verbosity":
		l.Add(neutral.LossVerbosity)
	case "web_search_options":
		l.Add(neutral.LossServerTools)
	case "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "cache_control":
		l.Add(neutral.LossCacheControl)
	default:
		l.Add(neutral.LossUnknownField)
	}
}

// empty says whether v is an object or an array without members.
func empty(v gjson.Result) bool {
	none := v.IsObject() || v.IsArray()
	if none {
		v.ForEach(func(_, _ gjson.Result) bool { none = false; return false })
	}
	return none
}

// finish reads what had to wait for other members.
func (q *requestReader) finish() {
	if q.fault != nil {
		return
	}
	r := q.r
	if r.MaxTokens == "" {
		r.MaxTokens = q.maxTokens
	}
	r.Losses.AddIf(r.User != "" && q.user != "" && r.User != q.user, neutral.LossUser)
	if r.User == "" {
		r.User = q.user
	}
	q.readTools()
	q.readMessages()
}

func (q *requestReader) number(name string, v gjson.Result, to *neutral.Number) {
	if v.Type != gjson.Number {
		q.refuse(name, "must be a number")
		return
	}
	*to = neutral.Number(v.Raw)
}

func (q *requestReader) boolean(name string, v gjson.Result) *bool {
	if !v.IsBool() {
		q.refuse(name, "must be a boolean")
		return nil
	}
	b := v.Type == gjson.True
	return &b
}

func (q *requestReader) text(name string, v gjson.Result, to *string) {
	if v.Type != gjson.String {
		q.refuse(name, "must be a string")
		return
	}
	*to = v.Str
}

func (q *requestReader) stop(v gjson.Result) {
	q.r.Stop = nil
	switch {
	case v.Type == gjson.String:
		q.r.Stop = []string{v.Str}
	case v.IsArray():
		v.ForEach(func(_, v gjson.Result) bool {
			if v.Type != gjson.String {
				q.refuse("stop", "must be a string or an array of strings")
			}
			q.r.Stop = append(q.r.Stop, v.Str)
			return q.fault == nil
		})
	default:
		q.refuse("stop", "must be a string or an array of strings")
	}
}

func (q *requestReader) effort(v gjson.Result) {
	if v.Type == gjson.String {
		if v.Str == "none" {
			q.r.Thinking.Off = true
			return
		}
		for _, e := range efforts {
			if v.Str == e.word {
				q.r.Thinking.Effort = v.Str
				return
			}
		}
	}
	q.refuse("reasoning_effort", "must be none, minimal, low, medium, high or xhigh")
}

func (q *requestReader) format(v gjson.Result) {
	const name = "response_format"
	if !v.IsObject() {
		q.refuse(name, "must be an object")
		return
	}
	switch v.Get("type").Str {
	case "text":
		q.r.Format = neutral.Format{Kind: neutral.FormatText}
	case "json_object":
		q.r.Format = neutral.Format{Kind: neutral.FormatJSON}
	case "json_schema":
		f := neutral.Format{Kind: neutral.FormatSchema}
		q.each(v.Get("json_schema"), func(key string, v gjson.Result) {
			switch at := name + ".json_schema." + key; key {
			case "name":
				q.text(at, v, &f.Name)
			case "description":
				q.text(at, v, &f.Description)
			case "schema":
				if !v.IsObject() {
					q.refuse(at, "must be an object")
				}
				f.Schema = v.Raw
			case "strict":
				f.Strict = q.boolean(at, v)
			default:
				q.r.Losses.Add(neutral.LossUnknownField)
			}
		})
		if f.Name == "" {
			q.refuse(name+".json_schema.name", "is required")
		}
		if f.Schema == "" {
			f.Schema = "{}" // OpenAI takes a schema that is not there for one that allows everything
		}
		q.r.Format = f
	default:
		q.refuse(name+".type", "must be text, json_object or json_schema")
	}
	q.each(v, func(key string, _ gjson.Result) {
		q.r.Losses.AddIf(!slices.Contains([]string{"type", "json_schema"}, key), neutral.LossUnknownField)
	})
}
