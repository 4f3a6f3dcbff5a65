package admin

import (
	"context"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

type usageService struct{ *Service }

// QueryUsage asks the books, which settle the range and bound it.
func (s usageService) QueryUsage(ctx context.Context, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
	if t := req.GetStartTime(); t != nil && t.CheckValid() != nil {
		return nil, badTime("start_time")
	}
	if t := req.GetEndTime(); t != nil && t.CheckValid() != nil {
		return nil, badTime("end_time")
	}
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	if req, err = scopeFor(ctx).narrow(st, req); err != nil {
		return nil, err
	}
	return s.usage.Query(ctx, req)
}

// CorrectUsage corrects the books in the caller's name. The books write the audit record with the correction itself.
func (s usageService) CorrectUsage(ctx context.Context, req *adminv1.CorrectUsageRequest) (*adminv1.CorrectUsageResponse, error) {
	if req.GetHour().CheckValid() != nil {
		return nil, badTime("hour")
	}
	return s.usage.Correct(ctx, actor(ctx), req)
}

// ListUsageCorrections shows what was corrected, by whom and why.
func (s usageService) ListUsageCorrections(
	ctx context.Context, req *adminv1.ListUsageCorrectionsRequest,
) (*adminv1.ListUsageCorrectionsResponse, error) {
	if t := req.GetStartTime(); t != nil && t.CheckValid() != nil {
		return nil, badTime("start_time")
	}
	if t := req.GetEndTime(); t != nil && t.CheckValid() != nil {
		return nil, badTime("end_time")
	}
	return s.usage.Corrections(ctx, req)
}
