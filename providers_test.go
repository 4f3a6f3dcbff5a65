package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// TestProviders keeps docs/providers.md equal to the facts that the gateway goes by; testdata/providers.md.tmpl holds what
// is written by hand.
func TestProviders(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "providers.md.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := template.New("providers").Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := page.Execute(&b, struct{ Talks, Others, Losses, Providers string }{
		table(talks), table(others), losses(t), sections(),
	}); err != nil {
		t.Fatal(err)
	}
	checkPage(t, "providers.md", b.String())
}

// column is a column of a table: one operation or some that belong together, by what they are called in it.
type column struct {
	title string
	ops   []part
}

type part struct {
	op   operation.Operation
	name string
}

func single(title string, op operation.Operation) column { return column{title, []part{{op, ""}}} }

var talks = []column{
	single("chat", operation.Chat), single("responses", operation.Responses), single("messages", operation.Messages),
	{"generateContent", []part{{operation.Generate, "whole"}, {operation.StreamGenerate, "stream"}}},
	single("input_tokens (responses)", operation.ResponseTokens), single("count_tokens (messages)", operation.CountTokens),
	single("countTokens (Gemini)", operation.GeminiCountTokens),
}

var others = []column{
	single("completions", operation.Completions),
	{"responses by id", []part{
		{operation.Response, "get"}, {operation.ResponseDelete, "delete"}, {operation.ResponseCancel, "cancel"},
		{operation.ResponseItems, "items"},
	}},
	single("embeddings", operation.Embeddings),
	{"images", []part{{operation.Images, "generations"}, {operation.ImageEdits, "edits"}, {operation.ImageVariations, "variations"}}},
	{"audio", []part{
		{operation.Speech, "speech"}, {operation.Transcriptions, "transcriptions"}, {operation.Translations, "translations"},
	}},
	single("moderations", operation.Moderations), single("rerank", operation.Rerank), single("realtime", operation.Realtime),
	{"message batches", []part{
		{operation.Batches, "create"}, {operation.Batch, "get"}, {operation.BatchDelete, "delete"}, {operation.BatchCancel, "cancel"},
		{operation.BatchResults, "results"},
	}},
	{"embedContent", []part{{operation.EmbedContent, "one"}, {operation.BatchEmbedContents, "batch"}}},
}

// apart are the operations that no table has: Fairway answers them itself, or no client asks for them.
var apart = operation.SetOf(
	operation.Unknown, operation.Models, operation.Model, operation.AnthropicModels, operation.AnthropicModel,
	operation.GeminiModels, operation.GeminiModel, operation.BatchList, operation.Converse, operation.ConverseStream,
)

// TestEveryOperationHasAColumn: an operation that is new must not be missing from the page.
func TestEveryOperationHasAColumn(t *testing.T) {
	seen := map[operation.Operation]int{}
	for _, c := range slices.Concat(talks, others) {
		for _, p := range c.ops {
			seen[p.op]++
		}
	}
	for op := range operation.Operation(operation.Count) {
		want := 1
		if apart.Has(op) {
			want = 0
		}
		if seen[op] != want {
			t.Errorf("%s is in %d columns, want %d", op, seen[op], want)
		}
	}
}

// row is a provider, or a family of its models.
type row struct {
	name  string
	facts provider.Facts
}

func rows() []row {
	var all []row
	for _, f := range provider.All() {
		name := fmt.Sprintf("[%s](#%s)", f.Name, f.Name)
		if len(f.Models) == 0 {
			all = append(all, row{name, f})
		}
		for _, m := range f.Models {
			one := f
			one.Models, one.Operations, one.Talk = nil, m.Operations, m.Talk
			all = append(all, row{name + ", " + m.Name, one})
		}
	}
	return all
}

