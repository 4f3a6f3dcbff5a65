package top

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

var update = flag.Bool("update", false, "write the goldens instead of checking them")

// noon is the leader's clock; ours is an hour ahead.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ours(d time.Duration) time.Time { return noon.Add(time.Hour + d) }

func leaders(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }

func account(channel, name string, state resourcev1.HealthState, reason string) *adminv1.AccountHealthView {
	return &adminv1.AccountHealthView{Channel: channel, Name: name, Health: &resourcev1.AccountHealth{State: state, Reason: reason}}
}

const (
	closed   = resourcev1.HealthState_HEALTH_STATE_CLOSED
	open     = resourcev1.HealthState_HEALTH_STATE_OPEN
	halfOpen = resourcev1.HealthState_HEALTH_STATE_HALF_OPEN
	disabled = resourcev1.HealthState_HEALTH_STATE_DISABLED
)

func fleet() *View {
	rests := account("openai", "openai-2", open, "rate_limit")
	rests.Health.Until, rests.Failed, rests.Ok = leaders(95*time.Second), 12, 40
	rests.Faults = map[string]uint64{"rate_limit": 11, "server_error": 1}
	tries := account("claude", "claude", halfOpen, "consecutive_failures")
	back := account("openai", "openai-3", closed, "probe")
	back.SlowStart, back.RequestRate, back.Ok = 0.4, 2.25, 100
	good := account("openai", "openai-1", closed, "")
	good.InFlight, good.Ok, good.RequestRate = 17, 3000, 50.04
	good.TtftP50, good.TtftP95, good.Headroom = durationpb.New(312*time.Millisecond), durationpb.New(1290*time.Millisecond), proto.Float64(0.83)
	limit := account("gemini", "gemini", closed, "")
	limit.Headroom, limit.Ok = proto.Float64(0.05), 5
	limit.RestingFamilies = map[string]*durationpb.Duration{"gemini-pro": durationpb.New(40 * time.Second)}
	off := account("openai", "openai-9", disabled, "operator")
	broke := account("azure", "azure", disabled, "credential")
	ill := account("deepseek", "deepseek", closed, "")
	ill.Ok, ill.Failed, ill.Faults = 90, 10, map[string]uint64{"server_error": 10}
	return &View{
		Fetched: ours(0),
		Health: &adminv1.FleetHealth{
			Time: leaders(0), Leader: "cp-1", LeadingSince: leaders(-2*time.Hour - 3*time.Minute),
			Proxies: []*adminv1.ProxyHealth{
				{Id: "p-1", Hostname: "host-1", Age: durationpb.New(400 * time.Millisecond), Uptime: durationpb.New(26 * time.Hour), Requests: 120_000, Failures: 12,
					Unavailable: 3, Retries: 40, Spilled: 5, Panicked: 1, MissedFound: 7, MissedFinal: 2, Hedges: 9, Throttled: 4, InFlight: 17,
					RequestRate: 52.3, FailureRate: 0.5, Revision: 812},
				{Id: "p-2", Hostname: "host-2", Age: durationpb.New(9 * time.Second), Uptime: durationpb.New(90 * time.Second), Requests: 10, Revision: 0},
			},
			Accounts: []*adminv1.AccountHealthView{broke, tries, ill, limit, good, rests, back, off},
		},
		Status: &adminv1.GetStatusResponse{Revision: 812, Replicas: []*adminv1.Replica{{Id: "cp-1"}, {Id: "cp-2"}}, Proxies: []*adminv1.Proxy{
			{Id: "p-1", Hostname: "host-1", Revision: 811}, {Id: "p-2", Hostname: "host-2", Revision: 810, Rejections: []*adminv1.Rejection{{Name: "x"}}},
			{Id: "p-3", Hostname: "host-3", Revision: 812},
		}},
	}
}

func render(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%d|%s\n", l.Style, l.Text)
	}
	return b.String()
}

