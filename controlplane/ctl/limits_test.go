package ctl

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

func someLimits() []*adminv1.LimitStatus {
	return []*adminv1.LimitStatus{
		{Scope: "key", Name: "alice", What: "requests", Window: "minute", Limit: 60, Used: 12, Lent: 6, Left: 42, Proxies: 2, ResetTime: afterNoon(22 * time.Second)},
		{Scope: "key", Name: "alice", What: "tokens", Window: "minute", Limit: 200_000, Left: 200_000, ResetTime: afterNoon(22 * time.Second)},
		{Scope: "key", Name: "alice", What: "concurrency", Limit: 4, Used: 1, Lent: 3, Proxies: 3},
		{Scope: "key", Name: "alice", What: "cost", Window: "day", Limit: 10e9, Used: 10.25e9, Excess: 0.25e9, ResetTime: afterNoon(12 * time.Hour)},
		{Scope: "group", Name: "premium", What: "cost", Window: "rolling", RollingMinutes: 1440, Limit: 5e9, Used: 1, Lent: 2, Left: 5e9 - 3, Late: 7, Waiting: true},
		{Scope: "tenant", Name: "acme-alice", What: "cost", Window: "month", Limit: 100e9, Used: 50e9, Left: 50e9, Proxies: 1, ResetTime: afterNoon(30 * 24 * time.Hour)},
		{Scope: "tenant", Name: "acme", What: "cost", Window: "total", Limit: 1000e9, Used: 999.5e9, Lent: 0.5e9, Proxies: 1},
		{Scope: "tenant", Name: "acme", What: "requests", Window: "day", Limit: 7, Left: 7, ResetTime: afterNoon(-time.Second)},
	}
}

func TestLimitsText(t *testing.T) {
	var out bytes.Buffer
	limitsText(&out, someLimits(), noon)
	limitsText(&out, nil, noon)
	golden(t, "limits.golden", out.String())
}

// Whatever a server says, a bar is as long as the others.
func TestLimitBarFits(t *testing.T) {
	amounts := []int64{math.MinInt64, -1, 0, 1, 2, 19, 20, 21, 1 << 40, math.MaxInt64 - 1, math.MaxInt64}
	for _, limit := range amounts {
		for _, used := range amounts {
			for _, lent := range amounts {
				bar := []rune(limitBar(&adminv1.LimitStatus{Limit: limit, Used: used, Lent: lent}))
				if len(bar) != limitCells {
					t.Fatalf("limit %d, used %d, lent %d: %s", limit, used, lent, string(bar))
				}
			}
		}
	}
}

func TestLimitsCommand(t *testing.T) {
	for _, scope := range []string{"key", "group", "tenant"} {
		w := newWorld(t)
		w.limits = someLimits()
		out, _, err := w.run("limits", scope, "acme", "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]proto.Message{&adminv1.GetLimitsRequest{Scope: scope, Name: "acme"}}, w.asked, protocmp.Transform()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		var got []map[string]any
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"scope": "key", "name": "alice", "what": "concurrency", "window": "", "rolling_minutes": 0.0, "limit": 4.0, "used": 1.0, "lent": 3.0, "left": 0.0,
			"excess": 0.0, "late": 0.0, "waiting": false, "proxies": 3.0,
		}
		if d := cmp.Diff(want, got[2]); d != "" || len(got) != len(w.limits) {
			t.Errorf("%d limits (-want +got):\n%s", len(got), d)
		}
	}
	w := newWorld(t)
	if out, _, err := w.run("limits", "key", "k", "-o", "json"); err != nil || out != "[]\n" {
		t.Errorf("no limits: %q, %v", out, err)
	}
	w.err = connect.Errorf(connect.CodeUnavailable, "no replica leads")
	if _, _, err := w.run("limits", "key", "k"); said(err) != "no replica leads (unavailable)" {
		t.Errorf("error = %v", err)
	}
	for _, args := range [][]string{{"limits", "key"}, {"limits", "key", "a", "b"}, {"limits", "channel", "a"}} {
		if out, _, err := w.run(args...); err == nil {
			t.Errorf("%v is understood: %s", args, out)
		}
	}
}
