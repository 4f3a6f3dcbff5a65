package responses

import (
	"strconv"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// AppendRequest implements neutral.Asker. Nothing in what it writes depends on the provider's memory: nothing is stored, and
// reasoning is asked for in the form that the client can carry.
func (Codec) AppendRequest(dst []byte, r *neutral.Request, model string) ([]byte, *fault.Error) {
	dst = append(dst, `{"model":`...)
	dst = dialect.AppendQuoted(dst, model)
	if system := systemText(r); system != "" {
		dst = appendString(dst, "instructions", system)
	}
	dst = append(dst, `,"input":[`...)
	dst = appendInput(dst, r)
	dst = append(dst, ']')
	if len(r.Tools) > 0 {
		dst = append(dst, `,"tools":`...)
		dst = appendTools(dst, r.Tools, false)
	}
	if r.Choice.How != 0 {
		dst = append(dst, `,"tool_choice":`...)
		dst = appendChoice(dst, r.Choice)
	}
	if r.Parallel != nil {
		dst = append(dst, `,"parallel_tool_calls":`...)
		dst = strconv.AppendBool(dst, *r.Parallel)
	}
	dst = appendNumber(dst, "max_output_tokens", r.MaxTokens)
	dst = appendNumber(dst, "temperature", r.Temperature)
	dst = appendNumber(dst, "top_p", r.TopP)
	dst = appendReasoning(dst, r)
	if r.Format.Kind != 0 {
		dst = append(dst, `,"text":{"format":`...)
		dst = appendFormat(dst, &r.Format)
		dst = append(dst, '}')
	}
	if r.User != "" {
		dst = appendString(dst, "user", r.User)
	}
	if r.Tier != "" {
		dst = appendString(dst, "service_tier", r.Tier)
	}
	if r.Stream {
		dst = append(dst, `,"stream":true`...)
	}
	dst = append(dst, `,"store":false,"include":["reasoning.encrypted_content"]}`...)

	r.Losses.AddIf(r.TopK != "", neutral.LossTopK)
	r.Losses.AddIf(r.Seed != "", neutral.LossSeed)
	r.Losses.AddIf(r.FrequencyPenalty != "" || r.PresencePenalty != "", neutral.LossPenalties)
	r.Losses.AddIf(len(r.Stop) > 0, neutral.LossStopSequences)
	return dst, nil
}

// systemText is all of the system's words: the dialect has one text for them.
func systemText(r *neutral.Request) string {
	if len(r.System) == 1 {
		return r.System[0].Text
	}
	texts := make([]string, len(r.System))
	for i := range r.System {
		texts[i] = r.System[i].Text
	}
	return strings.Join(texts, "\n\n")
}

func appendString(dst []byte, name, value string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return dialect.AppendQuoted(dst, value)
}

func appendNumber(dst []byte, name string, n neutral.Number) []byte {
	if n == "" {
		return dst
	}
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return append(dst, n...)
}

// appendTools appends tools: as functions, or, in an echo of what the client declared, those that take free text as that.
func appendTools(dst []byte, tools []neutral.Tool, echo bool) []byte {
	dst = append(dst, '[')
	for i := range tools {
		t := &tools[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		if echo && t.Schema == customSchema {
			dst = append(dst, `{"type":"custom","format":{"type":"text"},"name":`...)
			dst = dialect.AppendQuoted(dst, t.Name)
			dst = append(dst, `,"description":`...)
			dst = appendNullable(dst, t.Description)
			dst = append(dst, '}')
			continue
		}
		dst = append(dst, `{"type":"function","name":`...)
		dst = dialect.AppendQuoted(dst, t.Name)
		if t.Description != "" {
			dst = appendString(dst, "description", t.Description)
		}
		dst = append(dst, `,"parameters":`...)
		if t.Schema == "" {
			dst = append(dst, `{"type":"object","properties":{}}`...)
		} else {
			dst = append(dst, t.Schema...)
		}
		// Unsaid would mean true here, and false in all other dialects.
		dst = append(dst, `,"strict":`...)
		dst = strconv.AppendBool(dst, t.Strict != nil && *t.Strict)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendChoice(dst []byte, c neutral.Choice) []byte {
	switch c.How {
	case neutral.ChooseNone:
		return append(dst, `"none"`...)
	case neutral.ChooseAny:
		return append(dst, `"required"`...)
	case neutral.ChooseTool:
		dst = append(dst, `{"type":"function","name":`...)
		dst = dialect.AppendQuoted(dst, c.Name)
		return append(dst, '}')
	}
	return append(dst, `"auto"`...)
}

func appendFormat(dst []byte, f *neutral.Format) []byte {
	switch f.Kind {
	case neutral.FormatJSON:
		return append(dst, `{"type":"json_object"}`...)
	case neutral.FormatSchema:
		name := f.Name
		if name == "" {
			name = "response" // the dialect wants one
		}
		dst = append(dst, `{"type":"json_schema","name":`...)
		dst = dialect.AppendQuoted(dst, name)
		if f.Description != "" {
			dst = appendString(dst, "description", f.Description)
		}
		dst = append(dst, `,"schema":`...)
		dst = append(dst, f.Schema...)
		if f.Strict != nil {
			dst = append(dst, `,"strict":`...)
			dst = strconv.AppendBool(dst, *f.Strict)
		}
		return append(dst, '}')
	}
	return append(dst, `{"type":"text"}`...)
}

func appendReasoning(dst []byte, r *neutral.Request) []byte {
	effort, summary := effortOf(&r.Thinking), r.Thinking.Summary
	show := r.Thinking.Show
	switch {
	case show != nil && !*show || effort == "none":
		summary = ""
	case show != nil && summary == "":
		summary = "auto"
	}
	switch {
	case effort == "" && summary == "":
		return dst
	case effort == "":
		dst = append(dst, `,"reasoning":{"summary":`...)
	default:
		dst = append(dst, `,"reasoning":{"effort":`...)
		dst = dialect.AppendQuoted(dst, effort)
		if summary == "" {
			return append(dst, '}')
		}
		dst = append(dst, `,"summary":`...)
	}
	dst = dialect.AppendQuoted(dst, summary)
	return append(dst, '}')
}

// effortOf is how much to think as a word. A budget in tokens becomes the nearest word whose own budget is below or equal:
// minimal 512, low 1024, medium 8192, high 24576, xhigh 32768. "" = as the provider likes.
func effortOf(t *neutral.Thinking) string {
	if t.Off {
		return "none"
	}
	if t.Effort != "" || t.Budget == "" {
		return t.Effort
	}
	budget, err := strconv.ParseFloat(string(t.Budget), 64)
	switch {
	case err != nil || budget < 0:
		return ""
	case budget == 0:
		return "none"
	case budget >= 32768:
		return "xhigh"
	case budget >= 24576:
		return "high"
	case budget >= 8192:
		return "medium"
	case budget >= 1024:
		return "low"
	}
	return "minimal"
}
