package dataplane

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// alone is a proxy whose control plane does not exist.
func alone(t *testing.T, dir string) Config {
	t.Helper()
	return Config{ControlPlane: []string{"127.0.0.1:1"}, JoinTokenFile: filepath.Join(dir, "none"), StateDir: filepath.Join(dir, "state"),
		Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0"}
}

func fetch(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(`{"model":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk-nobody")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestRunAlone: a proxy that has never met a control plane lives, says that it is not ready, refuses clients in their own
// dialect, and ends cleanly.
func TestRunAlone(t *testing.T) {
	c := alone(t, t.TempDir())
	listening := make(chan Addresses, 1)
	c.Listening = func(a Addresses) { listening <- a }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	var at Addresses
	select {
	case at = <-listening:
	case err := <-ended:
		t.Fatalf("ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("not up after a minute")
	}
	if res, body := fetch(t, "GET", "http://"+at.Ops+"/readyz"); res.StatusCode != 503 || !strings.Contains(body, "no state yet") {
		t.Errorf("readyz: %d %q", res.StatusCode, body)
	}
	if res, _ := fetch(t, "GET", "http://"+at.Ops+"/livez"); res.StatusCode != 200 {
		t.Errorf("livez: %d", res.StatusCode)
	}
	res, body := fetch(t, "POST", "http://"+at.Proxy+"/v1/chat/completions")
	if res.StatusCode < 400 || !strings.HasPrefix(body, `{"error":{`) || res.Header.Get("X-Request-Id") == "" {
		t.Errorf("a request: %d %s %v", res.StatusCode, body, res.Header)
	}
	if _, body := fetch(t, "GET", "http://"+at.Ops+"/metrics"); !strings.Contains(body, "fairway_sync_connected 0") {
		t.Error("metrics do not say that it is cut off")
	}

	// Another process on the same state directory would send the same usage.
	second := c
	second.Listening = nil
	if err := Run(t.Context(), second); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second proxy on the same state directory: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a clean stop: %v", err)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(c *Config)
		want   []string
	}{
		{"good", func(*Config) {}, nil},
		{"no control plane", func(c *Config) { c.ControlPlane = nil }, []string{"--control-plane is empty"}},
		{"no state directory", func(c *Config) { c.StateDir = "" }, []string{"--state-dir is empty"}},
		{"open metrics", func(c *Config) { c.OpsListen = "0.0.0.0:9091" }, []string{"--ops-token-file"}},
		{"a range that is none", func(c *Config) { c.UpstreamAllowCIDRs = []string{"10.0.0.0/8", "10.0.0.1"} }, []string{`"10.0.0.1": want a range`}},
		{"all at once", func(c *Config) { *c = Config{Listen: "x", OpsListen: ":1"} }, []string{"--control-plane", "--state-dir", "--listen", "--ops-token-file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := alone(t, "/nowhere")
			tt.change(&c)
			err := c.Check()
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in: %v", want, err)
				}
			}
		})
	}
}
