package admin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func channel(name, models string, edit func(*resourcev1.Channel)) *resourcev1.Channel {
	c := &resourcev1.Channel{Metadata: named(name), Models: strings.Split(models, ","), Groups: []string{"default"}}
	if edit != nil {
		edit(c)
	}
	return c
}

func account(name, channel string, edit func(*resourcev1.Account)) *resourcev1.Account {
	a := &resourcev1.Account{Metadata: named(name), Channel: channel}
	if edit != nil {
		edit(a)
	}
	return a
}

func TestExplain(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	out := func(channel, account string, priority int32, reasons ...string) *adminv1.Candidate {
		return &adminv1.Candidate{Channel: channel, Account: account, Priority: priority, UpstreamModel: "m", Reasons: reasons}
	}
	in := func(channel, account string, priority int32, share int64) *adminv1.Candidate {
		return &adminv1.Candidate{Channel: channel, Account: account, Priority: priority, UpstreamModel: "m", Usable: true, SharePpm: share}
	}
	one := []model.Resource{channel("c", "m", nil), account("a", "c", nil)}
	tests := []struct {
		name    string
		key     *resourcev1.Key
		rs      []model.Resource
		status  int32
		verdict string // part of it
		want    []*adminv1.Candidate
	}{
		{
			name: "served", rs: one, verdict: "served by 1 account of priority 0",
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "disabled key", key: &resourcev1.Key{Disabled: true}, rs: one, status: 401, verdict: "disabled",
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "expired this very millisecond", key: &resourcev1.Key{ExpireTime: timestamppb.New(now)}, rs: one,
			status: 401, verdict: "expired at 2023-11-14T22:13:20Z", want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "expires a millisecond later", key: &resourcev1.Key{ExpireTime: timestamppb.New(now.Add(time.Millisecond))}, rs: one,
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "expired in 1970", key: &resourcev1.Key{ExpireTime: &timestamppb.Timestamp{}}, rs: one, status: 401,
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "model not allowed", key: &resourcev1.Key{Models: []string{"n", "mm*"}}, rs: one, status: 403, verdict: `may not use model "m"`,
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "model allowed by name", key: &resourcev1.Key{Models: []string{"n", "m"}}, rs: one,
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "model allowed by prefix", key: &resourcev1.Key{Models: []string{"m*"}}, rs: one,
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "model denied, though it is allowed", key: &resourcev1.Key{Models: []string{"m"}, DeniedModels: []string{"x", "m*"}}, rs: one,
			status: 403, verdict: `may not use model "m"`, want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "another model denied", key: &resourcev1.Key{DeniedModels: []string{"mm", "x*"}}, rs: one,
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "disabled tenant", key: &resourcev1.Key{Tenant: "t"}, rs: append([]model.Resource{
				&resourcev1.Tenant{Metadata: named("t"), Disabled: true},
			}, one...), status: 401, verdict: `tenant "t" is disabled`, want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "disabled parent", key: &resourcev1.Key{Tenant: "t"}, rs: append([]model.Resource{
				&resourcev1.Tenant{Metadata: named("t"), Parent: "p"}, &resourcev1.Tenant{Metadata: named("p"), Disabled: true},
			}, one...), status: 401, verdict: `tenant "p" is disabled`, want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "a tenant that is not there", key: &resourcev1.Key{Tenant: "t"}, rs: one, want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "bound to one account", key: &resourcev1.Key{Accounts: []string{"a"}}, verdict: "served by 1 account",
			rs: append([]model.Resource{account("b", "c", nil)}, one...),
			want: []*adminv1.Candidate{
				in("c", "a", 0, million), out("c", "b", 0, "the key is bound to other accounts"),
			},
		},
		{
			name: "a rule comes before what is there", key: &resourcev1.Key{Models: []string{"n"}}, status: 403,
		},
		{
			name: "unknown model", rs: []model.Resource{channel("c", "other", nil), account("a", "c", nil)}, status: 404, verdict: "no channel lists",
		},
		{
			name: "another group", rs: []model.Resource{
				channel("c", "m", func(c *resourcev1.Channel) { c.Groups = []string{"vip"} }), account("a", "c", nil),
			},
			status: 404, verdict: `no channel of group "default" lists`,
			want: []*adminv1.Candidate{out("c", "a", 0, `the channel is not in group "default"`)},
		},
		{
			name: "the key's own group", key: &resourcev1.Key{Group: "vip"}, rs: []model.Resource{
				channel("c", "m", func(c *resourcev1.Channel) { c.Groups = []string{"default", "vip"} }), account("a", "c", nil),
			},
			want: []*adminv1.Candidate{in("c", "a", 0, million)},
		},
		{
			name: "disabled channel", rs: []model.Resource{
				channel("c", "m", func(c *resourcev1.Channel) { c.Disabled = true }), account("a", "c", nil),
			},
			status: 503, verdict: "nothing in group", want: []*adminv1.Candidate{out("c", "a", 0, "the channel is disabled")},
		},
		{
			name: "disabled account", rs: []model.Resource{
				channel("c", "m", nil), account("a", "c", func(a *resourcev1.Account) { a.Disabled = true }),
			},
			status: 503, want: []*adminv1.Candidate{out("c", "a", 0, "the account is disabled")},
		},
		{
			name: "no accounts", rs: []model.Resource{channel("c", "m", nil)}, status: 503,
			want: []*adminv1.Candidate{out("c", "", 0, "the channel has no accounts")},
		},
		{
			name: "every reason at once", rs: []model.Resource{
				channel("c", "m", func(c *resourcev1.Channel) { c.Disabled, c.Groups = true, []string{"vip"} }),
				account("a", "c", func(a *resourcev1.Account) { a.Disabled = true }),
			},
			status: 404,
			want: []*adminv1.Candidate{out("c", "a", 0, `the channel is not in group "default"`, "the channel is disabled",
				"the account is disabled")},
		},
		{
			name: "tiers by priority, then names; lower tiers have shares of their own", verdict: "served by 2 accounts of priority 10",
			rs: []model.Resource{
				channel("low", "m", func(c *resourcev1.Channel) { c.Priority = -5 }), account("z", "low", nil),
				channel("b", "m", func(c *resourcev1.Channel) { c.Priority = 10 }), account("b1", "b", nil),
				channel("a", "m", func(c *resourcev1.Channel) { c.Priority = 10; c.Weight = 300 }), account("a1", "a", nil),
			},
			want: []*adminv1.Candidate{in("a", "a1", 10, 750_000), in("b", "b1", 10, 250_000), in("low", "z", -5, million)},
		},
		{
			name: "the best tier is out", verdict: "served by 1 account of priority 1", rs: []model.Resource{
				channel("top", "m", func(c *resourcev1.Channel) { c.Priority = 9; c.Disabled = true }), account("t", "top", nil),
				channel("low", "m", func(c *resourcev1.Channel) { c.Priority = 1 }), account("l", "low", nil),
			},
			want: []*adminv1.Candidate{out("top", "t", 9, "the channel is disabled"), in("low", "l", 1, million)},
		},
		{
			name: "a channel's share does not grow with its accounts", rs: []model.Resource{
				channel("one", "m", nil), account("o", "one", nil),
				channel("two", "m", nil), account("t1", "two", nil), account("t2", "two", func(a *resourcev1.Account) { a.Weight = 300 }),
				account("t3", "two", func(a *resourcev1.Account) { a.Disabled = true }),
			},
			want: []*adminv1.Candidate{
				in("one", "o", 0, 500_000), in("two", "t1", 0, 125_000), in("two", "t2", 0, 375_000),
				out("two", "t3", 0, "the account is disabled"),
			},
		},
		{
			name: "what does not divide goes to the first", rs: []model.Resource{
				channel("c", "m", nil), account("a", "c", nil), account("b", "c", nil), account("c", "c", nil),
			},
			want: []*adminv1.Candidate{in("c", "a", 0, 333_334), in("c", "b", 0, 333_333), in("c", "c", 0, 333_333)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := tt.key
			if key == nil {
				key = &resourcev1.Key{}
			}
			key.Metadata = named("k")
			st := with(tt.rs...)
			got := explain(st, key, "m", now, nil)
			if got.GetHttpStatus() != tt.status || got.GetServed() != (tt.status == 0) || !strings.Contains(got.GetVerdict(), tt.verdict) {
				t.Errorf("status %d, served %v, %q; want %d and %q", got.GetHttpStatus(), got.GetServed(), got.GetVerdict(), tt.status, tt.verdict)
			}
			if got.GetVerdict() == "" || got.GetRevision() != st.Revision() {
				t.Errorf("verdict %q at revision %d", got.GetVerdict(), got.GetRevision())
			}
			if diff := cmp.Diff(tt.want, got.GetCandidates(), protocmp.Transform(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("candidates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainMapsTheModel(t *testing.T) {
	st := with(channel("c", "m", func(c *resourcev1.Channel) { c.ModelMapping = map[string]string{"m": "upstream-m", "n": "x"} }),
		account("a", "c", nil))
	got := explain(st, &resourcev1.Key{Metadata: named("k")}, "m", time.Time{}, nil)
	if up := got.GetCandidates()[0].GetUpstreamModel(); up != "upstream-m" {
		t.Errorf("upstream model = %q, want upstream-m", up)
	}
}

// The shares of a tier are one million together, whatever the weights, and follow them.
func TestShares(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var rs []model.Resource
		for c := range rapid.IntRange(1, 6).Draw(rt, "channels") {
			name := fmt.Sprint("c", c)
			rs = append(rs, channel(name, "m", func(ch *resourcev1.Channel) {
				ch.Weight = rapid.Uint32Range(0, 10000).Draw(rt, "weight")
				ch.Priority = rapid.Int32Range(0, 1).Draw(rt, "priority")
			}))
			for a := range rapid.IntRange(0, 5).Draw(rt, "accounts") {
				rs = append(rs, account(fmt.Sprint(name, a), name, func(ac *resourcev1.Account) {
					ac.Weight = rapid.Uint32Range(0, 10000).Draw(rt, "weight")
					ac.Disabled = rapid.IntRange(0, 3).Draw(rt, "disabled") == 0
				}))
			}
		}
		got := explain(with(rs...), &resourcev1.Key{Metadata: named("k")}, "m", time.Time{}, nil)
		sums, usable := map[int32]int64{}, map[int32]bool{}
		for _, c := range got.GetCandidates() {
			sums[c.GetPriority()] += c.GetSharePpm()
			usable[c.GetPriority()] = usable[c.GetPriority()] || c.GetUsable()
			if !c.GetUsable() && c.GetSharePpm() != 0 {
				rt.Fatalf("%s is out and has a share", c.GetAccount())
			}
		}
		for p, sum := range sums {
			if (usable[p] && sum != million) || (!usable[p] && sum != 0) {
				rt.Fatalf("the shares of tier %d add up to %d", p, sum)
			}
		}
	})
}
