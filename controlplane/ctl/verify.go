package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairway/controlplane/ctl/traffic"
	"fairway/pkg/secret"
)

// verifyCommand holds what says whether an installation keeps its promises.
func verifyCommand(s *session) *cobra.Command {
	c := &cobra.Command{Use: "verify", Short: "Checks with a verdict and an exit code", Args: cobra.NoArgs, RunE: showHelp}
	s.bindOutput(c)
	c.AddCommand(trafficCommand(s))
	return c
}

// exitError ends the process with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// ExitCode is asked for by flags.Main.
func (e *exitError) ExitCode() int { return e.code }

// badFlags marks an error of whoever typed the command, to be told from a verdict.
func badFlags(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{2, err}
}

// trafficCommand sends requests as a client would.
func trafficCommand(s *session) *cobra.Command {
	var o traffic.Options
	var l traffic.Limits
	var keyFile, keyEnv string
	c := &cobra.Command{
		Use:   "traffic --model MODEL",
		Short: "Send chat requests through a proxy, and say how many were answered",
		Long: `Send small chat requests through a proxy as a client would, none of them twice, and say how many were answered, how fast, what
became of the others, and what to look at next. Each costs what such an answer costs.

The key is a Fairway key, from a file or the environment, and is never shown. It cannot be given as a flag: everybody on
the machine would see it.

The exit code is 0 when the run passed, 1 when it failed or was stopped, and 2 when the flags are wrong.`,
		Example: `  FAIRWAY_KEY=sk-fw-… fairway verify traffic --model gpt-4o-mini -n 1000 -c 20
  fairway verify traffic --model gpt-4o-mini --key-file key.txt --stream --max-p95 3s --max-503 0 -o json`,
		Args: func(c *cobra.Command, args []string) error { return badFlags(cobra.NoArgs(c, args)) },
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return badFlags(err) })
	fs := c.Flags()
	fs.IntVarP(&o.Requests, "requests", "n", 100, "how many, up to 1,000,000")
	fs.IntVarP(&o.Concurrency, "concurrency", "c", 4, "how many at once, up to 1,000")
	fs.StringVar(&o.Model, "model", "", "what to ask for, as clients name it")
	fs.StringVar(&o.URL, "url", "http://127.0.0.1:8080", "the proxy, or what is in front of it")
	fs.StringVar(&keyFile, "key-file", "", "file that holds a Fairway key")
	fs.StringVar(&keyEnv, "key-env", "", "environment variable that holds it (default FAIRWAY_KEY)")
	fs.BoolVar(&o.Stream, "stream", false, "ask for streams, and read them to their end")
	fs.StringVar(&o.Dialect, "dialect", "openai", "the API to speak: "+strings.Join(traffic.Dialects(), ", "))
	fs.IntVar(&o.MaxTokens, "max-tokens", 16, "of an answer; 0 = not sent, for models that do not take it")
	fs.DurationVar(&o.Timeout, "timeout", 30*time.Second, "of one request, to its answer's last byte")
	fs.Float64Var(&l.MinSuccess, "min-success", 99.9, "fail when a smaller share, in percent, is answered")
	fs.DurationVar(&l.MaxP95, "max-p95", 0, "fail when the 95th percentile of latencies is more (0 = it may be)")
	fs.Float64Var(&l.MaxUnavailable, "max-503", 100, "fail when a larger share, in percent, is answered with 503")
	_ = c.RegisterFlagCompletionFunc("dialect", cobra.FixedCompletions(traffic.Dialects(), cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.Key, err = s.clientKey(keyFile, keyEnv); err != nil {
			return badFlags(err)
		}
		if err := checkTraffic(o, l); err != nil {
			return badFlags(err)
		}
		return s.verifyTraffic(cmd.Context(), o, l)
	}
	return c
}

