package anthropic

import (
	"encoding/base64"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// block is a content block taken apart, whatever its type.
type block struct {
	text, thinking, signature, data   gjson.Result
	id, name, input                   gjson.Result
	toolUseID, content, isError       gjson.Result
	source, title, context, citations gjson.Result
}

// texts reads content that holds text only: a string, or text blocks.
func (r *reader) texts(v gjson.Result, at place) []neutral.Part {
	parts := r.parts(v, at, neutral.System)
	for i := range parts {
		if parts[i].Kind != neutral.Text {
			r.refuse(at.content(), "must be text")
		}
	}
	return parts
}

// parts reads content: a string, or blocks.
func (r *reader) parts(v gjson.Result, at place, role neutral.Role) []neutral.Part {
	switch {
	case v.Type == gjson.String:
		if v.Str == "" {
			return nil
		}
		return []neutral.Part{{Kind: neutral.Text, Text: v.Str}}
	case !v.IsArray():
		r.refuse(at.content(), "must be a string or an array of content blocks")
		return nil
	}
	var parts []neutral.Part
	n := 0
	v.ForEach(func(_, b gjson.Result) bool {
		parts = r.block(parts, b, at.block(n), role)
		n++
		return r.fault == nil
	})
	return parts
}

// take takes a block apart.
func (r *reader) take(v gjson.Result, b *block) {
	v.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "type":
		case "text":
			b.text = v
		case "thinking":
			b.thinking = v
		case "signature":
			b.signature = v
		case "data":
			b.data = v
		case "id":
			b.id = v
		case "name":
			b.name = v
		case "input":
			b.input = v
		case "tool_use_id":
			b.toolUseID = v
		case "content":
			b.content = v
		case "is_error":
			b.isError = v
		case "source":
			b.source = v
		case "title":
			b.title = v
		case "context":
			b.context = v
		case "citations":
			b.citations = v
		case "cache_control":
			r.losses.AddIf(v.Type != gjson.Null, neutral.LossCacheControl)
		case "caller":
			r.losses.AddIf(v.Type != gjson.Null && v.Get("type").Str != "direct", neutral.LossServerTools)
		case "toolset_name":
			r.losses.AddIf(v.Type != gjson.Null, neutral.LossServerTools)
		case "transformations":
			r.losses.AddIf(v.Type != gjson.Null, neutral.LossImageDetail)
		case "file_id", "server_name": // of blocks that are lost as a whole
		default:
			r.losses.AddIf(v.Type != gjson.Null, neutral.LossUnknownField)
		}
		return true
	})
	// A list of what is cited, or the wish for one.
	cites := b.citations.IsArray() && b.citations.Get("#").Int() > 0 || b.citations.Get("enabled").Bool()
	r.losses.AddIf(cites, neutral.LossCitations)
}

// block appends the parts that a block is.
func (r *reader) block(parts []neutral.Part, v gjson.Result, at place, role neutral.Role) []neutral.Part {
	if !v.IsObject() {
		r.refuse(at.String(), "must be an object")
		return parts
	}
	var b block
	kind := v.Get("type")
	if kind.Type != gjson.String {
		r.refuse(at.field("type"), "must be a string")
		return parts
	}
	if serverBlock(kind.Str) {
		r.losses.Add(neutral.LossServerTools)
		return parts
	}
	r.take(v, &b)
	switch kind.Str {
	case "text":
		if text := r.need(b.text, at, "text"); text != "" {
			parts = append(parts, neutral.Part{Kind: neutral.Text, Text: text})
		}
	case "image":
		parts = append(parts, r.image(&b, at))
	case "document":
		parts = r.document(parts, &b, at)
	case "search_result":
		parts = r.searchResult(parts, &b, at)
	case "container_upload":
		r.losses.Add(neutral.LossFiles)
	case "thinking":
		r.only(role, neutral.Assistant, at)
		parts = append(parts, neutral.Part{
			Kind: neutral.Think, Text: r.need(b.thinking, at, "thinking"), Signature: signature(b.signature.Str),
		})
	case "redacted_thinking":
		r.only(role, neutral.Assistant, at)
		parts = append(parts, neutral.Part{Kind: neutral.Redacted, Signature: signature(r.need(b.data, at, "data"))})
	case "tool_use":
		r.only(role, neutral.Assistant, at)
		parts = append(parts, r.call(&b, at))
	case "tool_result":
		r.only(role, neutral.User, at)
		if at.inner != whole {
			r.refuse(at.field("type"), "cannot be inside another block")
			break
		}
		parts = append(parts, r.result(&b, at))
	default:
		r.losses.Add(neutral.LossUnknownPart)
	}
	return parts
}

