package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/pkg/testkit/fakellm"
)

// nodeProvider is a provider as a channel names it, with a model of its own, and what the scripts are told of it.
type nodeProvider struct {
	Name  string `json:"name"`
	Model string `json:"model"`
	// Silent are the conversations in which it keeps its thoughts to itself: chat has no place for them at OpenAI, Gemini
	// tells them when asked to, and Amazon's models have none. Shapeless: it has no structured output.
	Silent    []string `json:"silent"`
	Shapeless bool     `json:"shapeless"`

	args []string // of channel create
}

func nodeProviders() []nodeProvider {
	bedrock := []string{"--provider", "bedrock", "--region", "us-east-1", "--access-key-id", "AKIANODE"}
	return []nodeProvider{
		{Name: "openai", Model: "o-think", Silent: []string{"chat", "messages", "generate"}, args: []string{"--provider", "openai"}},
		{Name: "anthropic", Model: "claude-sonnet-4-5", Silent: []string{}, args: []string{"--provider", "anthropic"}},
		{Name: "gemini", Model: "gemini-3-pro", Silent: []string{"chat", "messages"}, args: []string{"--provider", "gemini"}},
		{Name: "azure", Model: "o-azure", Silent: nodeSurfaces(), args: []string{"--provider", "azure-openai", "--api-version", "2024-10-21"}},
		{Name: "bedrock-claude", Model: "anthropic.claude-sonnet-4-5-v1", Silent: []string{}, args: bedrock},
		{Name: "bedrock-nova", Model: "amazon.nova-pro-v1", Silent: nodeSurfaces(), Shapeless: true, args: bedrock},
	}
}

// nodeSurfaces are the conversations that the scripts hold.
func nodeSurfaces() []string { return []string{"chat", "responses", "messages", "generate"} }

// nodeSecret is the credential of every channel here, at providers that each have one way to behave.
const nodeSecret = "sk-node-and-aws-secret-key"

// nodeCheck is what a script says of one check.
type nodeCheck struct {
	Name   string
	OK     bool
	Detail string
}

// TestNode: the official Node SDKs against Fairway, every operation, and every provider where a conversation is converted.
// It needs node and the packages that `make e2e-node` installs; FAIRWAY_E2E_NODE is where that put them and the scripts.
func TestNode(t *testing.T) {
	dir := os.Getenv("FAIRWAY_E2E_NODE")
	if dir == "" {
		t.Skip("make e2e-node runs this")
	}
	in := up(t)
	providers := nodeProviders()
	nodeUpstream := func(start func(testing.TB, fakellm.Options) (*fakellm.Provider, string), b fakellm.Behaviour) (*fakellm.Provider, string) {
		o := fakellm.Options{Accounts: map[string]fakellm.Behaviour{nodeSecret: b}}
		for _, p := range providers {
			o.Models = append(o.Models, p.Model)
		}
		p, url := start(t, o)
		p.AddAccessKey(fakellm.AccessKey{ID: "AKIANODE", Secret: nodeSecret, Account: nodeSecret})
		return p, url
	}
	gate := fakellm.NewGate()
	const heldAfter = 5 // events: text has begun in every dialect
	_, healthy := nodeUpstream(provider, fakellm.Healthy())
	_, slow := nodeUpstream(lenientProvider, fakellm.HangMidStream(heldAfter, gate))
	_, limited := nodeUpstream(lenientProvider, fakellm.Status(429, "rate_limit_exceeded", 0))
	for _, p := range providers {
		create := func(name, url, models string, more ...string) {
			args := append([]string{"channel", "create", name, "--base-url", url, "--models", models, "--secret-env", "CRED", "--wait"}, p.args...)
			if out, errs, err := in.run("", []string{"CRED=" + nodeSecret}, append(args, more...)...); err != nil {
				t.Fatalf("create channel %s: %v\n%s%s", name, err, out, errs)
			}
		}
		create(p.Name, healthy, p.Model)
		create("slow-"+p.Name, slow, "slow-"+p.Model, "--model-mapping", "slow-"+p.Model+"="+p.Model)
		create("limited-"+p.Name, limited, "limited-"+p.Model, "--model-mapping", "limited-"+p.Model+"="+p.Model)
		// What an upstream does not know, an account is not asked for again for a while: each check has a model of its own.
		var lost, mapping []string
		for _, surface := range nodeSurfaces() {
			for _, stream := range []string{"false", "true"} {
				suffix := "lost-" + surface + "-" + stream
				lost = append(lost, suffix+"-"+p.Model)
				mapping = append(mapping, "--model-mapping", suffix+"-"+p.Model+"="+p.Model+"-"+suffix)
			}
		}
		create("lost-"+p.Name, slow, strings.Join(lost, ","), mapping...)
	}
	told, err := json.Marshal(map[string]any{"base": "http://" + in.proxies[0].addr, "key": in.key("node"), "providers": providers})
	if err != nil {
		t.Fatal(err)
	}
	cancelled := 0
	for _, script := range []string{"openai", "anthropic", "genai"} {
		for _, c := range runScript(t, filepath.Join(dir, script+".mjs"), told) {
			t.Run(c.Name, func(t *testing.T) {
				if !c.OK {
					t.Error(c.Detail)
				}
			})
			if strings.HasSuffix(c.Name, "/cancel") && c.OK {
				cancelled++
			}
		}
	}
	// Each stream that a client left was left upstream, too, while it was held there.
	for n := range cancelled {
		select {
		case <-gate.Canceled():
		case <-time.After(patience):
			t.Fatalf("%d streams were cancelled, %d of them upstream", cancelled, n)
		}
	}
	t.Logf("%d streams were cancelled, and upstream as many", cancelled)
}

// runScript returns what a script says. One that does not come to its end has failed, whatever it said before.
func runScript(t *testing.T, path string, told []byte) []nodeCheck {
	t.Helper()
	const longest = 10 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", path)
	cmd.Env = cleanEnv()
	cmd.Stdin = bytes.NewReader(told)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("node %s: %v\n%s", filepath.Base(path), err, errs.String())
	}
	var checks []nodeCheck
	for line := range strings.Lines(out.String()) {
		var c nodeCheck
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.Name == "" {
			t.Fatalf("%s says %q (%v)", filepath.Base(path), line, err)
		}
		checks = append(checks, c)
	}
	if len(checks) == 0 {
		t.Errorf("%s checks nothing:\n%s", filepath.Base(path), errs.String())
	}
	return checks
}