// checkTraffic refuses what a zero value would mean something else of.
func checkTraffic(o traffic.Options, l traffic.Limits) error {
	switch {
	case o.Model == "":
		return errors.New("give the model to ask for with --model")
	case o.Requests < 1 || o.Requests > traffic.MaxRequests:
		return fmt.Errorf("-n %d: want 1 to %d", o.Requests, traffic.MaxRequests)
	case o.Concurrency < 1 || o.Concurrency > traffic.MaxConcurrency:
		return fmt.Errorf("-c %d: want 1 to %d", o.Concurrency, traffic.MaxConcurrency)
	case o.Timeout <= 0:
		return errors.New("--timeout must be more than nothing")
	case l.MaxP95 < 0:
		return errors.New("--max-p95 cannot be less than nothing")
	// NaN compares with nothing.
	case !(l.MinSuccess >= 0 && l.MinSuccess <= 100):
		return fmt.Errorf("--min-success %g: want 0 to 100", l.MinSuccess)
	case !(l.MaxUnavailable >= 0 && l.MaxUnavailable <= 100):
		return fmt.Errorf("--max-503 %g: want 0 to 100", l.MaxUnavailable)
	}
	return nil
}

// clientKey finds the key: file, named variable, FAIRWAY_KEY.
func (s *session) clientKey(file, env string) (secret.String, error) {
	if file != "" && env != "" {
		return secret.String{}, errors.New("give only one of --key-file and --key-env")
	}
	from, value := "variable "+first(env, "FAIRWAY_KEY"), s.o.Getenv(first(env, "FAIRWAY_KEY"))
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return secret.String{}, fmt.Errorf("read key: %w", err)
		}
		from, value = file, string(raw)
	}
	if value = strings.TrimSpace(value); value != "" {
		return secret.New(value), nil
	}
	if file == "" && env == "" {
		return secret.String{}, errors.New("give a Fairway key with --key-file, --key-env or FAIRWAY_KEY")
	}
	return secret.String{}, fmt.Errorf("the key in %s is empty", from)
}

func (s *session) verifyTraffic(ctx context.Context, o traffic.Options, l traffic.Limits) error {
	bar := s.progress(o.Requests)
	o.Done = func() { _ = bar.Add(1) }
	r, err := traffic.Run(ctx, o)
	if err != nil {
		return badFlags(err)
	}
	if r.Sent < r.Asked {
		_ = bar.Clear()
	}
	r.Judge(l)
	if err := s.emit(r, func(w io.Writer) { trafficText(w, r) }); err != nil {
		return err
	}
	if !r.Pass {
		return &exitError{1, errors.New("traffic failed: " + strings.Join(r.Reasons, "; "))}
	}
	return nil
}

func trafficText(w io.Writer, r *traffic.Report) {
	share := func(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) + "%" }
	fmt.Fprintf(w, "%d sent, %d ok (%s), %d failed, %d with 503 (%s), in %.1fs (%.1f/s)\n", r.Sent, r.OK, share(r.SuccessPercent),
		r.Failed, r.Unavailable, share(r.UnavailablePercent), r.Seconds, r.RequestsPerSecond)
	if r.OK > 0 {
		fmt.Fprintln(w)
		line := func(name string, p traffic.Spread) []string {
			row := []string{name}
			for _, ms := range []float64{p.P50, p.P95, p.P99, p.Max} {
				row = append(row, shortSpan(time.Duration(ms*1e6)))
			}
			return row
		}
		grid(w, []string{"of those ok", "p50", "p95", "p99", "max"}, [][]string{line("latency", r.Latency), line("first byte", r.TTFT)})
	}
	if len(r.Failures) > 0 {
		fmt.Fprintln(w)
		rows := make([][]string, 0, len(r.Failures))
		for _, f := range r.Failures {
			rows = append(rows, []string{f.Class, strconv.Itoa(f.Count), share(f.Percent), dash(f.Example)})
		}
		grid(w, []string{"failure", "count", "share", "such as"}, rows)
		fmt.Fprintln(w)
		for _, f := range r.Failures {
			fmt.Fprintf(w, "%s: %s\n  next: %s\n", f.Class, f.Means, f.Next)
		}
	}
	fmt.Fprintln(w)
	if r.Pass {
		fmt.Fprintln(w, "PASS")
		return
	}
	fmt.Fprintf(w, "FAIL: %s\n", strings.Join(r.Reasons, "; "))
}
