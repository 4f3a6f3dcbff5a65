package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// What rests, or was taken out, is out, with the reason and the end; and whether something is tried all the same.
func TestExplainHealth(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d)) }
	const lastTry = "all that could serve rest; the least bad of "
	rests := &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Since: at(-time.Hour), Until: at(time.Minute)}
	tests := []struct {
		name    string
		verdict *resourcev1.AccountHealth  // on account a
		soft    *adminv1.AccountHealthView // of account a, seen a second ago
		account func(*resourcev1.Account)  // changes a
		group   *resourcev1.Group          // nil = as it is
		second  bool                       // there is an account b that serves
		status  int32                      // of the answer
		says    string                     // how it begins
		want    []string                   // reasons of a; empty = usable
	}{
		{name: "closed", verdict: &resourcev1.AccountHealth{State: closed, Reason: "recovered", Since: at(-time.Hour)}, says: "served by 1 account"},
		{name: "rests", verdict: rests, second: true, says: "served by 1 account", want: []string{"the account rests until 2026-03-01T12:01:00Z: rate_limit"}},
		{name: "all rest", verdict: rests, says: lastTry + "1 account ", want: []string{"the account rests until 2026-03-01T12:01:00Z: rate_limit"}},
		{
			name: "all rest, and none is tried then", verdict: rests, group: &resourcev1.Group{NoPanic: true}, status: http.StatusServiceUnavailable,
			says: `all that could serve model "m-2024-08-06" rest, and group "default" tries none that rests`,
			want: []string{"the account rests until 2026-03-01T12:01:00Z: rate_limit"},
		},
		{
			name: "has rested", verdict: &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Until: at(0)}, second: true, says: "served by 1 account",
			want: []string{"the account has rested, and is tried with one request at a time: rate_limit"},
		},
		{
			name: "half open", verdict: &resourcev1.AccountHealth{State: halfOpen}, says: lastTry,
			want: []string{"the account has rested, and is tried with one request at a time"},
		},
		{
			name: "taken out", verdict: &resourcev1.AccountHealth{State: out, Reason: "credential"}, status: http.StatusServiceUnavailable,
			says: "nothing in group", want: []string{"the account was taken out until somebody acts: credential"},
		},
		{
			name: "taken out for a month", verdict: &resourcev1.AccountHealth{State: out, Reason: "spend_limit", Until: at(24 * time.Hour)},
			status: http.StatusServiceUnavailable, says: "nothing in group",
			want: []string{"the account was taken out until 2026-03-02T12:00:00Z or until somebody acts: spend_limit"},
		},
		{
			name: "disabled, and out anyway", verdict: &resourcev1.AccountHealth{State: out, Reason: "credential"},
			account: func(a *resourcev1.Account) { a.Disabled = true }, status: http.StatusServiceUnavailable, says: "nothing in group",
			want: []string{"the account is disabled"},
		},
		{
			name: "the leader's own rest", soft: &adminv1.AccountHealthView{Health: rests}, says: lastTry,
			want: []string{"the account rests until 2026-03-01T12:01:00Z: rate_limit"},
		},
		{
			name: "a rest of its models", second: true, says: "served by 1 account",
			soft: &adminv1.AccountHealthView{RestingFamilies: map[string]*durationpb.Duration{
				"m": durationpb.New(31 * time.Second), "m-2024": durationpb.New(time.Second), "other": durationpb.New(time.Hour),
			}},
			want: []string{"the account rests until 2026-03-01T12:00:30Z for models like m"},
		},
		{
			name: "unschedulable", account: func(a *resourcev1.Account) { a.Unschedulable = true }, status: http.StatusServiceUnavailable,
			says: "nothing in group", want: []string{"the account is unschedulable: it serves only what no other account can"},
		},
		{
			name: "unschedulable and resting is not tried", verdict: rests, account: func(a *resourcev1.Account) { a.Unschedulable = true },
			status: http.StatusServiceUnavailable, says: "nothing in group",
			want: []string{"the account is unschedulable: it serves only what no other account can", "the account rests until 2026-03-01T12:01:00Z: rate_limit"},
		},
		{name: "two, balanced", second: true, says: "served by 2 accounts of priority 0; the strategy balanced decides among them"},
		{
			name: "two, at the least cost", second: true, group: &resourcev1.Group{Strategy: resourcev1.Strategy_STRATEGY_LOWEST_COST},
			says: "served by 2 accounts of priority 0; the strategy lowest_cost decides among them",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := account("a", "c", tt.account)
			a.Metadata.Id = "a1"
			rs := []model.Resource{channel("c", "m-2024-08-06", nil), a}
			if tt.verdict != nil {
				rs = append(rs, &resourcev1.Verdict{Metadata: &resourcev1.Metadata{Id: "a1", Name: "a1"}, Health: tt.verdict})
			}
			if tt.second {
				rs = append(rs, account("b", "c", nil))
			}
			if tt.group != nil {
				tt.group.Metadata = named("default")
				rs = append(rs, tt.group)
			}
			var v *view
			if tt.soft != nil {
				tt.soft.Id = "a1"
				v = newView(&adminv1.FleetHealth{Time: at(-time.Second), Accounts: []*adminv1.AccountHealthView{tt.soft}}, now)
			}
			got := explain(with(rs...), &resourcev1.Key{Metadata: named("k")}, "m-2024-08-06", now, v)
			if got.GetHttpStatus() != tt.status || got.GetServed() != (tt.status == 0) || !strings.HasPrefix(got.GetVerdict(), tt.says) {
				t.Errorf("status %d, served %v, %q; want %d and %q", got.GetHttpStatus(), got.GetServed(), got.GetVerdict(), tt.status, tt.says)
			}
			of := got.GetCandidates()[0]
			if d := cmp.Diff(tt.want, of.GetReasons()); d != "" {
				t.Errorf("reasons (-want +got):\n%s", d)
			}
			if of.GetUsable() != (len(tt.want) == 0) || (of.GetSharePpm() > 0) != of.GetUsable() {
				t.Errorf("usable %v with a share of %d", of.GetUsable(), of.GetSharePpm())
			}
		})
	}
}

