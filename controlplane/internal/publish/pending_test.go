package publish

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestUrgent(t *testing.T) {
	key := func(change func(*resourcev1.Key)) *resourcev1.Key {
		k := &resourcev1.Key{ExpireTime: timestamppb.New(time.Unix(1000, 0)), Group: "g", Models: []string{"a", "b"}}
		if change != nil {
			change(k)
		}
		return k
	}
	verdict := func(state resourcev1.HealthState, until int64) *resourcev1.Verdict {
		v := &resourcev1.Verdict{Health: &resourcev1.AccountHealth{State: state}}
		if until > 0 {
			v.Health.Until = timestamppb.New(time.Unix(until, 0))
		}
		return v
	}
	closed, rests := verdict(resourcev1.HealthState_HEALTH_STATE_CLOSED, 0), verdict(resourcev1.HealthState_HEALTH_STATE_OPEN, 100)
	tried, out := verdict(resourcev1.HealthState_HEALTH_STATE_HALF_OPEN, 0), verdict(resourcev1.HealthState_HEALTH_STATE_DISABLED, 0)
	tests := []struct {
		name string
		c    model.Change
		want bool
	}{
		{"verdict: the first, that it rests", model.Change{Kind: model.KindVerdict, New: rests}, true},
		{"verdict: the first, that it serves", model.Change{Kind: model.KindVerdict, New: closed}, false},
		{"verdict: rests", model.Change{Kind: model.KindVerdict, Old: closed, New: rests}, true},
		{"verdict: rests again", model.Change{Kind: model.KindVerdict, Old: tried, New: rests}, true},
		{"verdict: rests longer", model.Change{Kind: model.KindVerdict, Old: rests, New: verdict(rests.GetHealth().GetState(), 101)}, true},
		{"verdict: rests shorter", model.Change{Kind: model.KindVerdict, Old: rests, New: verdict(rests.GetHealth().GetState(), 99)}, false},
		{"verdict: disabled", model.Change{Kind: model.KindVerdict, Old: rests, New: out}, true},
		{"verdict: disabled still", model.Change{Kind: model.KindVerdict, Old: out, New: verdict(out.GetHealth().GetState(), 5)}, false},
		{"verdict: only rests from now on", model.Change{Kind: model.KindVerdict, Old: out, New: rests}, false},
		{"verdict: tried", model.Change{Kind: model.KindVerdict, Old: rests, New: tried}, false},
		{"verdict: back", model.Change{Kind: model.KindVerdict, Old: out, New: closed}, false},
		{"verdict: gone", model.Change{Kind: model.KindVerdict, Old: rests}, false},
		{"key deleted", model.Change{Kind: model.KindKey, Old: key(nil)}, true},
		{"key created", model.Change{Kind: model.KindKey, New: key(nil)}, false},
		{"key created disabled", model.Change{Kind: model.KindKey, New: key(func(k *resourcev1.Key) { k.Disabled = true })}, false},
		{"key disabled", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.Disabled = true })}, true},
		{"key enabled", model.Change{Kind: model.KindKey, Old: key(func(k *resourcev1.Key) { k.Disabled = true }), New: key(nil)}, false},
		{"expires earlier", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) {
			k.ExpireTime = timestamppb.New(time.Unix(999, 0))
		})}, true},
		{"expires later", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) {
			k.ExpireTime = timestamppb.New(time.Unix(1001, 0))
		})}, false},
		{"expires never", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.ExpireTime = nil })}, false},
		{"expires now too", model.Change{Kind: model.KindKey, Old: key(func(k *resourcev1.Key) { k.ExpireTime = nil }), New: key(nil)}, true},
		{"another group", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.Group = "h" })}, true},
		{"fewer models", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.Models = []string{"a"} })}, true},
		{"all models", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.Models = nil })}, false},
		{"addresses", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.AllowedIps = []string{"10.0.0.1"} })}, true},
		{"denied models", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.DeniedModels = []string{"a"} })}, true},
		{"clients", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.Clients = []string{"curl"} })}, true},
		{"any client", model.Change{Kind: model.KindKey, Old: key(func(k *resourcev1.Key) { k.Clients = []string{"curl"} }), New: key(nil)}, false},
		{"accounts", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.Accounts = []string{"a"} })}, true},
		{"another tenant", model.Change{Kind: model.KindKey, Old: key(nil), New: key(func(k *resourcev1.Key) { k.Tenant = "t" })}, true},
		{"tenant disabled", model.Change{
			Kind: model.KindTenant, Old: &resourcev1.Tenant{}, New: &resourcev1.Tenant{Disabled: true},
		}, true},
		{"tenant under another", model.Change{Kind: model.KindTenant, Old: &resourcev1.Tenant{}, New: &resourcev1.Tenant{Parent: "p"}}, true},
		{"tenant by itself", model.Change{Kind: model.KindTenant, Old: &resourcev1.Tenant{Parent: "p"}, New: &resourcev1.Tenant{}}, false},
		{"notifier deleted", model.Change{Kind: model.KindNotifier, Old: &resourcev1.Notifier{}}, false},
		{"channel disabled", model.Change{
			Kind: model.KindChannel, Old: &resourcev1.Channel{}, New: &resourcev1.Channel{Disabled: true},
		}, true},
		{"account disabled", model.Change{
			Kind: model.KindAccount, Old: &resourcev1.Account{}, New: &resourcev1.Account{Disabled: true},
		}, true},
		{"account deleted", model.Change{Kind: model.KindAccount, Old: &resourcev1.Account{}}, true},
		{"model deleted", model.Change{Kind: model.KindModel, Old: &resourcev1.Model{}}, false},
		{"operator disabled", model.Change{
			Kind: model.KindOperator, Old: &resourcev1.Operator{}, New: &resourcev1.Operator{Disabled: true},
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := urgent(tt.c); got != tt.want {
				t.Errorf("urgent = %v, want %v", got, tt.want)
			}
		})
	}
}