// serverBlock says whether a block is of a tool that Anthropic runs.
func serverBlock(kind string) bool {
	switch kind {
	case "server_tool_use", "mcp_tool_use", "tool_reference":
		return true
	}
	return strings.HasSuffix(kind, "_tool_result")
}

// only refuses a block that does not belong to the turn of role.
func (r *reader) only(role, want neutral.Role, at place) {
	if role != want {
		who := "a user"
		if want == neutral.Assistant {
			who = "an assistant"
		}
		r.refuse(at.field("type"), "belongs into "+who+" message")
	}
}

func (r *reader) call(b *block, at place) neutral.Part {
	p := neutral.Part{Kind: neutral.Call, ID: r.need(b.id, at, "id"), Name: r.need(b.name, at, "name"), Args: "{}"}
	switch {
	case b.input.IsObject():
		p.Args = b.input.Raw
	case b.input.Type != gjson.Null:
		r.refuse(at.field("input"), "must be an object")
	}
	return p
}

func (r *reader) result(b *block, at place) neutral.Part {
	p := neutral.Part{Kind: neutral.Result, ID: r.need(b.toolUseID, at, "tool_use_id")}
	if b.content.Type != gjson.Null {
		p.Parts = r.parts(b.content, at, neutral.User)
	}
	p.Failed = r.yes(b.isError, at, "is_error")
	return p
}

func (r *reader) image(b *block, at place) neutral.Part {
	p := neutral.Part{Kind: neutral.Image}
	r.source(&p, b.source, at)
	return p
}

// source reads where the bytes of an image or a document are.
func (r *reader) source(p *neutral.Part, v gjson.Result, at place) {
	switch kind := v.Get("type").Str; kind {
	case "base64":
		p.Media = r.need(v.Get("media_type"), at, "source.media_type")
		p.Data = r.need(v.Get("data"), at, "source.data")
	case "url":
		p.URL = r.need(v.Get("url"), at, "source.url")
	case "file":
		p.FileID = r.need(v.Get("file_id"), at, "source.file_id")
	case "":
		r.refuse(at.field("source.type"), "must be a string")
	default:
		r.refuse(at.field("source.type"), "is not a kind of source")
	}
}

// document reads a file. What is given as text or as blocks becomes a text file, and parts, in its place.
func (r *reader) document(parts []neutral.Part, b *block, at place) []neutral.Part {
	r.losses.AddIf(b.context.Str != "", neutral.LossFiles)
	p := neutral.Part{Kind: neutral.File, Name: b.title.Str}
	switch b.source.Get("type").Str {
	case "text":
		text := r.need(b.source.Get("data"), at, "source.data")
		p.Media, p.Data = "text/plain", base64.StdEncoding.EncodeToString([]byte(text))
	case "content":
		if p.Name != "" {
			parts = append(parts, neutral.Part{Kind: neutral.Text, Text: p.Name})
		}
		return append(parts, r.inner(b.source.Get("content"), at)...)
	default:
		r.source(&p, b.source, at)
	}
	return append(parts, p)
}

// searchResult becomes the text that a model would read: its title, where it is from, and what it says.
func (r *reader) searchResult(parts []neutral.Part, b *block, at place) []neutral.Part {
	r.losses.Add(neutral.LossCitations)
	for _, v := range [...]gjson.Result{b.title, b.source} {
		if v.Type == gjson.String && v.Str != "" {
			parts = append(parts, neutral.Part{Kind: neutral.Text, Text: v.Str})
		}
	}
	return append(parts, r.inner(b.content, at)...)
}

// inner reads the content of a document or a search result, which holds no others: reading each level looks at all of those
// below it, so the cost would grow with their number.
func (r *reader) inner(v gjson.Result, at place) []neutral.Part {
	if r.within > 0 {
		r.refuse(at.field("type"), "cannot be inside another document or search result")
		return nil
	}
	r.within++
	defer func() { r.within-- }()
	return r.parts(v, at, neutral.User)
}