func table(columns []column) string {
	var b strings.Builder
	b.WriteString("| provider |")
	for _, c := range columns {
		b.WriteString(" " + c.title + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, r := range rows() {
		b.WriteString("| " + r.name + " |")
		for _, c := range columns {
			b.WriteString(" " + cell(&r.facts, c) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// cell says how a provider serves a column: in one word where all of it is served alike, else which of it is native.
func cell(f *provider.Facts, c column) string {
	var native []string
	first, alike := served(f, c.ops[0].op), true
	for _, p := range c.ops {
		how := served(f, p.op)
		alike = alike && how == first
		if how == "native" {
			native = append(native, p.name)
		}
	}
	if alike {
		return first
	}
	return strings.Join(native, ", ")
}

// served is what the gateway makes of a request: it passes, it becomes another operation, it is answered by an estimate, or
// it is refused.
func served(f *provider.Facts, op operation.Operation) string {
	plan, ok := f.Serves(op, "")
	switch {
	case ok && plan.Streaming(false) == op.Streaming(false):
		return "native"
	case ok:
		return "converted"
	case op == operation.CountTokens || op == operation.GeminiCountTokens || op == operation.ResponseTokens:
		return "estimated"
	}
	return "–"
}

// losses is a table of what conversions lose, out of the file that names it.
func losses(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("dataplane", "internal", "dialect", "neutral", "losses.go"),
		nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	names, means := map[string]string{}, map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			key, isName := n.Key.(*ast.Ident)
			value, isText := n.Value.(*ast.BasicLit)
			if isName && isText {
				name, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				names[key.Name] = name
			}
		case *ast.ValueSpec:
			if n.Comment != nil {
				means[n.Names[0].Name] = strings.TrimSpace(n.Comment.Text())
			}
		}
		return true
	})
	var lines []string
	for constant, name := range names {
		if means[constant] == "" {
			t.Errorf("%s has no comment that says what it means", constant)
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s |\n", name, means[constant]))
	}
	if len(lines) < 20 {
		t.Errorf("%d losses were found; has the file another form now?", len(lines))
	}
	slices.Sort(lines)
	return "| name | what is lost |\n|---|---|\n" + strings.Join(lines, "")
}

// sections describes each provider.
func sections() string {
	var b strings.Builder
	for _, f := range provider.All() {
		section(&b, &f)
	}
	return b.String()
}

func section(b *strings.Builder, f *provider.Facts) {
	fmt.Fprintf(b, "### %s\n\n%s; [its documentation](%s).\n\n", f.Name, f.Title, f.Docs)
	item := func(format string, args ...any) { fmt.Fprintf(b, "- "+format+"\n", args...) }
	switch {
	case f.BaseURL == "":
		item("Base URL: the channel's own (`--base-url`).")
	case strings.Contains(f.BaseURL, "localhost"):
		item("Base URL: `%s`. An address of this kind is refused unless `--upstream-allow-cidr` names it.", f.BaseURL)
	default:
		item("Base URL: `%s`.", f.BaseURL)
	}
	var kinds []string
	for _, c := range f.Credentials {
		kinds = append(kinds, credentials[c])
	}
	item("Credentials: %s.", strings.Join(kinds, "; "))
	for _, m := range f.Models {
		item("%s", families[f.Name+"/"+m.Name])
	}
	if len(f.Models) == 0 && f.Talk != operation.Unknown {
		item("What is converted becomes `%s`.", f.Talk)
	}
	for _, q := range f.Quirks {
		item("%s", quirk(&q))
	}
	if f.SystemOnly {
		item("In `chat`, the role `developer` becomes `system`. The service knows only the older name.")
	}
	if f.Reasoning {
		item("In `chat`, what its models thought goes back to it in the next turn.")
	}
	for _, h := range f.Headers {
		item("Every request has `%s: %s`.", h.Name, h.Value)
	}
	for _, l := range f.Losses {
		item("%s", l)
	}
	fmt.Fprintf(b, "\n```text\n%s\n```\n\n", create(f))
}

// quirk says what is changed in bodies, where, and why.
func quirk(q *provider.Quirk) string {
	var ops []string
	for op := range operation.Operation(operation.Count) {
		if q.Operations.Has(op) {
			ops = append(ops, "`"+op.String()+"`")
		}
	}
	in := "In " + strings.Join(ops, " and ") + ", "
	switch resourcev1.RuleAction(q.Action) {
	case resourcev1.RuleAction_RULE_ACTION_SET:
		return fmt.Sprintf("%s`%s` is set to `%s`. %s", in, q.Path, q.Value, q.Why)
	case resourcev1.RuleAction_RULE_ACTION_REMOVE:
		return fmt.Sprintf("%s`%s` is taken out. %s", in, q.Path, q.Why)
	case resourcev1.RuleAction_RULE_ACTION_DEFAULT:
		return fmt.Sprintf("%s`%s` is `%s` where the client says nothing. %s", in, q.Path, q.Value, q.Why)
	case resourcev1.RuleAction_RULE_ACTION_RENAME:
		return fmt.Sprintf("%s`%s` becomes `%s`. %s", in, q.Path, q.Value, q.Why)
	}
	return fmt.Sprintf("%san unknown change of `%s`. %s", in, q.Path, q.Why)
}
