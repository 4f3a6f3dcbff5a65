package ctl

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestPlainFormRoundTrip(t *testing.T) {
	channel := &resourcev1.Channel{
		Metadata:      &resourcev1.Metadata{Name: "c", Labels: map[string]string{"team": "x"}, CreateTime: timestamppb.New(time.Unix(1e9, 0))},
		Provider:      resourcev1.Provider_PROVIDER_OPENAI,
		BaseUrl:       "https://api.openai.com",
		Models:        []string{"a", "b"},
		ModelMapping:  map[string]string{"a": "x"},
		Priority:      -3,
		Weight:        50,
		PriceRatioPpm: 1_250_000,
		Timeouts:      &resourcev1.Timeouts{Idle: durationpb.New(90 * time.Second)},
		Parameters: []*resourcev1.ParameterRule{
			{Action: resourcev1.RuleAction_RULE_ACTION_SET, Path: "a.b", Value: `{"c":"d=e"}`},
			{Action: resourcev1.RuleAction_RULE_ACTION_REMOVE, Path: "x"},
		},
		HeaderRules:   []*resourcev1.HeaderRule{{Action: resourcev1.RuleAction_RULE_ACTION_DEFAULT, Name: "X-A", Value: "b"}},
		StatusMapping: map[uint32]uint32{529: 503},
		StreamFormat:  resourcev1.StreamFormat_STREAM_FORMAT_ALWAYS,
		SystemPrompt:  "be brief\nand kind",
	}
	account := &resourcev1.Account{Metadata: &resourcev1.Metadata{Name: "a"}, AccessKeyId: "AKIA", Exchange: &resourcev1.Exchange{
		Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE, Role: "arn:aws:iam::123456789012:role/x",
	}}
	model := &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: "m"},
		Prices: &resourcev1.Prices{Input: 1_000_000_000_000_000, CachedInput: proto.Int64(0), Output: 3}}
	key := &resourcev1.Key{Metadata: &resourcev1.Metadata{Name: "k"}, ExpireAfterFirstUse: durationpb.New(90 * time.Second), Limits: &resourcev1.Limits{
		Rpm: 1, Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_OPEN, Budgets: []*resourcev1.Budget{budget(1e9, rolling, 5), budget(1e-9, total, 0)}}}
	notifier := &resourcev1.Notifier{Metadata: &resourcev1.Metadata{Name: "n"}, Events: []resourcev1.NotificationEvent{1, 4}, BudgetPercents: []uint32{80},
		Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{Address: "m:25", To: []string{"a@b.c"}, Plain: true}}}
	for _, m := range []resource{channel, account, model, key, notifier} {
		raw, err := json.Marshal(toPlain(m, false))
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatal(err)
		}
		got := m.ProtoReflect().New().Interface()
		if err := fromPlain(plain, got); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if diff := cmp.Diff(proto.Message(m), got, protocmp.Transform()); diff != "" {
			t.Errorf("round trip (-want +got):\n%s", diff)
		}
	}
}

func TestPlainFormWords(t *testing.T) {
	got := toPlain(&adminv1.UsageCounters{Requests: 12, CostNanoUsd: 5}, true)
	want := map[string]any{
		"requests": int64(12), "errors": int64(0), "input_tokens": int64(0), "cached_tokens": int64(0), "output_tokens": int64(0),
		"cost_nano_usd": int64(5), "estimated_requests": int64(0), "unpriced_requests": int64(0),
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	channel := toPlain(&resourcev1.Channel{Provider: resourcev1.Provider_PROVIDER_OPENAI}, false)
	if diff := cmp.Diff(any(map[string]any{"provider": "openai"}), channel); diff != "" {
		t.Errorf("enum (-want +got):\n%s", diff)
	}
}

func TestFromPlainErrors(t *testing.T) {
	tests := []struct {
		name  string
		plain map[string]any
		want  string
	}{
		{"unknown field", map[string]any{"wieght": 1}, `unknown field "wieght" (there are api_version, base_url, disabled, groups, header_rules, ` +
			`headers, metadata, model_mapping, models, parameters, preset, price_ratio_ppm, priority, project, provider, region, status_mapping, ` +
			`stream_format, system_prompt, test_model, timeouts, weight)`},
		{"in a list", map[string]any{"parameters": []any{map[string]any{"action": "put"}}},
			`parameters[0]: action: "put" is not one of set, remove, default, rename`},
		{"a list of something else", map[string]any{"header_rules": []any{"x"}}, `header_rules[0]: want an object`},
		{"unknown enum", map[string]any{"provider": "opnai"}, `provider: "opnai" is not one of openai, anthropic, gemini, azure_openai, bedrock, vertex, openai_compatible`},
		{"enum of another type", map[string]any{"provider": 3}, `provider: want one of openai, anthropic, gemini, azure_openai, bedrock, vertex, openai_compatible`},
		{"nested", map[string]any{"timeouts": map[string]any{"idel": "3s"}}, `timeouts: unknown field "idel" (there are dial, first_byte, idle, tls, total)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := fromPlain(tt.plain, &resourcev1.Channel{})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}
