package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// explainCommand says what would happen to a request of a key for a model, and why.
func explainCommand(s *session) *cobra.Command {
	var key, model string
	c := &cobra.Command{
		Use:     "explain --key KEY --model MODEL",
		Short:   "Which accounts could serve a request, and why the others could not",
		Example: "  fairway explain --key alice --model gpt-4o",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.diagnostics.Explain(ctx, &adminv1.ExplainRequest{Key: key, Model: model})
				if err != nil {
					return err
				}
				return s.emit(toPlain(got, true), func(w io.Writer) { explainText(w, got) })
			})
		},
	}
	c.Flags().StringVar(&key, "key", "", "name or id of the key")
	c.Flags().StringVar(&model, "model", "", "the model it asks for")
	_ = c.MarkFlagRequired("key")
	_ = c.MarkFlagRequired("model")
	_ = c.RegisterFlagCompletionFunc("key", completeNames(s, keys()))
	return c
}

func explainText(w io.Writer, got *adminv1.ExplainResponse) {
	fmt.Fprintln(w, got.GetVerdict())
	if !got.GetServed() {
		fmt.Fprintf(w, "the client sees %d\n", got.GetHttpStatus())
	}
	if len(got.GetCandidates()) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows := make([][]string, 0, len(got.GetCandidates()))
	for _, c := range got.GetCandidates() {
		verdict, share := "in", fmt.Sprintf("%.1f%%", float64(c.GetSharePpm())/1e4)
		if !c.GetUsable() {
			verdict, share = "out: "+strings.Join(c.GetReasons(), "; "), "-"
		}
		rows = append(rows, []string{strconv.Itoa(int(c.GetPriority())), c.GetChannel(), c.GetAccount(), c.GetUpstreamModel(), share, verdict})
	}
	grid(w, []string{"priority", "channel", "account", "asks for", "share", ""}, rows)
}
