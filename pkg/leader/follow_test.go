package leader

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestBackoffStaysInItsBounds(t *testing.T) {
	const least, most = 100 * time.Millisecond, 30 * time.Second
	for failed := range 100 {
		limit := most
		if failed < 8 {
			limit = least << failed
		}
		longest := time.Duration(0)
		for range 50 {
			d := Backoff(failed, least, most)
			if d < 0 || d > limit {
				t.Fatalf("Backoff(%d) = %v, want 0 to %v", failed, d, limit)
			}
			longest = max(longest, d)
		}
		if longest < limit/4 {
			t.Errorf("Backoff(%d) never came near %v: %v at most", failed, limit, longest)
		}
	}
}

// elsewhere is a replica's refusal that names another leader.
func elsewhere(t *testing.T, address string) error {
	t.Helper()
	s, err := status.New(codes.FailedPrecondition, "not the leader").WithDetails(&syncv1.NotLeader{LeaderSyncAddress: address})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

// TestReach follows what replicas say, but not for ever.
func TestReach(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name  string
		says  map[string]string // where each replica says that the leader is; "" = it does not know; not there = it leads
		want  []string
		ended error
	}{
		{"at once", nil, []string{"a"}, broken},
		{"elsewhere", map[string]string{"a": "b"}, []string{"a", "b"}, broken},
		{"nobody knows", map[string]string{"a": ""}, []string{"a"}, nil},
		{"it names itself", map[string]string{"a": "a"}, []string{"a"}, nil},
		{"round and round", map[string]string{"a": "b", "b": "a"}, []string{"a", "b", "a", "b"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			err := Reach(t.Context(), "a", func(_ context.Context, address string) error {
				asked = append(asked, address)
				if to, refuses := tt.says[address]; refuses {
					return elsewhere(t, to)
				}
				return broken
			})
			if !slices.Equal(asked, tt.want) || err == nil || tt.ended != nil && !errors.Is(err, tt.ended) {
				t.Errorf("asked %v, want %v; %v", asked, tt.want, err)
			}
		})
	}
}

// TestFollow: it goes on after each failure, with all replicas in turn, counts those that heard nobody, and ends with its
// context, also while it waits.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var asked []string
		var before []int
		f := Follower{
			Addresses: []string{"a", "b"}, MinBackoff: time.Second, MaxBackoff: time.Minute,
			Stream: func(_ context.Context, address string) (bool, error) {
				asked = append(asked, address)
				return len(asked) == 4, errors.New("broken")
			},
			Failed: func(err error, heard bool, n int) {
				if before = append(before, n); err == nil || heard != (len(before) == 4) {
					t.Errorf("failure %d: %v, heard %v", len(before), err, heard)
				}
				if len(before) == 6 {
					cancel()
				}
			},
		}
		f.Follow(ctx)
		if want := []int{0, 1, 2, 0, 1, 2}; !slices.Equal(before, want) {
			t.Errorf("failed in a row before: %v, want %v", before, want)
		}
		if asked[0] == asked[1] || asked[0] != asked[2] || asked[1] != asked[3] {
			t.Errorf("asked %v, want both in turn", asked)
		}
	})
}
