package anthropic

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// asker writes the conversation of one request.
type asker struct {
	losses *neutral.Losses
	// calls and results count those that came without an id: the nth of one belongs to the nth of the other.
	calls, results int
	// items is how many blocks the array that is being written has.
	items int
}

// next separates a block from the one before it.
func (a *asker) next(dst []byte) []byte {
	a.items++
	if a.items > 1 {
		return append(dst, ',')
	}
	return dst
}

func (a *asker) appendSystem(dst []byte, parts []neutral.Part) []byte {
	start := len(dst)
	dst = append(dst, `,"system":[`...)
	a.items = 0
	for i := range parts {
		dst = a.appendText(dst, parts[i].Text)
	}
	if a.items == 0 {
		return dst[:start]
	}
	return append(dst, ']')
}

// appendTurns appends the messages. What is not the assistant's is the user's, and neighbours are one message, also where
// nothing of what stood between them can be said.
func (a *asker) appendTurns(dst []byte, turns []neutral.Turn) []byte {
	const user, assistant, end = `{"role":"user","content":[`, `{"role":"assistant","content":[`, "]}"
	begin, ours := len(dst), false // whose the last message is
	for len(turns) > 0 {
		says := speaks(&turns[0])
		n := 1
		for n < len(turns) && speaks(&turns[n]) == says {
			n++
		}
		group := turns[:n]
		turns = turns[n:]

		before := len(dst)
		a.items = 0
		switch {
		case says && ours: // the user between said nothing
			dst = dst[:before-len(end)]
			a.items = 1
		case before > begin:
			dst = append(dst, ',')
		case says:
			dst = append(dst, user+`{"type":"text","text":"."}]},`...)
		}
		if !says {
			dst = append(dst, user...)
			if dst = a.appendUser(dst, group); a.items == 0 {
				dst = dst[:before]
				continue
			}
		} else {
			if !ours {
				dst = append(dst, assistant...)
			}
			dst = a.appendAssistant(dst, group)
		}
		ours = says
		dst = append(dst, end...)
	}
	return dst
}

// speaks says whether a turn is the assistant's and has something that can be sent. One that has not is passed over with
// the user's, so that its losses are noted.
func speaks(t *neutral.Turn) bool {
	if t.Role != neutral.Assistant {
		return false
	}
	for i := range t.Parts {
		p := &t.Parts[i]
		switch p.Kind {
		case neutral.Text, neutral.Refusal:
			if p.Text != "" {
				return true
			}
		case neutral.Think, neutral.Redacted:
			if p.Signature.For(native) != "" {
				return true
			}
		case neutral.Call:
			return true
		}
	}
	return false
}

func (a *asker) appendAssistant(dst []byte, turns []neutral.Turn) []byte {
	for _, t := range turns {
		for i := range t.Parts {
			dst = a.appendSaid(dst, &t.Parts[i])
		}
	}
	return dst
}

// appendSaid appends what the model said, thought or wanted.
func (a *asker) appendSaid(dst []byte, p *neutral.Part) []byte {
	switch p.Kind {
	case neutral.Text, neutral.Refusal:
		a.losses.AddIf(p.Signature.Value != "", neutral.LossSignature)
		return a.appendText(dst, p.Text)
	case neutral.Think, neutral.Redacted:
		own := p.Signature.For(native)
		if own == "" {
			// The API takes no thought without its proof, and no proof of anyone else's.
			a.losses.AddIf(p.Signature.Value != "", neutral.LossSignature)
			a.losses.AddIf(p.Text != "", neutral.LossThinking)
			return dst
		}
		dst = a.next(dst)
		if p.Kind == neutral.Redacted {
			dst = append(dst, `{"type":"redacted_thinking","data":`...)
			dst = dialect.AppendQuoted(dst, own)
			return append(dst, '}')
		}
		dst = append(dst, `{"type":"thinking","thinking":`...)
		dst = dialect.AppendQuoted(dst, p.Text)
		dst = append(dst, `,"signature":`...)
		dst = dialect.AppendQuoted(dst, own)
		return append(dst, '}')
	case neutral.Call:
		a.losses.AddIf(p.Signature.Value != "", neutral.LossSignature)
		dst = a.next(dst)
		dst = append(dst, `{"type":"tool_use","id":`...)
		dst = appendID(dst, p.ID, &a.calls)
		dst = append(dst, `,"name":`...)
		dst = dialect.AppendQuoted(dst, p.Name)
		dst = append(dst, `,"input":`...)
		dst = appendArgs(dst, p.Args)
		return append(dst, '}')
	case neutral.Image:
		a.losses.Add(neutral.LossImages)
	case neutral.File:
		a.losses.Add(neutral.LossFiles)
	case neutral.Audio:
		a.losses.Add(neutral.LossAudio)
	default:
		a.losses.Add(neutral.LossUnknownPart)
	}
	return dst
}

