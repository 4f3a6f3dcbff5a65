package ctl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// listModelsCommand lists models, and behind them those of the built-in table that have no resource.
func listModelsCommand(s *session, k kind) *cobra.Command {
	c := listCommand(s, k)
	var own bool
	c.Flags().BoolVar(&own, "own", false, "leave out the built-in prices (so it is with --filter, --order-by and --limit)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		q := listQuery{filter: cmd.Flag("filter").Value.String(), orderBy: cmd.Flag("order-by").Value.String()}
		limit, err := cmd.Flags().GetInt("limit")
		if err != nil {
			return err
		}
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			items, err := collect(ctx, c.service(k), q, limit)
			if err != nil {
				return err
			}
			known := &adminv1.GetBuiltInPricesResponse{}
			if !own && q.filter == "" && q.orderBy == "" && limit == 0 {
				known, err = adminv1connect.NewModelServiceClient(c.base).GetBuiltInPrices(ctx, &adminv1.GetBuiltInPricesRequest{})
				if err != nil {
					return err
				}
			}
			return s.printModels(items, known)
		})
	}
	return c
}

func (s *session) printModels(items []resource, known *adminv1.GetBuiltInPricesResponse) error {
	plain := make([]any, 0, len(items))
	rows := make([][]string, 0, len(items)+len(known.GetModels()))
	stored := map[string]bool{}
	add := func(m *resourcev1.Model, from string) {
		rows = append(rows, modelRow(m, from))
		p, ok := toPlain(m, false).(map[string]any)
		if ok {
			p["price_from"] = from
		}
		plain = append(plain, p)
	}
	for _, r := range items {
		if m, ok := r.(*resourcev1.Model); ok {
			stored[m.GetMetadata().GetName()] = true
			add(m, setBy(m))
		}
	}
	for _, m := range known.GetModels() {
		if !stored[m.GetMetadata().GetName()] {
			add(m, fmt.Sprintf("built-in %s", known.GetAsOf()))
		}
	}
	return s.emit(plain, func(w io.Writer) { grid(w, modelHeader(), rows) })
}
