package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fairway/pkg/testkit/fakellm"
)

// TestStaleEtags: proof 6. A hundred updates at once from the same etag: one wins, the others learn the current etag. Then
// all hundred go on with what they learn until each has won: the audit shows exactly those that won, in their order.
func TestStaleEtags(t *testing.T) {
	const writers = 100
	in := up(t)
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-etag": fakellm.Healthy()}, Models: []string{"m1"}})
	in.channel("main", url, "sk-etag", "m1", "--wait")
	etagOf := func(reply map[string]any) string {
		return reply["channel"].(map[string]any)["metadata"].(map[string]any)["etag"].(string)
	}
	got, err := in.call("ChannelService/GetChannel", map[string]any{"name": "main"})
	if err != nil {
		t.Fatal(err)
	}
	first := etagOf(got)
	set := func(etag string, weight int) error {
		_, err := in.call("ChannelService/UpdateChannel", map[string]any{"updateMask": "weight",
			"channel": map[string]any{"metadata": map[string]any{"name": "main", "etag": etag}, "weight": weight}})
		return err
	}
	stale := func(err error) bool {
		var e *callError
		return errors.As(err, &e) && e.code == "failed_precondition"
	}

	var wins, losses atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			switch err := set(first, 1000+w); {
			case err == nil:
				wins.Add(1)
			case stale(err):
				losses.Add(1)
			default:
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 || losses.Load() != writers-1 {
		t.Errorf("same etag: %d won and %d lost, want 1 and %d", wins.Load(), losses.Load(), writers-1)
	}

	var retries atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for {
				got, err := in.call("ChannelService/GetChannel", map[string]any{"name": "main"})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				switch err := set(etagOf(got), 2000+w); {
				case err == nil:
					return
				case stale(err):
					retries.Add(1)
				default:
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()

	out := in.must("audit", "--kind", "channel", "--name", "main", "--limit", "0", "-o", "json")
	var records []struct {
		Action        string
		Operator      string
		Revision      int64
		ChangedFields []string `json:"changed_fields"`
	}
	if err := json.Unmarshal([]byte(out), &records); err != nil {
		t.Fatal(err)
	}
	updates, last := 0, int64(1<<62)
	for _, r := range records {
		if r.Revision >= last {
			t.Errorf("audit is not newest first, or a revision is there twice: %d after %d", r.Revision, last)
		}
		last = r.Revision
		if r.Action == "update" {
			updates++
			if r.Operator != "owner" || strings.Join(r.ChangedFields, ",") != "weight" {
				t.Errorf("an audit record that says something else: %+v", r)
			}
		}
	}
	if updates != writers+1 {
		t.Errorf("audit shows %d updates, %d won", updates, writers+1)
	}
	got, err = in.call("ChannelService/GetChannel", map[string]any{"name": "main"})
	if err != nil {
		t.Fatal(err)
	}
	if etag := etagOf(got); etag != fmt.Sprint(records[0].Revision) {
		t.Errorf("the channel is at %s, the newest audit record at %d", etag, records[0].Revision)
	}
	t.Logf("%d updates from one etag: 1 won, %d were refused; then %d writers retried until each had won (%d stale attempts); audit shows %d updates",
		writers, losses.Load(), writers, retries.Load(), updates)
}