func TestFrames(t *testing.T) {
	live := fleet()
	live.Minute = &Totals{Unavailable: 3, Retries: 8}
	away := fleet()
	away.Err = errors.New("the control plane does not answer: connection refused\x1b[31m")
	leaderless := &View{Status: fleet().Status, Fetched: ours(0), Err: errors.New("nobody leads (unavailable)")}
	tests := []struct {
		name          string
		view          *View
		now           time.Time
		width, height int
		live          bool
	}{
		{"once", fleet(), ours(0), 0, 0, false},
		{"live", live, ours(5 * time.Second), 160, 30, true},
		{"narrow", live, ours(0), 60, 24, true},
		{"short", live, ours(0), 100, 14, true},
		{"away", away, ours(2 * time.Minute), 120, 30, true},
		{"leaderless", leaderless, ours(0), 100, 20, true},
		{"nothing yet", &View{}, ours(0), 80, 24, true},
		{"never", &View{Err: errors.New("the control plane does not answer")}, ours(0), 80, 24, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := render(Frame(tt.view, tt.now, tt.width, tt.height, tt.live))
			file := filepath.Join("testdata", strings.ReplaceAll(tt.name, " ", "-")+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// Whatever the size and the names: a frame fits, and holds nothing that a terminal obeys.
func TestFrameFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := fleet()
		name := rapid.StringN(0, 40, -1)
		for _, a := range v.Health.GetAccounts() {
			a.Name, a.Health.Reason = name.Draw(t, "name"), name.Draw(t, "reason")
			a.Faults = map[string]uint64{name.Draw(t, "fault"): 1}
		}
		v.Health.Leader = name.Draw(t, "leader")
		v.Health.Proxies[0].Hostname = name.Draw(t, "host")
		v.Status.UnreachableReplicas = []string{name.Draw(t, "replica")}
		if rapid.Bool().Draw(t, "trouble") {
			v.Err = errors.New(name.Draw(t, "error"))
		}
		width, height := rapid.IntRange(1, 300).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		lines := Frame(v, ours(0), width, height, rapid.Bool().Draw(t, "live"))
		if len(lines) > max(height, 2) {
			t.Fatalf("%d lines at a height of %d", len(lines), height)
		}
		for _, l := range lines {
			if cells(l.Text) > width {
				t.Fatalf("%d cells at a width of %d: %q", cells(l.Text), width, l.Text)
			}
			if strings.ContainsFunc(l.Text, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
				t.Fatalf("control characters in %q", l.Text)
			}
		}
	})
}

func TestWorstFirst(t *testing.T) {
	v := fleet()
	var got []string
	for _, a := range worstFirst(v.Health.GetAccounts()) {
		got = append(got, a.GetName())
	}
	want := []string{"azure", "openai-2", "claude", "deepseek", "gemini", "openai-3", "openai-1", "openai-9"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestGrowth(t *testing.T) {
	report := func(id string, unavailable uint64) *adminv1.ProxyHealth {
		return &adminv1.ProxyHealth{Id: id, Requests: unavailable, Unavailable: unavailable}
	}
	var g growth
	for _, tt := range []struct {
		name    string
		at      time.Duration
		proxies []*adminv1.ProxyHealth
		want    int // -1 = not known
	}{
		{"the first says nothing", 0, []*adminv1.ProxyHealth{report("a", 100)}, -1},
		{"growth", time.Second, []*adminv1.ProxyHealth{report("a", 103)}, 3},
		{"one that was not there before", 2 * time.Second, []*adminv1.ProxyHealth{report("a", 104), report("b", 500)}, 4},
		{"one that started anew", 3 * time.Second, []*adminv1.ProxyHealth{report("a", 2), report("b", 501)}, 7},
		{"one that went", 30 * time.Second, []*adminv1.ProxyHealth{report("b", 501)}, 7},
		{"a minute later", 62*time.Second + 500*time.Millisecond, []*adminv1.ProxyHealth{report("b", 502)}, 4},
		{"long after", time.Hour, []*adminv1.ProxyHealth{report("b", 502)}, 0},
	} {
		got := g.observe(&adminv1.FleetHealth{Proxies: tt.proxies}, noon.Add(tt.at))
		if n := -1; got != nil {
			n = int(got.Unavailable)
			if n != tt.want {
				t.Errorf("%s: %d, want %d", tt.name, n, tt.want)
			}
		} else if tt.want != n {
			t.Errorf("%s: nothing, want %d", tt.name, tt.want)
		}
	}
}
