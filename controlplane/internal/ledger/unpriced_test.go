package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Somebody hears of records without a price that are on the books, once each: not of those that were there before, and not
// of those that cannot be.
func TestUnpricedRecordsAreTold(t *testing.T) {
	b := newBooks()
	l := newLedger(b, 1)
	var got []string
	l.o.OnUnpriced = func(modelName, keyID string) { got = append(got, modelName+" of "+keyID) }
	lead(t, b, l, 1)
	rs := records(5)
	for _, r := range rs {
		r.Unpriced, r.DefaultPriced = false, false
	}
	rs[1].Unpriced, rs[1].Model = true, "new"
	rs[2].DefaultPriced, rs[2].Model = true, "newer"
	rs[3].Unpriced, rs[3].Model = true, "bro\nken"
	mustReport(t, l, "boot", 1, rs, 5)
	mustReport(t, l, "boot", 1, rs, 5)
	want := []string{"new of " + rs[1].GetKeyId(), "newer of " + rs[2].GetKeyId()}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
	mustReport(t, l, "boot", 6, []*syncv1.UsageRecord{rs[1]}, 6)
	if len(got) != 3 {
		t.Errorf("told %v", got)
	}
}
