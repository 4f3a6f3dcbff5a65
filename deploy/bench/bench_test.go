package main

import (
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	part()
	goleak.VerifyTestMain(m)
}

// startUpstreamHere serves the upstream in this process.
func startUpstreamHere(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := newUpstream()
	served := make(chan error, 1)
	go func() { served <- u.serve(ln) }()
	t.Cleanup(func() {
		ln.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		u.close()
	})
	return ln.Addr().String()
}

// Every kind of load against the upstream itself, with nothing in between.
func TestLoads(t *testing.T) {
	const short = 50 * time.Millisecond
	for kind, k := range map[string]task{
		"closed": {Conns: 4, Body: smallBody},
		"paced":  {Conns: 4, Body: smallBody, Rate: 400},
		"events": {Conns: 8, Body: smallBody, Every: 10 * time.Millisecond},
		"idle":   {Conns: 16, Body: smallBody},
		"bodies": {Conns: 2, Body: 1 << 20},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k.Addr, k.Model, k.Key, k.Warm, k.Window, k.Watch = startUpstreamHere(t), "m", "k", short, short, []int{os.Getpid()}
			o, err := loads()[kind](t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			if o.Count == 0 {
				t.Error("nothing was counted")
			}
			if kind == "paced" && (o.P50 <= 0 || o.P99 < o.P50) {
				t.Errorf("p50 = %v, p99 = %v", o.P50, o.P99)
			}
			if (kind == "idle" || kind == "bodies") && (o.RSS[0] <= 0 || o.RSS[1] <= 0) {
				t.Errorf("resident memory = %v", o.RSS)
			}
		})
	}
}

// piecemeal reads no more than so many bytes at once.
type piecemeal struct {
	net.Conn
	most int
}

func (p piecemeal) Read(b []byte) (int, error) { return p.Conn.Read(b[:min(p.most, len(b))]) }

// A stream is counted to the last event, however it is cut.
func TestReadStream(t *testing.T) {
	addr := startUpstreamHere(t)
	for _, size := range []int{16, 17, 64, 4096} {
		var count atomic.Int64
		cl, done, err := dial(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		request := strings.Replace(string(requestBytes("k", "m", script{Events: 5, Every: time.Millisecond}, smallBody)), "{", `{"include_usage":true,`, 1)
		request = strings.Replace(request, "Content-Length: 1024", "Content-Length: 1045", 1)
		if err := cl.openStream([]byte(request)); err != nil {
			t.Fatal(err)
		}
		// The first bytes as they came, all that follows in small pieces.
		cl.conn = piecemeal{cl.conn, size}
		if err := cl.readStream(&count); err != nil {
			t.Error(err)
		}
		// Five of content, the finish, the usage, [DONE].
		if got := count.Load(); got != 8 {
			t.Errorf("buffer of %d bytes: %d events, want 8", size, got)
		}
		done()
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nnever"))
	}()
	_, err = closedLoop(t.Context(), task{Addr: ln.Addr().String(), Conns: 1, Body: smallBody, Warm: time.Minute, Watch: []int{os.Getpid()}})
	if err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
		t.Errorf("error = %v", err)
	}
	ln.Close()
	<-answered
}

func TestRequestHasTheSizeThatItSays(t *testing.T) {
	for _, size := range []int{smallBody, middleBody, largeBody} {
		_, body, _ := strings.Cut(string(requestBytes("key", modelPlain, script{Events: 3}, size)), "\r\n\r\n")
		if len(body) != size {
			t.Errorf("body of %d bytes, want %d", len(body), size)
		}
	}
}

func TestScript(t *testing.T) {
	for _, want := range []script{{}, {Events: 7, Every: 20 * time.Millisecond}, {Hold: time.Second}, {Events: 4, Fault: faultCut, Odds: 30, Tag: "0123456789abcdef"}, {Tag: "x"}} {
		got, err := parseScript(want.String())
		if err != nil || got != want {
			t.Errorf("parseScript(%q) = %v, %v", want, got, err)
		}
	}
	for _, nonsense := range []string{"x", "1,2", "1,2,x", "-1,0,0", "0,0,0,cut", "0,0,0,cut,x,tag"} {
		if s, err := parseScript(nonsense); err == nil {
			t.Errorf("%q is a script: %s", nonsense, s)
		}
	}
}

