package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/spf13/cobra"

	"fairway/controlplane/ctl"
	"fairway/pkg/money"
)

// story is what the steps share.
type story struct {
	ctx context.Context
	out io.Writer
	at  place

	key  string
	sent int64
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *story) chapter(title string) { s.say("\n── %s ──", title) }

// fairway runs an admin command as a user would type it, and shows it.
func (s *story) fairway(show bool, env map[string]string, args ...string) (string, error) {
	if show {
		s.say("$ fairway %s", quoted(args))
	}
	var out, errs bytes.Buffer
	all := map[string]string{"FAIRWAY_SERVER": "http://" + s.at.control.Admin, "FAIRWAY_DATA_DIR": s.at.dir}
	for k, v := range env {
		all[k] = v
	}
	root := &cobra.Command{Use: "fairway", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(ctl.Commands(ctl.Options{
		In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(k string) string { return all[k] },
	})...)
	root.SetArgs(args)
	if err := root.ExecuteContext(s.ctx); err != nil {
		return "", fmt.Errorf("fairway %s: %w", args[0], err)
	}
	if show {
		for line := range strings.Lines(out.String()) {
			fmt.Fprint(s.out, "  ", line)
		}
	}
	return out.String(), nil
}

func quoted(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if strings.ContainsAny(a, " *'\"") {
			out[i] = "'" + a + "'"
		}
	}
	return strings.Join(out, " ")
}

func (s *story) configure() error {
	s.chapter("One channel, two accounts, one key")
	s.say("A fake provider serves at %s.\n", s.at.upstream)
	env := map[string]string{"ONE": goodCredential, "TWO": spareCredential}
	for _, args := range [][]string{
		{"channel", "create", "demo", "--provider", "openai", "--base-url", s.at.upstream, "--models", demoModel, "--secret-env", "ONE"},
		{"account", "create", "demo-spare", "--channel", "demo", "--secret-env", "TWO"},
		{"model", "create", demoModel, "--input-price", "0.15", "--cached-input-price", "0.075", "--output-price", "0.60"},
	} {
		if _, err := s.fairway(true, env, args...); err != nil {
			return err
		}
	}
	s.say("$ fairway key create me --debug-headers --wait")
	out, err := s.fairway(false, nil, "key", "create", "me", "--debug-headers", "--wait", "-o", "json")
	if err != nil {
		return err
	}
	var made struct{ Secret string }
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		return fmt.Errorf("read the new key: %w", err)
	}
	s.key = made.Secret
	s.say("  key me created, and the proxy has it\n  secret: %s", s.key)
	return nil
}

// client is the official SDK, pointed at the proxy. decision receives what Fairway decided about each request.
func (s *story) client(decision *http.Header) openai.Client {
	return openai.NewClient(
		option.WithBaseURL("http://"+s.at.data.Proxy+"/v1"),
		option.WithAPIKey(s.key),
		option.WithMaxRetries(0),
		option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
			res, err := next(r)
			if res != nil {
				*decision = res.Header
			}
			return res, err
		}),
	)
}

func ask(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    demoModel,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
	}
}

func (s *story) decided(h http.Header) {
	s.say("  decision: channel %s, account %s, attempts %s, request %s", h.Get("X-Fairway-Channel"), h.Get("X-Fairway-Account"),
		h.Get("X-Fairway-Attempts"), h.Get("X-Request-Id"))
}

func (s *story) plainRequest() error {
	s.chapter("A request, with the official OpenAI SDK")
	var h http.Header
	c := s.client(&h)
	got, err := c.Chat.Completions.New(s.ctx, ask("What is a fairway?"))
	if err != nil {
		return fmt.Errorf("chat completion: %w", err)
	}
	s.sent++
	if len(got.Choices) == 0 || got.Choices[0].Message.Content == "" {
		return errors.New("chat completion: the answer is empty")
	}
	s.say("  answer:   %s", got.Choices[0].Message.Content)
	s.say("  tokens:   %d in, %d out", got.Usage.PromptTokens, got.Usage.CompletionTokens)
	s.decided(h)
	return nil
}

func (s *story) stream() error {
	s.chapter("The same as a stream")
	var h http.Header
	c := s.client(&h)
	stream := c.Chat.Completions.NewStreaming(s.ctx, ask("Count to ten, please."))
	defer func() { _ = stream.Close() }()
	events := 0
	fmt.Fprint(s.out, "  answer:   ")
	for stream.Next() {
		events++
		for _, choice := range stream.Current().Choices {
			fmt.Fprint(s.out, choice.Delta.Content)
		}
	}
	fmt.Fprintln(s.out)
	if err := stream.Err(); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	s.sent++
	if events < 2 {
		return fmt.Errorf("stream: %d events are no stream", events)
	}
	s.say("  events:   %d", events)
	s.decided(h)
	return nil
}

