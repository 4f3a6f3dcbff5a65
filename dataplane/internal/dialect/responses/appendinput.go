package responses

import (
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// inputs appends items with commas between.
type inputs struct {
	dst   []byte
	lost  *neutral.Losses
	items int
	parts int // of the message that is open; 0 = none is
}

func appendInput(dst []byte, r *neutral.Request) []byte {
	in := inputs{dst: dst, lost: &r.Losses}
	for i := range r.Turns {
		t := &r.Turns[i]
		for j := range t.Parts {
			in.part(t.Role, &t.Parts[j])
		}
		in.endMessage()
	}
	return in.dst
}

// item begins an item of its own.
func (in *inputs) item(kind string) {
	in.endMessage()
	if in.items > 0 {
		in.dst = append(in.dst, ',')
	}
	in.items++
	in.dst = append(in.dst, `{"type":"`...)
	in.dst = append(in.dst, kind...)
	in.dst = append(in.dst, '"')
}

func (in *inputs) part(role neutral.Role, p *neutral.Part) {
	switch p.Kind {
	case neutral.Call:
		in.lost.AddIf(p.Signature.Value != "", neutral.LossSignature)
		in.item("function_call")
		in.dst = appendString(in.dst, "call_id", p.ID)
		in.dst = appendString(in.dst, "name", p.Name)
		in.dst = appendString(in.dst, "arguments", p.Args)
		in.dst = append(in.dst, '}')
	case neutral.Result:
		in.result(p)
	case neutral.Think, neutral.Redacted:
		in.reasoning(p)
	case neutral.Text, neutral.Refusal, neutral.Image, neutral.File, neutral.Audio:
		in.lost.AddIf(p.Signature.Value != "", neutral.LossSignature)
		start := len(in.dst)
		items, parts := in.items, in.parts
		in.openMessage(role)
		if !in.content(role, p) {
			in.dst, in.items, in.parts = in.dst[:start], items, parts
		}
	default:
		in.lost.Add(neutral.LossUnknownPart)
	}
}

func (in *inputs) openMessage(role neutral.Role) {
	in.parts++
	if in.parts > 1 {
		in.dst = append(in.dst, ',')
		return
	}
	in.parts = 0
	in.item("message")
	in.parts = 1
	switch role {
	case neutral.Assistant:
		in.dst = append(in.dst, `,"role":"assistant","content":[`...)
	case neutral.System:
		in.dst = append(in.dst, `,"role":"system","content":[`...)
	default:
		in.dst = append(in.dst, `,"role":"user","content":[`...)
	}
}

func (in *inputs) endMessage() {
	if in.parts > 0 {
		in.dst = append(in.dst, "]}"...)
		in.parts = 0
	}
}

// content appends a part of a message or of a tool's output; false = it cannot be said there.
func (in *inputs) content(role neutral.Role, p *neutral.Part) bool {
	switch {
	case p.Kind == neutral.Refusal && role == neutral.Assistant:
		in.dst = append(in.dst, `{"type":"refusal","refusal":`...)
		in.dst = dialect.AppendQuoted(in.dst, p.Text)
	case p.Kind == neutral.Text && role == neutral.Assistant:
		in.dst = append(in.dst, `{"type":"output_text","text":`...)
		in.dst = dialect.AppendQuoted(in.dst, p.Text)
		in.dst = append(in.dst, `,"annotations":[]`...)
	case p.Kind == neutral.Text || p.Kind == neutral.Refusal:
		in.dst = append(in.dst, `{"type":"input_text","text":`...)
		in.dst = dialect.AppendQuoted(in.dst, p.Text)
	case p.Kind == neutral.Image:
		return in.image(role, p)
	case p.Kind == neutral.File:
		return in.file(role, p)
	case p.Kind == neutral.Audio:
		return in.audio(role, p)
	default:
		in.lost.Add(neutral.LossUnknownPart)
		return false
	}
	in.dst = append(in.dst, '}')
	return true
}

func (in *inputs) image(role neutral.Role, p *neutral.Part) bool {
	if role != neutral.User || !in.known(p) {
		in.lost.Add(neutral.LossImages)
		return false
	}
	detail := p.Detail
	if detail == "" {
		detail = "auto" // some that imitate the API insist on it
	}
	in.dst = append(in.dst, `{"type":"input_image"`...)
	in.dst = appendString(in.dst, "detail", detail)
	in.source("image_url", "image_url", p)
	in.dst = append(in.dst, '}')
	return true
}

func (in *inputs) file(role neutral.Role, p *neutral.Part) bool {
	if role != neutral.User || !in.known(p) {
		in.lost.Add(neutral.LossFiles)
		return false
	}
	in.dst = append(in.dst, `{"type":"input_file"`...)
	switch {
	case p.Name != "":
		in.dst = appendString(in.dst, "filename", p.Name)
	case p.Data != "":
		in.dst = append(in.dst, `,"filename":"file"`...) // data needs a name
	}
	in.source("file_data", "file_url", p)
	in.dst = append(in.dst, '}')
	return true
}

// source appends where the bytes of an image or a file are.
func (in *inputs) source(data, url string, p *neutral.Part) {
	switch {
	case p.FileID != "":
		in.dst = appendString(in.dst, "file_id", p.FileID)
	case p.URL != "":
		in.dst = appendString(in.dst, url, p.URL)
	default:
		media := p.Media
		if media == "" {
			media = "application/octet-stream"
		}
		in.dst = appendString(in.dst, data, "data:"+media+";base64,")
		// The data goes on where the string ends: its opening quote takes the place of the comma, for a moment.
		comma := len(in.dst) - 2
		in.dst = dialect.AppendQuoted(in.dst[:comma], p.Data)
		in.dst[comma] = ','
	}
}

// known says whether the provider can get at the bytes: an id is of its own store only if it looks like one.
func (in *inputs) known(p *neutral.Part) bool {
	return p.FileID == "" || strings.HasPrefix(p.FileID, "file-")
}

func (in *inputs) audio(role neutral.Role, p *neutral.Part) bool {
	format := ""
	switch p.Media {
	case "audio/wav", "audio/x-wav", "audio/wave":
		format = "wav"
	case "audio/mpeg", "audio/mp3":
		format = "mp3"
	}
	if role != neutral.User || format == "" || p.Data == "" {
		in.lost.Add(neutral.LossAudio)
		return false
	}
	in.dst = append(in.dst, `{"type":"input_audio","input_audio":{"format":"`...)
	in.dst = append(in.dst, format...)
	in.dst = append(in.dst, '"')
	in.dst = appendString(in.dst, "data", p.Data)
	in.dst = append(in.dst, "}}"...)
	return true
}

func (in *inputs) result(p *neutral.Part) {
	in.item("function_call_output")
	in.dst = appendString(in.dst, "call_id", p.ID)
	if p.Failed {
		in.dst = append(in.dst, `,"status":"incomplete"`...)
	}
	switch {
	case len(p.Parts) == 0:
		in.dst = append(in.dst, `,"output":""`...)
	case len(p.Parts) == 1 && p.Parts[0].Kind == neutral.Text && p.Parts[0].Text != "":
		in.dst = appendString(in.dst, "output", p.Parts[0].Text)
	default:
		in.dst = append(in.dst, `,"output":[`...)
		first := len(in.dst)
		for i := range p.Parts {
			start := len(in.dst)
			if start > first {
				in.dst = append(in.dst, ',')
			}
			if p.Parts[i].Kind == neutral.Audio {
				in.lost.Add(neutral.LossAudio)
				in.dst = in.dst[:start]
			} else if !in.content(neutral.User, &p.Parts[i]) {
				in.dst = in.dst[:start]
			}
		}
		in.dst = append(in.dst, ']')
	}
	in.dst = append(in.dst, '}')
}

// reasoning sends back what the provider's own model thought. What another thought has no place: without a proof the provider
// refuses it.
func (in *inputs) reasoning(p *neutral.Part) {
	value := p.Signature.For(neutral.FromOpenAI)
	if value == "" {
		in.lost.AddIf(p.Signature.Value != "", neutral.LossSignature)
		in.lost.AddIf(p.Text != "" || p.Kind == neutral.Redacted, neutral.LossThinking)
		return
	}
	id, proof := splitProof(value)
	in.item("reasoning")
	if id != "" {
		in.dst = appendString(in.dst, "id", id)
	}
	in.dst = append(in.dst, `,"summary":`...)
	in.dst = appendSummary(in.dst, p.Text)
	in.dst = appendString(in.dst, "encrypted_content", proof)
	in.dst = append(in.dst, '}')
}

func appendSummary(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, "[]"...)
	}
	dst = append(dst, `[{"type":"summary_text","text":`...)
	dst = dialect.AppendQuoted(dst, text)
	return append(dst, "}]"...)
}
