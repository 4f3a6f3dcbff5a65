package ledger

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Somebody hears what was reserved for records that are on the books, once each, and what they used: not of those that
// failed, whose usage nobody told, that had nothing reserved, or whose numbers are none.
func TestEstimatesAreTold(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	var got []string
	l.o.OnEstimate = func(modelName string, reserved, used int64) {
		got = append(got, fmt.Sprintf("%s: %d for %d", modelName, reserved, used))
	}
	lead(t, b, l, 1)
	rs := records(10)
	for i, r := range rs {
		r.Error, r.Estimated, r.Model, r.ReservedTokens = false, false, fmt.Sprint("m", i), 50
		r.InputTokens, r.OutputTokens = 20, 10
	}
	rs[1].Error = true
	rs[2].Estimated = true
	rs[3].ReservedTokens = 0
	rs[4].ReservedTokens = math.MinInt64
	rs[5].OutputTokens = -1
	rs[6].OutputTokens = math.MaxInt64
	rs[7].ReservedTokens = math.MaxInt64
	rs[8].Unpriced = true
	rs[9].InputTokens, rs[9].OutputTokens = math.MaxInt64, 0
	mustReport(t, l, "boot", 1, rs, 10)
	mustReport(t, l, "boot", 1, rs, 10)
	mustReport(t, l, "boot", 11, []*syncv1.UsageRecord{rs[9]}, 11) // whose sum would wrap: it is not on the books
	want := []string{"m0: 50 for 30", "m7: 9223372036854775807 for 30", "m8: 50 for 30", "m9: 50 for 9223372036854775807"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
}
