package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fairway/pkg/testkit/fakellm"
)

// TestDocs runs every command that README and docs show, page by page, in the order in which a reader would type them. Only
// what cannot be the same in a test is replaced: ports that may be taken, and the provider's address, where a fake one
// stands. Blocks marked sh are commands; those marked js and python are programs (see runPrograms), which run in the
// environment that the commands leave behind.
func TestDocs(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the pages use %s, which is not here; .ci/run installs it", tool)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append([]string{filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")}, pages...) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if len(blocksOf(string(raw), "sh")) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) { runPage(t, root, string(raw)) })
	}
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocksOf are the blocks of a page in one language.
func blocksOf(text, language string) []string {
	var blocks []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == language {
			blocks = append(blocks, m[2])
		}
	}
	return blocks
}

// elsewhere are commands that run in tests of their own: inside this one they would run it again.
var elsewhere = map[string]string{
	"make demo":    "TestDemo runs what it runs, once",
	"make test":    "is running right now",
	"make build":   "TestMain built the binaries",
	"make help":    "needs the tree; .ci/run uses the Makefile",
	".ci/run":      "runs make test itself",
	"go install g": "see installGrpcurl",
}

func runPage(t *testing.T, root, text string) {
	home, tools := t.TempDir(), filepath.Join(root, ".bin")
	in := &installation{t: t, dataDir: filepath.Join(home, ".fairway")}
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-docs-provider": fakellm.Healthy()},
		Models: []string{"gpt-4o", "gpt-4o-mini"}})

	// Ports by their number in the pages.
	var replace []string
	ports := freePorts(t, 7)
	env := append(cleanEnv(), "HOME="+home, "OPENAI_API_KEY=sk-docs-provider", "FAIRWAY_UPSTREAM_ALLOW_CIDR=127.0.0.0/8",
		"PATH="+tools+":"+binaries.dir+":"+os.Getenv("PATH"))
	for i, p := range []struct{ number, variable string }{
		{"8080", "FAIRWAY_LISTEN"}, {"8081", "FAIRWAY_ADMIN_LISTEN"}, {"8082", "FAIRWAY_SYNC_LISTEN"}, {"9091", "FAIRWAY_PROXY_OPS_LISTEN"},
		{"9092", "FAIRWAY_CONTROL_OPS_LISTEN"}, {"8090", ""}, {"9093", ""},
	} {
		replace = append(replace, "127.0.0.1:"+p.number, ports[i])
		if p.variable != "" {
			env = append(env, p.variable+"="+ports[i])
		}
	}
	env = append(env, "FAIRWAY_SERVER=http://"+ports[1])
	in.proxies = []*proxy{{addr: ports[0], ops: ports[3]}}
	in.admin, in.sync, in.control = ports[1], ports[2], ports[4]
	// The examples are run where a reader would stand, in the repository.
	replace = append(replace, "https://api.openai.com", url, "go run ./examples/", "go -C "+root+" run ./examples/")
	env = append(env, goEnv(t)...)
	replacer := strings.NewReplacer(replace...)

	var script strings.Builder
	script.WriteString("set -eu\n")
	background := false
	for _, block := range blocksOf(text, "sh") {
		for line := range strings.Lines(replacer.Replace(block)) {
			if reason := runsElsewhere(line); reason != "" {
				continue
			}
			if strings.HasPrefix(line, "fairway up") {
				background = true
				line = strings.TrimSuffix(strings.TrimSpace(line), "&")
				in.server = startScript(t, "up", env, home, "exec "+line)
				in.proxies[0].process = in.server
				in.ready()
				continue
			}
			script.WriteString(line)
		}
	}
	if !background {
		in.server = startScript(t, "up", env, home, "exec fairway up")
		in.proxies[0].process = in.server
		in.ready()
	}
	kept := filepath.Join(home, "environment")
	script.WriteString("env -0 > " + kept + "\n")
	// What a page starts in the background ends with its script.
	cmd := exec.Command("bash", "-x", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"+script.String())
	cmd.Env, cmd.Dir = env, home
	if strings.Contains(script.String(), "grpcurl ") {
		installGrpcurl(t, tools)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the page's commands: %v\n%s", err, out)
	}
	for _, bad := range []string{`"error":{`, `"error": {`, "Failed to"} {
		if strings.Contains(string(out), bad) {
			t.Errorf("a command of the page printed an error:\n%s", out)
		}
	}
	after, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	runPrograms(t, replacer.Replace(text), home, strings.Split(strings.TrimRight(string(after), "\x00"), "\x00"))
	tryTools(t, replacer.Replace(text), ports[0], home)
}

func runsElsewhere(line string) string {
	for prefix, reason := range elsewhere {
		if strings.HasPrefix(line, prefix) {
			return reason
		}
	}
	return ""
}

func startScript(t *testing.T, name string, env []string, dir, script string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command("bash", "-c", script), log: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env, p.cmd.Dir = p.log, p.log, env, dir
	p.run()
	return p
}

// installGrpcurl puts grpcurl, at the version that the page names, where the repository keeps its tools.
func installGrpcurl(t *testing.T, bin string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(bin, "grpcurl")); err == nil {
		return
	}
	cmd := exec.Command("go", "install", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3")
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install grpcurl: %v\n%s", err, out)
	}
}

// TestDocsAreChecked: the extraction finds what it must.
func TestDocsAreChecked(t *testing.T) {
	got := blocksOf("a\n```sh\none\ntwo\n```\nb\n```\nno\n```\n```sh\nthree\n```\n", "sh")
	if fmt.Sprint(got) != "[one\ntwo\n three\n]" {
		t.Errorf("blocks: %q", got)
	}
}