func TestParseStat(t *testing.T) {
	const after = " S 41 77 77 0 -1 4194560 1234 0 1 0 250 75 0 0 20 0 12 0 987654 1300000000 4321 18446744073709551615 1 1 0"
	for _, tc := range []struct {
		name, raw string
		fails     bool
	}{
		{name: "plain", raw: "77 (fairway)" + after},
		{name: "a name that looks like fields", raw: "77 (a) S 1 (b) )" + after},
		{name: "too short", raw: "77 (fairway) S 41", fails: true},
		{name: "empty", fails: true},
		{name: "not numbers", raw: "77 (fairway)" + strings.Replace(after, " 250 ", " x ", 1), fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseStat([]byte(tc.raw))
			if (err != nil) != tc.fails {
				t.Fatalf("error = %v", err)
			}
			want := procStat{parent: 41, cpu: 3250 * time.Millisecond, rss: 4321 * int64(os.Getpagesize())}
			if !tc.fails && got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	if cpu, rss, err := usageOf([]int{os.Getpid()}); err != nil || rss <= 0 || cpu < 0 {
		t.Errorf("this process used %v, %d, %v", cpu, rss, err)
	}
	if reads, writes := callsOf([]int{os.Getpid()}); reads < 0 || writes < 0 {
		t.Errorf("this process made %d reads and %d writes", reads, writes)
	}
	if pids, err := withChildren(os.Getpid()); err != nil || pids[0] != os.Getpid() {
		t.Errorf("this process and its children are %v, %v", pids, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("77 (fairway) S 41 77 77 0 -1 4194560 1234 0 1 0 250 75 0 0 20 0 12 0 987654 1300000000 4321"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseStat(raw); err != nil && s.cpu < 0 {
			t.Errorf("%q", raw)
		}
	})
}

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		rounds           []float64
		median, min, max float64
	}{
		{nil, 0, 0, 0},
		{[]float64{4}, 4, 4, 4},
		{[]float64{9, 1}, 5, 1, 9},
		{[]float64{3, 1, 2}, 2, 1, 3},
		{[]float64{7, 100, 1, 3}, 5, 1, 100},
	} {
		want := spread{Median: tc.median, Min: tc.min, Max: tc.max, Rounds: tc.rounds}
		if d := cmp.Diff(want, spreadOf(tc.rounds)); d != "" {
			t.Errorf("spreadOf(%v) (-want +got):\n%s", tc.rounds, d)
		}
	}
	if d := cmp.Diff([]float64{2, 0.5}, ratios([]float64{4, 2, 9}, []float64{2, 4, 0})); d != "" {
		t.Errorf("ratios (-want +got):\n%s", d)
	}
	sorted := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for q, want := range map[float64]float64{0: 1, 0.5: 6, 0.99: 10, 1: 10} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		nginx, fairway []float64
		want           string
	}{
		{[]float64{10, 10, 10}, []float64{14, 14, 14.5}, "met"},
		{[]float64{10, 10, 10}, []float64{14, 14, 16}, "met (rounds differ)"},
		{[]float64{10, 10, 10}, []float64{14, 16, 16}, "missed (rounds differ)"},
		{[]float64{10, 10, 10}, []float64{17, 16, 16}, "missed"},
		{[]float64{-1}, []float64{5}, "no figure"},
	} {
		r := compare("x", "x", "µs", 1.5, tc.nginx, tc.fairway)
		if got := r.verdict(); got != tc.want {
			t.Errorf("%v against %v: %s, want %s", tc.fairway, tc.nginx, got, tc.want)
		}
	}
}

func TestResults(t *testing.T) {
	of := func(v float64) map[string]spread {
		return map[string]spread{"direct": spreadOf([]float64{v / 2}), "nginx": spreadOf([]float64{v}), "fairway": spreadOf([]float64{1.2 * v})}
	}
	r := results{Rounds: 3, Sweep: []point{
		{Fraction: 0.1, Rate: 1100, P50: of(90), P99: of(200), CPU: of(20)},
		{Fraction: 0.9, Rate: 10100, P50: of(140), P99: of(900), CPU: of(14)},
	}, Rows: []row{
		compare("request", "CPU per request", "µs", 1.5, []float64{10, 11, 12}, []float64{12, 13, 14}),
		{Title: "growth", Unit: "MiB", Bar: 240, Absolute: true, Fairway: spreadOf([]float64{200})},
	}}
	var b strings.Builder
	r.print(&b)
	for _, want := range []string{"11 µs (10..12)", "1.18x (1.17..1.20)", "<= 1.5x", "met", "<= 240 MiB"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
	dir := t.TempDir()
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "plot.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "results.json")); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		args []string
		ok   bool
	}{
		{nil, true},
		{[]string{"-quick", "-only", "request|event"}, true},
		{[]string{"-only", "nothing-of-that-name"}, false},
		{[]string{"-only", "("}, false},
		{[]string{"-rounds", "0"}, false},
		{[]string{"surplus"}, false},
	} {
		if _, err := parseOptions(tc.args); (err == nil) != tc.ok {
			t.Errorf("parseOptions(%q): %v", tc.args, err)
		}
	}
	if _, err := findNginx(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("a missing nginx says %v", err)
	}
}
