package fakellm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// messagesRequest is what is left of a request for a message after every check.
type messagesRequest struct {
	model  string
	stream bool
	prompt dialogue
	unseen bool
}

// messagesRules say what is asked.
type messagesRules struct {
	beta  bool // the request named a beta
	count bool // only the tokens are to be counted
	batch bool // the request is one of a batch
}

// The names that a request's top level may have.
const (
	messagesNames = "model messages max_tokens system stream temperature top_p top_k stop_sequences metadata service_tier " +
		"tools tool_choice thinking output_config cache_control container inference_geo speed diagnostics"
	messagesBetaNames = " context_management mcp_servers output_format compaction fallbacks fallback_credit_token betas"
	countNames        = "model messages system tools tool_choice thinking output_config cache_control speed"
)

const thinkingDocs = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"

// grammar checks a body piece by piece and keeps the first fault.
type grammar struct {
	fault *apiError
}

func (g *grammar) bad(path, format string, args ...any) {
	if g.fault != nil {
		return
	}
	message := fmt.Sprintf(format, args...)
	if path != "" {
		message = path + ": " + message
	}
	g.fault = &apiError{status: http.StatusBadRequest, kind: "invalid_request_error", message: message}
}

// at joins a path.
func at(path string, step any) string {
	name := fmt.Sprint(step)
	if path == "" {
		return name
	}
	return path + "." + name
}

// object returns the members of an object that has known names only. Names after " | " may be missing.
func (g *grammar) object(path string, v gjson.Result, names string) map[string]gjson.Result {
	if !v.IsObject() {
		g.bad(path, "Input should be an object")
		return nil
	}
	required, optional, _ := strings.Cut(names, "|")
	need, may := strings.Fields(required), strings.Fields(optional)
	out := make(map[string]gjson.Result, len(need))
	v.ForEach(func(key, value gjson.Result) bool {
		if name := key.String(); slices.Contains(need, name) || slices.Contains(may, name) {
			out[name] = value
		} else {
			g.bad(at(path, name), "Extra inputs are not permitted")
		}
		return g.fault == nil
	})
	for _, name := range need {
		if _, ok := out[name]; !ok {
			g.bad(at(path, name), "Field required")
		}
	}
	return out
}

func (g *grammar) text(path string, v gjson.Result) string {
	if v.Exists() && v.Type != gjson.String {
		g.bad(path, "Input should be a valid string")
	}
	return v.String()
}

func (g *grammar) flag(path string, v gjson.Result) bool {
	if v.Exists() && !v.IsBool() {
		g.bad(path, "Input should be a valid boolean")
	}
	return v.Bool()
}

// whole reads an integer; nil = it is not there.
func (g *grammar) whole(path string, v gjson.Result, least int64) *int64 {
	if !v.Exists() {
		return nil
	}
	n, err := strconv.ParseInt(v.Raw, 10, 64)
	switch {
	case err != nil:
		g.bad(path, "Input should be a valid integer")
	case n < least:
		g.bad(path, "Input should be greater than or equal to %d", least)
	}
	return &n
}

// number reads a number within bounds.
func (g *grammar) number(path string, v gjson.Result, least, most float64) (float64, bool) {
	if !v.Exists() || v.Type == gjson.Null {
		return 0, false
	}
	switch {
	case v.Type != gjson.Number:
		g.bad(path, "Input should be a valid number")
	case v.Num < least || v.Num > most:
		g.bad(path, "range: %g..%g", least, most)
	}
	return v.Num, true
}

func (g *grammar) list(path string, v gjson.Result) []gjson.Result {
	if v.Exists() && !v.IsArray() {
		g.bad(path, "Input should be a valid list")
		return nil
	}
	return v.Array()
}

// oneOf checks a word.
func (g *grammar) oneOf(path string, v gjson.Result, words ...string) string {
	got := g.text(path, v)
	if !slices.Contains(words, got) {
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = "'" + word + "'"
		}
		list := strings.Join(quoted, ", ")
		if i := strings.LastIndex(list, ", "); i >= 0 {
			list = list[:i] + " or " + list[i+2:]
		}
		g.bad(path, "Input should be %s", list)
	}
	return got
}

func (g *grammar) cacheControl(path string, v gjson.Result) {
	if !v.Exists() || v.Type == gjson.Null {
		return
	}
	m := g.object(path, v, "type | ttl")
	g.oneOf(at(path, "type"), m["type"], "ephemeral")
	if ttl, ok := m["ttl"]; ok {
		g.oneOf(at(path, "ttl"), ttl, "5m", "1h")
	}
}

