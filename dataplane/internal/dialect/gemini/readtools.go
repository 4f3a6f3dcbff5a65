package gemini

import (
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// tools reads tools: lists of functions, and tools that Google runs itself.
func (g *reading) tools(v gjson.Result) (err *bad) {
	elements(v, func(i int, v gjson.Result) bool {
		if !v.IsObject() {
			err = (&bad{"", "must be an object"}).in(index(i))
			return false
		}
		member(v, func(name string, v gjson.Result) bool {
			if name != "functionDeclarations" {
				g.r.Losses.Add(neutral.LossServerTools)
				return true
			}
			elements(v, func(j int, v gjson.Result) bool {
				err = g.tool(v).in(index(j)).in(name).in(index(i))
				return err == nil
			})
			return err == nil
		})
		return err == nil
	})
	return err
}

// tool reads a function's declaration.
func (g *reading) tool(v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	var t neutral.Tool
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "name":
			t.Name = v.String()
		case "description":
			t.Description = v.String()
		case "parameters", "parametersJsonSchema":
			switch {
			case t.Schema != "":
				err = &bad{name, "parameters and parametersJsonSchema exclude each other"}
			case !v.IsObject():
				err = &bad{name, "must be an object"}
			case name == "parameters":
				t.Schema = jsonSchema(v, &g.r.Losses)
			default:
				t.Schema = v.Raw
			}
		case "response", "responseJsonSchema":
			g.r.Losses.Add(neutral.LossSchema)
		case "behavior":
			g.r.Losses.AddIf(v.Str == "NON_BLOCKING", neutral.LossUnknownField)
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	if err == nil && t.Name == "" {
		return &bad{"name", "must not be empty"}
	}
	g.r.Tools = append(g.r.Tools, t)
	return err
}

// choice reads toolConfig, after the tools.
func (g *reading) choice(v gjson.Result) (err *bad) {
	if v.Exists() && !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "functionCallingConfig":
			err = g.calling(v).in(name)
		case "retrievalConfig":
			g.r.Losses.Add(neutral.LossServerTools)
		case "includeServerSideToolInvocations":
			g.r.Losses.AddIf(v.Bool(), neutral.LossServerTools)
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	return err
}

func (g *reading) calling(v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	var names []string
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "mode":
			switch strings.ToUpper(v.String()) {
			case "AUTO":
				g.r.Choice.How = neutral.ChooseAuto
			case "ANY":
				g.r.Choice.How = neutral.ChooseAny
			case "NONE":
				g.r.Choice.How = neutral.ChooseNone
			case "VALIDATED": // AUTO, with arguments that follow their schema
				g.r.Choice.How = neutral.ChooseAuto
				g.r.Losses.Add(neutral.LossStrict)
			case "MODE_UNSPECIFIED", "":
			default:
				err = &bad{name, "must be AUTO, ANY, NONE or VALIDATED"}
			}
		case "allowedFunctionNames":
			elements(v, func(_ int, v gjson.Result) bool {
				names = append(names, v.String())
				return true
			})
		case "streamFunctionCallArguments": // how, not what; our streams have calls whole
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	switch {
	case len(names) == 0:
	case len(names) == 1 && g.r.Choice.How == neutral.ChooseAny:
		g.r.Choice = neutral.Choice{How: neutral.ChooseTool, Name: names[0]}
	default:
		// Several of more: nobody else can say that.
		g.r.Losses.AddIf(len(names) < len(g.r.Tools), neutral.LossToolChoice)
	}
	return err
}

// config reads generationConfig.
func (g *reading) config(v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	r := g.r
	var mime string
	var enum bool
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "temperature":
			r.Temperature, err = number(v)
		case "topP":
			r.TopP, err = number(v)
		case "topK":
			r.TopK, err = number(v)
		case "maxOutputTokens":
			r.MaxTokens, err = number(v)
		case "seed":
			r.Seed, err = number(v)
		case "presencePenalty":
			r.PresencePenalty, err = number(v)
		case "frequencyPenalty":
			r.FrequencyPenalty, err = number(v)
		case "stopSequences":
			elements(v, func(i int, v gjson.Result) bool {
				if v.Type != gjson.String {
					err = (&bad{"", "must be a string"}).in(index(i))
					return false
				}
				r.Stop = append(r.Stop, v.Str)
				return true
			})
		case "candidateCount":
			r.Losses.AddIf(v.Int() > 1, neutral.LossN)
		case "responseLogprobs":
			r.Losses.AddIf(v.Bool(), neutral.LossLogprobs)
		case "logprobs":
			r.Losses.Add(neutral.LossLogprobs)
		case "responseMimeType":
			mime = v.String()
		case "responseSchema", "responseJsonSchema", "_responseJsonSchema":
			switch {
			case r.Format.Schema != "":
				err = &bad{"", "responseSchema and responseJsonSchema exclude each other"}
			case name == "responseSchema" && !v.IsObject():
				err = &bad{"", "must be an object"}
			case name == "responseSchema":
				r.Format.Schema = jsonSchema(v, &r.Losses)
			default:
				r.Format.Schema = v.Raw
			}
		case "responseModalities":
			elements(v, func(_ int, v gjson.Result) bool {
				r.Losses.AddIf(strings.EqualFold(v.Str, "IMAGE"), neutral.LossImages)
				r.Losses.AddIf(strings.EqualFold(v.Str, "AUDIO"), neutral.LossAudio)
				return true
			})
		case "thinkingConfig":
			err = g.thinking(v)
		case "speechConfig", "audioTimestamp":
			r.Losses.Add(neutral.LossAudio)
		case "imageConfig":
			r.Losses.Add(neutral.LossImages)
		case "mediaResolution":
			r.Losses.AddIf(v.Str != "MEDIA_RESOLUTION_UNSPECIFIED", neutral.LossImageDetail)
		default:
			r.Losses.Add(neutral.LossUnknownField)
		}
		err = err.in(name)
		return err == nil
	})
	if err != nil {
		return err
	}
	switch mime {
	case "":
	case "text/plain":
		r.Format.Kind = neutral.FormatText
	case "application/json":
		r.Format.Kind = neutral.FormatJSON
	case "text/x.enum": // the bare value, without quotes: JSON of others is never that
		enum = true
		r.Losses.Add(neutral.LossSchema)
	default:
		return &bad{"responseMimeType", "must be text/plain, application/json or text/x.enum"}
	}
	switch {
	case enum:
		r.Format = neutral.Format{}
	case r.Format.Schema != "":
		r.Format.Kind = neutral.FormatSchema
	}
	return nil
}

// thinking reads thinkingConfig.
func (g *reading) thinking(v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	t := &g.r.Thinking
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "includeThoughts":
			show := v.Bool()
			t.Show = &show
		case "thinkingBudget":
			t.Budget, err = number(v)
			if v.Int() == 0 && err == nil {
				t.Off, t.Budget = true, ""
			}
		case "thinkingLevel":
			switch level := strings.ToLower(v.String()); level {
			case "minimal", "low", "medium", "high":
				t.Effort = level
			case "", "thinking_level_unspecified":
			default:
				err = &bad{"", "must be MINIMAL, LOW, MEDIUM or HIGH"}
			}
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		err = err.in(name)
		return err == nil
	})
	if err == nil && t.Effort != "" && (t.Budget != "" || t.Off) {
		return &bad{"", "thinkingBudget and thinkingLevel exclude each other"}
	}
	return err
}
