// Command bench measures Fairway side by side with nginx: what the whole job (authenticate, read, choose among a hundred
// accounts, meter, report) costs, against what bare forwarding costs. Upstream, control plane, proxies and load are processes of
// their own on loopback, rounds are interleaved, and CPU time is the kernel's, of the measured process alone.
//
// `bench soak` runs mixed traffic with everything that goes wrong against one proxy for a long time instead, and says whether
// its memory, goroutines and files stay what they are, whether each request got what it may get, and whether the books are
// right.
//
// It starts everything that it needs and ends it. It refuses to judge by wall-clock time where it can count CPU, to
// compare figures of different runs, and to leave loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := role(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// role is what this process is: the bench, or one of the parts that it starts.
func role(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "soak" {
		return soakRole(ctx, args[1:])
	}
	if len(args) == 2 {
		switch args[0] {
		case "upstream":
			return upstreamRole(args[1])
		case "load":
			return loadRole(ctx, args[1])
		}
	}
	return benchRole(ctx, args)
}

// options of a run.
type options struct {
	rounds  int
	only    *regexp.Regexp
	quick   bool
	out     string
	nginx   string
	procs   int
	profile bool
}

func parseOptions(args []string) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 5, "rounds of each measure")
	f.StringVar(&only, "only", "", "regular expression of the measures to run: "+strings.Join(measureNames(), ", "))
	f.BoolVar(&o.quick, "quick", false, "one short round of everything: shows that it works, measures nothing")
	f.StringVar(&o.out, "out", ".build/bench", "directory for results.json, plot.png and profiles")
	f.StringVar(&o.nginx, "nginx", "", "nginx program (default: from PATH or /usr/sbin)")
	f.IntVar(&o.procs, "gomaxprocs", 0, "GOMAXPROCS of the proxy (default: the number of cores)")
	f.BoolVar(&o.profile, "profile", false, "after the measures, write profiles of the proxy, and a table of its CPU time by room")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.quick {
		o.rounds = 1
	}
	if o.rounds < 1 {
		return o, errors.New("-rounds must be 1 or more")
	}
	var err error
	if o.only, err = regexp.Compile(only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if !slices.ContainsFunc(measureNames(), o.only.MatchString) {
		return o, fmt.Errorf("-only %s matches no measure", only)
	}
	return o, nil
}

const (
	latencyName  = "latency"
	largeName    = "body-12m"
	overloadName = "overload"
)

func measureNames() []string {
	var names []string
	for _, m := range measures() {
		names = append(names, m.name)
	}
	names = append(names, latencyName, largeName, overloadName)
	for _, m := range micros() {
		names = append(names, m.name)
	}
	return names
}

// bench is a run.
type bench struct {
	rig     *rig
	pace    pace
	rounds  int
	log     io.Writer
	proxies []*target // nginx and Fairway
}

func (b *bench) note(format string, args ...any) { fmt.Fprintf(b.log, "  "+format+"\n", args...) }

// load runs a task, for no longer than it can take.
func (b *bench) load(ctx context.Context, t task) (outcome, error) {
	const allowance = time.Minute
	ctx, cancel := context.WithTimeout(ctx, t.Warm+2*t.Window+allowance)
	defer cancel()
	return runLoad(ctx, t)
}

func findNginx(path string) (string, error) {
	for _, name := range []string{path, "nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if found, err := exec.LookPath(name); err == nil {
			return found, nil
		}
		if path != "" {
			break
		}
	}
	return "", errors.New("nginx is what Fairway is measured against, and it is not here: on Debian, apt-get install nginx-light; elsewhere, say where with -nginx")
}

func benchRole(ctx context.Context, args []string) (err error) {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	nginx, err := findNginx(o.nginx)
	if err != nil {
		return err
	}
	if err := allowManyFiles(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fairway-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{pace: fullPace(), rounds: o.rounds, log: os.Stderr}
	if o.quick {
		b.pace = quickPace()
	}
	if b.rig, err = newRig(ctx, dir, nginx, o.procs, b.log); err != nil {
		return err
	}
	defer b.rig.stop()
	r := &results{Time: time.Now().UTC().Truncate(time.Second), Machine: b.machine(ctx, nginx), Rounds: o.rounds, Quick: o.quick, GOMAXPROCS: o.procs}
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx, o, r); err != nil {
		return err
	}
	r.print(os.Stdout)
	if err := r.write(o.out); err != nil {
		return err
	}
	fmt.Printf("\nresults in %s\n", o.out)
	if o.profile {
		return b.profiles(ctx, o.out)
	}
	return nil
}