// appendUser appends what is not the model's: tool results, then the rest in its order.
func (a *asker) appendUser(dst []byte, turns []neutral.Turn) []byte {
	for _, t := range turns {
		for i := range t.Parts {
			if t.Parts[i].Kind == neutral.Result {
				dst = a.appendResult(dst, &t.Parts[i])
			}
		}
	}
	for _, t := range turns {
		for i := range t.Parts {
			p := &t.Parts[i]
			switch {
			case t.Role == neutral.Assistant:
				dst = a.appendSaid(dst, p)
			case p.Kind == neutral.Result:
			case t.Role == neutral.System && p.Text != "":
				dst = a.appendText(dst, "<system>\n"+p.Text+"\n</system>")
			default:
				dst = a.appendShown(dst, p)
			}
		}
	}
	return dst
}

// appendShown appends what a user, or a tool, shows.
func (a *asker) appendShown(dst []byte, p *neutral.Part) []byte {
	switch p.Kind {
	case neutral.Text, neutral.Refusal:
		return a.appendText(dst, p.Text)
	case neutral.Image:
		return a.appendImage(dst, p)
	case neutral.File:
		return a.appendFile(dst, p)
	case neutral.Audio:
		a.losses.Add(neutral.LossAudio)
	default:
		a.losses.Add(neutral.LossUnknownPart)
	}
	return dst
}

// appendText appends a text block. The API refuses empty ones.
func (a *asker) appendText(dst []byte, text string) []byte {
	if text == "" {
		return dst
	}
	dst = a.next(dst)
	dst = append(dst, `{"type":"text","text":`...)
	dst = dialect.AppendQuoted(dst, text)
	return append(dst, '}')
}

func (a *asker) appendResult(dst []byte, p *neutral.Part) []byte {
	dst = a.next(dst)
	dst = append(dst, `{"type":"tool_result","tool_use_id":`...)
	dst = appendID(dst, p.ID, &a.results)
	outer, before := a.items, len(dst)
	dst = append(dst, `,"content":[`...)
	a.items = 0
	for i := range p.Parts {
		dst = a.appendShown(dst, &p.Parts[i])
	}
	if p.Failed && a.items == 0 {
		dst = a.appendText(dst, "failed") // the API wants to hear how
	}
	if a.items == 0 {
		dst = dst[:before]
	} else {
		dst = append(dst, ']')
	}
	a.items = outer
	if p.Failed {
		dst = append(dst, `,"is_error":true`...)
	}
	return append(dst, '}')
}

// appendID appends the id of a call: letters, digits, _ and - as they are, other bytes as their hexadecimal digits between
// two _, because the API takes no others. unnamed counts those that have none.
func appendID(dst []byte, id string, unnamed *int) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	if id == "" {
		*unnamed++
		dst = append(dst, "call_"...)
		dst = strconv.AppendInt(dst, int64(*unnamed), 10)
	}
	for i := range len(id) {
		c := id[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '_', hex[c>>4], hex[c&0xf], '_')
		}
	}
	return append(dst, '"')
}

