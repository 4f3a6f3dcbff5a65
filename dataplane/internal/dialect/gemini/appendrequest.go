package gemini

import (
	"strconv"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// maxStops is how many stop sequences Google takes.
const maxStops = 5

// asking is a request on its way to Google.
type asking struct {
	r      *neutral.Request
	family family
	names  map[string]string // of calls, by their ids
	turns  list
	role   string // of the content that is open; "" = none
	parts  list   // of that content
}

// AppendRequest implements neutral.Asker. It notes in r.Losses what Google cannot be told.
//
// What the model thought is sent back with its signature where it is Google's own; thinking that came from elsewhere is
// sent without one. Newer models check that the first call of each step since the user last spoke has a signature: where
// there is none, Google's placeholder stands. A system turn in the middle of the conversation keeps its authority and
// loses its place: it goes to the end of systemInstruction.
func (Codec) AppendRequest(dst []byte, r *neutral.Request, model string) ([]byte, *fault.Error) {
	return appendRequest(append(dst, '{'), &list{}, r, model)
}

// AppendCountRequest appends a request of countTokens for all of r.
func AppendCountRequest(dst []byte, r *neutral.Request, model string) ([]byte, *fault.Error) {
	var l list
	dst = append(dst, `{"generateContentRequest":{`...)
	dst = l.quoted(dst, "model", "models/"+model)
	dst, err := appendRequest(dst, &l, r, model)
	return append(dst, '}'), err
}

func appendRequest(dst []byte, l *list, r *neutral.Request, model string) ([]byte, *fault.Error) {
	a := asking{r: r, family: familyOf(model)}
	dst = a.appendSystem(dst, l)
	dst = append(l.name(dst, "contents"), '[')
	var err *fault.Error
	if dst, err = a.appendTurns(dst); err != nil {
		return dst, err
	}
	dst = append(dst, ']')
	dst = a.appendTools(dst, l)
	dst = a.appendChoice(dst, l)
	dst = a.appendConfig(dst, l)
	switch r.Tier {
	case "", "auto":
	case "default":
		dst = l.quoted(dst, "serviceTier", "standard")
	case "flex", "priority":
		dst = l.quoted(dst, "serviceTier", r.Tier)
	default:
		r.Losses.Add(neutral.LossTier)
	}
	r.Losses.AddIf(r.User != "", neutral.LossUser)
	return append(dst, '}'), nil
}

// appendSystem appends systemInstruction: the system's words in their order.
func (a *asking) appendSystem(dst []byte, l *list) []byte {
	var in list
	write := func(parts []neutral.Part) {
		for i := range parts {
			p := &parts[i]
			if p.Kind != neutral.Text {
				a.r.Losses.Add(lossOf(p.Kind))
				continue
			}
			if p.Text == "" {
				continue
			}
			if !in.some {
				dst = append(l.name(dst, "systemInstruction"), `{"parts":[`...)
			}
			dst = dialect.AppendQuoted(append(in.next(dst), `{"text":`...), p.Text)
			dst = append(dst, '}')
		}
	}
	write(a.r.System)
	for i := range a.r.Turns {
		if a.r.Turns[i].Role == neutral.System {
			write(a.r.Turns[i].Parts)
		}
	}
	if in.some {
		dst = append(dst, "]}"...)
	}
	return dst
}

// appendTurns appends what is between the brackets of contents.
func (a *asking) appendTurns(dst []byte) ([]byte, *fault.Error) {
	spoke := lastSpoken(a.r.Turns)
	for i := range a.r.Turns {
		t := &a.r.Turns[i]
		var err *fault.Error
		switch t.Role {
		case neutral.User:
			dst, err = a.appendUser(dst, t)
		case neutral.Assistant:
			dst = a.appendModel(dst, t, i > spoke)
		case neutral.System: // written before
		}
		if err != nil {
			return dst, err
		}
	}
	if a.role == "" {
		return dst, fault.New(fault.Invalid, "the request has nothing that could be sent to the model")
	}
	return append(dst, "]}"...), nil
}

// lastSpoken is where the user last said something that is no result of a tool: what follows is the current turn.
func lastSpoken(turns []neutral.Turn) int {
	for i := len(turns) - 1; i >= 0; i-- {
		if turns[i].Role != neutral.User {
			continue
		}
		for j := range turns[i].Parts {
			if turns[i].Parts[j].Kind != neutral.Result {
				return i
			}
		}
	}
	return -1
}

// next opens a part of a content of role, and the content if another one is open.
func (a *asking) next(dst []byte, role string) []byte {
	if a.role != role {
		if a.role != "" {
			dst = append(dst, "]}"...)
		}
		dst = append(a.turns.next(dst), `{"role":"`...)
		dst = append(append(dst, role...), `","parts":[`...)
		a.role, a.parts = role, list{}
	}
	return a.parts.next(dst)
}

// appendTools appends the declarations of functions.
func (a *asking) appendTools(dst []byte, l *list) []byte {
	if len(a.r.Tools) == 0 {
		return dst
	}
	dst = append(l.name(dst, "tools"), `[{"functionDeclarations":[`...)
	for i := range a.r.Tools {
		t := &a.r.Tools[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		var in list
		dst = in.quoted(append(dst, '{'), "name", t.Name)
		if t.Description != "" {
			dst = in.quoted(dst, "description", t.Description)
		}
		if t.Schema != "" {
			dst = append(in.name(dst, "parametersJsonSchema"), t.Schema...)
		}
		dst = append(dst, '}')
		a.r.Losses.AddIf(t.Strict != nil && *t.Strict, neutral.LossStrict)
	}
	return append(dst, "]}]"...)
}

// appendChoice appends toolConfig. Without tools there is nothing to choose from.
func (a *asking) appendChoice(dst []byte, l *list) []byte {
	if len(a.r.Tools) == 0 {
		return dst
	}
	a.r.Losses.AddIf(a.r.Parallel != nil && !*a.r.Parallel, neutral.LossToolChoice)
	var mode string
	switch a.r.Choice.How {
	case neutral.ChooseAuto:
		mode = "AUTO"
	case neutral.ChooseNone:
		mode = "NONE"
	case neutral.ChooseAny, neutral.ChooseTool:
		mode = "ANY"
	default:
		return dst
	}
	dst = append(l.name(dst, "toolConfig"), `{"functionCallingConfig":{"mode":"`...)
	dst = append(append(dst, mode...), '"')
	if a.r.Choice.How == neutral.ChooseTool {
		dst = dialect.AppendQuoted(append(dst, `,"allowedFunctionNames":[`...), a.r.Choice.Name)
		dst = append(dst, ']')
	}
	return append(dst, "}}"...)
}

// appendConfig appends generationConfig, if there is anything to say.
func (a *asking) appendConfig(dst []byte, l *list) []byte {
	start, before := len(dst), *l
	dst = append(l.name(dst, "generationConfig"), '{')
	var in list
	put := func(name string, n neutral.Number) {
		if n != "" {
			dst = append(in.name(dst, name), n...)
		}
	}
	r := a.r
	put("maxOutputTokens", r.MaxTokens)
	put("temperature", r.Temperature)
	put("topP", r.TopP)
	put("topK", r.TopK)
	if _, err := strconv.ParseInt(string(r.Seed), 10, 32); r.Seed == "" || err == nil {
		put("seed", r.Seed)
	} else {
		r.Losses.Add(neutral.LossSeed)
	}
	put("presencePenalty", r.PresencePenalty)
	put("frequencyPenalty", r.FrequencyPenalty)
	if len(r.Stop) > 0 {
		r.Losses.AddIf(len(r.Stop) > maxStops, neutral.LossStopSequences)
		dst = append(in.name(dst, "stopSequences"), '[')
		for i, s := range r.Stop[:min(len(r.Stop), maxStops)] {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = dialect.AppendQuoted(dst, s)
		}
		dst = append(dst, ']')
	}
	dst = a.appendFormat(dst, &in)
	dst = a.appendThinking(dst, &in)
	if !in.some {
		*l = before
		return dst[:start]
	}
	return append(dst, '}')
}

// appendFormat appends what the answer must look like.
func (a *asking) appendFormat(dst []byte, in *list) []byte {
	f := &a.r.Format
	if f.Kind == neutral.FormatText {
		return in.quoted(dst, "responseMimeType", "text/plain")
	}
	if f.Kind == 0 {
		return dst
	}
	if len(a.r.Tools) > 0 && !a.family.mixes() {
		// It would be refused.
		a.r.Losses.Add(neutral.LossSchema)
		return dst
	}
	dst = in.quoted(dst, "responseMimeType", "application/json")
	if f.Kind == neutral.FormatSchema && f.Schema != "" {
		dst = append(in.name(dst, "responseJsonSchema"), f.Schema...)
		a.r.Losses.AddIf(f.Description != "", neutral.LossSchema)
	}
	return dst
}
