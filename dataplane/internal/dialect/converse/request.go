package converse

import (
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// AppendRequest implements neutral.Asker. A call whose arguments are no JSON object is a fault: it cannot be said here.
func (Codec) AppendRequest(dst []byte, r *neutral.Request, model string) ([]byte, *fault.Error) {
	r.Losses.AddIf(r.Seed != "", neutral.LossSeed)
	r.Losses.AddIf(r.FrequencyPenalty != "" || r.PresencePenalty != "", neutral.LossPenalties)
	r.Losses.AddIf(r.User != "", neutral.LossUser)
	r.Losses.AddIf(r.Parallel != nil && !*r.Parallel, neutral.LossToolChoice)

	start, turns := len(dst), r.Turns
	w := writer{dst: append(dst, '{'), request: r}
	turns = w.system(turns)
	w.messages(turns)
	if w.fault != nil {
		return dst[:start], w.fault
	}
	f := familyOf(model)
	thinks := think(r, f)
	w.inference(&thinks)
	w.tools(turns)
	w.output()
	w.additional(f, &thinks)
	return append(w.dst, '}'), nil
}

// writer writes one request.
type writer struct {
	dst       []byte
	request   *neutral.Request
	fault     *fault.Error
	documents int
}

// member begins a member: a comma where one is due, the name and the colon.
func (w *writer) member(name string) {
	w.comma()
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, name...)
	w.dst = append(w.dst, `":`...)
}

// comma separates from what stands before.
func (w *writer) comma() {
	switch w.dst[len(w.dst)-1] {
	case '{', '[', ':':
	default:
		w.dst = append(w.dst, ',')
	}
}

func (w *writer) raw(s string)    { w.dst = append(w.dst, s...) }
func (w *writer) quoted(s string) { w.dst = dialect.AppendQuoted(w.dst, s) }

// text begins and ends {"text":s}.
func (w *writer) text(s string) {
	w.comma()
	w.raw(`{"text":`)
	w.quoted(s)
	w.raw(`}`)
}

// system writes the system text, with the turns at the beginning that belong to it, and returns the other turns.
func (w *writer) system(turns []neutral.Turn) []neutral.Turn {
	open := false
	write := func(parts []neutral.Part) {
		for i := range parts {
			if blank(parts[i].Text) {
				continue
			}
			if !open {
				w.member("system")
				w.raw("[")
				open = true
			}
			w.text(parts[i].Text)
		}
	}
	write(w.request.System)
	for len(turns) > 0 && turns[0].Role == neutral.System {
		write(turns[0].Parts)
		turns = turns[1:]
	}
	if open {
		w.raw("]")
	}
	return turns
}

func (w *writer) inference(t *thinking) {
	r, before := w.request, len(w.dst)
	w.member("inferenceConfig")
	w.raw("{")
	start := len(w.dst)
	number := func(name string, n neutral.Number) {
		if n != "" {
			w.member(name)
			w.raw(string(n))
		}
	}
	number("maxTokens", t.maxTokens)
	if t.forced {
		r.Losses.AddIf(r.Temperature != "" && r.Temperature != "1" || r.TopP != "", neutral.LossTemperature)
	} else {
		number("temperature", r.Temperature)
		number("topP", r.TopP)
	}
	if len(r.Stop) > 0 {
		w.member("stopSequences")
		w.raw("[")
		for _, s := range r.Stop {
			w.comma()
			w.quoted(s)
		}
		w.raw("]")
	}
	if len(w.dst) == start {
		w.dst = w.dst[:before]
		return
	}
	w.raw("}")
}