func readMessages(body []byte, rules messagesRules) (messagesRequest, *apiError) {
	g := &grammar{}
	names := messagesNames
	if rules.count {
		names = countNames
	}
	if rules.beta {
		names += messagesBetaNames
	}
	m := g.object("", gjson.ParseBytes(body), "model messages | "+names)
	r := messagesRequest{model: g.text("model", m["model"])}
	if g.fault != nil {
		return r, g.fault
	}
	r.stream = g.flag("stream", m["stream"])
	if r.stream && rules.batch {
		g.bad("stream", "Streaming is not supported in batches")
	}
	r.prompt.limit = g.whole("max_tokens", m["max_tokens"], 1)
	if r.prompt.limit == nil && !rules.count {
		g.bad("max_tokens", "Field required")
	}
	for i, stop := range g.list("stop_sequences", m["stop_sequences"]) {
		text := g.text(at("stop_sequences", i), stop)
		if strings.TrimSpace(text) == "" {
			g.bad("stop_sequences", "each stop sequence must contain non-whitespace")
		}
		r.prompt.stops = append(r.prompt.stops, text)
	}
	g.common(m)
	turns := g.conversation(m)
	r.tools(g, m)
	r.thinking(g, m, turns)
	r.output(g, m)
	if g.fault != nil {
		return r, g.fault
	}
	r.prompt.hear(turns)
	return r, nil
}

// common checks what the answer does not depend on.
func (g *grammar) common(m map[string]gjson.Result) {
	g.cacheControl("cache_control", m["cache_control"])
	if v, ok := m["metadata"]; ok {
		metadata := g.object("metadata", v, "| user_id")
		if id := metadata["user_id"]; id.Type != gjson.Null {
			g.text("metadata.user_id", id)
		}
	}
	if v, ok := m["service_tier"]; ok {
		g.oneOf("service_tier", v, "auto", "standard_only")
	}
	if v, ok := m["inference_geo"]; ok {
		g.text("inference_geo", v)
	}
}

