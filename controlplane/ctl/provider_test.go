package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// given reads flags into a fresh resource of the kind.
func given(t *testing.T, k kind, args ...string) (resource, []string, error) {
	t.Helper()
	fs := pflag.NewFlagSet(k.name, pflag.ContinueOnError)
	read := k.fields(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	r := k.fresh(&resourcev1.Metadata{})
	paths, err := read(r, fs)
	return r, paths, err
}

func TestProviderFlags(t *testing.T) {
	prompt := filepath.Join(t.TempDir(), "prompt")
	if err := os.WriteFile(prompt, []byte("be brief\nand kind\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		set, remove, byDefault, rename = resourcev1.RuleAction_RULE_ACTION_SET, resourcev1.RuleAction_RULE_ACTION_REMOVE,
			resourcev1.RuleAction_RULE_ACTION_DEFAULT, resourcev1.RuleAction_RULE_ACTION_RENAME
	)
	md := &resourcev1.Metadata{}
	tests := []struct {
		name  string
		kind  kind
		args  []string
		want  resource
		paths string
	}{
		{"preset", channels(), []string{"--provider", "deepseek"},
			&resourcev1.Channel{Metadata: md, Provider: resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE, Preset: "deepseek"}, "provider,preset"},
		{"provider", channels(), []string{"--provider", "azure-openai", "--api-version", "2024-10-21", "--base-url", "https://x.openai.azure.com"},
			&resourcev1.Channel{Metadata: md, Provider: resourcev1.Provider_PROVIDER_AZURE_OPENAI, ApiVersion: "2024-10-21", BaseUrl: "https://x.openai.azure.com"},
			"provider,preset,api_version,base_url"},
		{"place", channels(), []string{"--region", "global", "--project", "p-1", "--test-model", "m"},
			&resourcev1.Channel{Metadata: md, Region: "global", Project: "p-1", TestModel: "m"}, "region,project,test_model"},
		{"mapping", channels(), []string{"--model-mapping", "a=b,b=c"},
			&resourcev1.Channel{Metadata: md, ModelMapping: map[string]string{"a": "b", "b": "c"}}, "model_mapping"},
		{"mapping by its name of before", channels(), []string{"--model-map", "a=b"},
			&resourcev1.Channel{Metadata: md, ModelMapping: map[string]string{"a": "b"}}, "model_mapping"},
		{"rules", channels(), []string{
			"--parameter", `set:a.b={"c":[1,2],"d":"e=f"}`, "--parameter", "default:top_k=40", "--parameter", "remove:logprobs", "--parameter", "rename:max_tokens=limit",
			"--header-rule", "set:X-Team=a, b=c", "--header-rule", "remove:X-Trace",
		}, &resourcev1.Channel{Metadata: md, Parameters: []*resourcev1.ParameterRule{
			{Action: set, Path: "a.b", Value: `{"c":[1,2],"d":"e=f"}`}, {Action: byDefault, Path: "top_k", Value: "40"},
			{Action: remove, Path: "logprobs"}, {Action: rename, Path: "max_tokens", Value: "limit"},
		}, HeaderRules: []*resourcev1.HeaderRule{{Action: set, Name: "X-Team", Value: "a, b=c"}, {Action: remove, Name: "X-Trace"}}},
			"header_rules,parameters"},
		{"no rules any more", channels(), []string{"--parameter", "", "--header-rule", ""}, &resourcev1.Channel{Metadata: md}, "header_rules,parameters"},
		{"prompt", channels(), []string{"--system-prompt", "x"}, &resourcev1.Channel{Metadata: md, SystemPrompt: "x"}, "system_prompt"},
		{"prompt file", channels(), []string{"--system-prompt-file", prompt}, &resourcev1.Channel{Metadata: md, SystemPrompt: "be brief\nand kind"}, "system_prompt"},
		{"statuses", channels(), []string{"--status-mapping", "529=503,418=400"},
			&resourcev1.Channel{Metadata: md, StatusMapping: map[uint32]uint32{529: 503, 418: 400}}, "status_mapping"},
		{"always a stream", channels(), []string{"--stream-format", "always"},
			&resourcev1.Channel{Metadata: md, StreamFormat: resourcev1.StreamFormat_STREAM_FORMAT_ALWAYS}, "stream_format"},
		{"as asked", channels(), []string{"--stream-format", "as-asked"}, &resourcev1.Channel{Metadata: md}, "stream_format"},
		{"exchange", accounts(), []string{"--exchange", "entra", "--tenant-id", "t", "--client-id", "c", "--scope", "s"},
			&resourcev1.Account{Metadata: md, Exchange: &resourcev1.Exchange{
				Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_ENTRA_CLIENT_SECRET, TenantId: "t", ClientId: "c", Scope: "s",
			}}, "exchange.method,exchange.tenant_id,exchange.client_id,exchange.scope"},
		{"a role", accounts(), []string{"--access-key-id", "AKIA1", "--exchange", "aws-role", "--role", "arn:aws:iam::123456789012:role/x"},
			&resourcev1.Account{Metadata: md, AccessKeyId: "AKIA1", Exchange: &resourcev1.Exchange{
				Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE, Role: "arn:aws:iam::123456789012:role/x",
			}}, "access_key_id,exchange.method,exchange.role"},
		{"one field of an exchange", accounts(), []string{"--token-url", "https://x.example/token"},
			&resourcev1.Account{Metadata: md, Exchange: &resourcev1.Exchange{TokenUrl: "https://x.example/token"}}, "exchange.token_url"},
		{"no exchange any more", accounts(), []string{"--exchange", "none"}, &resourcev1.Account{Metadata: md}, "exchange"},
		{"strict group", groups(), []string{"--strict"}, &resourcev1.Group{Metadata: md, Strict: true}, "strict"},
		{"lenient key", keys(), []string{"--strict=false"}, &resourcev1.Key{Metadata: md}, "strict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, paths, err := given(t, tt.kind, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, protocmp.Transform()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.paths, strings.Join(paths, ",")); d != "" {
				t.Errorf("paths (-want +got):\n%s", d)
			}
		})
	}
}