// Under weighted_random alone shares are the whole truth; what the settings say holds for groups that say nothing.
func TestExplainStrategy(t *testing.T) {
	settings := &resourcev1.Settings{Metadata: named(model.SettingsName), DefaultStrategy: resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM}
	rs := []model.Resource{settings, channel("c", "m", nil), account("a", "c", nil), account("b", "c", nil)}
	ask := func(rs ...model.Resource) string {
		return explain(with(rs...), &resourcev1.Key{Metadata: named("k")}, "m", time.Time{}, nil).GetVerdict()
	}
	if got := ask(rs...); got != "served by 2 accounts of priority 0" {
		t.Errorf("by the settings: %q", got)
	}
	least := &resourcev1.Group{Metadata: named("default"), Strategy: resourcev1.Strategy_STRATEGY_LEAST_USED}
	if got := ask(append(rs, least)...); !strings.Contains(got, "the strategy least_used decides") {
		t.Errorf("by the group: %q", got)
	}
}

func TestInFamily(t *testing.T) {
	for _, tt := range []struct {
		name, family string
		want         bool
	}{
		{"gpt-4o", "gpt-4o", true},
		{"gpt-4o-2024-08-06", "gpt-4o", true},
		{"gpt-4o-mini", "gpt-4o", false},
		{"gpt-4o-mini-2024-07-18", "gpt-4o", false},
		{"gpt-4.1", "gpt-4", false},
		{"gpt-41", "gpt-4", false},
		{"claude-3-5-sonnet-20241022", "claude-3-5-sonnet", true},
		{"claude-3-5-sonnet@20241022", "claude-3-5-sonnet", true},
		{"claude-3-5-sonnet-latest", "claude-3-5-sonnet", true},
		{"anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet", true},
		{"gemini-2.0-flash-001", "gemini-2.0-flash", true},
		{"gemini-2.0-flash-lite", "gemini-2.0-flash", false},
		{"other", "gpt", false},
		{"", "gpt", false},
	} {
		if got := inFamily(tt.name, tt.family); got != tt.want {
			t.Errorf("%q of %q: %v, want %v", tt.name, tt.family, got, tt.want)
		}
	}
}
