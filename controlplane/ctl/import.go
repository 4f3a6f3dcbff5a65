package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"path"
	"slices"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// importModelsCommand sets prices from a published list, in the format that LiteLLM publishes its own in: a JSON object of
// model names, each with costs in USD per token.
func importModelsCommand(s *session, k kind) *cobra.Command {
	var match []string
	var dryRun bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Set prices from a published list",
		Long: `Set prices from a published list in LiteLLM's format: a JSON object of model names, each with input_cost_per_token,
output_cost_per_token and optionally cache_read_input_token_cost, in USD. Models without both costs are passed over.
Models that exist get the list's prices; nothing else of them changes. - is standard input.`,
		Example: "  fairway model import model_prices.json --match 'gpt-4o*' --match 'text-embedding-*' --dry-run",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := s.readFile(args[0])
			if err != nil {
				return err
			}
			list, err := parsePriceList(raw, match)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if len(list) == 0 {
				return fmt.Errorf("%s: no model with a price matches", args[0])
			}
			c, err := s.connect()
			if err != nil {
				return err
			}
			return plain(s.importModels(cmd.Context(), c, k, list, dryRun))
		},
	}
	c.Flags().StringSliceVar(&match, "match", nil, "only names that match one of these patterns (* and ?)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what would change, and change nothing")
	s.bindWait(c)
	return c
}

// parsePriceList reads the list and keeps what matches and has prices, by name.
func parsePriceList(raw []byte, match []string) ([]*resourcev1.Model, error) {
	type entry struct {
		Input  json.Number `json:"input_cost_per_token"`
		Cached json.Number `json:"cache_read_input_token_cost"`
		Output json.Number `json:"output_cost_per_token"`
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("not a JSON object of models: %w", err)
	}
	var list []*resourcev1.Model
	for name, text := range entries {
		ok, err := matches(name, match)
		if err != nil {
			return nil, err
		}
		var e entry
		// Entries of another shape are documentation, or of models that are priced otherwise.
		if !ok || json.Unmarshal(text, &e) != nil || e.Input == "" || e.Output == "" {
			continue
		}
		p := &resourcev1.Prices{}
		if p.Input, err = perMillion(e.Input); err == nil {
			p.Output, err = perMillion(e.Output)
		}
		if err == nil && e.Cached != "" {
			var cached int64
			cached, err = perMillion(e.Cached)
			p.CachedInput = proto.Int64(cached)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: name}, Prices: p})
	}
	slices.SortFunc(list, func(a, b *resourcev1.Model) int {
		if a.GetMetadata().GetName() < b.GetMetadata().GetName() {
			return -1
		}
		return 1
	})
	return list, nil
}

func matches(name string, patterns []string) (bool, error) {
	for _, p := range patterns {
		ok, err := path.Match(p, name)
		if err != nil {
			return false, fmt.Errorf("--match %q: %w", p, err)
		}
		if ok {
			return true, nil
		}
	}
	return len(patterns) == 0, nil
}

// perMillion turns USD per token into nano-USD per million tokens, exactly, and rounds what is left to the nearest.
func perMillion(usd json.Number) (int64, error) {
	// A float first: it bounds the exponent, with which an exact number could be made to fill the memory.
	switch f, err := usd.Float64(); {
	case err != nil || f < 0:
		return 0, fmt.Errorf("%q is no price", usd)
	case f > 1:
		return 0, fmt.Errorf("%q is too much for a price per token", usd)
	case f < 1e-18:
		return 0, nil
	}
	r, ok := new(big.Rat).SetString(usd.String())
	if !ok {
		return 0, fmt.Errorf("%q is no price", usd)
	}
	r.Mul(r, big.NewRat(1e15, 1))
	twice := new(big.Int).Add(new(big.Int).Mul(r.Num(), big.NewInt(2)), r.Denom())
	return twice.Quo(twice, new(big.Int).Mul(r.Denom(), big.NewInt(2))).Int64(), nil
}

// importModels creates or updates one model after the other. What fails is named, and the rest goes on.
func (s *session) importModels(ctx context.Context, c *clients, k kind, list []*resourcev1.Model, dryRun bool) error {
	bar := s.progress(len(list))
	steps := make([]applied, 0, len(list))
	var newest int64
	var failed []error
	for _, m := range list {
		step, err := s.importModel(ctx, c, document{kind: k, paths: []string{"prices"}, r: m}, dryRun)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.GetMetadata().GetName(), plain(err)))
		} else {
			steps = append(steps, step)
			newest = max(newest, step.revision)
		}
		_ = bar.Add(1)
		if ctx.Err() != nil {
			break
		}
	}
	_ = bar.Finish()
	docs := make([]any, 0, len(steps))
	counts := map[string]int{}
	for _, step := range steps {
		docs = append(docs, step.plain())
		counts[step.action]++
	}
	if err := s.emit(docs, func(w io.Writer) {
		for _, step := range steps {
			if step.action != "unchanged" {
				step.print(w)
			}
		}
		fmt.Fprintf(w, "%d created, %d updated, %d unchanged, %d failed\n", counts["created"], counts["updated"], counts["unchanged"], len(failed))
	}); err != nil {
		return err
	}
	ctx, cancel, err := s.deadline(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return errors.Join(errors.Join(failed...), s.await(ctx, c, newest))
}

func (s *session) importModel(ctx context.Context, c *clients, d document, dryRun bool) (applied, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.applyOne(ctx, c, d, dryRun)
}

// progress shows a person how far it is; a script sees nothing.
func (s *session) progress(n int) *progressbar.ProgressBar {
	f, ok := s.o.Err.(interface{ Fd() uintptr })
	return progressbar.NewOptions(n, progressbar.OptionSetWriter(s.o.Err), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetVisibility(ok && term.IsTerminal(int(f.Fd()))), progressbar.OptionShowCount())
}
