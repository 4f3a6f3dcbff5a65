package converse

import (
	"strconv"
	"strings"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// messages writes the turns. System turns become the user's, and neighbours of one role one message.
func (w *writer) messages(turns []neutral.Turn) {
	w.member("messages")
	w.raw("[")
	if len(turns) == 0 || turns[0].Role == neutral.Assistant {
		w.raw(`{"role":"user","content":[{"text":"."}]}`)
	}
	for i := 0; i < len(turns); {
		end := i + 1
		for end < len(turns) && said(turns[end].Role) == said(turns[i].Role) {
			end++
		}
		w.comma()
		w.raw(`{"role":"` + said(turns[i].Role) + `","content":[`)
		w.content(turns[i:end])
		w.raw("]}")
		i = end
	}
	w.raw("]")
}

func said(role neutral.Role) string {
	if role == neutral.Assistant {
		return "assistant"
	}
	return "user"
}

// content writes the parts of one message: results first, because they must follow the calls.
func (w *writer) content(turns []neutral.Turn) {
	start, texts := len(w.dst), 0
	for i := range turns {
		for j := range turns[i].Parts {
			if turns[i].Parts[j].Kind == neutral.Result {
				w.result(&turns[i].Parts[j])
			}
		}
	}
	inResults := w.documents
	for i := range turns {
		for j := range turns[i].Parts {
			p := &turns[i].Parts[j]
			switch p.Kind {
			case neutral.Result:
				continue
			case neutral.Text, neutral.Refusal:
				if blank(p.Text) {
					continue
				}
				texts++
				if turns[i].Role == neutral.System {
					w.text("<system>" + p.Text + "</system>")
					continue
				}
			}
			w.part(p)
		}
	}
	if len(w.dst) == start || texts == 0 && w.documents > inResults {
		w.text(".")
	}
}

// part writes one part of a message but a result.
func (w *writer) part(p *neutral.Part) {
	losses := &w.request.Losses
	switch p.Kind {
	case neutral.Text, neutral.Refusal:
		losses.AddIf(p.Signature.Value != "", neutral.LossSignature)
		w.text(p.Text)
	case neutral.Image:
		w.image(p)
	case neutral.File:
		w.file(p)
	case neutral.Audio:
		losses.Add(neutral.LossAudio)
	case neutral.Call:
		losses.AddIf(p.Signature.Value != "", neutral.LossSignature)
		w.call(p)
	case neutral.Think:
		signature := p.Signature.For(origin)
		if signature == "" {
			losses.AddIf(p.Signature.Value != "", neutral.LossSignature)
			losses.Add(neutral.LossThinking)
			return
		}
		w.comma()
		w.raw(`{"reasoningContent":{"reasoningText":{"text":`)
		w.quoted(p.Text)
		w.raw(`,"signature":`)
		w.quoted(signature)
		w.raw("}}}")
	case neutral.Redacted:
		signature := p.Signature.For(origin)
		if signature == "" {
			losses.Add(neutral.LossSignature)
			return
		}
		w.comma()
		w.raw(`{"reasoningContent":{"redactedContent":`)
		w.quoted(signature)
		w.raw("}}")
	default:
		losses.Add(neutral.LossUnknownPart)
	}
}

func (w *writer) call(p *neutral.Part) {
	args := p.Args
	if blank(args) {
		args = "{}"
	}
	if !object(args) {
		if w.fault == nil {
			w.fault = fault.New(fault.Invalid, "the arguments of the call %q are not a JSON object", p.ID).WithParam("messages")
		}
		return
	}
	w.comma()
	w.raw(`{"toolUse":{"toolUseId":`)
	w.quoted(p.ID)
	w.raw(`,"name":`)
	w.quoted(p.Name)
	w.raw(`,"input":`)
	w.raw(args)
	w.raw("}}")
}

func (w *writer) result(p *neutral.Part) {
	w.comma()
	w.raw(`{"toolResult":{"toolUseId":`)
	w.quoted(p.ID)
	w.raw(`,"content":[`)
	start := len(w.dst)
	for i := range p.Parts {
		switch inner := &p.Parts[i]; inner.Kind {
		case neutral.Text, neutral.Refusal:
			if !blank(inner.Text) {
				w.text(inner.Text)
			}
		case neutral.Image:
			w.image(inner)
		case neutral.File:
			w.file(inner)
		default:
			w.request.Losses.Add(neutral.LossUnknownPart)
		}
	}
	if len(w.dst) == start {
		w.text(".")
	}
	w.raw("]")
	if p.Failed {
		w.raw(`,"status":"error"`)
	}
	w.raw("}}")
}

// image writes an image of bytes, or one in S3, whose format the name tells.
func (w *writer) image(p *neutral.Part) {
	w.request.Losses.AddIf(p.Detail != "" && p.Detail != "auto", neutral.LossImageDetail)
	format, ok := strings.CutPrefix(p.Media, "image/")
	if p.Media == "" {
		format, ok = p.URL[strings.LastIndexByte(p.URL, '.')+1:], true
	}
	if format == "jpg" {
		format = "jpeg"
	}
	switch format {
	case "png", "jpeg", "gif", "webp":
	default:
		ok = false
	}
	if !ok || !inReach(p) {
		w.request.Losses.Add(neutral.LossImages)
		return
	}
	w.comma()
	w.raw(`{"image":{"format":"` + format + `","source":`)
	w.source(p)
	w.raw("}}")
}

// file writes a document.
func (w *writer) file(p *neutral.Part) {
	format := documentFormat(p.Media)
	if format == "" || !inReach(p) {
		w.request.Losses.Add(neutral.LossFiles)
		return
	}
	w.documents++
	w.comma()
	w.raw(`{"document":{"format":"` + format + `","name":`)
	w.quoted(documentName(p.Name, w.documents))
	w.raw(`,"source":`)
	w.source(p)
	w.raw("}}")
}

// inReach says whether Bedrock can get at what a part names: its bytes are here, or in S3.
func inReach(p *neutral.Part) bool { return p.Data != "" || strings.HasPrefix(p.URL, "s3://") }

func (w *writer) source(p *neutral.Part) {
	if p.Data != "" {
		w.raw(`{"bytes":`)
		w.quoted(p.Data)
	} else {
		w.raw(`{"s3Location":{"uri":`)
		w.quoted(p.URL)
		w.raw("}")
	}
	w.raw("}")
}

// documentFormat is Bedrock's word for a type of documents; "" = it takes none such.
func documentFormat(media string) string {
	media, _, _ = strings.Cut(media, ";")
	switch media {
	case "application/pdf":
		return "pdf"
	case "text/csv":
		return "csv"
	case "application/msword":
		return "doc"
	case "application/vnd.openxmlformats-officedocument.wordprocessingml.document":
		return "docx"
	case "application/vnd.ms-excel":
		return "xls"
	case "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":
		return "xlsx"
	case "text/html":
		return "html"
	case "text/plain":
		return "txt"
	case "text/markdown":
		return "md"
	}
	return ""
}

// documentName is a name that Bedrock takes: letters, digits, single spaces, hyphens, parentheses and brackets, and not that
// of another document.
func documentName(name string, number int) string {
	const longest = 180 // of 200; the number follows
	b := make([]byte, 0, len(name)+4)
	for i := 0; i < len(name) && len(b) < longest; i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-()[]", c) >= 0:
			b = append(b, c)
		case len(b) > 0 && b[len(b)-1] != '-' && b[len(b)-1] != ' ':
			if c != ' ' {
				c = '-'
			}
			b = append(b, c)
		}
	}
	name = strings.Trim(string(b), " -")
	if name == "" {
		name = "document"
	}
	if number > 1 {
		name += "-" + strconv.Itoa(number)
	}
	return name
}
