package fakellm

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// messageTurn is one message of a conversation.
type messageTurn struct {
	path   string
	role   string
	blocks []messageBlock
}

// messageBlock is one block of a message's content.
type messageBlock struct {
	kind  string
	text  string // all its words
	id    string // of the call that is made or answered
	sight string
	// sights are those of a tool's result.
	sights []string
}

// conversation checks system and messages, and that each turn may follow the one before.
func (g *grammar) conversation(m map[string]gjson.Result) []messageTurn {
	var turns []messageTurn
	if v, ok := m["system"]; ok {
		turn := messageTurn{role: "system"}
		if v.IsArray() {
			for i, one := range v.Array() {
				turn.blocks = append(turn.blocks, g.block(at("system", i), one, "text"))
			}
		} else {
			turn.blocks = []messageBlock{{kind: "text", text: g.text("system", v)}}
		}
		turns = append(turns, turn)
	}
	for i, v := range g.list("messages", m["messages"]) {
		turns = append(turns, g.turn(at("messages", i), v))
	}
	if g.fault != nil {
		return turns
	}
	spoken := spokenOf(turns)
	switch {
	case len(spoken) == 0:
		g.bad("messages", "at least one message is required")
		return turns
	case spoken[0].role != "user":
		g.bad("messages", "first message must use the \"user\" role")
	}
	for i, turn := range spoken {
		if i > 0 && turn.role == spoken[i-1].role {
			g.bad("messages", "roles must alternate between \"user\" and \"assistant\", but found multiple %q roles in a row", turn.role)
		}
		last := i == len(spoken)-1
		if len(turn.blocks) == 0 && (!last || turn.role != "assistant") {
			g.bad(turn.path, "all messages must have non-empty content except for the optional final assistant message")
		}
		if n := len(turn.blocks); last && turn.role == "assistant" && n > 0 {
			if end := turn.blocks[n-1].text; end != strings.TrimRight(end, " \t\r\n") {
				g.bad("messages", "final assistant content cannot end with trailing whitespace")
			}
		}
	}
	g.pairs(spoken)
	return turns
}

func (g *grammar) turn(path string, v gjson.Result) messageTurn {
	m := g.object(path, v, "role content")
	turn := messageTurn{path: path, role: g.oneOf(at(path, "role"), m["role"], "user", "assistant", "system")}
	content := m["content"]
	switch {
	case content.Type == gjson.String:
		if content.Str != "" {
			turn.blocks = []messageBlock{{kind: "text", text: content.Str}}
		}
	case content.IsArray():
		allowed := []string{"text", "image", "document", "search_result", "tool_result"}
		switch turn.role {
		case "assistant":
			allowed = []string{"text", "thinking", "redacted_thinking", "tool_use"}
		case "system":
			allowed = []string{"text"}
		}
		for i, one := range content.Array() {
			turn.blocks = append(turn.blocks, g.block(at(at(path, "content"), i), one, allowed...))
		}
	default:
		g.bad(at(path, "content"), "Input should be a valid list")
	}
	return turn
}

// block checks a block of content, which must be of an allowed kind.
func (g *grammar) block(path string, v gjson.Result, allowed ...string) messageBlock {
	kind := v.Get("type")
	b := messageBlock{kind: kind.String()}
	if !kind.Exists() {
		g.bad(at(path, "type"), "Field required")
		return b
	}
	if !slices.Contains(allowed, b.kind) {
		g.bad(path, "Input tag '%s' found using 'type' does not match any of the expected tags: '%s'",
			b.kind, strings.Join(allowed, "', '"))
		return b
	}
	path = at(path, b.kind)
	switch b.kind {
	case "text":
		m := g.object(path, v, "type text | cache_control citations")
		g.cacheControl(at(path, "cache_control"), m["cache_control"])
		if b.text = g.text(at(path, "text"), m["text"]); b.text == "" {
			g.bad("messages", "text content blocks must be non-empty")
		}
	case "image":
		m := g.object(path, v, "type source | cache_control transformations")
		g.cacheControl(at(path, "cache_control"), m["cache_control"])
		b.sight = g.source(at(path, "source"), m["source"], "image/jpeg", "image/png", "image/gif", "image/webp")
	case "document":
		m := g.object(path, v, "type source | cache_control title context citations")
		g.cacheControl(at(path, "cache_control"), m["cache_control"])
		if m["source"].Get("type").String() == "text" {
			s := g.object(at(path, "source.text"), m["source"], "type data media_type")
			g.oneOf(at(path, "source.text.media_type"), s["media_type"], "text/plain")
			b.text = g.text(at(path, "source.text.data"), s["data"])
		} else {
			g.source(at(path, "source"), m["source"], "application/pdf")
		}
	case "search_result":
		g.object(path, v, "type source title content | cache_control citations")
	case "thinking":
		m := g.object(path, v, "type thinking signature")
		text, sign := g.text(at(path, "thinking"), m["thinking"]), g.text(at(path, "signature"), m["signature"])
		if sign != thinkingSignature(text) {
			g.bad(strings.TrimSuffix(path, ".thinking"), "Invalid `signature` in `thinking` block")
		}
	case "redacted_thinking":
		m := g.object(path, v, "type data")
		if g.text(at(path, "data"), m["data"]) != signatureOf("redacted") {
			g.bad(strings.TrimSuffix(path, ".redacted_thinking"), "Invalid `data` in `redacted_thinking` block")
		}
	case "tool_use":
		m := g.object(path, v, "type id name input | cache_control caller toolset_name")
		b.id = g.callID(at(path, "id"), m["id"])
		if !toolName(g.text(at(path, "name"), m["name"]), 200, "") {
			g.bad(at(path, "name"), "String should match pattern '^[a-zA-Z0-9_-]{1,200}$'")
		}
		if !m["input"].IsObject() {
			g.bad(at(path, "input"), "Input should be an object")
		}
	case "tool_result":
		g.result(path, v, &b)
	}
	return b
}

