package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"testing"
	"time"
)

// What one request and one SSE event may cost the proxy. These are counts: no other load on the machine changes them, so
// whoever makes one of them grow sees it here. Lower them whenever the relay gets better; they have little room on
// purpose. Reads are those that find nothing, too; recv, send, epoll and their like are not counted.
const (
	budgetRequestAllocs = 1.6 // one of them is the report's, which goes out of band
	budgetRequestReads  = 2.2
	budgetRequestWrites = 2.1

	budgetEventAllocs = 0.4
	budgetEventReads  = 1.15
	budgetEventWrites = 1.1
)

func TestBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	if _, err := os.Stat("/proc/self/io"); err != nil {
		t.Skipf("the kernel does not count system calls of a process: %v", err)
	}
	r := startRig(t)
	// A collection empties pools at its own times, and who is next pays for it.
	r.env = []string{"GOGC=off"}
	// Checks of idle accounts come when they like; what is counted here is what requests and events cost.
	if _, err := run(t.Context(), r.adminEnv, "", r.fairwayBinary, "settings", "set", "--check", "off"); err != nil {
		t.Fatal(err)
	}
	proxy, err := r.fairway(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := task{Addr: proxy.plain, Key: r.key, Model: modelPlain, Body: smallBody}
	const conns, each, streams, perStream = 8, 1500, 20, 600
	ofRequests := func() (int64, error) {
		k := k
		k.Conns = conns
		return requests(t.Context(), k, each)
	}
	ofEvents := func() (int64, error) {
		k := k
		k.Conns, k.Every = streams, 3*time.Millisecond
		return events(t.Context(), k, perStream)
	}
	// What is allocated once, such as buffers and connections, is not of this request.
	for _, warm := range []func() (int64, error){ofRequests, ofEvents} {
		if _, err := warm(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := newCounter(t.Context(), proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("by itself, each second: %s; to be looked at: %s", c.idle, c.looking)
	for _, tc := range []struct {
		name   string
		work   func() (int64, error)
		budget costs
	}{
		{"request", ofRequests, costs{allocs: budgetRequestAllocs, reads: budgetRequestReads, writes: budgetRequestWrites}},
		{"event", ofEvents, costs{allocs: budgetEventAllocs, reads: budgetEventReads, writes: budgetEventWrites}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := c.of(t.Context(), tc.work)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("each %s: %s", tc.name, got)
			if got.reads == 0 || got.writes == 0 {
				t.Error("the proxy made no system calls that are counted: nothing watches over them")
			}
			for _, part := range []struct {
				what        string
				got, budget float64
			}{
				{"allocations", got.allocs, tc.budget.allocs},
				{"reads", got.reads, tc.budget.reads},
				{"writes", got.writes, tc.budget.writes},
			} {
				if part.got > part.budget {
					t.Errorf("each %s makes %.2f %s, the budget is %.2f", tc.name, part.got, part.what, part.budget)
				}
			}
		})
	}
}

// startRig starts upstream and control plane for a test, and ends them and every proxy with it.
func startRig(t *testing.T) *rig {
	t.Helper()
	r, err := newRig(t.Context(), t.TempDir(), "", 0, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return r
}

// part runs this program as one of the parts that it starts, if that is what it was started for.
func part() {
	if len(os.Args) != 3 || os.Args[1] != "upstream" && os.Args[1] != "load" {
		return
	}
	if err := role(context.Background(), os.Args[1:]); err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
	os.Exit(0)
}
