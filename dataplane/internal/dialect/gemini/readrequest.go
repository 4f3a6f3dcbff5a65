package gemini

import (
	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// maxOpen is how many function calls may wait for their response at once; older ones are forgotten.
const maxOpen = 1024

// reading is what a request has come to so far.
type reading struct {
	r     *neutral.Request
	calls int        // so far, in the whole conversation
	open  []openCall // those that have no response yet, in their order
}

type openCall struct{ id, name string }

// ReadRequest implements neutral.Reader.
func (Codec) ReadRequest(body []byte, model string, stream bool) (*neutral.Request, *fault.Error) {
	if !dialect.Valid(text(body)) {
		return nil, fault.New(fault.Invalid, "the request body is not valid JSON")
	}
	return readRequest(gjson.Parse(text(body)), model, stream)
}

// ReadCountRequest reads a request of countTokens: contents alone, or a whole request in generateContentRequest.
func ReadCountRequest(body []byte, model string) (*neutral.Request, *fault.Error) {
	if !dialect.Valid(text(body)) {
		return nil, fault.New(fault.Invalid, "the request body is not valid JSON")
	}
	root := gjson.Parse(text(body))
	inner := gjson.Result{}
	member(root, func(name string, v gjson.Result) bool {
		if name == "generateContentRequest" {
			inner = v
		}
		return true
	})
	if inner.IsObject() {
		root = inner
	}
	return readRequest(root, model, false)
}

func readRequest(root gjson.Result, model string, stream bool) (*neutral.Request, *fault.Error) {
	if !root.IsObject() {
		return nil, fault.New(fault.Invalid, "the request body must be a JSON object")
	}
	g := reading{r: &neutral.Request{Model: model, Stream: stream}}
	var err *bad
	// The choice of tools is understood with the tools, wherever they stand.
	var toolConfig gjson.Result
	member(root, func(name string, v gjson.Result) bool {
		switch name {
		case "contents":
			err = g.contents(v).in(name)
		case "systemInstruction":
			err = g.system(v).in(name)
		case "tools":
			err = g.tools(v).in(name)
		case "toolConfig":
			toolConfig = v
		case "generationConfig":
			err = g.config(v).in(name)
		case "safetySettings":
			g.r.Losses.AddIf(!none(v), neutral.LossSafety)
		case "cachedContent":
			g.r.Losses.AddIf(v.String() != "", neutral.LossState)
		case "labels":
			g.r.Losses.AddIf(!none(v), neutral.LossMetadata)
		case "serviceTier":
			g.tier(v.String())
		case "store":
			g.r.Losses.AddIf(v.Bool(), neutral.LossState)
		case "model": // the path has it
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	if err == nil {
		err = g.choice(toolConfig).in("toolConfig")
	}
	if err == nil && len(g.r.Turns) == 0 {
		err = &bad{"contents", "must not be empty"}
	}
	if err != nil {
		return nil, err.fault()
	}
	return g.r, nil
}

// none says whether v is an empty list or object.
func none(v gjson.Result) bool {
	some := false
	v.ForEach(func(_, _ gjson.Result) bool {
		some = true
		return false
	})
	return !some
}

func (g *reading) tier(v string) {
	switch v {
	case "", "unspecified":
	case "standard":
		g.r.Tier = "default"
	case "flex", "priority":
		g.r.Tier = v
	default:
		g.r.Losses.Add(neutral.LossTier)
	}
}

// system reads systemInstruction. Its role says nothing.
func (g *reading) system(v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object with parts"}
	}
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "parts":
			elements(v, func(i int, v gjson.Result) bool {
				var p neutral.Part
				var kept bool
				p, kept, err = g.part(v, neutral.System)
				switch {
				case err != nil:
					err = err.in(index(i)).in(name)
				case kept && p.Kind != neutral.Text:
					g.r.Losses.Add(lossOf(p.Kind))
				case kept && p.Text != "":
					g.r.System = append(g.r.System, p)
				}
				return err == nil
			})
		case "role":
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	return err
}

// lossOf is what is lost with a part where only text can stand.
func lossOf(kind neutral.Kind) neutral.Loss {
	switch kind {
	case neutral.Image:
		return neutral.LossImages
	case neutral.File:
		return neutral.LossFiles
	case neutral.Audio:
		return neutral.LossAudio
	case neutral.Think, neutral.Redacted:
		return neutral.LossThinking
	}
	return neutral.LossUnknownPart
}

func (g *reading) contents(v gjson.Result) (err *bad) {
	elements(v, func(i int, v gjson.Result) bool {
		err = g.content(v).in(index(i))
		return err == nil
	})
	return err
}

func (g *reading) content(v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	// The role decides what parts mean, and may stand behind them.
	role := neutral.User
	var parts gjson.Result
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "role":
			switch v.String() {
			case "user", "function", "":
			case "model":
				role = neutral.Assistant
			default:
				err = &bad{name, "must be user or model"}
			}
		case "parts":
			parts = v
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	turn := g.turn(role)
	some := false
	elements(parts, func(i int, v gjson.Result) bool {
		some = true
		var p neutral.Part
		var kept bool
		p, kept, err = g.part(v, role)
		if err != nil {
			err = err.in(index(i)).in("parts")
			return false
		}
		if kept {
			turn.Parts = join(turn.Parts, p, role)
		}
		return true
	})
	if err == nil && !some {
		return &bad{"parts", "must not be empty"}
	}
	if len(turn.Parts) == 0 {
		g.r.Turns = g.r.Turns[:len(g.r.Turns)-1]
	}
	return err
}

// turn is the turn that parts of role belong to: the last one if it is role's, else a new one.
func (g *reading) turn(role neutral.Role) *neutral.Turn {
	if n := len(g.r.Turns); n > 0 && g.r.Turns[n-1].Role == role {
		return &g.r.Turns[n-1]
	}
	g.r.Turns = append(g.r.Turns, neutral.Turn{Role: role})
	return &g.r.Turns[len(g.r.Turns)-1]
}

// join appends p to parts. Clients keep a streamed answer as the pieces that it came in, and send those back: what the
// model said or thought is one part again, up to and with the signature that ends it.
func join(parts []neutral.Part, p neutral.Part, role neutral.Role) []neutral.Part {
	if n := len(parts); n > 0 && role == neutral.Assistant && (p.Kind == neutral.Text || p.Kind == neutral.Think) {
		if last := &parts[n-1]; last.Kind == p.Kind && last.Signature.Value == "" {
			last.Text += p.Text
			last.Signature = p.Signature
			return parts
		}
	}
	if p.Kind == neutral.Text && p.Text == "" && p.Signature.Value == "" {
		return parts
	}
	return append(parts, p)
}
