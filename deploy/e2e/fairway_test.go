package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"fairway/pkg/testkit/fakellm"
)

// installation is a running control plane with at least one proxy, and the command line pointed at it.
type installation struct {
	t       testing.TB
	dataDir string
	admin   string // host:port
	sync    string
	control string // ops
	proxies []*proxy
	server  *process
	args    []string // of up, beside the usual ones
}

// proxy is one running data plane.
type proxy struct {
	addr, ops, stateDir string
	process             *process
	args                []string
}

// up starts `fairway up` on free ports.
func up(t testing.TB, args ...string) *installation {
	t.Helper()
	ports := freePorts(t, 5)
	in := &installation{t: t, dataDir: filepath.Join(t.TempDir(), "data"), admin: ports[1], sync: ports[2], control: ports[4], args: args}
	in.proxies = []*proxy{{addr: ports[0], ops: ports[3], stateDir: filepath.Join(in.dataDir, "proxy")}}
	in.startUp()
	return in
}

func (in *installation) startUp() {
	p := in.proxies[0]
	args := append([]string{"up", "--data-dir", in.dataDir, "--listen", p.addr, "--admin-listen", in.admin, "--sync-listen", in.sync,
		"--proxy-ops-listen", p.ops, "--control-ops-listen", in.control, "--upstream-allow-cidr", "127.0.0.0/8"}, in.args...)
	in.server = start(in.t, "up", binaries.fairway, args...)
	p.process = in.server
	in.ready()
}

// addProxy starts a proxy process that joins with the local token.
func (in *installation) addProxy(extra ...string) *proxy {
	in.t.Helper()
	ports := freePorts(in.t, 2)
	p := &proxy{addr: ports[0], ops: ports[1], stateDir: filepath.Join(in.t.TempDir(), "state")}
	p.args = append([]string{"--control-plane", in.sync, "--join-token-file", filepath.Join(in.dataDir, "join.token"), "--state-dir", p.stateDir,
		"--listen", p.addr, "--ops-listen", p.ops, "--upstream-allow-cidr", "127.0.0.0/8"}, extra...)
	in.proxies = append(in.proxies, p)
	p.start(in.t)
	return p
}

func (p *proxy) start(t testing.TB) {
	t.Helper()
	p.process = start(t, "proxy "+p.addr, binaries.dataplane, p.args...)
	p.ready(t)
}

func (p *proxy) ready(t testing.TB) {
	t.Helper()
	eventually(t, "proxy is ready", func() error {
		select {
		case <-p.process.done:
			t.Fatalf("%s ended: %v\n%s", p.process.name, p.process.err, tail(p.process.log.String(), 20))
		default:
		}
		_, err := get("http://"+p.ops+"/readyz", 200)
		return err
	})
}

func (in *installation) ready() {
	in.t.Helper()
	eventually(in.t, "control plane is ready", func() error {
		select {
		case <-in.server.done:
			in.t.Fatalf("%s ended: %v\n%s", in.server.name, in.server.err, tail(in.server.log.String(), 20))
		default:
		}
		_, err := get("http://"+in.control+"/readyz", 200)
		return err
	})
	for _, p := range in.proxies {
		p.ready(in.t)
	}
}

