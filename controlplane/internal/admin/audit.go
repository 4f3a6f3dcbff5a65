package admin

import (
	"context"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

type auditService struct{ *Service }

// ListAuditRecords reads the records from the store itself, newest first.
func (s auditService) ListAuditRecords(ctx context.Context, req *adminv1.ListAuditRecordsRequest) (*adminv1.ListAuditRecordsResponse, error) {
	q := store.AuditQuery{
		Kind: req.GetKind(), ResourceName: req.GetResourceName(), Operator: req.GetOperator(),
		PageSize: int(req.GetPageSize()), PageToken: req.GetPageToken(),
	}
	if t := req.GetStartTime(); t != nil {
		if t.CheckValid() != nil {
			return nil, badTime("start_time")
		}
		q.Start = t.AsTime()
	}
	if t := req.GetEndTime(); t != nil {
		if t.CheckValid() != nil {
			return nil, badTime("end_time")
		}
		q.End = t.AsTime()
	}
	records, next, err := s.store.Audit(ctx, q)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListAuditRecordsResponse{Records: records, NextPageToken: next}, nil
}

func badTime(field string) error {
	return fault.New(fault.Invalid, "%s: is not a valid time", field).WithParam(field)
}
