package controlplane

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// replica runs a control plane in this process until the test ends, or stop is called.
func replica(t *testing.T, c Config) (at Addresses, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	listening := make(chan Addresses, 1)
	ended := make(chan error, 1)
	c.Listening = func(a Addresses) { listening <- a }
	go func() { ended <- Run(ctx, c) }()
	var once error
	var stopped bool
	stop = func() error {
		cancel()
		if !stopped {
			once, stopped = <-ended, true
		}
		return once
	}
	t.Cleanup(func() { _ = stop() })
	select {
	case at = <-listening:
	case err := <-ended:
		ended <- err
		t.Fatalf("ended before it was up: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("not up after a minute")
	}
	return at, stop
}

func local(dir string) Config {
	return Config{DataDir: dir, Embedded: true, AdminListen: "127.0.0.1:0", SyncListen: "127.0.0.1:0", OpsListen: "127.0.0.1:0"}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestRun: a first start makes everything that a data directory holds, for its owner only; a second one finds it.
func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	at, stop := replica(t, local(dir))
	if status, body := fetch(t, "http://"+at.Ops+"/readyz"); status != 200 || !strings.Contains(body, "revision") {
		t.Errorf("readyz: %d %q", status, body)
	}
	secrets := map[string]string{}
	for _, name := range []string{"kek", "operator.token", "join.token"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s has mode %o", name, got)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = string(raw)
	}
	if err := stop(); err != nil {
		t.Fatalf("a clean stop: %v", err)
	}
	_, stop = replica(t, local(dir))
	for name, want := range secrets {
		if raw, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(raw) != want {
			t.Errorf("a restart changed %s (%v)", name, err)
		}
	}
	if err := stop(); err != nil {
		t.Fatalf("a clean stop: %v", err)
	}

	// A file that was lost is missed, not made anew: a key that opens nothing would look like the one to keep.
	if err := os.Rename(filepath.Join(dir, "kek"), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), local(dir)); err == nil || !strings.Contains(err.Error(), "kek is missing") {
		t.Errorf("without its key-encryption key: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kek")); !os.IsNotExist(err) {
		t.Errorf("a new key-encryption key was made: %v", err)
	}

	// Without the key-encryption key nothing that is sealed opens, and the error says so.
	wrong := local(dir)
	wrong.KEK = base64.StdEncoding.EncodeToString(make([]byte, 32))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Run(ctx, wrong)
	if err == nil || !strings.Contains(err.Error(), "not the key-encryption key of the data set") {
		t.Errorf("with another key-encryption key: %v", err)
	}
}

// TestResetOwnerToken: whoever lost the owner's token gets a new one by a start, and the old one is worth nothing then.
func TestResetOwnerToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "operator.token")
	read := func() string {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(raw))
	}
	list := func(at Addresses, token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+at.Admin+"/fairway.admin.v1.GroupService/ListGroups", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	at, stop := replica(t, local(dir))
	lost := read()
	if status := list(at, lost); status != 200 {
		t.Fatalf("the first token: %d", status)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c := local(dir)
	c.ResetOwnerToken = true
	at, stop = replica(t, c)
	if status := list(at, read()); status != 200 {
		t.Errorf("the new token: %d", status)
	}
	if status := list(at, lost); status != 401 {
		t.Errorf("the lost token: %d", status)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestDataDirInUse: a second control plane on the same data directory says so and leaves the first alone.
func TestDataDirInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	at, _ := replica(t, local(dir))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Run(ctx, local(dir)); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second control plane: %v", err)
	}
	if status, _ := fetch(t, "http://"+at.Ops+"/readyz"); status != 200 {
		t.Errorf("the first one answers %d", status)
	}
}

// TestCheck: what cannot work, or is not safe, is refused with all reasons at once, before anything is touched.
func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(c *Config)
		want   []string
	}{
		{"good", func(*Config) {}, nil},
		{"no data directory", func(c *Config) { c.DataDir = "" }, []string{"--data-dir is empty"}},
		{"no etcd", func(c *Config) { c.Embedded = false }, []string{"--etcd-endpoints is empty"}},
		{"admin in the clear", func(c *Config) { c.AdminListen = "0.0.0.0:8081" }, []string{"tokens would travel in the clear"}},
		{"half a certificate", func(c *Config) { c.AdminTLSCertFile = "x" }, []string{"go together"}},
		{"open metrics", func(c *Config) { c.OpsListen = ":9092" }, []string{"--ops-token-file"}},
		{"no address", func(c *Config) { c.SyncListen = "garbage" }, []string{"--sync-listen", "garbage"}},
		{"no port", func(c *Config) { c.AdminListen = "127.0.0.1:99999" }, []string{"--admin-listen"}},
		{"no key", func(c *Config) { c.KEK = "abc" }, []string{"FAIRWAY_KEK"}},
		{"hours for too short", func(c *Config) { c.UsageHourlyDays = 39 }, []string{"--usage-hourly-days 39", "40"}},
		{"days for less than hours", func(c *Config) { c.UsageHourlyDays, c.UsageDailyDays = 100, 99 }, []string{"--usage-daily-days 99"}},
		{"all at once", func(c *Config) { *c = Config{AdminListen: ":1", SyncListen: ":3", OpsListen: ":2"} },
			[]string{"--data-dir is empty", "--etcd-endpoints is empty", "in the clear", "--ops-token-file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := local("/nowhere")
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

// TestTakenPort: the first thing one hears of is the port.
func TestTakenPort(t *testing.T) {
	at, _ := replica(t, local(filepath.Join(t.TempDir(), "first")))
	c := local(filepath.Join(t.TempDir(), "second"))
	c.AdminListen = at.Admin
	err := Run(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "admin listener") || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, "etcd")); !os.IsNotExist(err) {
		t.Errorf("etcd was started all the same: %v", err)
	}
}
