package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// settingsCommand shows and changes what holds for the whole fleet. There is one Settings resource, so the verbs take
// no name.
func settingsCommand(s *session) *cobra.Command {
	c := &cobra.Command{Use: "settings", Short: "What holds for the whole fleet", Args: cobra.NoArgs, RunE: showHelp}
	c.AddCommand(getSettingsCommand(s), setSettingsCommand(s))
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
				return s.emit(toPlain(r, false), func(w io.Writer) { grid(w, []string{"setting", "value", "what"}, settingsRows(r)) })
			})
		},
	}
}

// settingsRows names each setting as the flag that changes it.
func settingsRows(r *resourcev1.Settings) [][]string {
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	percent := func(n uint32) string { return number(n) + "%" }
	span := func(d *durationpb.Duration) string {
		if d == nil {
			return "-"
		}
		return d.AsDuration().String()
	}
	t, v, w, u := r.GetThresholds(), r.GetRecovery(), r.GetWeights(), r.GetUnknownPrice()
	return [][]string{
		{"default-strategy", enumName(r.GetDefaultStrategy().Descriptor(), r.GetDefaultStrategy().Number()), "of groups that name none"},
		{"weights", fmt.Sprintf("cost=%g,performance=%g,load=%g,reliability=%g", w.GetCost(), w.GetPerformance(), w.GetLoad(), w.GetReliability()),
			"of the strategy balanced"},
		{"affinity", enumName(r.GetAffinity().Descriptor(), r.GetAffinity().Number()), "of groups that say nothing"},
		{"max-attempts", number(r.GetRetry().GetMaxAttempts()), "per request"},
		{"retry-budget-percent", percent(r.GetRetry().GetBudgetPercent()), "retries at once, of a group's active requests"},
		{"retry-budget-min", number(r.GetRetry().GetBudgetMin()), "retries that are always allowed"},
		{"consecutive-failures", number(t.GetConsecutiveFailures()), "in a row, until an account rests"},
		{"max-error-rate", fmt.Sprintf("%g", t.GetMaxErrorRate()), "share of failures in the window, until it rests"},
		{"min-requests", number(t.GetMinRequests()), "in the window, before rates count"},
		{"window", span(t.GetWindow()), "over which rates are taken"},
		{"max-ttft-ratio", fmt.Sprintf("%g", t.GetMaxTtftRatio()), "times slower than expected, until it rests"},
		{"max-ejected-percent", percent(t.GetMaxEjectedPercent()), "of a tier that rates may take out at once"},
		{"panic-percent", percent(t.GetPanicPercent()), "of healthy accounts, below which health is ignored"},
		{"open", span(v.GetOpen()), "the first rest; doubled each time"},
		{"max-open", span(v.GetMaxOpen()), "the longest rest"},
		{"slow-start", span(v.GetSlowStart()), "from recovery to the full share"},
		{"check", enumName(v.GetCheck().Descriptor(), v.GetCheck().Number()), "how an account without traffic is looked after"},
		{"check-interval", span(v.GetCheckInterval()), "without traffic, until it is"},
		{"unknown-price", enumName(u.GetPolicy().Descriptor(), u.GetPolicy().Number()), "for models without a price"},
		{"decision-sample", fmt.Sprintf("%g", float64(r.GetDecisionSamplePpm())/1e6), "share of good requests that are logged with their decision"},
	}
}

func setSettingsCommand(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "set",
		Aliases: []string{"update"},
		Short:   "Change the given settings",
		Long: `Change the given settings; what is not given stays. Groups may say otherwise about strategy and affinity.
Shares are given as 0.05 or 5%.`,
		Example: `  fairway settings set --max-attempts 4 --wait
  fairway settings set --default-strategy balanced --weights cost=0.6,performance=0.2,load=0.1,reliability=0.1
  fairway settings set --consecutive-failures 3 --open 60s --max-open 10m`,
		Args: cobra.NoArgs,
	}
	fs := c.Flags()
	read := settingsFields(fs)
	completeSettings(c)
	s.bindWait(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		r := &resourcev1.Settings{Metadata: &resourcev1.Metadata{Name: "settings"}}
		paths, err := read(r, fs)
		if err != nil {
			return err
		}
		if len(paths) == 0 {
			return errors.New("nothing to change: give at least one field, see fairway settings set --help")
		}
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			got, err := c.settings.UpdateSettings(ctx, &adminv1.UpdateSettingsRequest{
				Settings: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			if err != nil {
				return err
			}
			plain := map[string]any{"settings": toPlain(got.GetSettings(), false), "revision": got.GetRevision()}
			if err := s.emit(plain, func(w io.Writer) {
				fmt.Fprintf(w, "settings updated: %s\n", strings.Join(paths, ", "))
			}); err != nil {
				return err
			}
			return s.await(ctx, c, got.GetRevision())
		})
	}
	return c
}
