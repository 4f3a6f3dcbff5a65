// Package leader finds the replica that leads: it reads from the refusals of others where that is, and stays with it over all
// changes. It refuses to dial anybody, and to know what is said there.
package leader

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Of says whether err is a replica's answer that it does not lead, and where the leader's sync listener is; the address is
// empty when that replica knows none.
func Of(err error) (address string, notLeader bool) {
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) || carrier.GRPCStatus().Code() != codes.FailedPrecondition {
		return "", false
	}
	for _, detail := range carrier.GRPCStatus().Details() {
		if d, ok := detail.(*syncv1.NotLeader); ok {
			return d.GetLeaderSyncAddress(), true
		}
	}
	return "", false
}
