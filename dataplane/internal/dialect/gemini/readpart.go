package gemini

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// part reads a part of a request. kept = false: it is lost, and noted.
func (g *reading) part(v gjson.Result, role neutral.Role) (p neutral.Part, kept bool, err *bad) {
	if !v.IsObject() {
		return p, false, &bad{"", "must be an object"}
	}
	var thought, hidden bool
	data := ""
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "text", "functionCall", "functionResponse", "inlineData", "fileData", "executableCode",
			"codeExecutionResult", "toolCall", "toolResponse":
			if data != "" {
				err = &bad{"", "must hold one kind of data"}
				return false
			}
			data = name
		}
		switch name {
		case "text":
			if v.Type != gjson.String {
				err = &bad{name, "must be a string"}
				return false
			}
			p.Kind, p.Text = neutral.Text, v.Str
		case "functionCall":
			err = g.call(&p, v).in(name)
		case "functionResponse":
			err = g.result(&p, v).in(name)
		case "inlineData", "fileData":
			err = g.media(&p, name, v).in(name)
		case "executableCode", "codeExecutionResult", "toolCall", "toolResponse":
			g.r.Losses.Add(neutral.LossServerTools)
		case "thought":
			thought = v.Bool()
		case "thoughtSignature":
			p.Signature, hidden = readSignature(v.String())
		case "mediaResolution":
			g.detail(&p, v)
		default:
			// A part of a kind that this build does not know, or a remark on one that it does (videoMetadata).
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	if err != nil {
		return p, false, err
	}
	switch data {
	case "text":
	case "functionCall", "functionResponse":
		if (p.Kind == neutral.Call) != (role == neutral.Assistant) {
			return p, false, &bad{data, "does not belong into a turn of this role"}
		}
		if p.ID == "" && p.Kind == neutral.Call {
			p.ID = callID("", g.calls, &p)
		}
		g.answer(&p)
	case "inlineData", "fileData":
	case "":
		// Nothing but a signature, which some leave without its empty text.
		if !thought && p.Signature.Value == "" {
			g.r.Losses.Add(neutral.LossUnknownPart)
			return p, false, nil
		}
		p.Kind = neutral.Text
	default:
		return p, false, nil
	}
	if p.Kind == neutral.Text && thought {
		p.Kind = neutral.Think
	}
	if hidden && (p.Kind == neutral.Text || p.Kind == neutral.Think) {
		p = neutral.Part{Kind: neutral.Redacted, Signature: p.Signature}
	}
	if p.Kind != neutral.Image && p.Detail != "" {
		p.Detail = ""
		g.r.Losses.Add(neutral.LossImageDetail)
	}
	return p, true, nil
}

// detail reads a part's mediaResolution.
func (g *reading) detail(p *neutral.Part, v gjson.Result) {
	level := v.Get("level").Str
	switch strings.TrimPrefix(level, "MEDIA_RESOLUTION_") {
	case "", "UNSPECIFIED":
	case "LOW":
		p.Detail = "low"
	case "HIGH", "ULTRA_HIGH":
		p.Detail = "high"
	default:
		g.r.Losses.Add(neutral.LossImageDetail)
	}
}

// call reads functionCall.
func (g *reading) call(p *neutral.Part, v gjson.Result) *bad {
	p.Kind = neutral.Call
	if !readCall(p, v, func() { g.r.Losses.Add(neutral.LossUnknownField) }) {
		return &bad{"args", "must be an object"}
	}
	if p.Name == "" {
		return &bad{"name", "must not be empty"}
	}
	g.calls++
	return nil
}

// readCall reads functionCall into a part; false: its arguments are no object. other is called for what is not known.
func readCall(p *neutral.Part, v gjson.Result, other func()) (ok bool) {
	p.Args, ok = "{}", v.IsObject()
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "id":
			p.ID = v.String()
		case "name":
			p.Name = v.String()
		case "args":
			p.Args, ok = v.Raw, v.IsObject()
		default:
			other()
		}
		return ok
	})
	return ok
}

// callID names a call that has no id: by what it is and by its place, so that the same conversation gives the same ids. Those
// of an answer start from its own id and differ from all others'.
func callID(answer string, n int, p *neutral.Part) string {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for _, s := range [...]string{answer, p.Name, p.Args, p.Signature.Value} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
		h = (h ^ 0xff) * prime
	}
	b := append(make([]byte, 0, 40), "call_"...)
	b = strconv.AppendUint(b, h, 36)
	b = append(b, '_')
	return string(strconv.AppendInt(b, int64(n), 36))
}

// answer keeps track of which calls wait for a response. A response is for the call with its id, else for the first that
// has its name; its id is then the call's.
func (g *reading) answer(p *neutral.Part) {
	if p.Kind == neutral.Call {
		if len(g.open) == maxOpen {
			g.open = append(g.open[:0], g.open[1:]...)
		}
		g.open = append(g.open, openCall{p.ID, p.Name})
		return
	}
	at := -1
	for i := range g.open {
		if p.ID != "" && g.open[i].id == p.ID {
			at = i
			break
		}
		if at < 0 && g.open[i].name == p.Name {
			at = i
		}
	}
	if at < 0 {
		// A response to what the client has cut off. Whoever gets it will say so.
		if p.ID == "" {
			p.ID = callID("", g.calls, p)
		}
		return
	}
	p.ID = g.open[at].id
	g.open = append(g.open[:at], g.open[at+1:]...)
}