func (a *asker) appendImage(dst []byte, p *neutral.Part) []byte {
	a.losses.AddIf(p.Detail != "" && p.Detail != "auto", neutral.LossImageDetail)
	media, data := p.Media, p.Data
	if m, d, ok := dataURL(p.URL); ok {
		media, data = m, d
	}
	switch {
	case data != "":
		if media == "" {
			media = sniff(data)
		}
		dst = a.next(dst)
		dst = append(dst, `{"type":"image",`...)
		dst = appendBase64(dst, media, data)
	case strings.HasPrefix(p.URL, "https://") || strings.HasPrefix(p.URL, "http://"):
		dst = a.next(dst)
		dst = append(dst, `{"type":"image",`...)
		dst = appendLink(dst, "url", "url", p.URL)
	case strings.HasPrefix(p.FileID, ownFile):
		dst = a.next(dst)
		dst = append(dst, `{"type":"image",`...)
		dst = appendLink(dst, "file", "file_id", p.FileID)
	default:
		a.losses.Add(neutral.LossImages)
		return dst
	}
	return append(dst, '}')
}

// ownFile is how ids of Anthropic's own files begin; those of others mean nothing there.
const ownFile = "file_"

const pdf = "application/pdf"

func (a *asker) appendFile(dst []byte, p *neutral.Part) []byte {
	media, data := p.Media, p.Data
	if m, d, ok := dataURL(p.URL); ok {
		media, data = m, d
	}
	if strings.HasPrefix(media, "image/") {
		return a.appendImage(dst, p)
	}
	if media == "" && strings.HasPrefix(data, "JVBERi0") {
		media = pdf
	}
	before := len(dst)
	dst = a.next(dst)
	dst = append(dst, `{"type":"document",`...)
	switch {
	case data != "" && media == pdf:
		dst = appendBase64(dst, media, data)
	case data != "" && isText(media):
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil || !utf8.Valid(text) {
			a.losses.Add(neutral.LossFiles)
			a.items--
			return dst[:before]
		}
		dst = append(dst, `"source":{"type":"text","media_type":"text/plain","data":`...)
		dst = dialect.AppendQuoted(dst, view(text))
		dst = append(dst, '}')
	case data == "" && (media == "" || media == pdf) && strings.HasPrefix(p.URL, "http"):
		dst = appendLink(dst, "url", "url", p.URL)
	case data == "" && strings.HasPrefix(p.FileID, ownFile):
		dst = appendLink(dst, "file", "file_id", p.FileID)
	default:
		a.losses.Add(neutral.LossFiles)
		a.items--
		return dst[:before]
	}
	if p.Name != "" {
		dst = append(dst, `,"title":`...)
		dst = dialect.AppendQuoted(dst, p.Name)
	}
	return append(dst, '}')
}

func isText(media string) bool {
	media, _, _ = strings.Cut(media, ";")
	switch media {
	case "application/json", "application/xml", "application/yaml", "application/javascript":
		return true
	}
	return strings.HasPrefix(media, "text/")
}

func appendBase64(dst []byte, media, data string) []byte {
	dst = append(dst, `"source":{"type":"base64","media_type":`...)
	dst = dialect.AppendQuoted(dst, media)
	dst = append(dst, `,"data":`...)
	dst = dialect.AppendQuoted(dst, data)
	return append(dst, '}')
}

func appendLink(dst []byte, kind, member, link string) []byte {
	dst = append(dst, `"source":{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","`...)
	dst = append(dst, member...)
	dst = append(dst, `":`...)
	dst = dialect.AppendQuoted(dst, link)
	return append(dst, '}')
}

// dataURL takes data:…;base64,… apart.
func dataURL(url string) (media, data string, ok bool) {
	rest, ok := strings.CutPrefix(url, "data:")
	if !ok {
		return "", "", false
	}
	media, data, ok = strings.Cut(rest, ";base64,")
	return media, data, ok && data != ""
}

// sniff is the type of an image by how its base64 begins; the API wants one.
func sniff(data string) string {
	switch {
	case strings.HasPrefix(data, "/9j/"):
		return "image/jpeg"
	case strings.HasPrefix(data, "R0lGOD"):
		return "image/gif"
	case strings.HasPrefix(data, "UklGR"):
		return "image/webp"
	}
	return "image/png"
}
