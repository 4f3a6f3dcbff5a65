package leader

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func refusal(t *testing.T, code codes.Code, details ...protoadapt.MessageV1) error {
	t.Helper()
	s, err := status.New(code, "no").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

func TestOf(t *testing.T) {
	named := protoadapt.MessageV1Of(&syncv1.NotLeader{LeaderSyncAddress: "host:8082"})
	for _, tc := range []struct {
		name    string
		err     error
		address string
		not     bool
	}{
		{"nothing", nil, "", false},
		{"no status", errors.New("x"), "", false},
		{"another refusal", refusal(t, codes.FailedPrecondition), "", false},
		{"another code", refusal(t, codes.Unavailable, named), "", false},
		{"named", refusal(t, codes.FailedPrecondition, named), "host:8082", true},
		{"wrapped", fmt.Errorf("receive: %w", refusal(t, codes.FailedPrecondition, named)), "host:8082", true},
		{"nobody known", refusal(t, codes.FailedPrecondition, protoadapt.MessageV1Of(&syncv1.NotLeader{})), "", true},
	} {
		if address, not := Of(tc.err); address != tc.address || not != tc.not {
			t.Errorf("%s: %q, %v; want %q, %v", tc.name, address, not, tc.address, tc.not)
		}
	}
}
