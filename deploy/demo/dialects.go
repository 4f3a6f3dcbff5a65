package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// dialects shows that client and provider need not speak the same: the OpenAI SDK asks a model behind Anthropic's API, and a
// client of Anthropic's asks a model behind OpenAI's.
func (s *story) dialects() error {
	s.chapter("Other dialects: any client, any provider")
	if _, err := s.fairway(true, map[string]string{"ONE": goodCredential}, "channel", "create", "claude", "--provider", "anthropic",
		"--base-url", s.at.upstream, "--models", claudeModel, "--secret-env", "ONE", "--wait"); err != nil {
		return err
	}
	var h http.Header
	c := s.client(&h)
	q := ask("What is a fairway?")
	q.Model = claudeModel
	got, err := c.Chat.Completions.New(s.ctx, q)
	if err != nil {
		return fmt.Errorf("chat completion by way of Anthropic's API: %w", err)
	}
	s.sent++
	if len(got.Choices) == 0 || got.Choices[0].Message.Content == "" {
		return errors.New("chat completion by way of Anthropic's API: the answer is empty")
	}
	s.say("  The OpenAI SDK, and Anthropic's API upstream:")
	s.say("  answer:   %s", got.Choices[0].Message.Content)
	s.decided(h)

	text, h, err := s.message()
	if err != nil {
		return fmt.Errorf("message by way of OpenAI's API: %w", err)
	}
	s.sent++
	s.say("  POST /v1/messages, and OpenAI's API upstream:")
	s.say("  answer:   %s", text)
	s.decided(h)
	return nil
}

// message asks as a client of Anthropic's API does.
func (s *story) message() (text string, h http.Header, err error) {
	body, err := json.Marshal(map[string]any{
		"model": demoModel, "max_tokens": 6, "messages": []map[string]string{{"role": "user", "content": "What is a fairway?"}},
	})
	if err != nil {
		return "", nil, err
	}
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, "http://"+s.at.data.Proxy+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return "", nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Api-Key", s.key)
	r.Header.Set("Anthropic-Version", "2023-06-01")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", nil, err
	}
	var got struct {
		Content []struct{ Text string }
	}
	if err := json.Unmarshal(answer, &got); err != nil || res.StatusCode != http.StatusOK || len(got.Content) == 0 {
		return "", nil, fmt.Errorf("status %d: %s", res.StatusCode, answer)
	}
	return got.Content[0].Text, res.Header, nil
}
