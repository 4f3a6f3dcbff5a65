package credential

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func credentialOf(id string, issued time.Time, life time.Duration) *resourcev1.Credential {
	return &resourcev1.Credential{
		Metadata: &resourcev1.Metadata{Id: id}, IssueTime: timestamppb.New(issued), ExpireTime: timestamppb.New(issued.Add(life)),
	}
}

// A credential is kept for at least 45% of its life and at most 80%, and is renewed 5 minutes before its end where its life
// allows; two leaders agree on when.
func TestRenewIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		issued := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "issued"), 0)
		life := time.Duration(rapid.Int64Range(1, int64(maxLife/time.Second)).Draw(t, "life")) * time.Second
		c := credentialOf(rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "id"), issued, life)
		keep := renewIn(c, issued)
		if keep < life*45/100-1 || keep > life*4/5 {
			t.Fatalf("of a life of %s it is kept %s", life, keep)
		}
		if life >= 2*spare && life-keep < spare {
			t.Fatalf("of a life of %s only %s are left", life, life-keep)
		}
		later := time.Duration(rapid.Int64Range(0, int64(maxLife)).Draw(t, "later"))
		if got := renewIn(c, issued.Add(later)); got != keep-later {
			t.Fatalf("%s later it is kept %s more, want %s", later, got, keep-later)
		}
		if got := renewIn(c, issued.Add(-clockSlack-time.Second)); got > 0 {
			t.Fatalf("one from the future is kept %s", got)
		}
	})
}

func TestPause(t *testing.T) {
	e := &Exchanger{firstPause: 2 * time.Second}
	tests := []struct {
		name     string
		failures int
		err      error
		least    time.Duration
		most     time.Duration
	}{
		{"first", 0, errors.New("x"), time.Second, 2 * time.Second},
		{"third", 2, errors.New("x"), 4 * time.Second, 8 * time.Second},
		{"hundredth", 100, errors.New("x"), maxPause / 2, maxPause},
		{"refused", 0, &refusal{status: 400, code: "invalid_grant"}, 15 * time.Second, 30 * time.Second},
		{"refused for ever", 100, &refusal{status: 401}, maxRefused / 2, maxRefused},
		{"overloaded", 0, &refusal{status: 503}, time.Second, 2 * time.Second},
		{"throttled", 0, &refusal{status: 400, code: "Throttling"}, time.Second, 2 * time.Second},
		{"asked to wait", 0, &refusal{status: 429, retryAfter: time.Minute}, time.Minute, time.Minute},
		{"asked to wait too long", 0, &refusal{status: 429, retryAfter: time.Hour}, maxRefused, maxRefused},
	}
	for _, tt := range tests {
		for range 100 {
			if got := e.pause(tt.failures, tt.err); got < tt.least || got > tt.most {
				t.Errorf("%s: %s, want %s to %s", tt.name, got, tt.least, tt.most)
			}
		}
	}
}