func (g *grammar) callID(path string, v gjson.Result) string {
	id := g.text(path, v)
	if !toolName(id, 1<<10, "") {
		g.bad(path, "String should match pattern '^[a-zA-Z0-9_-]+$'")
	}
	return id
}

func (g *grammar) result(path string, v gjson.Result, b *messageBlock) {
	m := g.object(path, v, "type tool_use_id | content is_error cache_control toolset_name")
	b.id = g.callID(at(path, "tool_use_id"), m["tool_use_id"])
	g.cacheControl(at(path, "cache_control"), m["cache_control"])
	g.flag(at(path, "is_error"), m["is_error"])
	content := m["content"]
	if !content.IsArray() {
		b.text = g.text(at(path, "content"), content)
		return
	}
	var texts []string
	for i, one := range content.Array() {
		inner := g.block(at(at(path, "content"), i), one, "text", "image", "document", "search_result")
		texts = append(texts, inner.text)
		if inner.sight != "" {
			b.sights = append(b.sights, inner.sight)
		}
	}
	b.text = strings.Join(texts, " ")
}

// source checks where an image or document is from, and says what is seen of it.
func (g *grammar) source(path string, v gjson.Result, media ...string) string {
	kind := g.oneOf(at(path, "type"), v.Get("type"), "base64", "url", "file")
	path = at(path, kind)
	switch kind {
	case "base64":
		m := g.object(path, v, "type media_type data")
		g.oneOf(at(path, "media_type"), m["media_type"], media...)
		data := g.text(at(path, "data"), m["data"])
		raw, err := base64.StdEncoding.DecodeString(data)
		if err != nil || len(raw) == 0 {
			g.bad(at(path, "data"), "Invalid base64 data")
		}
		return sightOf(len(raw))
	case "url":
		m := g.object(path, v, "type url")
		url := g.text(at(path, "url"), m["url"])
		if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
			g.bad(at(path, "url"), "Only HTTPS URLs are supported")
		}
		return "I see an image at a URL."
	case "file":
		g.object(path, v, "type file_id")
	}
	return "I see an image in a file."
}

// pairs checks that every call is answered in the next turn, first of all, and nothing else is.
func (g *grammar) pairs(turns []messageTurn) {
	var open []string
	seen := map[string]struct{}{}
	for i, turn := range turns {
		path := turn.path
		var calls, results []string
		others := 0
		for j, b := range turn.blocks {
			switch b.kind {
			case "tool_use":
				if _, twice := seen[b.id]; twice {
					g.bad(at(at(path, "content"), j), "`tool_use` ids must be unique")
				}
				seen[b.id] = struct{}{}
				calls = append(calls, b.id)
			case "tool_result":
				if !slices.Contains(open, b.id) {
					g.bad(at(at(path, "content"), j), "unexpected `tool_use_id` found in `tool_result` blocks: %s. "+
						"Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", b.id)
				}
				if slices.Contains(results, b.id) {
					g.bad(at(at(path, "content"), j), "each tool_use must have a single result. Found multiple `tool_result` blocks with id: %s", b.id)
				}
				if others == 0 {
					results = append(results, b.id)
				}
			default:
				others++
			}
		}
		for _, id := range open {
			if !slices.Contains(results, id) {
				g.bad(turns[i-1].path, "`tool_use` ids were found without `tool_result` blocks immediately after: %s. "+
					"Each `tool_use` block must have a corresponding `tool_result` block in the next message.", id)
			}
		}
		open = calls
	}
	if len(open) > 0 {
		g.bad(turns[len(turns)-1].path, "`tool_use` ids were found without `tool_result` blocks immediately after: %s. "+
			"Each `tool_use` block must have a corresponding `tool_result` block in the next message.", strings.Join(open, ", "))
	}
}

// thinkingFirst wants what the model thought at the head of each assistant turn whose calls are being answered.
func (g *grammar) thinkingFirst(turns []messageTurn) {
	if g.fault != nil {
		return
	}
	spoken := spokenOf(turns)
	for i := len(spoken) - 1; i > 0; i -= 2 {
		if !spoken[i].results() {
			return
		}
		before := spoken[i-1]
		if kind := before.blocks[0].kind; kind != "thinking" && kind != "redacted_thinking" {
			g.bad(at(before.path, "content.0.type"), "Expected `thinking` or `redacted_thinking`, but found `%s`. "+
				"When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceding the "+
				"lastmost set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous "+
				"turns. To avoid this requirement, disable `thinking`. %s", kind, thinkingDocs)
		}
	}
}

// spokenOf are the turns that are no system's.
func spokenOf(turns []messageTurn) []messageTurn {
	return slices.DeleteFunc(slices.Clone(turns), func(t messageTurn) bool { return t.role == "system" })
}

// results says whether the turn answers calls.
func (t messageTurn) results() bool {
	return slices.ContainsFunc(t.blocks, func(b messageBlock) bool { return b.kind == "tool_result" })
}

// hear takes from the turns what the answer depends on.
func (p *dialogue) hear(turns []messageTurn) {
	for i, turn := range turns {
		var texts []string
		for _, b := range turn.blocks {
			p.input += words(b.text)
			if b.kind == "text" {
				texts = append(texts, b.text)
			}
			if i == len(turns)-1 {
				p.sights = append(p.sights, b.sights...)
				if b.sight != "" {
					p.sights = append(p.sights, b.sight)
				}
			}
		}
		if i == len(turns)-1 {
			p.answered = turn.results()
		}
		if turn.role == "user" {
			p.last = strings.Join(texts, " ")
		}
	}
}
