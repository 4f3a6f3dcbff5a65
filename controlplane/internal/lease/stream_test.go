package lease

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/pkg/bank"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

// crowded is a rig that leads, with a key of 10 slots.
func crowded(t *testing.T) (*rig, *resourcev1.Key) {
	t.Helper()
	r := newRig(t)
	k := key("k", "", "", &resourcev1.Limits{Concurrency: 10})
	r.put(k)
	r.lead()
	return r, k
}

func full(h ...*syncv1.Holding) *syncv1.LeaseRequest {
	return &syncv1.LeaseRequest{Full: true, Holdings: h}
}

func TestStreamRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *rig, p *proxy) *proxy // returns the stream that is to end
		want fault.Kind
	}{
		{"a newer stream of the boot", func(r *rig, p *proxy) *proxy {
			next := r.connect("p", "boot")
			next.sequence = p.sequence
			next.ask(full())
			return p
		}, fault.Unavailable},
		{"another proxy for the boot", func(r *rig, _ *proxy) *proxy {
			p := r.connect("stranger", "boot")
			p.say(full())
			return p
		}, fault.Denied},
		{"another boot on the stream", func(_ *rig, p *proxy) *proxy {
			r := full()
			r.BootId = "other"
			p.say(r)
			return p
		}, fault.Invalid},
		{"a leader that never was", func(_ *rig, p *proxy) *proxy {
			p.say(&syncv1.LeaseRequest{Term: 1 << 60})
			return p
		}, fault.Invalid},
		{"declarations without end", func(_ *rig, p *proxy) *proxy {
			many := make([]*syncv1.Holding, maxUnfinished/2)
			for i := range many {
				many[i] = &syncv1.Holding{}
			}
			p.say(&syncv1.LeaseRequest{Full: true, More: true, Holdings: many})
			p.say(&syncv1.LeaseRequest{More: true, Holdings: many})
			p.say(&syncv1.LeaseRequest{More: true, Holdings: many})
			return p
		}, fault.Exhausted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, k := crowded(t)
			p := r.connect("p", "boot")
			p.granted(wantOf(k, slots, 3))
			if err := tt.do(r, p).end(); fault.KindOf(err) != tt.want {
				t.Errorf("the stream ended with %v, want a fault of kind %v", err, tt.want)
			}
			// Whatever it was, the boot goes on.
			next := r.connect("p", "boot")
			next.sequence = p.sequence + 10
			h := wantOf(k, slots, 4)
			h.Granted, h.Used = 3, 1
			if g := next.granted(h); g.GetGranted() != 4+1 {
				t.Errorf("granted %v, want 4 unspent beside the one in use", g)
			}
		})
	}
}