// publication is a state that became visible.
type publication struct {
	After    time.Duration // since the start
	Revision int64
}

// timeline runs a publisher in a bubble of its own time and says when what was published. do is given the world.
func timeline(t *testing.T, do func(w *world, p *Publisher)) []publication {
	t.Helper()
	var seen []publication
	synctest.Test(t, func(t *testing.T) {
		p, err := New(newBuilder(), Options{Lineage: lineage, ReplicaID: "r", Books: noBooks{}, Enroller: noEnroller{}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.Run(ctx)
		}()
		w := newWorld(p)
		synctest.Wait()
		time.Sleep(time.Second)
		start := time.Now()
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			v := p.ring.view(0)
			for {
				select {
				case <-v.wake:
					v = p.ring.view(0)
					seen = append(seen, publication{time.Since(start), v.state.revision})
				case <-ctx.Done():
					return
				}
			}
		}()
		synctest.Wait()
		do(w, p)
		time.Sleep(time.Second)
		cancel()
		<-watched
		<-done
	})
	return seen
}

func TestDebounce(t *testing.T) {
	const ms = time.Millisecond
	// The world's first revision is 1.
	tests := []struct {
		name string
		do   func(w *world, p *Publisher)
		want []publication
	}{
		{"the first at once", func(w *world, _ *Publisher) { w.change(nil, w.newKey("a")) }, []publication{{0, 2}}},
		{"the next ones gathered", func(w *world, _ *Publisher) {
			for range 10 {
				w.change(nil, w.newKey("k"+w.id()))
				time.Sleep(ms)
			}
		}, []publication{{0, 2}, {windowShort, 11}}},
		{"after a quiet time at once again", func(w *world, _ *Publisher) {
			w.change(nil, w.newKey("a"))
			time.Sleep(30 * ms)
			w.change(nil, w.newKey("b"))
		}, []publication{{0, 2}, {30 * ms, 3}}},
		{"a busy window makes the next longer", func(w *world, _ *Publisher) {
			w.fill(busyChanges + 1)
			time.Sleep(ms)
			w.change(nil, w.newKey("a"))
		}, []publication{{0, 2}, {windowBusy, 3}}},
		{"a flood makes it the longest", func(w *world, _ *Publisher) {
			w.fill(floodChanges + 1)
			time.Sleep(ms)
			w.change(nil, w.newKey("a"))
		}, []publication{{0, 2}, {windowMax, 3}}},
		{"a revocation takes all that waits with it", func(w *world, _ *Publisher) {
			key := w.newKey("a")
			w.change(nil, key)
			time.Sleep(ms)
			w.change(nil, w.newKey("b"))
			time.Sleep(ms)
			revoked := clone(key)
			revoked.Disabled = true
			w.change(nil, revoked)
			time.Sleep(ms)
			w.change([]model.Resource{revoked})
		}, []publication{{0, 2}, {2 * ms, 4}, {3 * ms, 5}}},
		{"progress is not urgent", func(w *world, _ *Publisher) {
			w.change(nil, w.newKey("a"))
			time.Sleep(ms)
			w.idle()
			time.Sleep(ms)
			w.idle()
		}, []publication{{0, 2}, {windowProgress, 4}}},
		{"one who waits ends the window", func(w *world, p *Publisher) {
			w.change(nil, w.newKey("a"))
			time.Sleep(5 * ms)
			revision := w.change(nil, w.newKey("b"))
			time.Sleep(ms)
			done := p.fleet.await(revision)
			time.Sleep(ms)
			done()
		}, []publication{{0, 2}, {6 * ms, 3}}},
		{"one who waits for a later revision does not", func(w *world, p *Publisher) {
			w.change(nil, w.newKey("a"))
			time.Sleep(5 * ms)
			revision := w.change(nil, w.newKey("b"))
			done := p.fleet.await(revision + 1)
			time.Sleep(50 * ms)
			done()
		}, []publication{{0, 2}, {windowShort, 3}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := timeline(t, tt.do)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
