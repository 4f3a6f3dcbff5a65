package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// settingsCommand shows and changes what holds for the whole fleet. There is one Settings resource, so the verbs take
// no name.
func settingsCommand(s *session) *cobra.Command {
	c := &cobra.Command{Use: "settings", Short: "What holds for the whole fleet", Args: cobra.NoArgs, RunE: showHelp}
	c.AddCommand(getSettingsCommand(s), updateSettingsCommand(s))
	return c
}

func getSettingsCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "get",
		Short: "Show the settings",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.settings.GetSettings(ctx, &adminv1.GetSettingsRequest{})
				if err != nil {
					return err
				}
				r := got.GetSettings()
				return s.emit(toPlain(r, false), func(w io.Writer) {
					grid(w, []string{"strategy", "max attempts", "retry budget %", "retry budget min"}, [][]string{{
						enumName(r.GetDefaultStrategy().Descriptor(), r.GetDefaultStrategy().Number()),
						fmt.Sprint(r.GetRetry().GetMaxAttempts()), fmt.Sprint(r.GetRetry().GetBudgetPercent()), fmt.Sprint(r.GetRetry().GetBudgetMin()),
					}})
				})
			})
		},
	}
}

func updateSettingsCommand(s *session) *cobra.Command {
	var strategy string
	var attempts, percent, minimum uint32
	c := &cobra.Command{
		Use:     "update",
		Short:   "Change the given settings",
		Example: "  fairway settings update --max-attempts 4 --wait",
		Args:    cobra.NoArgs,
	}
	fs := c.Flags()
	fs.StringVar(&strategy, "strategy", "", "for groups that name none: weighted_random")
	fs.Uint32Var(&attempts, "max-attempts", 0, "attempts per request, the first included (0 = 3)")
	fs.Uint32Var(&percent, "retry-budget-percent", 0, "retries at once, as a share of a group's active requests (0 = 20)")
	fs.Uint32Var(&minimum, "retry-budget-min", 0, "retries allowed whatever the share says (0 = 3)")
	s.bindWait(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		r := &resourcev1.Settings{Metadata: &resourcev1.Metadata{Name: "settings"}, Retry: &resourcev1.RetryPolicy{}}
		ch := &changes{fs: fs}
		ch.on("strategy", "default_strategy", func() (err error) {
			r.DefaultStrategy, err = enumFlag[resourcev1.Strategy](strategy)
			return err
		})
		ch.on("max-attempts", "retry.max_attempts", always(func() { r.Retry.MaxAttempts = attempts }))
		ch.on("retry-budget-percent", "retry.budget_percent", always(func() { r.Retry.BudgetPercent = percent }))
		ch.on("retry-budget-min", "retry.budget_min", always(func() { r.Retry.BudgetMin = minimum }))
		if ch.err != nil {
			return ch.err
		}
		if len(ch.paths) == 0 {
			return errors.New("nothing to change: give at least one field, see fairway settings update --help")
		}
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			got, err := c.settings.UpdateSettings(ctx, &adminv1.UpdateSettingsRequest{
				Settings: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: ch.paths}})
			if err != nil {
				return err
			}
			plain := map[string]any{"settings": toPlain(got.GetSettings(), false), "revision": got.GetRevision()}
			if err := s.emit(plain, func(w io.Writer) {
				fmt.Fprintf(w, "settings updated: %s\n", strings.Join(ch.paths, ", "))
			}); err != nil {
				return err
			}
			return s.await(ctx, c, got.GetRevision())
		})
	}
	return c
}