func (b *bench) machine(ctx context.Context, nginx string) machine {
	version := func(program, flag string) string {
		// nginx tells on its standard error.
		out, err := exec.CommandContext(ctx, program, flag).CombinedOutput()
		if err != nil {
			return "unknown"
		}
		return strings.TrimPrefix(strings.TrimSpace(string(out)), "nginx version: ")
	}
	return thisMachine(strings.Replace(version(nginx, "-v"), "/", " ", 1), version(b.rig.fairwayBinary, "--version"))
}

// start starts the proxies that serve all measures but those that want a fresh one.
func (b *bench) start(ctx context.Context) error {
	n, err := b.rig.nginx(ctx)
	if err != nil {
		return err
	}
	f, err := b.rig.fairway(ctx)
	if err != nil {
		return err
	}
	b.proxies = []*target{n, f}
	return nil
}

// measure runs what was asked for.
func (b *bench) measure(ctx context.Context, o options, r *results) error {
	for _, m := range measures() {
		if !o.only.MatchString(m.name) {
			continue
		}
		fmt.Fprintf(b.log, "%s: %s\n", m.name, m.title)
		got, err := b.rounded(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if m.alone {
			r.Rows = append(r.Rows, row{Name: m.name, Title: m.title, Unit: m.unit, Bar: m.bar, Absolute: true, Fairway: spreadOf(got["fairway"])})
			continue
		}
		r.Rows = append(r.Rows, compare(m.name, m.title, m.unit, m.bar, got["nginx"], got["fairway"]))
	}
	for _, m := range []struct {
		name, title string
		rows        func(context.Context) ([]row, error)
	}{
		{latencyName, "latency and CPU against load", func(ctx context.Context) (rows []row, err error) {
			rows, r.Sweep, err = b.sweep(ctx)
			return rows, err
		}},
		{largeName, "memory of large bodies", b.largeMemory},
		{overloadName, "good answers when there is too much to do", b.overload},
	} {
		if !o.only.MatchString(m.name) {
			continue
		}
		fmt.Fprintf(b.log, "%s: %s\n", m.name, m.title)
		rows, err := m.rows(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.Rows = append(r.Rows, rows...)
	}
	for _, m := range micros() {
		if !o.only.MatchString(m.name) {
			continue
		}
		fmt.Fprintf(b.log, "%s: %s\n", m.name, m.title)
		got, err := b.micro(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.Rows = append(r.Rows, got)
	}
	return nil
}

// rounded runs a measure's rounds, the proxies in turn.
func (b *bench) rounded(ctx context.Context, m measure) (map[string][]float64, error) {
	got := map[string][]float64{}
	one := func(t *target) error {
		v, err := m.round(ctx, b, t)
		got[t.name] = append(got[t.name], v)
		return err
	}
	starters := []func(context.Context) (*target, error){func(ctx context.Context) (*target, error) { return b.rig.fairway(ctx) }}
	if !m.alone {
		starters = append(starters, b.rig.nginx)
	}
	for i := range b.rounds {
		if !m.fresh {
			for _, t := range inTurn(b.proxies, i) {
				if m.alone && t.name == "nginx" {
					continue
				}
				if err := one(t); err != nil {
					return nil, err
				}
			}
			continue
		}
		for _, start := range inTurn(starters, i) {
			t, err := start(ctx)
			if err != nil {
				return nil, err
			}
			err = one(t)
			b.rig.end(t)
			if err != nil {
				return nil, err
			}
		}
	}
	return got, nil
}

// allowManyFiles lets this process and those that it starts hold as many connections as idle streams need: two each in a
// proxy.
func allowManyFiles() error {
	const want = 16 << 10
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Cur >= want {
		// Set it all the same: Go gives its children the limit that it found, not the one that it raised itself to.
		return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
	l.Cur = want
	l.Max = max(l.Max, want) // which only root may
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("allow %d open files (ulimit -n): %w", want, err)
	}
	return nil
}
