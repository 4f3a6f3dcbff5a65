package ctl

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// clientKeyText is what no output may hold.
const clientKeyText = "sk-fw-client"

// proxied is a proxy that answers every n-th request with 503, and the others well; 0 = all well.
func proxied(t *testing.T, every int64) string {
	t.Helper()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Authorization") != "Bearer "+clientKeyText {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"code":"invalid_api_key","message":"not `+r.Header.Get("Authorization")+`"}}`)
			return
		}
		w.Header().Set("x-request-id", "req_9")
		if every > 0 && n.Add(1)%every == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"error":{"code":"no_account_available","message":"none is enabled"}}`)
			return
		}
		_, _ = io.WriteString(w, `{"choices":[]}`)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func exitOf(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.ExitCode()
	}
	return 1
}

func TestVerifyTraffic(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(clientKeyText+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fromEnv := map[string]string{"FAIRWAY_KEY": clientKeyText}
	tests := []struct {
		name  string
		every int64
		args  string
		env   map[string]string
		exit  int
		want  []string // of output and error
	}{
		{"all is well", 0, "-n 20 -c 4", fromEnv, 0, []string{"20 sent, 20 ok (100.00%), 0 failed, 0 with 503 (0.00%)", "latency", "first byte", "\nPASS\n"}},
		{"the key of a file", 0, "-n 2 --key-file " + file, nil, 0, []string{"PASS"}},
		{"the key of a variable", 0, "-n 2 --key-env MINE", map[string]string{"MINE": clientKeyText, "FAIRWAY_KEY": "another"}, 0, []string{"PASS"}},
		{"too many fail", 10, "-n 20 -c 1", fromEnv, 1, []string{
			"20 sent, 18 ok (90.00%), 2 failed, 2 with 503 (10.00%)", "503 no_account_available  2      10.00%  none is enabled",
			"next: fairway explain --request-id req_9", "\nFAIL: 90% of requests were answered, less than 99.9%\n",
			"traffic failed: 90% of requests were answered, less than 99.9%"}},
		{"as many may fail", 10, "-n 20 -c 1 --min-success 90", fromEnv, 0, []string{"PASS"}},
		{"but not so many with 503", 10, "-n 20 -c 1 --min-success 90 --max-503 5", fromEnv, 1, []string{"10% of requests were answered with 503, more than 5%"}},
		{"too slow", 0, "-n 2 --max-p95 1ns", fromEnv, 1, []string{"the 95th percentile of latencies is"}},
		{"a key that is none", 0, "-n 2", map[string]string{"FAIRWAY_KEY": "sk-fw-wrong"}, 1, []string{"401 invalid_api_key", "not Bearer [key]", "next: fairway key list"}},
		{"no key", 0, "", nil, 2, []string{"give a Fairway key with --key-file, --key-env or FAIRWAY_KEY"}},
		{"an empty key", 0, "--key-env MINE", nil, 2, []string{"the key in variable MINE is empty"}},
		{"two keys", 0, "--key-env MINE --key-file x", nil, 2, []string{"give only one of --key-file and --key-env"}},
		{"no key file", 0, "--key-file /nowhere/key", nil, 2, []string{"no such file"}},
		{"too many", 0, "-n 1000001", fromEnv, 2, []string{"-n 1000001: want 1 to 1000000"}},
		{"none", 0, "-n 0", fromEnv, 2, []string{"-n 0: want 1 to 1000000"}},
		{"too many at once", 0, "-c 1001", fromEnv, 2, []string{"-c 1001: want 1 to 1000"}},
		{"no time", 0, "--timeout 0s", fromEnv, 2, []string{"--timeout must be more than nothing"}},
		{"no percentage", 0, "--min-success 101", fromEnv, 2, []string{"--min-success 101: want 0 to 100"}},
		{"not a number", 0, "--max-503 NaN", fromEnv, 2, []string{"--max-503 NaN: want 0 to 100"}},
		{"not a duration", 0, "--max-p95 fast", fromEnv, 2, []string{"invalid argument"}},
		{"no such flag", 0, "--key " + clientKeyText, fromEnv, 2, []string{"unknown flag: --key"}},
		{"an argument", 0, "please", fromEnv, 2, []string{"unknown command"}},
		{"no such dialect", 0, "--dialect soap", fromEnv, 2, []string{"is not one of anthropic, gemini, openai"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.env = map[string]string{} // no operator, no token
			for k, v := range tt.env {
				w.env[k] = v
			}
			args := append([]string{"verify", "traffic", "--model", "m", "--url", proxied(t, tt.every)}, strings.Fields(tt.args)...)
			out, errs, err := w.run(args...)
			all := out + errs + said(err)
			if got := exitOf(err); got != tt.exit {
				t.Errorf("exit code %d, want %d", got, tt.exit)
			}
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("no %q in\n%s", want, all)
				}
			}
			if strings.Contains(all, clientKeyText) {
				t.Errorf("the key is shown:\n%s", all)
			}
		})
	}
	w := newWorld(t)
	if _, _, err := w.run("verify", "traffic"); exitOf(err) != 2 {
		t.Errorf("without a model: %v", err)
	}
}

func TestVerifyTrafficJSON(t *testing.T) {
	w := newWorld(t)
	w.env["FAIRWAY_KEY"] = clientKeyText
	out, errs, err := w.run("verify", "traffic", "--model", "m", "-n", "10", "-c", "1", "--url", proxied(t, 5), "-o", "json")
	if exitOf(err) != 1 || errs != "" {
		t.Errorf("%v, %q", err, errs)
	}
	var got struct {
		Sent, OK, Unavailable int
		SuccessPercent        float64               `json:"success_percent"`
		Latency               struct{ P95 float64 } `json:"latency_ms"`
		Failures              []struct {
			Class, Code, Next string
			Status, Count     int
			RequestID         string `json:"request_id"`
		}
		Pass    bool
		Reasons []string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if got.Sent != 10 || got.OK != 8 || got.Unavailable != 2 || got.SuccessPercent != 80 || got.Latency.P95 <= 0 || got.Pass || len(got.Reasons) != 1 ||
		len(got.Failures) != 1 || got.Failures[0].Class != "503 no_account_available" || got.Failures[0].Count != 2 || got.Failures[0].Status != 503 ||
		got.Failures[0].RequestID != "req_9" {
		t.Errorf("got %+v", got)
	}
}
