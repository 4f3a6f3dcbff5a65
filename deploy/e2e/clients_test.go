package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What clients.md says is held to this table: each section's variables, addresses and other settings, and, for tools that a
// test cannot run, what they ask for.
var clients = []struct {
	section   string
	variables []string // names in capitals, in its blocks
	addresses []string // Fairway's, in its blocks
	settings  []string // what else must be there, word for word
	asks      string   // what the tool adds to its base URL; "" = the section's own blocks are run
	body      string
}{
	{section: "The official SDKs", variables: []string{
		"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "FAIRWAY_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL",
		"OPENAI_API_KEY", "OPENAI_BASE_URL",
	}, addresses: []string{"http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"}},
	{section: "LangChain", variables: []string{"FAIRWAY_KEY"}, addresses: []string{"http://127.0.0.1:8080/v1"},
		settings: []string{"apiKey:", "configuration: { baseURL:", "api_key=", "base_url="}},
	{section: "Claude Code", variables: []string{
		"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_DEFAULT_HAIKU_MODEL", "ANTHROPIC_MODEL", "FAIRWAY_KEY",
	}, addresses: []string{"http://127.0.0.1:8080"}, asks: "/v1/messages?beta=true", body: messageBody},
	{section: "Codex CLI", variables: []string{"FAIRWAY_KEY"}, addresses: []string{"http://127.0.0.1:8080/v1"},
		settings: []string{"model_provider = \"fairway\"", "[model_providers.fairway]", "base_url = ", "env_key = ", `wire_api = "responses"`},
		asks:     "/responses", body: `{"model":"gpt-4o","input":"Say hello.","store":false,"stream":true}`},
	{section: "aider", variables: []string{"FAIRWAY_KEY", "OPENAI_API_BASE", "OPENAI_API_KEY"},
		addresses: []string{"http://127.0.0.1:8080/v1"}, settings: []string{"--model openai/"}, asks: "/chat/completions", body: chatBody},
	{section: "Cline", addresses: []string{"http://127.0.0.1:8080/v1"}, settings: []string{"OpenAI Compatible", "Base URL:", "Model ID:"},
		asks: "/chat/completions", body: chatBody},
	{section: "Continue", addresses: []string{"http://127.0.0.1:8080/v1"}, settings: []string{"provider: openai", "apiBase:", "apiKey:", "schema: v1"},
		asks: "/chat/completions", body: chatBody},
	{section: "Open WebUI", variables: []string{"FAIRWAY_KEY", "OPENAI_API_BASE_URL", "OPENAI_API_KEY"},
		addresses: []string{"http://127.0.0.1:8080/v1"}, asks: "/models"},
}

const (
	chatBody    = `{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Say hello."}]}`
	messageBody = `{"model":"gpt-4o","max_tokens":256,"stream":true,"messages":[{"role":"user","content":"Say hello."}]}`
)

var (
	heading  = regexp.MustCompile(`(?m)^## (.*)$`)
	variable = regexp.MustCompile(`\b[A-Z]+(_[A-Z]+)+\b`)
	address  = regexp.MustCompile(`http://127\.0\.0\.1:\d+[/a-z0-9.]*`)
)

// sections are a page's parts by their headings, with what is in their blocks only.
func sections(text string) map[string]string {
	parts := map[string]string{}
	at := heading.FindAllStringSubmatchIndex(text, -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		var blocks strings.Builder
		for _, b := range fence.FindAllStringSubmatch(text[m[1]:end], -1) {
			blocks.WriteString(b[2])
		}
		parts[text[m[2]:m[3]]] = blocks.String()
	}
	return parts
}

