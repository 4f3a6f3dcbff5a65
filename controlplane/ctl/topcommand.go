package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fairway/controlplane/ctl/top"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// topPatience bounds how long a frame may be without an answer before it says why.
const topPatience = 5 * time.Second

// topCommand shows the fleet as it is now, again and again.
func topCommand(s *session) *cobra.Command {
	var once bool
	var interval time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "The fleet, live: rates, retries, proxies, and accounts, the worst first",
		Long: `Show the fleet as it is now, and redraw it until q or ctrl-c: who leads, rates of requests and failures, what became of misses,
retries, spills, panics and hedges, all proxies, and all accounts, the worst first. Columns go when the terminal is narrow.
While the control plane does not answer, it says so and goes on asking.

With --once, with -o json or yaml, and where the output is no terminal, it shows one frame and ends; then an answer that
does not come is an error. NO_COLOR takes the colours away.`,
		Example: "  fairway top\n  fairway top --once -o json | jq '.health.accounts[] | select(.health.state != \"closed\")'",
		Args:    cobra.NoArgs,
	}
	c.Flags().BoolVar(&once, "once", false, "show one frame and end")
	c.Flags().DurationVar(&interval, "interval", time.Second, "between frames, 200ms to 1h")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if interval < 200*time.Millisecond || interval > time.Hour {
			return fmt.Errorf("--interval %s: want 200ms to 1h", interval)
		}
		if s.timeout <= 0 {
			return errors.New("--timeout must be more than nothing")
		}
		screen, live := terminal(s.o.Out)
		if once || !live || s.output != tableFormat {
			if !live && !once && s.output == tableFormat {
				fmt.Fprintln(s.o.Err, "the output is no terminal: one frame, as with --once")
			}
			return s.topOnce(cmd)
		}
		return s.topLive(cmd.Context(), screen, interval)
	}
	return c
}

// terminal is the file behind a stream, when that is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// fleet asks for both halves of the view; the one may be there without the other.
func fleet(ctx context.Context, c *clients) (*adminv1.FleetHealth, *adminv1.GetStatusResponse, error) {
	status, err := c.fleet.GetStatus(ctx, &adminv1.GetStatusRequest{})
	if err != nil {
		return nil, nil, err
	}
	health, err := c.fleet.GetFleetHealth(ctx, &adminv1.GetFleetHealthRequest{})
	return health.GetHealth(), status, err
}

func (s *session) topOnce(cmd *cobra.Command) error {
	return s.call(cmd, func(ctx context.Context, c *clients) error {
		health, status, err := fleet(ctx, c)
		if err != nil {
			return err
		}
		now := time.Now()
		plain := map[string]any{"health": toPlain(health, true), "status": statusPlain(status)}
		return s.emit(plain, func(w io.Writer) {
			width := 0
			if f, ok := terminal(s.o.Out); ok {
				width, _, _ = term.GetSize(int(f.Fd()))
			}
			if n, err := strconv.Atoi(s.o.Getenv("COLUMNS")); err == nil && n > 0 {
				width = n
			}
			for _, l := range top.Frame(&top.View{Health: health, Status: status, Fetched: now}, now, width, 0, false) {
				fmt.Fprintln(w, l.Text)
			}
		})
	})
}

// topLive takes the terminal over, and gives it back whatever happens.
func (s *session) topLive(ctx context.Context, screen *os.File, interval time.Duration) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	o := top.Options{
		Interval: interval,
		Size:     func() (int, int) { return s.size(screen) },
		Color:    s.o.Getenv("NO_COLOR") == "" && s.o.Getenv("TERM") != "dumb",
		Fatal:    hopeless,
	}
	if keyboard, ok := terminal(s.o.In); ok {
		before, err := term.MakeRaw(int(keyboard.Fd()))
		if err != nil {
			return fmt.Errorf("take the terminal over: %w", err)
		}
		defer func() { _ = term.Restore(int(keyboard.Fd()), before) }()
		o.Keys = top.Keys(keyboard)
	}
	fetch := func(ctx context.Context) (*adminv1.FleetHealth, *adminv1.GetStatusResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, min(s.timeout, topPatience))
		defer cancel()
		health, status, err := fleet(ctx, c)
		return health, status, explained(err)
	}
	return top.Run(ctx, screen, fetch, o)
}

// size is the terminal's; where it does not say, what $COLUMNS and $LINES do.
func (s *session) size(f *os.File) (width, height int) {
	if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
		return w, h
	}
	width, height = 80, 24
	if n, err := strconv.Atoi(s.o.Getenv("COLUMNS")); err == nil && n > 0 {
		width = n
	}
	if n, err := strconv.Atoi(s.o.Getenv("LINES")); err == nil && n > 0 {
		height = n
	}
	return width, height
}

// answerError is an error of the API in words for people, with its code kept.
type answerError struct {
	text string
	err  error
}

func (e *answerError) Error() string { return e.text }

func (e *answerError) Unwrap() error { return e.err }

func explained(err error) error {
	if err == nil {
		return nil
	}
	return &answerError{text: plain(err).Error(), err: err}
}

// hopeless says that the same question will get the same answer.
func hopeless(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeUnimplemented:
		return true
	default:
		return false
	}
}