// A proxy may crash and start again, and not without end.
func TestBootsOfAProxyAreBounded(t *testing.T) {
	r, _ := crowded(t)
	start := func(i int) error {
		p := r.connect("p", bootID(i))
		p.say(full())
		select {
		case <-p.from:
			p.cancel()
			<-p.ended
			return nil
		case err := <-p.ended:
			return err
		}
	}
	for i := range maxBoots {
		if err := start(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := start(maxBoots); fault.KindOf(err) != fault.Exhausted {
		t.Errorf("one boot more: %v", err)
	}
	if err := r.connectOnce("q"); err != nil {
		t.Errorf("another proxy: %v", err)
	}
	r.clock.pass(forgetAfter + time.Second)
	r.until("old boots are forgotten", func() bool { return start(maxBoots+1) == nil })
	if got := r.stats().Proxies; got != 1 {
		t.Errorf("the bank knows %d proxies, want 1", got)
	}
}

// The slots of a process that crashed are free when the next one of the same proxy is there, and not because of any other.
func TestCrashedProcess(t *testing.T) {
	r, k := crowded(t)
	first := r.connect("p", "first")
	h := wantOf(k, slots, 10)
	first.granted(h)
	cut := r.connect("q", "cut")
	cut.ask(full())
	first.cancel()
	<-first.ended
	second := r.connect("p", "second")
	if g := second.granted(h); g.GetGranted() == 0 {
		t.Errorf("nothing is free: %v", g)
	}
	// Both are connected: whichever of the two it is, it is not known to have ended.
	third := r.connect("p", "third")
	third.ask(full())
	if got := r.status(k, "").GetLent(); got == 0 {
		t.Error("what a living process holds was taken from it")
	}
}

func (r *rig) connectOnce(id string) error {
	p := r.connect(id, id)
	p.say(full())
	select {
	case <-p.from:
		return nil
	case err := <-p.ended:
		return err
	}
}

// A proxy that takes nothing makes nobody else wait, and loses notes, not answers.
func TestSlowProxy(t *testing.T) {
	r, k := crowded(t)
	slow := r.connect("slow", "slow")
	slow.say(full(wantOf(k, slots, 10)))
	slow.say(&syncv1.LeaseRequest{}) // one in the channel, one in send, and nobody takes any
	slow.say(&syncv1.LeaseRequest{})
	quick := r.connect("quick", "quick")
	tm := r.leases.current()
	for range 5 * maxNotes {
		quick.ask(full(wantOf(k, slots, 5))) // each calls slots back
		tm.mu.Lock()
		tm.boots.tell(bank.Note{Boot: "slow", Response: &syncv1.LeaseResponse{}})
		tm.mu.Unlock()
	}
	tm.mu.Lock()
	s := tm.boots.byID["slow"].stream
	tm.mu.Unlock()
	s.mu.Lock()
	if n := len(s.queue); n > maxNotes+2 {
		t.Errorf("%d messages wait for the slow proxy", n)
	}
	s.mu.Unlock()
	for seen := uint64(0); seen < 3; {
		seen = max(seen, slow.hear().GetSequence())
	}
}

// A proxy that has heard of a later leader is right: this one gives up, and may lead again.
func TestDeposed(t *testing.T) {
	r, _ := crowded(t)
	p := r.connect("p", "boot")
	p.ask(full())
	before := r.leases.current()
	r.store.claim.Store(true)
	p.say(&syncv1.LeaseRequest{Term: before.fence.Revision() + 1})
	if err := p.end(); !notLeader(err) {
		t.Errorf("the stream ended with %v", err)
	}
	r.until("the leadership is given up", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return errors.Is(r.ends, bank.ErrDeposed)
	})
	r.store.claim.Store(false)
	r.until("it leads again, in a later term", func() bool {
		t := r.leases.current()
		return t != nil && t.fence.Revision() > before.fence.Revision()
	})
}

// When the leadership ends, so do the streams, and whoever comes is sent to the leader.
func TestStreamsEndWithTheLeadership(t *testing.T) {
	endpoint, c := etcdtest.New(t), &clock{}
	r := newReplica(t, endpoint, c)
	stop := r.lead()
	p := r.connect("p", "boot")
	p.ask(full())
	stop()
	if err := p.end(); !notLeader(err) {
		t.Errorf("the stream ended with %v", err)
	}
	if err := r.connect("p", "boot").end(); !notLeader(err) {
		t.Errorf("a new stream: %v", err)
	}
}

// A leader after one to whom everything came back need not wait; after any other it must.
func TestHandOver(t *testing.T) {
	const clean, dirty = false, true
	for _, tt := range []struct {
		name string
		last func(r *rig, k, rpm *resourcev1.Key)
		want bool
	}{
		{"nobody was lent anything", func(*rig, *resourcev1.Key, *resourcev1.Key) {}, clean},
		{"a proxy left", func(r *rig, k, _ *resourcev1.Key) {
			p := r.connect("p", "boot")
			p.granted(wantOf(k, slots, 3))
			p.ask(&syncv1.LeaseRequest{Full: true, Leaving: true})
		}, clean},
		{"a proxy hung up", func(r *rig, k, _ *resourcev1.Key) {
			p := r.connect("p", "boot")
			p.granted(wantOf(k, slots, 3))
			p.cancel()
		}, dirty},
		{"a proxy left in the minute in which it used a rate", func(r *rig, _, rpm *resourcev1.Key) {
			p := r.connect("p", "boot")
			p.granted(wantOf(rpm, bank.Kind{What: bank.Requests, Period: bank.Minute}, 3))
			p.ask(&syncv1.LeaseRequest{Full: true, Leaving: true})
		}, dirty},
		{"and a minute later", func(r *rig, _, rpm *resourcev1.Key) {
			p := r.connect("p", "boot")
			p.granted(wantOf(rpm, bank.Kind{What: bank.Requests, Period: bank.Minute}, 3))
			p.ask(&syncv1.LeaseRequest{Full: true, Leaving: true})
			r.clock.pass(61 * time.Second)
		}, clean},
	} {
		t.Run(tt.name, func(t *testing.T) {
			endpoint, c := etcdtest.New(t), &clock{}
			r := newReplica(t, endpoint, c)
			k, rpm := key("k", "", "", &resourcev1.Limits{Concurrency: 10}), key("rpm", "", "", &resourcev1.Limits{Rpm: 10})
			r.put(k, rpm)
			stop := r.lead()
			tt.last(r, k, rpm)
			stop()
			stop = r.lead()
			if got := r.status(k, "").GetWaiting(); got != tt.want {
				t.Errorf("the next leader waits: %t, want %t", got, tt.want)
			}
			stop()
			r.lead()
			if got := r.status(k, "").GetWaiting(); got != tt.want {
				t.Errorf("the one after that, which heard of nobody and led for a moment, waits: %t, want %t", got, tt.want)
			}
		})
	}
}

func TestKindsAndOwners(t *testing.T) {
	for _, k := range []model.Kind{model.KindKey, model.KindGroup, model.KindTenant} {
		s, ok := scopeOf(k)
		if !ok || kindOf(s) != k || ownerOf(keyOf(bank.Owner{Scope: s, ID: "x"})) != (bank.Owner{Scope: s, ID: "x"}) {
			t.Errorf("%s does not come back", k)
		}
		if want := syncv1.LimitScope(s).String(); !strings.HasSuffix(strings.ToLower(want), string(k)) {
			t.Errorf("%s is %s on the wire", k, want)
		}
	}
	if _, ok := scopeOf(model.KindModel); ok {
		t.Error("models have limits")
	}
}

func TestPercent(t *testing.T) {
	const most = 1<<63 - 1
	for _, tt := range []struct {
		spent, limit int64
		want         uint32
	}{
		{0, 10, 0}, {-5, 10, 0}, {5, 0, 0}, {1, 1000, 0}, {9, 1000, 0}, {10, 1000, 1}, {999, 1000, 99}, {1000, 1000, 100}, {2500, 1000, 250},
		{most, most, 100}, {most / 2, most, 49}, {most, 1, 1<<32 - 1}, {most, 100, 1<<32 - 1},
	} {
		if got := percent(tt.spent, tt.limit); got != tt.want {
			t.Errorf("percent(%d, %d) = %d, want %d", tt.spent, tt.limit, got, tt.want)
		}
	}
}
