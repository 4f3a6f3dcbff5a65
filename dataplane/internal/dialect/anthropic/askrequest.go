package anthropic

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// AppendRequest implements neutral.Asker.
func (Codec) AppendRequest(dst []byte, r *neutral.Request, model string) ([]byte, *fault.Error) {
	version := generation(model)
	thinking := planThinking(r, version)

	dst = append(dst, `{"model":`...)
	dst = dialect.AppendQuoted(dst, model)
	dst = append(dst, `,"max_tokens":`...)
	dst = strconv.AppendInt(dst, thinking.maxTokens, 10)
	a := asker{losses: &r.Losses}
	system, turns := leading(r)
	dst = a.appendSystem(dst, system)
	dst = append(dst, `,"messages":[`...)
	start := len(dst)
	dst = a.appendTurns(dst, turns)
	if len(dst) == start {
		return dst, fault.New(fault.Invalid, "messages must have something to say").WithParam("messages")
	}
	dst = append(dst, ']')
	dst = appendTools(dst, r)
	dst = appendChoice(dst, r)
	dst = thinking.appendThinking(dst, &r.Thinking)
	dst = appendOutput(dst, r, thinking.effort)
	dst = appendSampling(dst, r, version, thinking.mode >= enabled)
	dst = appendStops(dst, r)
	if r.User != "" {
		dst = append(dst, `,"metadata":{"user_id":`...)
		dst = dialect.AppendQuoted(dst, r.User)
		dst = append(dst, '}')
	}
	switch r.Tier {
	case "":
	case "auto":
		dst = append(dst, `,"service_tier":"auto"`...)
	case "default":
		dst = append(dst, `,"service_tier":"standard_only"`...)
	default:
		r.Losses.Add(neutral.LossTier)
	}
	if r.Stream {
		dst = append(dst, `,"stream":true`...)
	}
	r.Losses.AddIf(r.Seed != "", neutral.LossSeed)
	r.Losses.AddIf(penalises(r.FrequencyPenalty) || penalises(r.PresencePenalty), neutral.LossPenalties)
	r.Losses.AddIf(r.Thinking.Summary == "concise" || r.Thinking.Summary == "detailed", neutral.LossThinking)
	return append(dst, '}'), nil
}

// penalises says whether a penalty is one at all: 0 is the same as none.
func penalises(n neutral.Number) bool {
	f, err := strconv.ParseFloat(string(n), 64)
	return n != "" && (err != nil || f != 0)
}

// leading is the system text with the system turns that the conversation begins with, and what follows them.
func leading(r *neutral.Request) ([]neutral.Part, []neutral.Turn) {
	n := 0
	for n < len(r.Turns) && r.Turns[n].Role == neutral.System {
		n++
	}
	system := r.System
	if n > 0 {
		system = append([]neutral.Part(nil), system...)
		for _, t := range r.Turns[:n] {
			system = append(system, t.Parts...)
		}
	}
	return system, r.Turns[n:]
}

