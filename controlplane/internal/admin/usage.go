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
	return s.usage.Query(ctx, req)
}