// run runs an admin command; it returns what it printed and how it ended.
func (in *installation) run(stdin string, env []string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(binaries.fairway, args...)
	cmd.Env = append(append(cleanEnv(), "FAIRWAY_SERVER=http://"+in.admin, "FAIRWAY_DATA_DIR="+in.dataDir), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// must runs an admin command that must work.
func (in *installation) must(args ...string) string {
	in.t.Helper()
	out, errs, err := in.run("", nil, args...)
	if err != nil {
		in.t.Fatalf("fairway %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

// channel creates a channel with its first account.
func (in *installation) channel(name, url, credential string, models string, args ...string) {
	in.t.Helper()
	all := append([]string{"channel", "create", name, "--provider", "openai", "--base-url", url, "--models", models, "--secret-env", "CRED"}, args...)
	if out, errs, err := in.run("", []string{"CRED=" + credential}, all...); err != nil {
		in.t.Fatalf("create channel %s: %v\n%s%s", name, err, out, errs)
	}
}

// key creates a key and returns its secret.
func (in *installation) key(name string, args ...string) string {
	in.t.Helper()
	out := in.must(append([]string{"key", "create", name, "--wait", "-o", "json"}, args...)...)
	var made struct{ Name, Secret string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Name != name || !strings.HasPrefix(made.Secret, "sk-fw-") {
		in.t.Fatalf("key create printed %q (%v)", out, err)
	}
	return made.Secret
}

// counters are what `fairway usage query -o json` prints for a row.
type counters struct {
	Key, Channel, Account, Model string

	Requests     int64 `json:"requests"`
	Errors       int64 `json:"errors"`
	InputTokens  int64 `json:"input_tokens"`
	CachedTokens int64 `json:"cached_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	CostNanoUSD  int64 `json:"cost_nano_usd"`
	Estimated    int64 `json:"estimated_requests"`
	Unpriced     int64 `json:"unpriced_requests"`
}

func (in *installation) usage(args ...string) (rows []counters, total counters, err error) {
	out, errs, err := in.run("", nil, append([]string{"usage", "query", "-o", "json"}, args...)...)
	if err != nil {
		return nil, total, fmt.Errorf("usage query: %w: %s", err, errs)
	}
	var got struct {
		Rows  []counters
		Total counters
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return nil, total, err
	}
	return got.Rows, got.Total, nil
}

// client is the official SDK pointed at a proxy, without retries of its own.
func (p *proxy) client(key string, opts ...option.RequestOption) *openai.Client {
	c := openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL("http://" + p.addr + "/v1"), option.WithAPIKey(key), option.WithMaxRetries(0)}, opts...)...)
	return &c
}

// metric reads a metric that has no labels.
func (p *proxy) metric(t testing.TB, name string) float64 {
	t.Helper()
	page, err := get("http://"+p.ops+"/metrics", 200)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(page) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// provider starts a fake provider that finds fault with nothing by the end of the test.
func provider(t testing.TB, o fakellm.Options) (*fakellm.Provider, string) {
	t.Helper()
	p, url := lenientProvider(t, o)
	t.Cleanup(func() {
		for _, v := range p.Violations() {
			t.Errorf("the provider was sent what it must not be: %s", v)
		}
	})
	return p, url
}

// lenientProvider is one that a test sends to what is wrong on purpose.
func lenientProvider(t testing.TB, o fakellm.Options) (*fakellm.Provider, string) {
	t.Helper()
	p := fakellm.New(o)
	s, err := p.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return p, s.URL()
}

func chat(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

// apiError is the SDK's error, or a failure.
func apiError(t testing.TB, err error) *openai.Error {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Fatalf("want an API error, got %v", err)
	}
	return e
}

// call makes one call of the admin API as JSON over HTTP, as the owner. It returns the decoded reply; an error carries the
// code and message.
func (in *installation) call(procedure string, request any) (map[string]any, error) {
	token, err := os.ReadFile(filepath.Join(in.dataDir, "operator.token"))
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+in.admin+"/fairway.admin.v1."+procedure, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	reply := map[string]any{}
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return nil, fmt.Errorf("%s: status %d: %w", procedure, res.StatusCode, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, &callError{code: fmt.Sprint(reply["code"]), message: fmt.Sprint(reply["message"])}
	}
	return reply, nil
}

type callError struct{ code, message string }

func (e *callError) Error() string { return e.code + ": " + e.message }

// revision is that of a reply; protobuf's JSON has it as a string.
func revision(reply map[string]any) string { return fmt.Sprint(reply["revision"]) }

func mode(t testing.TB, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