// failover adds an account that is out of quota, with a weight that gives it nearly all of the traffic, and sends requests
// until one meets it.
func (s *story) failover() error {
	s.chapter("Failover: a third account joins, and it is out of quota")
	if _, err := s.fairway(true, map[string]string{"THREE": brokeCredential}, "account", "create", "demo-broke", "--channel", "demo",
		"--secret-env", "THREE", "--weight", "10000", "--wait"); err != nil {
		return err
	}
	var h http.Header
	c := s.client(&h)
	for n := range 50 {
		got, err := c.Chat.Completions.New(s.ctx, ask("Does it still work?"))
		if err != nil {
			return fmt.Errorf("request %d: %w", n+1, err)
		}
		s.sent++
		if attempts := h.Get("X-Fairway-Attempts"); attempts != "1" && attempts != "" {
			s.say("  The provider answered 429 insufficient_quota; the client never saw it.")
			s.say("  answer:   %s", got.Choices[0].Message.Content)
			s.decided(h)
			return s.verdict()
		}
	}
	return errors.New("no request of 50 met the account that is out of quota")
}

// verdict waits until the leader has decided about the account that is out of quota, and shows that.
func (s *story) verdict() error {
	var got struct {
		Health struct {
			State string `json:"state"`
		} `json:"health"`
	}
	err := s.await(&got, func() error {
		if got.Health.State != "disabled" {
			return fmt.Errorf("the account that is out of quota is %q, want disabled", got.Health.State)
		}
		return nil
	}, "account", "get", "demo-broke")
	if err != nil {
		return err
	}
	_, err = s.fairway(true, nil, "account", "list")
	return err
}

// await asks again and again, as JSON into to, until check is content; its last word is the error if that takes too long.
func (s *story) await(to any, check func() error, args ...string) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := s.fairway(false, nil, append(args, "-o", "json")...)
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), to); err != nil {
			return fmt.Errorf("read the answer of %s: %w", quoted(args), err)
		}
		err = check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// limits makes a key with a small limit, and sends requests until the limit refuses one.
func (s *story) limits() error {
	s.chapter("A limit")
	args := []string{"key", "create", "guest", "--rpm", "3", "--budget", "5/day", "--wait"}
	s.say("$ fairway %s", quoted(args))
	out, err := s.fairway(false, nil, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	var made struct{ Secret string }
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		return fmt.Errorf("read the new key: %w", err)
	}
	var h http.Header
	c := s.client(&h)
	// Two minutes' worth at most: one may end meanwhile.
	for range 2*3 + 1 {
		_, err := c.Chat.Completions.New(s.ctx, ask("How many more?"), option.WithAPIKey(made.Secret))
		var refused *openai.Error
		switch {
		case err == nil:
			s.sent++
			s.say("  served:   %s of %s requests are left in this minute", h.Get("X-Ratelimit-Remaining-Requests"), h.Get("X-Ratelimit-Limit-Requests"))
		case errors.As(err, &refused) && refused.StatusCode == http.StatusTooManyRequests:
			s.say("  refused:  %s (come back in %s s)", refused.Message, h.Get("Retry-After"))
			_, err := s.fairway(true, nil, "limits", "key", "guest")
			return err
		default:
			return fmt.Errorf("request of guest: %w", err)
		}
	}
	return errors.New("a key with 3 requests a minute was served more than twice that")
}

// books waits until the usage of every request has arrived, and compares it with what was sent and what the provider
// counted.
func (s *story) books() error {
	s.chapter("The books")
	args := []string{"usage", "query", "--by", "key,model,account"}
	var got struct {
		Total struct {
			Requests     int64 `json:"requests"`
			Errors       int64 `json:"errors"`
			InputTokens  int64 `json:"input_tokens"`
			OutputTokens int64 `json:"output_tokens"`
			Cost         int64 `json:"cost_nano_usd"`
		}
	}
	err := s.await(&got, func() error {
		if got.Total.Requests < s.sent {
			return fmt.Errorf("%d of %d requests are on the books", got.Total.Requests, s.sent)
		}
		return nil
	}, args...)
	if err != nil {
		return err
	}
	if _, err := s.fairway(true, nil, args...); err != nil {
		return err
	}
	counted := s.at.provider.Books().Total
	s.say("  The provider counted %d requests, %d tokens in, %d out; the cost is %s.",
		counted.Finished, counted.Input, counted.Output, money.NanoUSD(got.Total.Cost))
	t := got.Total
	if t.Requests != s.sent || t.Errors != 0 || counted.Finished != s.sent || t.InputTokens != counted.Input || t.OutputTokens != counted.Output || t.Cost <= 0 {
		return fmt.Errorf("the books (%+v) are not what was sent (%d requests) and counted (%+v)", t, s.sent, counted)
	}
	return nil
}

func (s *story) explain() error {
	s.chapter("Why")
	if _, err := s.fairway(true, nil, "explain", "--key", "me", "--model", demoModel); err != nil {
		return err
	}
	_, err := s.fairway(true, nil, "status")
	return err
}

func (s *story) farewell() {
	s.chapter("It stays up: try it")
	s.say(`
  proxy    http://%s/v1
  admin    http://%s
  metrics  http://%s/metrics (proxy), http://%s/metrics (control plane)

  curl -sS http://%s/v1/chat/completions -H 'Authorization: Bearer %s' \
      -H 'Content-Type: application/json' -d '{"model":"%s","messages":[{"role":"user","content":"Hello"}]}'

  export FAIRWAY_SERVER=http://%s FAIRWAY_DATA_DIR=%s
  fairway channel list
  fairway usage query --by account

  ctrl-c ends it and removes everything.`,
		s.at.data.Proxy, s.at.control.Admin, s.at.data.Ops, s.at.control.Ops, s.at.data.Proxy, s.key, demoModel, s.at.control.Admin, s.at.dir)
}
