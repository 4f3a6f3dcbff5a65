package ctl

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func (w *world) fleet() {
	w.health = &adminv1.FleetHealth{
		Time: afterNoon(0), Leader: "cp-1", LeadingSince: afterNoon(-time.Hour),
		Proxies: []*adminv1.ProxyHealth{{Id: "p-1", Hostname: "h", Age: durationpb.New(time.Second), Uptime: durationpb.New(time.Hour), Requests: 10,
			Unavailable: 1, RequestRate: 2.5, MissedFound: 3, Revision: 5}},
		Accounts: []*adminv1.AccountHealthView{
			{Id: "1", Name: "a1", Channel: "c", Health: &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_CLOSED}, Ok: 9,
				TtftP50: durationpb.New(312 * time.Millisecond), Headroom: proto.Float64(0.5)},
			{Id: "2", Name: "a2", Channel: "c", Health: &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_OPEN, Reason: "rate_limit",
				Until: afterNoon(time.Minute), Since: afterNoon(0), Opens: 2}, Faults: map[string]uint64{"rate_limit": 4},
				RestingFamilies: map[string]*durationpb.Duration{"gpt-4o": durationpb.New(5 * time.Second)}},
		},
	}
	w.status = &adminv1.GetStatusResponse{Lineage: "l", Revision: 6, Replicas: []*adminv1.Replica{{Id: "cp-1", Leader: true}},
		Proxies: []*adminv1.Proxy{{Id: "p-1", Hostname: "h", Revision: 5, ApplyLag: durationpb.New(time.Millisecond)}}}
}

func TestTopOnce(t *testing.T) {
	w := newWorld(t)
	w.fleet()
	for _, format := range []string{"json", "yaml"} {
		out, errs, err := w.run("top", "--once", "-o", format)
		if err != nil || errs != "" {
			t.Fatalf("%v, %q", err, errs)
		}
		golden(t, "top."+format, out)
		// A script needs no --once.
		if again, errs, err := w.run("top", "-o", format); err != nil || errs != "" || again != out {
			t.Errorf("without --once: %v, %q,\n%s", err, errs, again)
		}
	}
	out, errs, err := w.run("top", "--once")
	if err != nil || errs != "" || strings.Contains(out, "\x1b") || strings.Contains(out, "q quits") {
		t.Errorf("%v, %q, %q", err, errs, out)
	}
	for _, want := range []string{"leader cp-1 for 1h00m  revision 6  proxies 1 (1 behind)", "503s 1", "catch-ups found 3", "c        a2       open    rate_limit"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// What is no terminal gets one frame, and is told so.
	_, errs, err = w.run("top")
	if err != nil || !strings.Contains(errs, "no terminal") {
		t.Errorf("%v, %q", err, errs)
	}
	w.env["COLUMNS"] = "40"
	out, _, _ = w.run("top", "--once")
	for line := range strings.Lines(out) {
		if len([]rune(strings.TrimRight(line, "\n"))) > 40 {
			t.Errorf("wider than $COLUMNS: %q", line)
		}
	}
}

func TestTopErrors(t *testing.T) {
	w := newWorld(t)
	w.fleet()
	for args, want := range map[string]string{
		"--interval 1ms":          "--interval 1ms: want 200ms to 1h",
		"--once --timeout 0s":     "--timeout must be more than nothing",
		"--once --server ftp://x": `want http://HOST:PORT`,
	} {
		if _, _, err := w.run(append([]string{"top"}, strings.Fields(args)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	w.err = connect.Errorf(connect.CodeUnavailable, "nobody leads")
	if out, _, err := w.run("top", "--once", "-o", "json"); err == nil || err.Error() != "nobody leads (unavailable)" || out != "" {
		t.Errorf("%v, %q", err, out)
	}
	w.env["FAIRWAY_TOKEN"] = "wrong"
	if _, _, err := w.run("top", "--once"); err == nil {
		t.Error("a wrong token shows the fleet")
	}
}

func TestHopeless(t *testing.T) {
	for code, want := range map[connect.Code]bool{
		connect.CodeUnauthenticated: true, connect.CodePermissionDenied: true, connect.CodeUnimplemented: true,
		connect.CodeUnavailable: false, connect.CodeDeadlineExceeded: false, connect.CodeInternal: false,
	} {
		if got := hopeless(explained(connect.Errorf(code, "x"))); got != want {
			t.Errorf("%s: %t", code, got)
		}
	}
}
