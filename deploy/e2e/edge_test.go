package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/realtime"

	"fairway/pkg/testkit/fakellm"
	"fairway/pkg/testkit/testcert"
)

// edge is a proxy that speaks TLS with its clients and keeps an access log.
type edge struct {
	*installation
	t         *testing.T
	ca        *testcert.CA
	cert, key string // files
	accessLog string
	client    *openai.Client
	secrets   []string
	good      int // requests that were answered so far, but for sessions
}

// logged is a line of the access log, as far as it is looked at.
type logged struct {
	RequestID string `json:"request_id"`
	Operation string `json:"operation"`
	Stream    bool   `json:"stream"`
	Status    int    `json:"status"`
	KeyID     string `json:"key_id"`
	Channel   string `json:"channel"`
	Input     int64  `json:"input_tokens"`
	Output    int64  `json:"output_tokens"`
	Cost      int64  `json:"cost_nano_usd"`
	Error     string `json:"error"`
}

// lines reads access logs and searches them for secrets.
func (e *edge) lines(files ...string) (all []logged) {
	e.t.Helper()
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil
		}
		for _, s := range e.secrets {
			if bytes.Contains(raw, []byte(s)) {
				e.t.Errorf("a secret is in %s:\n%s", file, raw)
			}
		}
		for line := range bytes.Lines(raw) {
			var l logged
			if !bytes.HasSuffix(line, []byte("\n")) {
				break // it is being written
			}
			if err := json.Unmarshal(line, &l); err != nil {
				e.t.Fatalf("%s: %q: %v", file, line, err)
			}
			all = append(all, l)
		}
	}
	return all
}

// secureProvider is a provider that speaks TLS, with a certificate of an authority that every process started after this
// one trusts, and no other.
func secureProvider(t *testing.T, ca *testcert.CA, o fakellm.Options) (*fakellm.Provider, string) {
	t.Helper()
	roots := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(roots, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots)
	p := fakellm.New(o)
	s, err := p.StartTLS("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1")}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		if v := p.Violations(); len(v) > 0 {
			t.Errorf("the provider was sent what it must not be: %q", v)
		}
	})
	return p, s.URL()
}