// result reads functionResponse. Google's words: "output" and "error" are the result of a tool, else all of response is.
func (g *reading) result(p *neutral.Part, v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	p.Kind = neutral.Result
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "id":
			p.ID = v.String()
		case "name":
			p.Name = v.String()
		case "response":
			if !v.IsObject() {
				err = &bad{name, "must be an object"}
				return false
			}
			var said string
			if said, p.Failed = resultText(v); said != "" {
				// In front of what parts there are: Google's parts come with the response.
				p.Parts = append([]neutral.Part{{Kind: neutral.Text, Text: said}}, p.Parts...)
			}
		case "parts":
			elements(v, func(i int, v gjson.Result) bool {
				var q neutral.Part
				member(v, func(name string, v gjson.Result) bool {
					switch name {
					case "inlineData", "fileData":
						err = g.media(&q, name, v).in(name)
					default:
						g.r.Losses.Add(neutral.LossUnknownField)
					}
					return err == nil
				})
				err = err.in(index(i)).in(name)
				switch q.Kind {
				case neutral.Image, neutral.File:
					p.Parts = append(p.Parts, q)
				case neutral.Audio:
					g.r.Losses.Add(neutral.LossAudio)
				default:
					g.r.Losses.Add(neutral.LossUnknownPart)
				}
				return err == nil
			})
		default:
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	if err == nil && p.Name == "" {
		return &bad{"name", "must not be empty"}
	}
	return err
}

// resultText is what a function's response says, and whether it is an error.
func resultText(v gjson.Result) (said string, failed bool) {
	said = v.Raw
	n := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if n++; n > 1 || key.Str != "output" && key.Str != "error" {
			said, failed = v.Raw, false
			return false
		}
		failed = key.Str == "error"
		said = value.Raw
		if value.Type == gjson.String {
			said = value.Str
		}
		return true
	})
	return said, failed
}

// media reads inlineData and fileData.
func (g *reading) media(p *neutral.Part, field string, v gjson.Result) (err *bad) {
	if !v.IsObject() {
		return &bad{"", "must be an object"}
	}
	member(v, func(name string, v gjson.Result) bool {
		known := true
		switch {
		case name == "mimeType":
			p.Media = v.Str
		case name == "displayName":
			p.Name = v.Str
		case name == "data" && field == "inlineData":
			var ok bool
			if p.Data, ok = standard(v.Str); !ok {
				err = &bad{name, "must be base64"}
			}
		case name == "fileUri" && field == "fileData":
			if stored(v.Str) {
				p.FileID = v.Str
			} else {
				p.URL = v.Str
			}
		default:
			known = false
			g.r.Losses.Add(neutral.LossUnknownField)
		}
		if known && v.Type != gjson.String {
			err = &bad{name, "must be a string"}
		}
		return err == nil
	})
	p.Kind = kindOf(p.Media)
	switch {
	case err != nil:
		return err
	case field == "inlineData" && p.Media == "":
		return &bad{"mimeType", "must not be empty"}
	case field == "inlineData" && p.Data == "":
		return &bad{"data", "must not be empty"}
	case field == "fileData" && p.URL == "" && p.FileID == "":
		return &bad{"fileUri", "must not be empty"}
	}
	if p.Kind != neutral.File && p.Name != "" {
		p.Name = ""
		g.r.Losses.Add(neutral.LossNames)
	}
	return nil
}

// stored says whether a URI names a file in a store of Google's.
func stored(uri string) bool {
	return strings.HasPrefix(uri, "gs://") || strings.HasPrefix(uri, "files/") ||
		strings.HasPrefix(uri, "https://generativelanguage.googleapis.com/")
}

// kindOf is the kind of part for a MIME type.
func kindOf(media string) neutral.Kind {
	switch kind, _, _ := strings.Cut(media, "/"); kind {
	case "image":
		return neutral.Image
	case "audio":
		return neutral.Audio
	}
	return neutral.File
}

// standard turns base64 of either alphabet, padded or not, into the standard one with padding, which it nearly always is.
func standard(s string) (string, bool) {
	if isStandard(s) {
		return s, true
	}
	s = strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "").Replace(s)
	s = strings.TrimRight(s, "=")
	plain, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return "", false
	}
	return base64.StdEncoding.EncodeToString(plain), true
}

// isStandard says whether s is base64 in the standard alphabet with its padding.
func isStandard(s string) bool {
	if len(s)%4 != 0 {
		return false
	}
	body := strings.TrimRight(s, "=")
	if len(s)-len(body) > 2 {
		return false
	}
	for i := range len(body) {
		c := body[i]
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// number reads a number as it is spelt. Protos take it in a string as well.
func number(v gjson.Result) (neutral.Number, *bad) {
	spelt := v.Raw
	if v.Type == gjson.String {
		spelt = v.Str
	}
	s := dialect.Scanner{B: raw(spelt)}
	if spelt == "" || spelt[0] != '-' && (spelt[0] < '0' || spelt[0] > '9') || !s.Value() || s.At != len(spelt) {
		return "", &bad{"", "must be a number"}
	}
	return neutral.Number(spelt), nil
}
