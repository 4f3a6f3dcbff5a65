package fakellm

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Google's SDK brings a package whose init starts a goroutine.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

const (
	credential = "fake-credential"
	model      = "fake-large"
)

// start runs a provider with one account and one model.
func start(t *testing.T, b Behaviour) (*Provider, *Server) {
	t.Helper()
	p := New(Options{Accounts: map[string]Behaviour{credential: b}, Models: []string{model, "fake-small"}})
	s, err := p.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, s
}

// sdk is the official client, as a gateway would have to behave: it does not offer gzip.
func sdk(t *testing.T, s *Server) *openai.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := openai.NewClient(option.WithBaseURL(s.URL()+"/v1"), option.WithAPIKey(credential), option.WithMaxRetries(0),
		option.WithHTTPClient(&http.Client{Transport: transport}))
	return &client
}

func wantNoViolations(t *testing.T, p *Provider) {
	t.Helper()
	if v := p.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
}

// wire is a raw connection, for what no client would send or see.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, s *Server) *wire {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{Conn: conn, r: bufio.NewReader(conn)}
}

func (w *wire) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads one response to the end of its body.
func (w *wire) answer(t *testing.T) (*http.Response, string, error) {
	t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp, string(body), err
}

// post is a good request, but for what change does to its lines.
func post(s *Server, path, body string, change ...string) string {
	head := "POST " + path + " HTTP/1.1\r\n" +
		"Host: " + s.Addr().String() + "\r\n" +
		"Authorization: Bearer " + credential + "\r\n" +
		"Content-Type: application/json\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
	return strings.NewReplacer(change...).Replace(head) + body
}

const (
	chatBody   = `{"model":"fake-large","messages":[{"role":"user","content":"one two three"}]}`
	streamBody = `{"model":"fake-large","stream":true,"messages":[{"role":"user","content":"one two three"}],` +
		`"max_tokens":4,"stream_options":{"include_usage":true}}`
	chatPath = "/v1/chat/completions"
)

// clock is the time that a provider believes in.
type clock struct{ passed atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(c.passed.Load()))
}

func (c *clock) pass(d time.Duration) { c.passed.Add(int64(d)) }

// startAt runs a provider with one account, whose credentials are exchanged for others.
func startAt(t *testing.T, c *clock, account string, models ...string) (*Provider, *Server) {
	t.Helper()
	p := New(Options{Accounts: map[string]Behaviour{account: {}}, Models: append(models, model), Now: c.now})
	s, err := p.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, s
}