func startEdge(t *testing.T) *edge {
	t.Helper()
	dir := t.TempDir()
	e := &edge{t: t, ca: testcert.NewCA(t), cert: filepath.Join(dir, "tls.pem"), key: filepath.Join(dir, "tls.key"), accessLog: filepath.Join(dir, "access.log")}
	testcert.Write(t, e.ca.Server(t, "127.0.0.1"), e.cert, e.key)
	_, url := secureProvider(t, e.ca, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-edge-credential": fakellm.Healthy()}, Models: []string{"m1"}})
	e.installation = up(t, "--tls-cert-file", e.cert, "--tls-key-file", e.key, "--access-log", e.accessLog, "--access-log-sample", "1", "--max-streams", "1",
		"--log-level", "debug")
	e.channel("main", url, "sk-edge-credential", "m1", "--wait")
	e.must("model", "create", "m1", "--input-price", "1", "--output-price", "2", "--wait")
	key := e.installation.key("alice")
	e.secrets = []string{key, "sk-edge-credential"}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: e.ca.Pool(), MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	e.client = e.proxies[0].client(key, option.WithBaseURL("https://"+e.proxies[0].addr+"/v1"), option.WithHTTPClient(&http.Client{Transport: transport}))
	return e
}

// chat makes a plain request.
func (e *edge) chat() {
	e.t.Helper()
	if _, err := e.client.Chat.Completions.New(e.t.Context(), chat("m1", "one two three")); err != nil {
		e.t.Fatalf("chat: %v", err)
	}
	e.good++
}

// stream makes a streamed one.
func (e *edge) stream() error {
	s := e.client.Chat.Completions.NewStreaming(e.t.Context(), chat("m1", "one two three"))
	acc := openai.ChatCompletionAccumulator{}
	for s.Next() {
		acc.AddChunk(s.Current())
	}
	if err := s.Err(); err != nil {
		return err
	}
	if len(acc.Choices) == 0 || acc.Choices[0].Message.Content == "" {
		return errors.New("an empty answer")
	}
	return nil
}

// connect opens a realtime session. The only place for a stream may be one's that has just ended.
func (e *edge) connect() *realtime.RealtimeConnection {
	e.t.Helper()
	var conn *realtime.RealtimeConnection
	eventually(e.t, "a session", func() (err error) {
		conn, err = e.client.Realtime.Connect(e.t.Context(), realtime.RealtimeConnectionOptions{}, option.WithQuery("model", "m1"))
		return err
	})
	e.t.Cleanup(conn.Abort)
	return conn
}

// respond has a session make a response and returns its usage.
func (e *edge) respond(conn *realtime.RealtimeConnection) (usage realtime.RealtimeResponseUsage) {
	e.t.Helper()
	ask := `{"type":"response.create","response":{"metadata":{"fakellm_input":"50","fakellm_output":"7"}}}`
	if err := conn.SendRaw(e.t.Context(), json.RawMessage(ask)); err != nil {
		e.t.Fatalf("realtime: %v", err)
	}
	for {
		event, err := conn.Recv(e.t.Context())
		if err != nil {
			e.t.Fatalf("realtime: %v", err)
		}
		if event.Type == "response.done" {
			return event.AsResponseDoneEvent().Response.Usage
		}
	}
}

// serves returns the serial number of the certificate that a new connection is shown.
func (e *edge) serves() (string, error) {
	conn, err := tls.Dial("tcp", e.proxies[0].addr, &tls.Config{RootCAs: e.ca.Pool(), MinVersion: tls.VersionTLS12})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// TestEdge: what is between clients and a proxy, with the real binary: TLS whose certificate is replaced while it runs,
// streams and a realtime session by the official client, one stream at once, and an access log that agrees with the books.
func TestEdge(t *testing.T) {
	e := startEdge(t)
	e.chat()
	if err := e.stream(); err != nil {
		t.Fatalf("stream: %v", err)
	}
	e.good++
	if conn, err := net.Dial("tcp", e.proxies[0].addr); err != nil {
		t.Error(err)
	} else {
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprint(conn, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
		answer := make([]byte, 64)
		if n, _ := conn.Read(answer); strings.Contains(string(answer[:n]), " 200 ") {
			t.Errorf("an answer without TLS: %s", answer[:n])
		}
		_ = conn.Close()
	}

	session := e.connect()
	if u := e.respond(session); u.InputTokens != 50 || u.OutputTokens != 7 {
		t.Errorf("usage of a response: %s", u.RawJSON())
	}
	shed := apiError(t, e.stream())
	if shed.StatusCode != 503 || shed.Code != "overloaded" || shed.Response.Header.Get("Retry-After") != "1" {
		t.Errorf("a stream beside the one that there may be: %v", shed)
	}
	e.chat()

	// Another certificate: for who comes, not for who is there.
	before, err := e.serves()
	if err != nil {
		t.Fatal(err)
	}
	next := e.ca.Server(t, "127.0.0.1")
	testcert.Write(t, next, e.cert, e.key)
	eventually(t, "the new certificate is shown", func() error {
		now, err := e.serves()
		if err == nil && now != next.Leaf.SerialNumber.String() {
			err = fmt.Errorf("certificate %s, before it was %s", now, before)
		}
		return err
	})
	e.respond(session)
	e.chat()
	if err := session.Close(); err != nil {
		t.Errorf("close the session: %v", err)
	}

	// The log is renamed under the proxy, which goes on with a new one when it is told.
	old := e.accessLog + ".old"
	eventually(t, "the session is in the access log", func() error {
		for _, l := range e.lines(e.accessLog) {
			if l.Status == 101 {
				return nil
			}
		}
		return errors.New("no line")
	})
	if err := os.Rename(e.accessLog, old); err != nil {
		t.Fatal(err)
	}
	if err := e.server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is opened again", func() error {
		e.chat()
		if len(e.lines(e.accessLog)) == 0 {
			return errors.New("no line in the new file")
		}
		return nil
	})
	e.agree(old, e.accessLog)

	e.server.stop()
	for _, s := range e.secrets {
		if strings.Contains(e.server.log.String(), s) {
			t.Error("a secret is in the log")
		}
	}
}

// agree says that the access log has each request once, and in sum what the books have.
func (e *edge) agree(files ...string) {
	t := e.t
	t.Helper()
	records := int64(e.good + 2) // and the session's two responses
	var total counters
	eventually(t, "usage arrives", func() (err error) {
		if _, total, err = e.usage("--group-by", "key"); err == nil && total.Requests < records {
			err = fmt.Errorf("%d of %d records", total.Requests, records)
		}
		return err
	})
	var all []logged
	eventually(t, "all requests are in the access log", func() error {
		if all = e.lines(files...); len(all) < e.good+2 {
			return fmt.Errorf("%d lines", len(all))
		}
		return nil
	})
	ids, status := map[string]bool{}, map[int]int{}
	var cost int64
	for _, l := range all {
		ids[l.RequestID] = true
		status[l.Status]++
		cost += l.Cost
		if want := l.Input*1000 + l.Output*2000; l.Cost != want || (l.Status < 300) != (want > 0) {
			t.Errorf("a line with the cost %d, want %d: %+v", l.Cost, want, l)
		}
		if l.Status < 300 && (l.KeyID == "" || l.Channel != "main" || l.Error != "") || l.Status == 503 && l.Error != "overloaded" {
			t.Errorf("a line %+v", l)
		}
	}
	if len(ids) != len(all) || status[200] != e.good || status[101] != 1 || status[503] == 0 || len(status) != 3 {
		t.Errorf("%d lines of %d requests, by status %v; %d were good", len(all), len(ids), status, e.good)
	}
	if total.Requests != records || total.CostNanoUSD != cost || total.Unpriced != 0 || total.Estimated != 0 {
		t.Errorf("books %+v, access log: cost %d", total, cost)
	}
}
