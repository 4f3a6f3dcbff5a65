package notify

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// A failure that may pass is met with pauses that grow, and an end; one that will not, with a single attempt.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"may pass", errors.New("the endpoint answered 503"), maxAttempts},
		{"will not", permanent(errors.New("the endpoint answered 404")), 1},
		{"does not end", errHang, maxAttempts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(hook("ops", "https://x.example"))
				r := &recorder{answer: func(*resourcev1.Notifier, *Event) error { return tt.err }}
				n, stop := told(t, m, r)
				n.Budget(day("a", 80, 1))
				time.Sleep(2 * maxAge)
				synctest.Wait()
				all := r.of("ops")
				if len(all) != tt.want {
					t.Fatalf("%d attempts, want %d", len(all), tt.want)
				}
				if took := all[len(all)-1].at.Sub(all[0].at); took > maxAge {
					t.Errorf("the attempts took %s", took)
				}
				for i := range len(all) - 1 {
					pause, full := all[i+1].at.Sub(all[i].at), min(firstPause<<i, maxPause)
					if pause < full/2 || pause > full+sendTime {
						t.Errorf("pause %d is %s, want %s, or half of it at least", i, pause, full)
					}
				}
				stop()
				// It was given up: nobody tries again.
				next := &recorder{}
				told(t, m, next)
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := next.of("ops"); len(got) != 0 {
					t.Errorf("the next leader sent what was given up: %+v", got)
				}
			})
		})
	}
}

// Who does not answer delays nobody else, and what waits for him has a bound.
func TestDeadEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(hook("ops", "https://x.example"), hook("dead", "https://y.example"))
		r := &recorder{answer: func(n *resourcev1.Notifier, _ *Event) error {
			if n.GetMetadata().GetName() == "dead" {
				return errHang
			}
			return nil
		}}
		n, _ := told(t, m, r)
		for i := range 3 * maxQueue {
			before := time.Now()
			n.Budget(day(idOf(i), 80, 1))
			synctest.Wait()
			if waited := time.Since(before); waited != 0 {
				t.Fatalf("an event waited %s", waited)
			}
		}
		if got := len(r.of("ops")); got != 3*maxQueue {
			t.Errorf("told %d times, want %d", got, 3*maxQueue)
		}
		if got := m.kept(); got != 3*maxQueue+maxQueue {
			t.Errorf("%d events are kept, want %d that were sent and %d that wait", got, 3*maxQueue, maxQueue)
		}
	})
}

// A notifier that is mended is asked at once; one that is disabled, not until it is enabled.
func TestChangedNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(hook("ops", "https://wrong.example"))
		r := &recorder{answer: func(n *resourcev1.Notifier, _ *Event) error {
			if n.GetWebhook().GetUrl() == "https://wrong.example" {
				return errors.New("connection refused")
			}
			return nil
		}}
		n, _ := told(t, m, r)
		change := func(url string, disabled bool) {
			mended := hook("ops", url)
			mended.Disabled = disabled
			c := model.Change{Kind: model.KindNotifier, ID: "id-ops", New: mended}
			n.Observe(m.apply(c), []model.Change{c})
			synctest.Wait()
		}
		change("https://wrong.example", false)
		n.Budget(day("a", 80, 1))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		tried := len(r.of("ops"))
		change("https://right.example", true)
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if got := len(r.of("ops")); got != tried {
			t.Errorf("a disabled notifier was asked %d times", got-tried)
		}
		change("https://right.example", false)
		if got := len(r.of("ops")); got != tried+1 {
			t.Errorf("a notifier that was mended was asked %d times, want once", got-tried)
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if got := len(r.of("ops")); got != tried+1 {
			t.Errorf("sent again: %d attempts", got-tried)
		}
	})
}

// The end of a leadership does not wait for who does not answer.
func TestEndOfTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(hook("ops", "https://x.example"))
		r := &recorder{answer: func(*resourcev1.Notifier, *Event) error { return errHang }}
		n, stop := told(t, m, r)
		n.Budget(day("a", 80, 1))
		synctest.Wait()
		before := time.Now()
		stop()
		if took := time.Since(before); took != 0 {
			t.Errorf("the end took %s", took)
		}
		if err := n.Lead(cancelled(), store.Fence{}); err != nil {
			t.Errorf("a leader that is one again: %v", err)
		}
	})
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
