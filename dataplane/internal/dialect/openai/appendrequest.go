package openai

import (
	"strconv"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// maxStops is how many stop sequences chat takes.
const maxStops = 4

// AppendRequest implements neutral.Asker. Reasoning of earlier turns and signatures are lost.
func (Codec) AppendRequest(dst []byte, r *neutral.Request, model string) ([]byte, *fault.Error) {
	return appendRequest(dst, r, model, false)
}

// AppendRequest implements neutral.Asker. Signatures are sent whoever made them, with their maker's name: the upstream may
// itself relay for several.
func (ReasoningCodec) AppendRequest(dst []byte, r *neutral.Request, model string) ([]byte, *fault.Error) {
	return appendRequest(dst, r, model, true)
}

func appendRequest(dst []byte, r *neutral.Request, model string, reasoning bool) ([]byte, *fault.Error) {
	dst = append(dst, `{"model":`...)
	dst = dialect.AppendQuoted(dst, model)
	m := messageWriter{r: r, reasoning: reasoning}
	dst = m.appendMessages(dst)
	if len(r.Tools) > 0 {
		dst = appendTools(dst, r)
	} else {
		// Where there are no tools, only the wish to have one called cannot be said.
		r.Losses.AddIf(r.Choice.How == neutral.ChooseAny || r.Choice.How == neutral.ChooseTool, neutral.LossToolChoice)
	}
	for _, n := range [...]struct {
		name  string
		value neutral.Number
	}{
		{"max_completion_tokens", r.MaxTokens}, {"temperature", r.Temperature}, {"top_p", r.TopP}, {"seed", r.Seed},
		{"frequency_penalty", r.FrequencyPenalty}, {"presence_penalty", r.PresencePenalty},
	} {
		if n.value != "" {
			dst = appendName(dst, n.name)
			dst = append(dst, n.value...)
		}
	}
	r.Losses.AddIf(r.TopK != "", neutral.LossTopK)
	dst = appendStops(dst, r)
	dst = appendFormat(dst, &r.Format)
	dst = appendThinking(dst, r)
	dst = appendText(dst, "user", r.User)
	dst = appendText(dst, "service_tier", r.Tier)
	if r.Stream {
		dst = append(dst, `,"stream":true,"stream_options":{"include_usage":true}`...)
	}
	return append(dst, '}'), nil
}

// appendName appends the name of a member that is not the first.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

// appendText appends a member that is not the first, unless it is empty.
func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return dialect.AppendQuoted(appendName(dst, name), value)
}

func appendBool(dst []byte, name string, value *bool) []byte {
	if value == nil {
		return dst
	}
	return strconv.AppendBool(appendName(dst, name), *value)
}

func appendTools(dst []byte, r *neutral.Request) []byte {
	dst = append(dst, `,"tools":[`...)
	for i := range r.Tools {
		t := &r.Tools[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"type":"function","function":{"name":`...)
		dst = dialect.AppendQuoted(dst, t.Name)
		dst = appendText(dst, "description", t.Description)
		if t.Schema != "" {
			dst = append(appendName(dst, "parameters"), t.Schema...)
		}
		dst = appendBool(dst, "strict", t.Strict)
		dst = append(dst, `}}`...)
	}
	dst = append(dst, ']')
	switch r.Choice.How {
	case neutral.ChooseAuto:
		dst = append(dst, `,"tool_choice":"auto"`...)
	case neutral.ChooseNone:
		dst = append(dst, `,"tool_choice":"none"`...)
	case neutral.ChooseAny:
		dst = append(dst, `,"tool_choice":"required"`...)
	case neutral.ChooseTool:
		dst = append(dst, `,"tool_choice":{"type":"function","function":{"name":`...)
		dst = dialect.AppendQuoted(dst, r.Choice.Name)
		dst = append(dst, `}}`...)
	}
	return appendBool(dst, "parallel_tool_calls", r.Parallel)
}

func appendStops(dst []byte, r *neutral.Request) []byte {
	if len(r.Stop) == 0 {
		return dst
	}
	r.Losses.AddIf(len(r.Stop) > maxStops, neutral.LossStopSequences)
	dst = append(dst, `,"stop":[`...)
	for i, s := range r.Stop[:min(len(r.Stop), maxStops)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = dialect.AppendQuoted(dst, s)
	}
	return append(dst, ']')
}

func appendFormat(dst []byte, f *neutral.Format) []byte {
	switch f.Kind {
	case neutral.FormatText:
		return append(dst, `,"response_format":{"type":"text"}`...)
	case neutral.FormatJSON:
		return append(dst, `,"response_format":{"type":"json_object"}`...)
	case neutral.FormatSchema:
		name := f.Name
		if name == "" {
			name = "response" // chat insists on one
		}
		dst = append(dst, `,"response_format":{"type":"json_schema","json_schema":{"name":`...)
		dst = dialect.AppendQuoted(dst, name)
		dst = appendText(dst, "description", f.Description)
		if f.Schema != "" {
			dst = append(appendName(dst, "schema"), f.Schema...)
		}
		dst = appendBool(dst, "strict", f.Strict)
		dst = append(dst, `}}`...)
	}
	return dst
}

// appendThinking says how much to think. A budget becomes the nearest word of the table at or below it; one that is not in
// the table loses its precision. Whether to show the reasoning is not the client's choice in chat.
func appendThinking(dst []byte, r *neutral.Request) []byte {
	t := &r.Thinking
	r.Losses.AddIf(t.Show != nil || t.Summary != "", neutral.LossThinking)
	effort := t.Effort
	switch {
	case t.Off:
		effort = "none"
	case effort == "" && t.Budget != "":
		var exact bool
		effort, exact = effortFor(t.Budget)
		r.Losses.AddIf(!exact, neutral.LossThinking)
	}
	return appendText(dst, "reasoning_effort", effort)
}

// effortFor is the word for a budget, "" for as much as the model likes. exact: the word stands for just that budget.
func effortFor(budget neutral.Number) (word string, exact bool) {
	n, err := strconv.ParseFloat(string(budget), 64)
	switch {
	case err != nil:
		return "", false
	case n < 0:
		return "", true
	case n == 0:
		return "none", true
	}
	word = efforts[0].word
	for _, e := range efforts {
		if n >= float64(e.budget) {
			word, exact = e.word, n == float64(e.budget)
		}
	}
	return word, exact
}
