package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// auditCommand shows who changed what, newest first.
func auditCommand(s *session) *cobra.Command {
	var since, until string
	var limit int
	req := &adminv1.ListAuditRecordsRequest{}
	c := &cobra.Command{
		Use:     "audit",
		Short:   "Who changed what, newest first",
		Example: "  fairway audit --kind channel --since 24h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.StartTime, err = moment(since, time.Now()); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			if req.EndTime, err = moment(until, time.Now()); err != nil {
				return fmt.Errorf("--until: %w", err)
			}
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				records, err := collectAudit(ctx, c, req, limit)
				if err != nil {
					return err
				}
				plain := make([]any, 0, len(records))
				rows := make([][]string, 0, len(records))
				for _, r := range records {
					plain = append(plain, toPlain(r, false))
					rows = append(rows, []string{when(r.GetTime()), r.GetOperator(), enumName(r.GetAction().Descriptor(), r.GetAction().Number()),
						r.GetKind(), r.GetResourceName(), strings.Join(r.GetChangedFields(), ","), strconv.FormatInt(r.GetRevision(), 10)})
				}
				return s.emit(plain, func(w io.Writer) {
					grid(w, []string{"time", "operator", "action", "kind", "name", "fields", "revision"}, rows)
				})
			})
		},
	}
	fs := c.Flags()
	fs.StringVar(&since, "since", "", "start: a duration before now, a date or an RFC 3339 time (default 7 days)")
	fs.StringVar(&until, "until", "", "end (default now)")
	fs.StringVar(&req.Kind, "kind", "", "only this kind")
	fs.StringVar(&req.ResourceName, "name", "", "only the resource of this name")
	fs.StringVar(&req.Operator, "operator", "", "only what this operator did")
	fs.IntVar(&limit, "limit", 100, "show at most this many; 0 = all")
	return c
}

func collectAudit(ctx context.Context, c *clients, req *adminv1.ListAuditRecordsRequest, limit int) ([]*adminv1.AuditRecord, error) {
	var records []*adminv1.AuditRecord
	for {
		req.PageSize = 1000
		if limit > 0 {
			req.PageSize = int32(min(1000, limit-len(records)))
		}
		got, err := c.audit.ListAuditRecords(ctx, req)
		if err != nil {
			return nil, err
		}
		records = append(records, got.GetRecords()...)
		if got.GetNextPageToken() == "" || limit > 0 && len(records) >= limit {
			return records, nil
		}
		req.PageToken = got.GetNextPageToken()
	}
}
