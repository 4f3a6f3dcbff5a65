package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const traces = `File: fairway-dataplane
Type: cpu
Time: 2026-11-22 00:01:49 UTC
Duration: 1s, Total samples = 120ms (11.99%)
-----------+-------------------------------------------------------
      30ms   internal/runtime/syscall/linux.Syscall6
             syscall.RawSyscall6
             syscall.read
             syscall.Read (inline)
             net.(*conn).Read
             fairway/dataplane/internal/upstream.(*conn).read
-----------+-------------------------------------------------------
   key:  request
     1.20s   runtime.memmove
             bufio.(*Writer).Write
             fairway/dataplane/internal/gateway.(*exchange).WriteTo
             github.com/valyala/fasthttp.writeBodyChunked
-----------+-------------------------------------------------------
      10ms   internal/runtime/syscall/linux.Syscall6
             runtime.netpoll
             runtime.findRunnable
             runtime.mcall
-----------+-------------------------------------------------------
`

func TestParseTraces(t *testing.T) {
	got, err := parseTraces([]byte(traces))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Duration{kernelRead: 30 * time.Millisecond, "dataplane/internal/gateway": 1200 * time.Millisecond, scheduler: 10 * time.Millisecond}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("rooms (-want +got):\n%s", d)
	}
	if _, err := parseTraces([]byte("File: x\n")); err == nil {
		t.Error("no stacks are no error")
	}
	table := roomTable([]string{"request", "event"}, []map[string]time.Duration{got, {kernelRead: time.Second}})
	for _, want := range []string{"| CPU time | request | event |", "| kernel: read | 2.4% | 100.0% |", "| dataplane/internal/gateway | 96.8% | 0.0% |"} {
		if !strings.Contains(table, want+"\n") {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}

func TestRoomOf(t *testing.T) {
	for _, tc := range []struct {
		want  string
		stack string // innermost first
	}{
		{kernelWrite, "internal/runtime/syscall/linux.Syscall6 syscall.RawSyscall6 syscall.write net.(*conn).Write fairway/dataplane/internal/ingress.(*conn).Write"},
		{kernelRead, "syscall.Syscall golang.org/x/sys/unix.read golang.org/x/sys/unix.Read fairway/dataplane/internal/upstream.(*conn).read"},
		{kernelOther, "internal/runtime/syscall/linux.Syscall6 syscall.setsockopt net.setNoDelay fairway/dataplane/internal/upstream.dial"},
		{collector, "runtime.scanobject runtime.gcDrain runtime.gcBgMarkWorker.func2 runtime.systemstack runtime.gcBgMarkWorker"},
		{collector, "runtime.greyobject runtime.gcAssistAlloc1 runtime.gcAssistAlloc runtime.mallocgc fairway/dataplane/internal/report.decode"},
		{scheduler, "runtime.futex runtime.notewakeup runtime.startm runtime.wakep runtime.ready fairway/dataplane/internal/upstream.(*host).put"},
		{"dataplane/internal/report", "runtime.mallocgc runtime.newobject fairway/dataplane/internal/report.decode.func1 fairway/dataplane.(*proxy).report.func1"},
		{"dataplane/internal/dialect/openai", "fairway/dataplane/internal/dialect/openai.PeekBody fairway/dataplane/internal/gateway.(*exchange).peekBody"},
		{"pkg/sse", "bytes.IndexByte fairway/pkg/sse.(*Scanner).Feed fairway/dataplane/internal/meter.(*Tap).Feed"},
		{"github.com/valyala/fasthttp", "github.com/valyala/fasthttp.(*chunkedBodyWriter).Write fairway/dataplane/internal/gateway.(*counted).Write"},
		{"dataplane/internal/route", "fairway/dataplane/internal/route.pick[go.shape.*fairway/dataplane/internal/snapshot.Account] main.main"},
		{otherRoom, "runtime.memmove net/http.(*conn).serve"},
	} {
		if got := roomOf(strings.Fields(tc.stack)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.stack, got, tc.want)
		}
	}
}

func FuzzParseTraces(f *testing.F) {
	f.Add([]byte(traces))
	f.Add([]byte("-----------+---\n 1ms [\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rooms, err := parseTraces(raw)
		if (err == nil) != (len(rooms) > 0) {
			t.Errorf("%d rooms and %v", len(rooms), err)
		}
	})
}

func TestParseBenchmarks(t *testing.T) {
	const printed = `goos: linux
BenchmarkPick/10000x1-2     1000000	        17.6 ns/op	       0 B/op	       0 allocs/op
BenchmarkPick/1x10000-2      900000	        63 ns/op	       0 B/op	       0 allocs/op
BenchmarkPick/10000x1-2     1000000	        70 ns/op	       8 B/op	       1 allocs/op
BenchmarkPick/1x10000-2      900000	        61 ns/op	       0 B/op	       0 allocs/op
PASS
`
	all, err := parseBenchmarks([]byte(printed))
	if err != nil {
		t.Fatal(err)
	}
	r, err := micro{name: "m", title: "selection", bar: 60}.slowest(all)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]float64{63, 70}, r.Fairway.Rounds); d != "" || r.Title != "selection (1 allocations each)" || r.verdict() != "missed" {
		t.Errorf("%s, %s, rounds (-want +got):\n%s", r.Title, r.verdict(), d)
	}
	if _, err := parseBenchmarks([]byte("BenchmarkPick 1 x ns/op\n")); err == nil {
		t.Error("a time that is no number is no error")
	}
	if _, err := (micro{}).slowest(nil); err == nil {
		t.Error("no benchmark is no error")
	}
}

func FuzzParseBenchmarks(f *testing.F) {
	f.Add([]byte("BenchmarkPick/10000x1-2 1000000 17.6 ns/op 0 B/op 0 allocs/op\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := parseBenchmarks(raw)
		if err != nil && all != nil {
			t.Error("figures and an error")
		}
	})
}

func TestParseExposition(t *testing.T) {
	e, err := parseExposition([]byte("# HELP x y\nx{a=\"1 2\"} 3\nx{a=\"2\"} 4.5e1\nx_total 7\n\ny +Inf\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := e.sum("x"); got != 48 {
		t.Errorf("sum of x = %v, want 48", got)
	}
	if got := e[`x{a="1 2"}`]; got != 3 {
		t.Errorf("one series of x = %v, want 3", got)
	}
	for _, wrong := range []string{"x", "x y"} {
		if _, err := parseExposition([]byte(wrong)); err == nil {
			t.Errorf("%q is a metric", wrong)
		}
	}
}

func FuzzParseExposition(f *testing.F) {
	f.Add([]byte("# HELP x y\nx{a=\"1 2\"} 3\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := parseExposition(raw); err != nil && e != nil {
			t.Error("metrics and an error")
		}
	})
}