func TestProviderFlagsRefused(t *testing.T) {
	tests := []struct {
		name string
		kind kind
		args []string
		want string // part of the error
	}{
		{"unknown provider", channels(), []string{"--provider", "opnai"}, `"opnai" is not one of anthropic, azure-openai, bedrock`},
		{"no action", channels(), []string{"--parameter", "temperature=1"}, "want an action first"},
		{"unknown action", channels(), []string{"--parameter", "put:temperature=1"}, "is not one of set, remove, default, rename"},
		{"text without quotes", channels(), []string{"--parameter", "set:effort=low"}, `'set:effort="low"'`},
		{"set without a value", channels(), []string{"--parameter", "set:effort"}, "want set:effort=VALUE"},
		{"remove with a value", channels(), []string{"--parameter", "remove:effort=1"}, "takes no value"},
		{"no name", channels(), []string{"--header-rule", "remove:"}, "names nothing"},
		{"header renamed", channels(), []string{"--header-rule", "rename:A=B"}, "headers are not renamed"},
		{"status", channels(), []string{"--status-mapping", "200=503"}, "between 400 and 599"},
		{"status text", channels(), []string{"--status-mapping", "529=x"}, "between 400 and 599"},
		{"format", channels(), []string{"--stream-format", "sometimes"}, "is not one of as-asked, always, never"},
		{"two prompts", channels(), []string{"--system-prompt", "a", "--system-prompt-file", "b"}, "not both"},
		{"no prompt file", channels(), []string{"--system-prompt-file", "/nowhere/prompt"}, "no such file"},
		{"method", accounts(), []string{"--exchange", "saml"}, "is not one of aws-role, entra, google-service-account, oauth-refresh, none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := given(t, tt.kind, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// What get writes, apply takes for the same.
func TestNewFieldsApplyToThemselves(t *testing.T) {
	channel, _, err := given(t, channels(), "--provider", "vertex", "--region", "global", "--models", "m", "--parameter", `set:a="b"`,
		"--header-rule", "default:X-A=b", "--status-mapping", "529=503", "--stream-format", "never", "--system-prompt", "x: y\n- z")
	if err != nil {
		t.Fatal(err)
	}
	account, _, err := given(t, accounts(), "--exchange", "google-service-account", "--scope", "s")
	if err != nil {
		t.Fatal(err)
	}
	for k, r := range map[string]resource{"channel": channel, "account": account} {
		r.GetMetadata().Name = "n"
		all := channels()
		if k == "account" {
			all = accounts()
		}
		raw, err := encodeYAML(declare(all, r))
		if err != nil {
			t.Fatal(err)
		}
		docs, err := testSession(nil).parseDocuments(raw)
		if err != nil {
			t.Fatalf("%s\n%v", raw, err)
		}
		if paths, diff := docs[0].compare(r); len(paths) > 0 {
			t.Errorf("%s: apply would change %v: %v", k, paths, diff)
		}
		if d := cmp.Diff(r, docs[0].r, protocmp.Transform()); d != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", k, d, raw)
		}
	}
}

func TestNames(t *testing.T) {
	deepseek := &resourcev1.Channel{Provider: resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE, Preset: "deepseek"}
	if got := providerName(deepseek); got != "deepseek" {
		t.Errorf("provider of a preset is shown as %q", got)
	}
	if got := exchangeName(nil); got != "-" {
		t.Errorf("no exchange is shown as %q", got)
	}
	for name, m := range exchangeMethods() {
		if got := exchangeName(&resourcev1.Exchange{Method: m}); got != name {
			t.Errorf("%s is shown as %q", name, got)
		}
	}
	if len(exchangeMethods()) != len(resourcev1.ExchangeMethod_name)-1 {
		t.Error("a method has no name on the command line")
	}
}

// The commands have the flags, and what can be completed is.
func TestProviderCommands(t *testing.T) {
	root := &cobra.Command{Use: "fairway"}
	root.AddCommand(Commands(Options{Getenv: func(string) string { return "" }})...)
	for line, want := range map[string]string{
		"channel create --provider ":      "deepseek",
		"channel update c --provider ":    "azure-openai",
		"channel create --stream-format ": "never",
		"channel create --exchange ":      "google-service-account",
		"account create --exchange ":      "aws-role",
		"account update a --exchange ":    "none",
	} {
		var out strings.Builder
		root.SetOut(&out)
		args := strings.Split(line, " ")
		root.SetArgs(append([]string{cobra.ShellCompNoDescRequestCmd}, args...))
		if err := root.Execute(); err != nil || !strings.Contains("\n"+out.String(), "\n"+want+"\n") {
			t.Errorf("%q completes to %q, %v; want %s among it", line, out.String(), err, want)
		}
	}
	test, _, err := root.Find([]string{"channel", "test"})
	if err != nil || test.Flags().Lookup("account") == nil || test.Flags().Lookup("model") == nil {
		t.Errorf("channel test: %v, %v", test, err)
	}
}

func TestTestText(t *testing.T) {
	var out strings.Builder
	testText(&out, &adminv1.TestChannelResponse{UpstreamModel: "m", Results: []*adminv1.AccountTest{
		{Account: "a", Ok: true, HttpStatus: 200, Latency: durationpb.New(1234567890)},
		{Account: "b", Cause: adminv1.AccountTest_CAUSE_CREDENTIAL, Detail: "the key is refused", HttpStatus: 401},
		{Account: "c", Cause: adminv1.AccountTest_CAUSE_URL, Detail: "no such host"},
	}})
	for _, want := range []string{"asked for m", "1.235s", "credential", "the key is refused", "401", "url"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