func found(text string, what *regexp.Regexp) []string {
	all := what.FindAllString(text, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// TestClients holds the settings on the page to the table, and its Go programs to the examples.
func TestClients(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	parts := sections(string(raw))
	delete(parts, "Base URLs")
	delete(parts, "curl")
	for _, c := range clients {
		got, ok := parts[c.section]
		delete(parts, c.section)
		if !ok {
			t.Errorf("%s: no such section", c.section)
			continue
		}
		if diff := cmp.Diff(c.variables, found(got, variable)); diff != "" {
			t.Errorf("%s: variables (-table +page):\n%s", c.section, diff)
		}
		if diff := cmp.Diff(c.addresses, found(got, address)); diff != "" {
			t.Errorf("%s: addresses (-table +page):\n%s", c.section, diff)
		}
		for _, s := range c.settings {
			if !strings.Contains(got, s) {
				t.Errorf("%s: %q is not there", c.section, s)
			}
		}
	}
	for name := range parts {
		t.Errorf("the section %s is not in the table", name)
	}
	var want []string
	for _, name := range []string{"openai", "anthropic", "gemini"} {
		program, err := os.ReadFile(filepath.Join("..", "..", "examples", name, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(program))
	}
	if diff := cmp.Diff(want, blocksOf(string(raw), "go")); diff != "" {
		t.Errorf("the programs on the page are not the examples (-examples +page):\n%s", diff)
	}
}

// runPrograms runs the page's programs for Node and Python, each where what it imports is to be had: for Node in the folder
// that FAIRWAY_NODE_MODULES names, for Python wherever python3 finds it.
func runPrograms(t *testing.T, text, home string, env []string) {
	for _, program := range blocksOf(text, "js") {
		t.Run("node", func(t *testing.T) {
			if _, err := exec.LookPath("node"); err != nil {
				t.Skip("node is not here")
			}
			check := exec.Command("node", "--check", "--input-type=module", "-")
			check.Stdin = strings.NewReader(program)
			if out, err := check.CombinedOutput(); err != nil {
				t.Fatalf("%s\n%s", out, program)
			}
			modules := os.Getenv("FAIRWAY_NODE_MODULES")
			if modules == "" {
				t.Skip("needs a folder node_modules with the page's SDKs, which FAIRWAY_NODE_MODULES names")
			}
			module := importedByNode.FindStringSubmatch(program)[1]
			if _, err := os.Stat(filepath.Join(modules, filepath.FromSlash(module))); err != nil {
				t.Skipf("%s is not in %s", module, modules)
			}
			dir := t.TempDir()
			if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
				t.Fatal(err)
			}
			runProgram(t, "node", filepath.Join(dir, "program.mjs"), program, home, env)
		})
	}
	for _, program := range blocksOf(text, "python") {
		t.Run("python", func(t *testing.T) {
			if _, err := exec.LookPath("python3"); err != nil {
				t.Skip("python3 is not here")
			}
			check := exec.Command("python3", "-c", "import ast, sys; ast.parse(sys.stdin.read())")
			check.Stdin = strings.NewReader(program)
			if out, err := check.CombinedOutput(); err != nil {
				t.Fatalf("%s\n%s", out, program)
			}
			imports := importedByPython.FindAllString(program, -1)
			if err := exec.Command("python3", "-c", strings.Join(imports, "\n")).Run(); err != nil {
				t.Skipf("python3 does not have what the program imports: %q", imports)
			}
			runProgram(t, "python3", filepath.Join(t.TempDir(), "program.py"), program, home, env)
		})
	}
}

var (
	importedByNode   = regexp.MustCompile(`(?m)^import .* from "(.*)";$`)
	importedByPython = regexp.MustCompile(`(?m)^(from|import) .*$`)
)

func runProgram(t *testing.T, interpreter, file, program, home string, env []string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, file)
	cmd.Env, cmd.Dir = env, home
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, program, out)
	}
	if answer := strings.TrimSpace(string(out)); answer == "" || answer == "undefined" || answer == "None" {
		t.Errorf("it printed no answer but %q:\n%s", out, program)
	}
}

// tryTools asks what the tools of the page would ask, at the addresses that it gives them, for the page that has them.
func tryTools(t *testing.T, text, proxy, home string) {
	parts := sections(text)
	if _, ok := parts["Codex CLI"]; !ok {
		return
	}
	raw, err := os.ReadFile(filepath.Join(home, "key.json"))
	if err != nil {
		t.Fatal(err)
	}
	var key struct{ Secret string }
	if err := json.Unmarshal(raw, &key); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if c.asks == "" {
			continue
		}
		base := found(parts[c.section], address)
		if len(base) != 1 || !strings.HasPrefix(base[0], "http://"+proxy) {
			t.Fatalf("%s: addresses %q, want one at %s", c.section, base, proxy)
		}
		method := http.MethodPost
		if c.body == "" {
			method = http.MethodGet
		}
		req, err := http.NewRequestWithContext(t.Context(), method, base[0]+c.asks, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key.Secret)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || len(answer) == 0 {
			t.Errorf("%s: %s %s: status %d, %v: %s", c.section, method, base[0]+c.asks, res.StatusCode, err, answer)
		}
	}
}

// goEnv is what `go run` needs where HOME is another one.
func goEnv(t *testing.T) []string {
	t.Helper()
	names := []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS", "GONOSUMDB", "GOSUMDB"}
	out, err := exec.Command("go", append([]string{"env", "-json"}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]string
	if err := json.Unmarshal(out, &values); err != nil {
		t.Fatal(err)
	}
	env := []string{"CGO_ENABLED=0"}
	for _, name := range names {
		env = append(env, name+"="+values[name])
	}
	return env
}
