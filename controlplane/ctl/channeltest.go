package ctl

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// testChannelCommand asks a channel's upstream for a short answer with each of its accounts.
func testChannelCommand(s *session, k kind) *cobra.Command {
	var account, model string
	c := &cobra.Command{
		Use:   "test NAME",
		Short: "Ask the upstream for a short answer, and say what is wrong when there is none",
		Long: `Ask the upstream for a short answer with each account of a channel, and say in one line what is wrong where there is none:
the URL, the credential, the model, the quota. It costs what such an answer costs. Fails when an account fails.`,
		Example:           "  fairway channel test openai --model gpt-4o-mini",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(s, k),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.diagnostics.TestChannel(ctx, &adminv1.TestChannelRequest{Channel: args[0], Account: account, Model: model})
				if err != nil {
					return err
				}
				if err := s.emit(toPlain(got, true), func(w io.Writer) { testText(w, got) }); err != nil {
					return err
				}
				failed := 0
				for _, r := range got.GetResults() {
					if !r.GetOk() {
						failed++
					}
				}
				if failed > 0 {
					return fmt.Errorf("%d of %d accounts failed", failed, len(got.GetResults()))
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "test only this account (default: all that are not disabled)")
	c.Flags().StringVar(&model, "model", "", "the model to ask for (default: the channel's test model, or its first)")
	_ = c.RegisterFlagCompletionFunc("account", completeName(s, accounts()))
	return c
}

func testText(w io.Writer, got *adminv1.TestChannelResponse) {
	fmt.Fprintf(w, "asked for %s\n", got.GetUpstreamModel())
	rows := make([][]string, 0, len(got.GetResults()))
	for _, r := range got.GetResults() {
		verdict, status := "ok", "-"
		if !r.GetOk() {
			verdict = enumName(r.GetCause().Descriptor(), r.GetCause().Number())
		}
		if r.GetHttpStatus() != 0 {
			status = fmt.Sprint(r.GetHttpStatus())
		}
		rows = append(rows, []string{r.GetAccount(), verdict, status, r.GetLatency().AsDuration().Round(time.Millisecond).String(), r.GetDetail()})
	}
	grid(w, []string{"account", "result", "status", "took", "detail"}, rows)
}
