package gemini

import (
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// appendUser appends what the user says and what tools found.
func (a *asking) appendUser(dst []byte, t *neutral.Turn) ([]byte, *fault.Error) {
	for i := range t.Parts {
		p := &t.Parts[i]
		switch p.Kind {
		case neutral.Text, neutral.Refusal:
			if p.Text != "" {
				dst = dialect.AppendQuoted(append(a.next(dst, "user"), `{"text":`...), p.Text)
				dst = append(dst, '}')
			}
		case neutral.Image, neutral.File, neutral.Audio:
			dst = a.appendMedia(dst, p, "user")
		case neutral.Result:
			var err *fault.Error
			if dst, err = a.appendResult(dst, p); err != nil {
				return dst, err
			}
		default:
			a.r.Losses.Add(neutral.LossUnknownPart)
		}
	}
	return dst, nil
}

// appendModel appends what the model said. current: the user has not spoken since.
func (a *asking) appendModel(dst []byte, t *neutral.Turn, current bool) []byte {
	first := true // of the calls
	for i := range t.Parts {
		p := &t.Parts[i]
		sig := p.Signature.For(native)
		a.r.Losses.AddIf(p.Signature.Value != sig, neutral.LossSignature)
		switch p.Kind {
		case neutral.Text, neutral.Refusal, neutral.Think:
			if p.Text == "" && sig == "" {
				continue
			}
			dst = appendWords(a.next(dst, "model"), p.Text, p.Kind == neutral.Think, sig)
		case neutral.Call:
			if first && current && sig == "" && a.family.signed() {
				sig = skipSignature
			}
			first = false
			if a.names == nil {
				a.names = make(map[string]string)
			}
			a.names[p.ID] = p.Name
			args := p.Args
			if !isArgs(args) {
				// What a model once got wrong must not spoil the conversation for good: it sees what it wrote.
				args = text(append(dialect.AppendQuoted([]byte(`{"arguments":`), args), '}'))
			}
			dst = appendCall(a.next(dst, "model"), p.ID, p.Name, args, sig)
		case neutral.Image, neutral.File, neutral.Audio:
			dst = a.appendMedia(dst, p, "model")
		case neutral.Redacted: // the signature was all of it
		default:
			a.r.Losses.Add(neutral.LossUnknownPart)
		}
	}
	return dst
}

// appendWords appends a part that is text.
func appendWords(dst []byte, words string, thought bool, sig string) []byte {
	dst = dialect.AppendQuoted(append(dst, `{"text":`...), words)
	if thought {
		dst = append(dst, `,"thought":true`...)
	}
	return append(appendSignature(dst, sig), '}')
}

func appendSignature(dst []byte, sig string) []byte {
	if sig == "" {
		return dst
	}
	return dialect.AppendQuoted(append(dst, `,"thoughtSignature":`...), sig)
}

// appendCall appends a part that is a call of a function.
func appendCall(dst []byte, id, name, args, sig string) []byte {
	dst = append(dst, `{"functionCall":{`...)
	var l list
	if id != "" {
		dst = l.quoted(dst, "id", id)
	}
	dst = append(l.quoted(dst, "name", name), `,"args":`...)
	if args == "" {
		args = "{}"
	}
	dst = append(appendLine(dst, args), '}')
	return append(appendSignature(dst, sig), '}')
}

// appendMedia appends what is not text. Google takes what it stores itself, what anybody can load, and bytes.
func (a *asking) appendMedia(dst []byte, p *neutral.Part, role string) []byte {
	if p.Data == "" && p.URL == "" && !stored(p.FileID) {
		a.r.Losses.Add(neutral.LossFiles)
		return dst
	}
	a.r.Losses.AddIf(p.Detail == "low" || p.Detail == "high", neutral.LossImageDetail)
	a.r.Losses.AddIf(p.Name != "", neutral.LossNames) // displayName is Vertex's alone
	return append(appendBytes(a.next(dst, role), p), '}')
}

// appendBytes appends inlineData or fileData, and leaves the part open.
func appendBytes(dst []byte, p *neutral.Part) []byte {
	var l list
	field, name, value := `{"inlineData":{`, "data", p.Data
	switch {
	case p.URL != "":
		field, name, value = `{"fileData":{`, "fileUri", p.URL
	case p.FileID != "":
		field, name, value = `{"fileData":{`, "fileUri", p.FileID
	}
	dst = append(dst, field...)
	if media := mediaOf(p); media != "" {
		dst = l.quoted(dst, "mimeType", media)
	}
	dst = l.quoted(dst, name, value)
	return append(dst, '}')
}

// mediaOf is a part's MIME type, which Google wants to know. An address that does not say it by its ending is an image's
// if the part is one.
func mediaOf(p *neutral.Part) string {
	if p.Media != "" || p.FileID != "" {
		return p.Media
	}
	name := p.URL
	if name == "" {
		name = p.Name
	}
	name, _, _ = strings.Cut(name, "?")
	name, _, _ = strings.Cut(name, "#")
	switch strings.ToLower(name[strings.LastIndexByte(name, '.')+1:]) {
	case "png":
		return "image/png"
	case "jpg", "jpeg":
		return "image/jpeg"
	case "webp":
		return "image/webp"
	case "gif":
		return "image/gif"
	case "heic":
		return "image/heic"
	case "pdf":
		return "application/pdf"
	case "txt":
		return "text/plain"
	case "csv":
		return "text/csv"
	case "html", "htm":
		return "text/html"
	case "md":
		return "text/markdown"
	case "wav":
		return "audio/wav"
	case "mp3":
		return "audio/mp3"
	case "mp4":
		return "video/mp4"
	}
	switch {
	case p.Kind == neutral.Image:
		return "image/jpeg"
	case p.Data != "":
		return "application/octet-stream"
	}
	return ""
}

// appendResult appends what a tool found, with the name of its function, which only the call says in most dialects. Models
// that cannot see images in a response get them behind it.
func (a *asking) appendResult(dst []byte, p *neutral.Part) ([]byte, *fault.Error) {
	name := p.Name
	if called, ok := a.names[p.ID]; ok {
		name = called
	}
	if name == "" {
		return dst, fault.New(fault.Invalid, "a tool's result names no call that was made before it")
	}
	dst = append(a.next(dst, "user"), `{"functionResponse":{`...)
	var l list
	if p.ID != "" {
		dst = l.quoted(dst, "id", p.ID)
	}
	dst = l.quoted(dst, "name", name)
	dst = append(l.name(dst, "response"), `{"output":"`...)
	if p.Failed {
		dst = append(dst[:len(dst)-len(`output":"`)], `error":"`...)
	}
	some := false
	for i := range p.Parts {
		if q := &p.Parts[i]; q.Kind == neutral.Text {
			if some {
				dst = append(dst, `\n`...)
			}
			some = true
			dst = dialect.AppendEscaped(dst, q.Text)
		}
	}
	dst = append(dst, `"}`...)
	inside := a.family.sees()
	var parts list
	for i := range p.Parts {
		q := &p.Parts[i]
		if q.Kind == neutral.Text || !inside && (q.Kind == neutral.Image || q.Kind == neutral.File) {
			continue
		}
		if q.Kind != neutral.Image && q.Kind != neutral.File || q.Data == "" && q.URL == "" && !stored(q.FileID) {
			a.r.Losses.Add(lossOf(q.Kind))
			continue
		}
		a.r.Losses.AddIf(q.Detail == "low" || q.Detail == "high", neutral.LossImageDetail)
		a.r.Losses.AddIf(q.Name != "", neutral.LossNames)
		if !parts.some {
			dst = append(dst, `,"parts":[`...)
		}
		dst = append(appendBytes(parts.next(dst), q), '}')
	}
	if parts.some {
		dst = append(dst, ']')
	}
	dst = append(dst, "}}"...)
	for i := range p.Parts {
		if q := &p.Parts[i]; !inside && (q.Kind == neutral.Image || q.Kind == neutral.File) {
			dst = a.appendMedia(dst, q, "user")
		}
	}
	return dst, nil
}
