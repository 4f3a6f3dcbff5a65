package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// pricesLabel says where a model's prices were imported from. What has it not was set by hand.
const pricesLabel = "fairway/prices"

// importModelsCommand sets prices from published lists.
func importModelsCommand(s *session, k kind) *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Set prices from a published list", Args: cobra.NoArgs, RunE: showHelp}
	c.AddCommand(importLiteLLMCommand(s, k))
	return c
}

func importLiteLLMCommand(s *session, k kind) *cobra.Command {
	var only []string
	var digest string
	var yes, dryRun, overwrite bool
	c := &cobra.Command{
		Use:   "litellm FILE",
		Short: "Set prices from a list in the format that LiteLLM publishes",
		Long: `Show what a list of prices in LiteLLM's format would change, and change it with --yes: a JSON object of model names, each
with input_cost_per_token, output_cost_per_token and the like, in USD. - is standard input.

The digest that is shown pins the list: with --digest another file is refused. Models whose prices were set by hand keep
them, unless --overwrite is given; nothing else of a model changes. Models that are not priced by tokens, and those that cost
nothing in the list, are passed over.`,
		Example: `  fairway model import litellm model_prices.json --only 'gpt-4o*' --only 'claude-*'
  fairway model import litellm model_prices.json --digest sha256:9f2c... --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if yes && dryRun {
				return errors.New("give either --yes or --dry-run")
			}
			list, err := s.openPriceList(args[0], only)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if want := strings.ToLower(strings.TrimPrefix(digest, "sha256:")); digest != "" && want != strings.TrimPrefix(list.digest, "sha256:") {
				return fmt.Errorf("%s: its digest is %s, and not the one that was given: it is another list", args[0], list.digest)
			}
			if len(list.models) == 0 {
				return fmt.Errorf("%s: no model whose price can be taken over matches", args[0])
			}
			c, err := s.connect()
			if err != nil {
				return err
			}
			return plain(s.importPrices(cmd.Context(), c, k, list, yes, overwrite))
		},
	}
	c.Flags().StringSliceVar(&only, "only", nil, "only names that match one of these patterns (* and ?)")
	c.Flags().StringVar(&digest, "digest", "", "refuse a file with another SHA-256 than this")
	c.Flags().BoolVar(&yes, "yes", false, "change what is shown")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing (so it is without --yes)")
	c.Flags().BoolVar(&overwrite, "overwrite", false, "also models whose prices were set by hand")
	s.bindWait(c)
	return c
}

func (s *session) openPriceList(file string, only []string) (*priceList, error) {
	from := s.o.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	raw, err := s.readPriceList(from)
	if err != nil {
		return nil, err
	}
	return parsePriceList(raw, only)
}

// priceStep is what an import does to one model.
type priceStep struct {
	model   *resourcev1.Model // as it will be; its etag is that of what it was compared with
	action  string            // "create", "update", "unchanged" or "keep"
	changes []string
}

// planImport compares a list with the models that there are.
func planImport(list *priceList, have map[string]*resourcev1.Model, overwrite bool) []priceStep {
	steps := make([]priceStep, 0, len(list.models))
	for _, listed := range list.models {
		current := have[listed.GetMetadata().GetName()]
		next := &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: listed.GetMetadata().GetName()}}
		if current != nil {
			next = proto.CloneOf(current)
		}
		byHand := current != nil && len(amounts(current)) > 0 && current.GetMetadata().GetLabels()[pricesLabel] == ""
		next.Prices = listed.GetPrices()
		next.Metadata.Labels = maps.Clone(next.GetMetadata().GetLabels())
		if next.Metadata.Labels == nil {
			next.Metadata.Labels = map[string]string{}
		}
		next.Metadata.Labels[pricesLabel] = "litellm " + list.digest
		step := priceStep{model: next, changes: differences(current, next)}
		switch {
		case current == nil:
			step.action = "create"
		case len(step.changes) == 0:
			step.action = "unchanged"
		case byHand && !overwrite:
			step.action = "keep"
		default:
			step.action = "update"
		}
		steps = append(steps, step)
	}
	return steps
}

// importPrices shows what a list changes and, if told to, changes it.
func (s *session) importPrices(ctx context.Context, c *clients, k kind, list *priceList, yes, overwrite bool) error {
	reading, cancel, err := s.deadline(ctx)
	if err != nil {
		return err
	}
	stored, err := collect(reading, c.service(k), listQuery{}, 0)
	cancel()
	if err != nil {
		return err
	}
	have := make(map[string]*resourcev1.Model, len(stored))
	for _, r := range stored {
		if m, ok := r.(*resourcev1.Model); ok {
			have[m.GetMetadata().GetName()] = m
		}
	}
	steps := planImport(list, have, overwrite)
	var newest int64
	var failed []error
	if yes {
		newest, failed = s.changePrices(ctx, c, k, steps)
	}
	if err := s.emit(importPlain(list, steps, yes), func(w io.Writer) { printImport(w, list, steps, yes, len(failed)) }); err != nil {
		return err
	}
	waiting, cancel, err := s.deadline(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return errors.Join(errors.Join(failed...), s.await(waiting, c, newest))
}

// changePrices does one step after the other. What fails is named, and the rest goes on.
func (s *session) changePrices(ctx context.Context, c *clients, k kind, steps []priceStep) (newest int64, failed []error) {
	bar := s.progress(len(steps))
	for i := range steps {
		revision, err := s.changePrice(ctx, c.service(k), &steps[i])
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", steps[i].model.GetMetadata().GetName(), plain(err)))
		}
		newest = max(newest, revision)
		_ = bar.Add(1)
		if ctx.Err() != nil {
			break
		}
	}
	_ = bar.Finish()
	return newest, failed
}

func (s *session) changePrice(ctx context.Context, svc service, step *priceStep) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	switch step.action {
	case "create":
		made, err := svc.create(ctx, step.model)
		return made.revision, err
	case "update":
		_, revision, err := svc.update(ctx, step.model, []string{"prices", "metadata.labels"})
		return revision, err
	}
	return 0, nil
}

func importPlain(list *priceList, steps []priceStep, done bool) any {
	changes := make([]any, 0, len(steps))
	for _, step := range steps {
		m := map[string]any{"name": step.model.GetMetadata().GetName(), "action": step.action}
		if len(step.changes) > 0 {
			m["changes"] = step.changes
		}
		changes = append(changes, m)
	}
	passed := make([]any, 0, len(list.passed))
	for _, p := range list.passed {
		passed = append(passed, map[string]any{"name": p.name, "why": p.why})
	}
	return map[string]any{"digest": list.digest, "applied": done, "models": changes, "passed_over": passed}
}

func printImport(w io.Writer, list *priceList, steps []priceStep, done bool, failed int) {
	var rows [][]string
	counts := map[string]int{}
	for _, step := range steps {
		counts[step.action]++
		what := step.action
		if what == "keep" {
			what = "keep (set by hand)"
		}
		if step.action != "unchanged" {
			rows = append(rows, []string{step.model.GetMetadata().GetName(), what, strings.Join(step.changes, ", ")})
		}
	}
	if len(rows) > 0 {
		grid(w, []string{"model", "action", "USD per million tokens"}, rows)
	}
	fmt.Fprintf(w, "%d to create, %d to update, %d unchanged, %d kept, %d passed over\n",
		counts["create"], counts["update"], counts["unchanged"], counts["keep"], len(list.passed))
	fmt.Fprintf(w, "digest %s\n", list.digest)
	switch {
	case !done:
		fmt.Fprintf(w, "nothing was changed; --digest %s --yes changes it\n", list.digest)
	case failed > 0:
		fmt.Fprintf(w, "changed, but for %d that failed\n", failed)
	default:
		fmt.Fprintln(w, "changed")
	}
}

// progress shows a person how far it is; a script sees nothing.
func (s *session) progress(n int) *progressbar.ProgressBar {
	f, ok := s.o.Err.(interface{ Fd() uintptr })
	return progressbar.NewOptions(n, progressbar.OptionSetWriter(s.o.Err), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetVisibility(ok && term.IsTerminal(int(f.Fd()))), progressbar.OptionShowCount())
}
