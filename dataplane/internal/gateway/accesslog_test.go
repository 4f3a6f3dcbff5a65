package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"fairway/dataplane/internal/accesslog"
	"fairway/pkg/testkit/fakellm"
)

// Each request gets one line that says what it was, what it came to, and nothing that is secret or said.
func TestAccessLog(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA, secretB)
	var out lockedBuffer
	log, err := accesslog.New(accesslog.Options{File: "-", Sample: 1, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	w.gateway.access = log

	w.provider.SetBehaviour(secretA, fakellm.Status(500, "", 0))
	w.post("/v1/chat/completions", plainBody, "X-Request-Id: mine", "X-Forwarded-For: 10.0.0.1")
	w.post("/v1/chat/completions", streamBody)
	w.post("/v1/chat/completions", `{"model":"nobody"}`)
	w.raw("GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer sk-wrong\r\n\r\n")
	w.settled(t)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	type line struct {
		RequestID       string  `json:"request_id"`
		ClientRequestID string  `json:"client_request_id"`
		RemoteIP        string  `json:"remote_ip"`
		Operation       string  `json:"operation"`
		Model           string  `json:"model"`
		Stream          bool    `json:"stream"`
		Status          int     `json:"status"`
		KeyID           string  `json:"key_id"`
		Account         string  `json:"account"`
		Attempts        int     `json:"attempts"`
		Retried         bool    `json:"retried"`
		DurationMS      float64 `json:"duration_ms"`
		BytesIn         int     `json:"bytes_in"`
		BytesOut        int     `json:"bytes_out"`
		Output          int     `json:"output_tokens"`
		Error           string  `json:"error"`
	}
	var lines []line
	for raw := range bytes.Lines([]byte(out.String())) {
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		lines = append(lines, l)
	}
	if len(lines) != 4 {
		t.Fatalf("%d lines for 4 requests:\n%s", len(lines), &out)
	}
	for i, l := range lines {
		if len(l.RequestID) != 36 || l.RemoteIP != "127.0.0.1" || l.DurationMS <= 0 {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	if l := lines[0]; l.ClientRequestID != "mine" || l.Status != 200 || !l.Retried || l.Attempts != 2 || l.Account != "acc-b0" ||
		l.KeyID != "k1" || l.BytesIn != len(plainBody) || l.BytesOut == 0 || l.Output == 0 || l.Error != "" || l.Stream {
		t.Errorf("a retried request: %+v", l)
	}
	if l := lines[1]; !l.Stream || l.Status != 200 || l.BytesOut == 0 || l.Operation == "" || l.Model != "gpt-x" {
		t.Errorf("a stream: %+v", l)
	}
	if l := lines[2]; l.Status != 404 || l.Model != "nobody" || l.Error != "model_not_found" {
		t.Errorf("an unknown model: %+v", l)
	}
	if l := lines[3]; l.Status != 401 || l.Error != "invalid_api_key" || l.KeyID != "" {
		t.Errorf("an unknown key: %+v", l)
	}
}