// tools writes the tools and which of them must be called.
func (w *writer) tools(turns []neutral.Turn) {
	r := w.request
	called := missing(r.Tools, turns)
	if r.Choice.How == neutral.ChooseNone {
		if !calls(turns) {
			return // nothing is offered, so nothing is called
		}
		r.Losses.Add(neutral.LossToolChoice)
	}
	if len(r.Tools)+len(called) == 0 {
		return
	}
	w.member("toolConfig")
	w.raw(`{"tools":[`)
	for i := range r.Tools {
		w.tool(&r.Tools[i])
	}
	for _, name := range called {
		w.tool(&neutral.Tool{Name: name})
	}
	w.raw("]")
	switch r.Choice.How {
	case neutral.ChooseAuto:
		w.raw(`,"toolChoice":{"auto":{}}`)
	case neutral.ChooseAny:
		w.raw(`,"toolChoice":{"any":{}}`)
	case neutral.ChooseTool:
		w.raw(`,"toolChoice":{"tool":{"name":`)
		w.quoted(r.Choice.Name)
		w.raw("}}")
	}
	w.raw("}")
}

func (w *writer) tool(t *neutral.Tool) {
	w.comma()
	w.raw(`{"toolSpec":{"name":`)
	w.quoted(t.Name)
	if !blank(t.Description) {
		w.member("description")
		w.quoted(t.Description)
	}
	w.member("inputSchema")
	w.raw(`{"json":`)
	if t.Schema == "" {
		w.raw(`{"type":"object","properties":{}}`)
	} else {
		w.raw(t.Schema)
	}
	w.raw("}")
	if t.Strict != nil && *t.Strict {
		w.raw(`,"strict":true`)
	}
	w.raw("}}")
}

// output writes what the answer must be, and the service tier.
func (w *writer) output() {
	r := w.request
	switch r.Format.Kind {
	case neutral.FormatJSON:
		r.Losses.Add(neutral.LossSchema)
	case neutral.FormatSchema:
		r.Losses.AddIf(r.Format.Strict != nil && !*r.Format.Strict, neutral.LossStrict)
		w.member("outputConfig")
		w.raw(`{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":`)
		w.quoted(r.Format.Schema)
		if r.Format.Name != "" {
			w.member("name")
			w.quoted(r.Format.Name)
		}
		if r.Format.Description != "" {
			w.member("description")
			w.quoted(r.Format.Description)
		}
		w.raw("}}}}")
	}
	switch r.Tier {
	case "", "auto":
	case "default", "flex", "priority":
		w.member("serviceTier")
		w.raw(`{"type":"` + r.Tier + `"}`)
	default:
		r.Losses.Add(neutral.LossTier)
	}
}

// additional writes what only models of one maker know.
func (w *writer) additional(f family, t *thinking) {
	topK := ""
	if w.request.TopK != "" {
		if f == claude && !t.forced {
			topK = `"top_k":` + string(w.request.TopK)
		} else {
			w.request.Losses.Add(neutral.LossTopK)
		}
	}
	if t.fields == "" && topK == "" {
		return
	}
	w.member("additionalModelRequestFields")
	w.raw("{" + t.fields)
	if topK != "" {
		w.comma()
		w.raw(topK)
	}
	w.raw("}")
}

// missing are the tools that were called in turns and are not among tools.
func missing(tools []neutral.Tool, turns []neutral.Turn) []string {
	var names []string
	for i := range turns {
	parts:
		for j := range turns[i].Parts {
			p := &turns[i].Parts[j]
			if p.Kind != neutral.Call {
				continue
			}
			for k := range tools {
				if tools[k].Name == p.Name {
					continue parts
				}
			}
			for _, n := range names {
				if n == p.Name {
					continue parts
				}
			}
			names = append(names, p.Name)
		}
	}
	return names
}

// calls says whether tools were called in turns.
func calls(turns []neutral.Turn) bool {
	for i := range turns {
		for j := range turns[i].Parts {
			if k := turns[i].Parts[j].Kind; k == neutral.Call || k == neutral.Result {
				return true
			}
		}
	}
	return false
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// object says whether s is a JSON object.
func object(s string) bool { return dialect.Valid(s) && gjson.Parse(s).IsObject() }
