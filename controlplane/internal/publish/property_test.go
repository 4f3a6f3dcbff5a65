package publish

import (
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"pgregory.net/rapid"

	"fairway/controlplane/internal/model"
)

// Whatever happens to the world, the ring and the connections, and whichever replica a proxy comes back to: in the end
// it holds what the world holds, and no message on the way broke the contract.
func TestProxiesConverge(t *testing.T) {
	ca := newAuthority(t)
	proxyTLS := ca.proxy(t, "p1")
	rapid.Check(t, func(t *rapid.T) {
		o := Options{RingEntries: rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, "ring")}
		replicas := []*replica{newReplica(t, ca, o), newReplica(t, ca, o)}
		conns := make([]*grpc.ClientConn, len(replicas))
		for i, r := range replicas {
			conns[i] = dial(t, r.address, proxyTLS)
			defer r.close()
			defer conns[i].Close()
		}
		w := newWorld(replicas[0].Publisher, replicas[1].Publisher)
		s := newProxyState()
		var p *proxy
		disconnect := func() {
			if p != nil {
				p.cancel()
				p = nil
			}
		}
		defer disconnect()
		// hurry ends the windows: the test is about content, not about time.
		hurry := func() (done func()) {
			a, b := replicas[0].fleet.await(w.state.Revision()), replicas[1].fleet.await(w.state.Revision())
			return func() { a(); b() }
		}
		var keys []model.Resource
		chunked := false
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					key := w.newKey("k" + w.id())
					keys = append(keys, key)
					w.change(nil, key)
				}
			},
			"update": func(t *rapid.T) {
				if len(keys) == 0 {
					t.Skip("nothing there")
				}
				i := rapid.IntRange(0, len(keys)-1).Draw(t, "i")
				key := clone(keys[i])
				keys[i] = key
				w.change(nil, key)
			},
			"delete": func(t *rapid.T) {
				if len(keys) == 0 {
					t.Skip("nothing there")
				}
				i := rapid.IntRange(0, len(keys)-1).Draw(t, "i")
				w.change([]model.Resource{keys[i]})
				keys = append(keys[:i], keys[i+1:]...)
			},
			"create and delete": func(*rapid.T) {
				key := w.newKey("k" + w.id())
				w.change(nil, key)
				w.change([]model.Resource{key})
			},
			"progress": func(*rapid.T) { w.idle() },
			"several chunks": func(t *rapid.T) {
				if chunked {
					t.Skip("once is enough")
				}
				chunked = true
				w.fat(220)
			},
			"connect": func(t *rapid.T) {
				disconnect()
				i := rapid.IntRange(0, len(replicas)-1).Draw(t, "replica")
				p = connectWith(t, conns[i], s, "boot")
			},
			"disconnect": func(*rapid.T) { disconnect() },
			"receive one message": func(t *rapid.T) {
				if p == nil || s.revision >= w.state.Revision() {
					t.Skip("nothing to come")
				}
				defer hurry()()
				p.t = t
				p.next()
			},
			"catch up": func(t *rapid.T) {
				if p == nil {
					t.Skip("not connected")
				}
				defer hurry()()
				p.t = t
				p.until(w.state.Revision())
				if d := diffHeld(t, w, s); d != "" {
					t.Fatal(d)
				}
			},
		})
		if p == nil {
			p = connectWith(t, conns[0], s, "boot")
		}
		p.t = t
		defer hurry()()
		p.until(w.state.Revision())
		if d := diffHeld(t, w, s); d != "" {
			t.Fatal(d)
		}
	})
}

// BenchmarkPublish measures from a change to its Ack from the last of n proxies, which live in this process too.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("proxies=%d", n), func(b *testing.B) {
			ca := newAuthority(b)
			r := newReplica(b, ca, Options{})
			defer r.close()
			w := newWorld(r.Publisher)
			w.fill(1000)
			for i := range n {
				stop := background(connect(b, r.address, ca.proxy(b, fmt.Sprintf("p%d", i)), newProxyState(), "boot"))
				defer stop()
			}
			for r.fleet.size() < n {
				<-r.fleet.changes()
			}
			r.settled(b, w.state.Revision())
			b.ReportAllocs()
			for b.Loop() {
				// Somebody waits, so no window counts; the floor is windowAwaited.
				r.settled(b, w.change(nil, w.newKey("k"+w.id())))
			}
		})
	}
}

// BenchmarkFanOut measures the sending side alone: one change to n subscribers that take frames and do nothing.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			p, err := New(newBuilder(), Options{Lineage: lineage, ReplicaID: "r", Books: noBooks{}, Enroller: noEnroller{}})
			if err != nil {
				b.Fatal(err)
			}
			w := newWorld()
			w.fill(100000)
			p.load(w.state)
			received := make(chan struct{}, n)
			for range n {
				s := &subscriber{
					p: p, end: func(error) {}, poke: make(chan struct{}, 1),
					send: func(frame) error { received <- struct{}{}; return nil },
				}
				s.hold(p.ring.current())
				go func() { _ = s.run(b.Context()) }()
			}
			b.ReportAllocs()
			for b.Loop() {
				key := w.newKey("k" + w.id())
				w.change(nil, key)
				pend := pending{state: w.state, order: []change{{model.KindKey, key.GetMetadata().GetId()}}}
				p.publish(&pend)
				for range n {
					<-received
				}
			}
		})
	}
}