func appendTools(dst []byte, r *neutral.Request) []byte {
	if len(r.Tools) == 0 {
		return dst
	}
	dst = append(dst, `,"tools":[`...)
	for i := range r.Tools {
		t := &r.Tools[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = dialect.AppendQuoted(dst, t.Name)
		if t.Description != "" {
			dst = append(dst, `,"description":`...)
			dst = dialect.AppendQuoted(dst, t.Description)
		}
		dst = append(dst, `,"input_schema":`...)
		dst = appendSchema(dst, t.Schema, &r.Losses)
		if t.Strict != nil {
			dst = append(dst, `,"strict":`...)
			dst = strconv.AppendBool(dst, *t.Strict)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendSchema appends the schema of a tool's arguments, which must say that they are an object.
func appendSchema(dst []byte, schema string, losses *neutral.Losses) []byte {
	const object = `{"type":"object"`
	switch {
	case schema == "":
		return append(dst, object+`,"properties":{}}`...)
	case !isObject(schema):
		losses.Add(neutral.LossSchema)
		return append(dst, object+`,"properties":{}}`...)
	case gjson.Get(schema, "type").Exists():
		return append(dst, schema...)
	}
	inside := strings.TrimLeft(strings.TrimLeft(schema, " \t\r\n")[1:], " \t\r\n")
	dst = append(dst, object...)
	if inside[0] != '}' {
		dst = append(dst, ',')
	}
	return append(dst, inside...)
}

// appendChoice appends which tool to call. Without tools there is nothing to choose, and the API refuses the member.
func appendChoice(dst []byte, r *neutral.Request) []byte {
	how := r.Choice.How
	if len(r.Tools) == 0 {
		r.Losses.AddIf(how == neutral.ChooseAny || how == neutral.ChooseTool, neutral.LossToolChoice)
		return dst
	}
	if how == 0 && r.Parallel == nil {
		return dst
	}
	switch how {
	case neutral.ChooseNone:
		return append(dst, `,"tool_choice":{"type":"none"}`...)
	case neutral.ChooseAny:
		dst = append(dst, `,"tool_choice":{"type":"any"`...)
	case neutral.ChooseTool:
		dst = append(dst, `,"tool_choice":{"type":"tool","name":`...)
		dst = dialect.AppendQuoted(dst, r.Choice.Name)
	default:
		dst = append(dst, `,"tool_choice":{"type":"auto"`...)
	}
	if r.Parallel != nil {
		dst = append(dst, `,"disable_parallel_tool_use":`...)
		dst = strconv.AppendBool(dst, !*r.Parallel)
	}
	return append(dst, '}')
}

// appendOutput appends the effort and the form of the answer. The API knows schemas, and no JSON without one.
func appendOutput(dst []byte, r *neutral.Request, effort string) []byte {
	schema := ""
	switch r.Format.Kind {
	case neutral.FormatJSON:
		r.Losses.Add(neutral.LossSchema)
	case neutral.FormatSchema:
		schema = r.Format.Schema
		if !isObject(schema) {
			r.Losses.Add(neutral.LossSchema)
			schema = ""
		}
		// A name says nothing to the model; a description does, and there is no slot for it.
		r.Losses.AddIf(r.Format.Description != "", neutral.LossSchema)
	}
	if effort == "" && schema == "" {
		return dst
	}
	dst = append(dst, `,"output_config":{`...)
	if effort != "" {
		dst = append(dst, `"effort":`...)
		dst = dialect.AppendQuoted(dst, effort)
	}
	if schema != "" {
		if effort != "" {
			dst = append(dst, ',')
		}
		dst = append(dst, `"format":{"type":"json_schema","schema":`...)
		dst = append(dst, schema...)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// appendSampling appends temperature, top_p and top_k as far as the model takes them: temperatures up to 1, with thinking
// the default one only, top_p with thinking from 0.95 on, and from some generation on one of the two, then neither.
func appendSampling(dst []byte, r *neutral.Request, generation int, thinks bool) []byte {
	fixed := generation >= adaptiveOnly
	temperature, has := value(r.Temperature)
	switch {
	case r.Temperature == "":
	case !has || (thinks || fixed) && temperature != 1:
		r.Losses.Add(neutral.LossTemperature)
		has = false
	case temperature > 1:
		r.Losses.Add(neutral.LossTemperature)
		dst = append(dst, `,"temperature":1`...)
	default:
		dst = append(dst, `,"temperature":`...)
		dst = append(dst, r.Temperature...)
	}
	topP, ok := value(r.TopP)
	switch {
	case r.TopP == "":
	case !ok || thinks && topP < 0.95 || fixed && topP != 1 || has && generation >= oneSampler:
		r.Losses.Add(neutral.LossTemperature)
	default:
		dst = append(dst, `,"top_p":`...)
		dst = append(dst, r.TopP...)
	}
	if r.TopK != "" {
		if thinks || fixed {
			r.Losses.Add(neutral.LossTopK)
		} else {
			dst = append(dst, `,"top_k":`...)
			dst = append(dst, r.TopK...)
		}
	}
	return dst
}

func value(n neutral.Number) (float64, bool) {
	f, err := strconv.ParseFloat(string(n), 64)
	return f, err == nil
}

// appendStops appends the stop sequences. The API refuses those of white space only.
func appendStops(dst []byte, r *neutral.Request) []byte {
	n := 0
	for _, s := range r.Stop {
		if strings.TrimSpace(s) == "" {
			r.Losses.Add(neutral.LossStopSequences)
			continue
		}
		if n == 0 {
			dst = append(dst, `,"stop_sequences":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = dialect.AppendQuoted(dst, s)
		n++
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return dst
}
