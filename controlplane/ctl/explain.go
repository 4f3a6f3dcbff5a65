package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// explainCommand says what would happen to a request of a key for a model, or what happened to one, and why.
func explainCommand(s *session) *cobra.Command {
	var key, model, requestID string
	c := &cobra.Command{
		Use:   "explain --key KEY --model MODEL | --request-id ID",
		Short: "Which accounts could serve a request, or how one was decided, and why",
		Long: `Say which accounts could serve a request of a key for a model, and why the others could not; or, with --request-id, how one
request was decided: who was in the choice and by which terms, who was out and why, and what was tried.

A request's id is in its answer's x-request-id header. Proxies remember the newest requests only.`,
		Example: "  fairway explain --key alice --model gpt-4o\n  fairway explain --request-id req_01JZ3X5Q",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := &adminv1.ExplainRequest{Key: key, Model: model, RequestId: requestID}
			switch {
			case requestID != "" && (key != "" || model != ""):
				return errors.New("--request-id stands alone: give it, or --key and --model")
			case requestID == "" && (key == "" || model == ""):
				return errors.New("give --key and --model, or --request-id")
			}
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.diagnostics.Explain(ctx, req)
				if err != nil {
					return err
				}
				if requestID != "" && got.GetDecision() == nil {
					return errors.New("the control plane knows nothing of requests yet: it is older than this command")
				}
				return s.emit(explainPlain(got), func(w io.Writer) { explainText(w, got) })
			})
		},
	}
	c.Flags().StringVar(&key, "key", "", "name or id of the key")
	c.Flags().StringVar(&model, "model", "", "the model it asks for")
	c.Flags().StringVar(&requestID, "request-id", "", "id of a request, as in the x-request-id header of its answer")
	_ = c.RegisterFlagCompletionFunc("key", completeName(s, keys()))
	_ = c.RegisterFlagCompletionFunc("model", cobra.NoFileCompletions)
	return c
}

// explainPlain is the decision alone where there is one: the other fields are empty then.
func explainPlain(got *adminv1.ExplainResponse) any {
	if d := got.GetDecision(); d != nil {
		return map[string]any{"decision": toPlain(d, true)}
	}
	return toPlain(got, true)
}

func explainText(w io.Writer, got *adminv1.ExplainResponse) {
	if d := got.GetDecision(); d != nil {
		decisionText(w, d)
		return
	}
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
