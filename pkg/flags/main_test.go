package flags

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"
)

type coded int

func (coded) Error() string { return "coded" }

func (c coded) ExitCode() int { return int(c) }

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("plain"), 1}, {coded(2), 2}, {fmt.Errorf("wrapped: %w", coded(3)), 3},
		// An error never ends well.
		{coded(0), 1}, {coded(-1), 1},
	} {
		c := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return tt.err }}
		c.SetArgs([]string{})
		if got := Main(c); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
}
