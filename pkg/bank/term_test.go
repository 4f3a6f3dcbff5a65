package bank

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestNewLeaderWaits(t *testing.T) {
	limits := map[ID]int64{rpm: 100, spend: 1000, slots: 10}
	l := newLab(t, first, 2, limits)
	a, b := l.proxies[0], l.proxies[1]
	for id := range limits {
		want(id, 5, 1, a, b)
	}
	l.exchange(a, b)
	l.exchange(a, b)
	l.pay(a, spend, 3)
	a.take(rpm, 4, l.mono)
	// The leader is gone, and so is b, which nobody will hear of again.
	l.Bank = New(Options{Term: 2})
	l.limit(limits)
	for id := range limits {
		want(id, 50, 1, a)
	}
	l.exchange(a)
	for id := range limits {
		v := l.view(id)
		if !v.Waiting || v.Held > 5 || a.states[id] != syncv1.GrantState_GRANT_STATE_WAIT {
			t.Errorf("%v: %+v, told %v", id.Kind, v, a.states[id])
		}
	}
	for l.mono < 13*time.Second {
		l.pass(time.Second)
		l.exchange(a)
	}
	if got := held(a, slots, l.mono); got != 10 {
		t.Errorf("after the lease time it holds %d slots", got)
	}
	// 12 s of the minute had passed: an even share of them is taken as used, as far as nobody declared it.
	if v := l.view(rpm); v.Ended != 20-4-5+4 || v.Held != 50 {
		t.Errorf("requests: %+v", v)
	}
	if got := held(a, spend, l.mono); got != 2 {
		t.Errorf("it holds %d of a budget that b may still spend", got)
	}
	for l.mono < 63*time.Second {
		l.pass(time.Second)
		l.exchange(a)
	}
	if got := held(a, spend, l.mono); got != 50 {
		t.Errorf("then it holds %d", got)
	}
}

// A leader whose clock is an hour off goes on with the windows that proxies know.
func TestWindowsOutliveLeaders(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, -10 * time.Second, 20 * time.Second, time.Hour} {
		l := newLab(t, first, 2, map[ID]int64{rpm: 100})
		want(rpm, 20, 1, l.proxies...)
		l.pass(30 * time.Second)
		l.exchange(l.proxies...)
		l.exchange(l.proxies...)
		before := *l.proxies[0].now(rpm, l.mono)
		l.Bank, l.wall = New(Options{Term: 2}), off
		l.limit(map[ID]int64{rpm: 100})
		l.exchange(l.proxies...)
		if v := l.view(rpm); v.Window != before.window || v.Held != 40 {
			t.Errorf("%v: window %d became %+v", off, before.window, v)
		}
	}
}

// A clock that is set ends no lease, and no minute has more than its limit.
func TestClockJumps(t *testing.T) {
	l := newLab(t, first, 2, map[ID]int64{rpm: 60, daily: 1000})
	want(rpm, 10, 1, l.proxies...)
	want(daily, 10, 1, l.proxies...)
	used, days := int64(0), map[int64]bool{}
	for s := range 600 {
		switch s {
		case 95:
			l.wall = time.Hour
		case 215:
			l.wall = -time.Hour
		case 400:
			l.wall = 12 * time.Hour // beyond midnight
		case 410:
			l.wall = 0
		}
		l.exchange(l.proxies...)
		for _, p := range l.proxies {
			if !p.valid(rpm.Kind, l.mono) {
				t.Fatalf("second %d: a lease ended", s)
			}
			for p.take(rpm, 1, l.mono) {
				used++
			}
			if u := p.now(daily, l.mono); u != nil {
				days[u.window] = true
			}
		}
		l.pass(time.Second)
	}
	if used < 10*60*95/100 || used > 11*60 {
		t.Errorf("%d requests in ten minutes of 60", used)
	}
	if len(days) != 1 {
		t.Errorf("%d days passed in ten minutes", len(days))
	}
}

// Nothing is told to a boot in the middle of its declaration: it would count beside what the boot declares.
func TestNoNewsWhileDeclaring(t *testing.T) {
	l := newLab(t, first, 2, map[ID]int64{slots: 10})
	a, b := l.proxies[0], l.proxies[1]
	want(slots, 10, 1, a)
	l.exchange(b, a, a, a, a, a)
	piece := a.request(l.mono, true)
	piece.More = true
	if r, err := l.Handle(a.boot, piece, l.now()); r != nil || err != nil {
		t.Fatalf("a piece was answered: %v, %v", r, err)
	}
	want(slots, 2, 2, b) // and one is left
	if _, err := l.Handle(b.boot, b.request(l.mono, false), l.now()); err != nil {
		t.Fatal(err)
	}
	if notes := l.Tick(l.now()); len(notes) != 0 {
		t.Errorf("it was told %v", notes)
	}
	last := a.request(l.mono, false)
	last.Holdings = nil
	r, err := l.Handle(a.boot, last, l.now())
	if err != nil || len(r.GetGrants()) == 0 || r.GetGrants()[0].Keep == nil {
		t.Errorf("then: %v, %v", r, err)
	}
}

func TestSplit(t *testing.T) {
	r := &syncv1.LeaseResponse{Term: 3, Sequence: 7, Proxies: 2, Ttl: durationpb.New(time.Second), BookedTtl: durationpb.New(time.Minute)}
	for i := range 25 {
		r.Grants = append(r.Grants, &syncv1.Grant{Window: int64(i)})
	}
	got := 0
	for _, p := range Split(r, 10) {
		for _, g := range p.GetGrants() {
			if g.GetWindow() != int64(got) {
				t.Errorf("grant %d is %d", got, g.GetWindow())
			}
			got++
		}
		whole := proto.CloneOf(r)
		whole.Grants = p.GetGrants()
		if diff := cmp.Diff(whole, p, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	if got != 25 {
		t.Errorf("%d grants", got)
	}
	if n := len(Split(r, 25)); n != 1 {
		t.Errorf("%d pieces of one", n)
	}
}