func (r *messagesRequest) tools(g *grammar, m map[string]gjson.Result) {
	seen := map[string]struct{}{}
	for i, tool := range g.list("tools", m["tools"]) {
		kind := tool.Get("type").String()
		if kind != "" && kind != "custom" {
			// A server's tool: named and dated, and never called here.
			g.text(at(at("tools", i), "name"), tool.Get("name"))
			continue
		}
		path := at(at("tools", i), "custom")
		t := g.object(path, tool, "name input_schema | description type cache_control strict eager_input_streaming "+
			"defer_loading allowed_callers input_examples")
		name := g.text(at(path, "name"), t["name"])
		if !toolName(name, 128, "") {
			g.bad(at(path, "name"), "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
		}
		if _, twice := seen[name]; twice {
			g.bad("tools", "Tool names must be unique.")
		}
		seen[name] = struct{}{}
		g.cacheControl(at(path, "cache_control"), t["cache_control"])
		g.text(at(path, "description"), t["description"])
		g.flag(at(path, "strict"), t["strict"])
		schema := t["input_schema"]
		if !schema.IsObject() {
			g.bad(at(path, "input_schema"), "Input should be an object")
		} else if kind := schema.Get("type"); !kind.Exists() {
			g.bad(at(path, "input_schema.type"), "Field required")
		} else {
			g.oneOf(at(path, "input_schema.type"), kind, "object")
		}
		r.prompt.tools = append(r.prompt.tools, offeredTool{name: name, schema: json.RawMessage(schema.Raw)})
	}
	v, ok := m["tool_choice"]
	if !ok || v.Type == gjson.Null {
		return
	}
	choice := g.object("tool_choice", v, "type | name disable_parallel_tool_use")
	kind := g.oneOf("tool_choice.type", choice["type"], "auto", "any", "tool", "none")
	r.prompt.single = g.flag("tool_choice."+kind+".disable_parallel_tool_use", choice["disable_parallel_tool_use"])
	if len(g.list("tools", m["tools"])) == 0 {
		g.bad("tool_choice", "tool_choice may only be specified while providing tools")
	}
	switch name, named := choice["name"]; {
	case kind != "tool" && named:
		g.bad("tool_choice."+kind+".name", "Extra inputs are not permitted")
	case kind == "tool" && !named:
		g.bad("tool_choice.tool.name", "Field required")
	case kind == "tool":
		if _, known := seen[name.String()]; !known {
			g.bad("tool_choice", "Tool '%s' not found in provided tools", name.String())
		}
		r.prompt.only = []string{name.String()}
	}
	r.prompt.silent = kind == "none"
}

// toolName says whether a name is made of letters, digits, "_", "-" and what else is allowed.
func toolName(name string, most int, more string) bool {
	if name == "" || len(name) > most {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' &&
			strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

func (r *messagesRequest) thinking(g *grammar, m map[string]gjson.Result, turns []messageTurn) {
	temperature, warm := g.number("temperature", m["temperature"], 0, 1)
	topP, cut := g.number("top_p", m["top_p"], 0, 1)
	topK := g.whole("top_k", m["top_k"], 0)
	v, ok := m["thinking"]
	if !ok || v.Type == gjson.Null {
		return
	}
	kind := g.oneOf("thinking.type", v.Get("type"), "enabled", "disabled", "adaptive")
	path := at("thinking", kind)
	switch kind {
	case "disabled":
		g.object(path, v, "type")
		return
	case "adaptive":
		g.object(path, v, "type | display")
	case "enabled":
		t := g.object(path, v, "type budget_tokens | display")
		budget := g.whole(at(path, "budget_tokens"), t["budget_tokens"], 1024)
		if budget != nil && r.prompt.limit != nil && *budget >= *r.prompt.limit {
			g.bad("", "`max_tokens` must be greater than `thinking.budget_tokens`. %s#max-tokens-and-context-window-size", thinkingDocs)
		}
	}
	if display := v.Get("display"); display.Exists() && display.Type != gjson.Null {
		r.unseen = g.oneOf(at(path, "display"), display, "summarized", "omitted") == "omitted"
	}
	important := thinkingDocs + "#important-considerations-when-using-extended-thinking"
	switch choice := m["tool_choice"].Get("type").String(); {
	case warm && temperature != 1:
		g.bad("", "`temperature` may only be set to 1 when thinking is enabled. %s", important)
	case cut && topP < 0.95:
		g.bad("", "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled. %s", important)
	case topK != nil:
		g.bad("", "`top_k` must be unset when thinking is enabled. %s", important)
	case choice == "any" || choice == "tool":
		g.bad("", "Thinking may not be enabled when tool_choice forces tool use.")
	}
	r.prompt.thinks = true
	g.thinkingFirst(turns)
}

func (r *messagesRequest) output(g *grammar, m map[string]gjson.Result) {
	v, ok := m["output_config"]
	if !ok || v.Type == gjson.Null {
		return
	}
	config := g.object("output_config", v, "| effort format task_budget")
	if effort, ok := config["effort"]; ok && effort.Type != gjson.Null {
		g.oneOf("output_config.effort", effort, "low", "medium", "high", "xhigh", "max")
	}
	format, ok := config["format"]
	if !ok || format.Type == gjson.Null {
		return
	}
	f := g.object("output_config.format", format, "type schema")
	g.oneOf("output_config.format.type", f["type"], "json_schema")
	if !f["schema"].IsObject() {
		g.bad("output_config.format.schema", "Input should be an object")
	}
	g.closed("output_config.format.schema", f["schema"])
	r.prompt.schema = json.RawMessage(f["schema"].Raw)
}

// closed refuses objects that would let other properties in, at any depth.
func (g *grammar) closed(path string, schema gjson.Result) {
	if g.fault != nil {
		return
	}
	if schema.Get("type").String() == "object" {
		if more := schema.Get("additionalProperties"); more.Type != gjson.False {
			g.bad(path, "For 'object' type, 'additionalProperties' must be explicitly set to false")
		}
	}
	for _, name := range []string{"properties", "$defs", "definitions"} {
		schema.Get(name).ForEach(func(_, value gjson.Result) bool {
			g.closed(path, value)
			return true
		})
	}
	g.closedAll(path, schema)
}

func (g *grammar) closedAll(path string, schema gjson.Result) {
	if items := schema.Get("items"); items.IsObject() {
		g.closed(path, items)
	}
	for _, name := range []string{"anyOf", "allOf", "oneOf"} {
		for _, one := range schema.Get(name).Array() {
			g.closed(path, one)
		}
	}
}
