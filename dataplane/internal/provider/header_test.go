package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln"

func TestHeaders(t *testing.T) {
	for _, tc := range []struct {
		name       string
		channel    Channel
		op         operation.Operation
		stream     bool
		credential Credential
		want       string
		secret     string
	}{
		{"openai", Channel{Provider: openAIs}, operation.Chat, false, Credential{Secret: "sk-1", Organization: "org-1"}, "Authorization: Bearer sk-1\r\nOpenAI-Organization: org-1\r\n", "sk-1"},
		{"openai without a credential", Channel{Provider: openAIs}, operation.Chat, false, Credential{}, "", ""},
		{"a credential that ends its line", Channel{Provider: openAIs}, operation.Chat, false, Credential{Secret: "a\r\nX: y", Organization: "b\nZ: w"}, "", ""},
		{"compatible", preset("deepseek", ""), operation.Messages, false, Credential{Secret: "sk-1"}, "Authorization: Bearer sk-1\r\n", "sk-1"},
		{"anthropic", Channel{Provider: anthropics}, operation.Messages, true, Credential{Secret: "sk-ant-api03-x"}, "x-api-key: sk-ant-api03-x\r\n", "sk-ant-api03-x"},
		{"anthropic with a token", Channel{Provider: anthropics}, operation.Messages, true, Credential{Secret: "sk-ant-oat01-x"}, "Authorization: Bearer sk-ant-oat01-x\r\n", "sk-ant-oat01-x"},
		{"gemini", Channel{Provider: geminis}, operation.Generate, false, Credential{Secret: "AIza"}, "x-goog-api-key: AIza\r\n", "AIza"},
		{"gemini as openai", Channel{Provider: geminis}, operation.Embeddings, false, Credential{Secret: "AIza"}, "Authorization: Bearer AIza\r\n", "AIza"},
		{"azure", Channel{Provider: azures}, operation.Chat, false, Credential{Secret: "0123"}, "api-key: 0123\r\n", "0123"},
		{"azure with entra", Channel{Provider: azures}, operation.Chat, false, Credential{Secret: jwt}, "Authorization: Bearer " + jwt + "\r\n", jwt},
		{"bedrock with a key", Channel{Provider: bedrocks, Region: "r"}, operation.Messages, false, Credential{Secret: "abc"}, "Accept: application/json\r\nAuthorization: Bearer abc\r\n", "abc"},
		{"bedrock streamed", Channel{Provider: bedrocks, Region: "r"}, operation.Converse, true, Credential{Secret: "abc"}, "Accept: application/vnd.amazon.eventstream\r\nAuthorization: Bearer abc\r\n", "abc"},
		{"vertex", Channel{Provider: vertexes, Region: "r"}, operation.Generate, false, Credential{Secret: "ya29.x"}, "Authorization: Bearer ya29.x\r\n", "ya29.x"},
	} {
		a := adapter(t, tc.channel)
		const before = "POST / HTTP/1.1\r\n"
		head, at := a.AppendHeaders([]byte(before), &Request{Op: tc.op, Stream: tc.stream, Model: "m"}, &tc.credential)
		if diff := cmp.Diff(before+tc.want, string(head)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
		if got := string(head[at.Start:at.End]); got != tc.secret {
			t.Errorf("%s: the secret is %q, want %q", tc.name, got, tc.secret)
		}
		for line := range strings.Lines(tc.want) {
			name, _, _ := strings.Cut(line, ":")
			if !a.OwnsHeader([]byte(strings.ToLower(name))) {
				t.Errorf("%s: writes %s and lets the client's pass", tc.name, name)
			}
		}
	}
}

func TestOwnsHeader(t *testing.T) {
	for _, tc := range []struct {
		channel Channel
		name    string
		want    bool
	}{
		{Channel{Provider: anthropics}, "anthropic-version", false},
		{Channel{Provider: anthropics}, "anthropic-beta", false},
		{Channel{Provider: bedrocks, Region: "r"}, "anthropic-beta", true},
		{Channel{Provider: bedrocks, Region: "r"}, "x-amz-date", true},
		{Channel{Provider: bedrocks, Region: "r"}, "x-amzn-trace-id", true},
		{Channel{Provider: bedrocks, Region: "r"}, "x-amz", false},
		{Channel{Provider: vertexes, Region: "r"}, "anthropic-beta", false},
		{Channel{Provider: vertexes, Region: "r"}, "anthropic-version", true},
		{Channel{Provider: openAIs}, "openai-beta", false},
	} {
		if got := adapter(t, tc.channel).OwnsHeader([]byte(tc.name)); got != tc.want {
			t.Errorf("%d, %s: %v", tc.channel.Provider, tc.name, got)
		}
	}
}

func TestOptional(t *testing.T) {
	if d, ok := adapter(t, Channel{Provider: anthropics}).(Defaulter); !ok || d.Defaults()[0] != (Header{"anthropic-version", "2023-06-01"}) {
		t.Error("anthropic has no default version")
	}
	if b, ok := adapter(t, Channel{Provider: bedrocks, Region: "r"}).(BetaInBody); !ok || b.BetaPath() != "anthropic_beta" {
		t.Error("bedrock wants no betas in the body")
	}
	for name, want := range map[string]bool{"deepseek": true, "groq": false, "": false} {
		if s, ok := adapter(t, preset(name, "")).(SystemOnly); !ok || s.SystemOnly() != want {
			t.Errorf("%q: system only is not %v", name, want)
		}
	}
}

func TestRules(t *testing.T) {
	const (
		set    = int32(resourcev1.RuleAction_RULE_ACTION_SET)
		remove = int32(resourcev1.RuleAction_RULE_ACTION_REMOVE)
		rename = int32(resourcev1.RuleAction_RULE_ACTION_RENAME)
	)
	for _, tc := range []struct {
		name    string
		channel Channel
		op      operation.Operation
		want    []Rule
	}{
		{"openai", Channel{Provider: openAIs}, operation.Chat, nil},
		{"mistral", preset("mistral", ""), operation.Chat, []Rule{{rename, "max_completion_tokens", "max_tokens"}, {remove, "stream_options", ""}, {rename, "seed", "random_seed"}}},
		{"mistral's embeddings", preset("mistral", ""), operation.Embeddings, nil},
		{"bedrock", Channel{Provider: bedrocks, Region: "r"}, operation.Messages, []Rule{{remove, "model", ""}, {remove, "stream", ""}, {set, "anthropic_version", `"bedrock-2023-05-31"`}}},
		{"converse", Channel{Provider: bedrocks, Region: "r"}, operation.Converse, nil},
		{"vertex", Channel{Provider: vertexes, Region: "r"}, operation.Messages, []Rule{{remove, "model", ""}, {set, "anthropic_version", `"vertex-2023-10-16"`}}},
		{"vertex tokens", Channel{Provider: vertexes, Region: "r"}, operation.CountTokens, []Rule{{set, "anthropic_version", `"vertex-2023-10-16"`}}},
		{"old azure", Channel{Provider: azures, APIVersion: "2024-06-01"}, operation.Chat, []Rule{{remove, "stream_options", ""}}},
		{"azure", Channel{Provider: azures, APIVersion: "2024-10-21"}, operation.Chat, nil},
		{"azure, not dated", Channel{Provider: azures}, operation.Chat, nil},
	} {
		if diff := cmp.Diff(tc.want, adapter(t, tc.channel).Rules(tc.op)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
	if adapter(t, Channel{Provider: openAIs}).Rules(250) != nil {
		t.Error("rules for no operation")
	}
}

// signature is SigV4 as AWS's documentation describes it ("Create a signed AWS API request"), written down once more.
func signature(t *testing.T, target, host, date, session, body, secret, region string) string {
	t.Helper()
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	// Every service but S3 encodes what the path is already encoded in once more.
	canonical := "POST\n" + strings.ReplaceAll(target, "%", "%25") + "\n\nhost:" + host + "\nx-amz-date:" + date + "\n"
	signed := "host;x-amz-date"
	if session != "" {
		canonical += "x-amz-security-token:" + session + "\n"
		signed += ";x-amz-security-token"
	}
	canonical += "\n" + signed + "\n" + sum(body)
	scope := date[:8] + "/" + region + "/bedrock/aws4_request"
	key := mac(mac(mac(mac([]byte("AWS4"+secret), date[:8]), region), "bedrock"), "aws4_request")
	return hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+sum(canonical)))
}

func TestSignature(t *testing.T) {
	const host = "bedrock-runtime.us-east-1.amazonaws.com"
	a := adapter(t, Channel{Provider: bedrocks, Host: host})
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, session := range []string{"", "FwoGZXIvYXdzEA=="} {
		for _, r := range []Request{
			{Op: operation.Messages, Model: "us.anthropic.claude-sonnet-4-5-20250929-v1:0", Stream: true, Body: []byte(`{"a":1}`), Now: now},
			{Op: operation.Converse, Model: "arn:aws:bedrock:us-east-1:1:inference-profile/x", Body: []byte("{}"), Now: now.In(time.FixedZone("x", 3600))},
		} {
			c := &Credential{Secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", KeyID: "AKIDEXAMPLE", Session: session}
			head, at := a.AppendHeaders(nil, &r, c)
			fields := map[string]string{}
			for line := range strings.Lines(string(head)) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": ")
				fields[name] = value
			}
			target := string(a.AppendTarget(nil, &r))
			want := signature(t, target, host, "20260304T050607Z", session, string(r.Body), c.Secret, "us-east-1")
			_, got, _ := strings.Cut(fields["Authorization"], "Signature=")
			if got != want {
				t.Errorf("%s: signature %q, want %q", target, got, want)
			}
			if !strings.Contains(fields["Authorization"], "Credential=AKIDEXAMPLE/20260304/us-east-1/bedrock/aws4_request") {
				t.Errorf("credential: %s", fields["Authorization"])
			}
			if fields["X-Amz-Security-Token"] != session || string(head[at.Start:at.End]) != session {
				t.Errorf("session: %q", fields)
			}
			if strings.Contains(string(head), c.Secret) {
				t.Error("the secret key is in the head")
			}
		}
	}
}

func TestSignerIsConcurrent(t *testing.T) {
	a := adapter(t, Channel{Provider: bedrocks, Region: "eu-west-1", Host: "h"})
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	var want [2][]byte
	credentials := [2]Credential{{Secret: "a", KeyID: "A"}, {Secret: "b", KeyID: "B"}}
	sign := func(i int) []byte {
		head, _ := a.AppendHeaders(nil, &Request{Op: operation.Converse, Model: "m", Now: now}, &credentials[i])
		return head
	}
	for i := range want {
		want[i] = sign(i)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 200 {
				if got := sign(i % 2); string(got) != string(want[i%2]) {
					t.Errorf("signed as somebody else: %s", got)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestUnsignable(t *testing.T) {
	a := adapter(t, Channel{Provider: bedrocks, Region: "r", Host: "h"})
	head, at := a.AppendHeaders(nil, &Request{Op: operation.Converse, Model: "m"}, &Credential{Secret: "a", KeyID: "A\r\nX: y"})
	if string(head) != "Accept: application/json\r\n" || at.Present() {
		t.Errorf("%q", head)
	}
}
