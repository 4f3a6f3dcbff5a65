package publish

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

func TestWaitForRevision(t *testing.T) {
	ca := newAuthority(t)
	r := newReplica(t, ca, Options{})
	defer r.close()
	w := newWorld(r.Publisher)
	r.settled(t, w.state.Revision())
	answer, err := r.WaitForRevision(t.Context(), 1000, time.Minute)
	if err != nil || !answer.GetApplied() || answer.GetAppliedProxies() != 0 {
		t.Errorf("without proxies: %v, %v", answer, err)
	}
	stop := background(connect(t, r.address, ca.proxy(t, "quick"), newProxyState(), "boot"))
	defer stop()
	slow := connect(t, r.address, ca.proxy(t, "slow"), newProxyState(), "boot")
	defer slow.close()
	slow.until(w.state.Revision())
	for range 3 {
		revision := w.change(nil, w.newKey(w.id()))
		slow.until(revision)
		r.settled(t, revision)
	}
	revision := w.change(nil, w.newKey(w.id()))
	r.arrived(t, "quick", revision)
	answer, err = r.WaitForRevision(t.Context(), revision, time.Millisecond)
	if err != nil || answer.GetApplied() || len(answer.GetBehind()) != 1 || answer.GetBehind()[0].GetId() != "slow" {
		t.Errorf("with one that is behind: %v, %v", answer, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.WaitForRevision(ctx, revision, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want canceled", err)
	}
	// One that leaves is not waited for.
	done := make(chan *adminv1.WaitForRevisionResponse, 1)
	go func() {
		answer, _ := r.WaitForRevision(context.Background(), revision, time.Minute)
		done <- answer
	}()
	slow.close()
	if answer := <-done; !answer.GetApplied() || answer.GetAppliedProxies() != 1 {
		t.Errorf("after the slow one left: %v", answer)
	}
}

func TestFleetOfTwoReplicas(t *testing.T) {
	ca := newAuthority(t)
	var list []*adminv1.Replica
	peers := func(context.Context) ([]*adminv1.Replica, error) { return list, nil }
	a := newReplica(t, ca, Options{ReplicaID: "a", Peers: peers, PeerTimeout: time.Minute})
	defer a.close()
	b := newReplica(t, ca, Options{ReplicaID: "b", Peers: peers, PeerTimeout: time.Minute})
	defer b.close()
	list = []*adminv1.Replica{{Id: "a", SyncAddress: a.address}, {Id: "b", SyncAddress: b.address}}
	w := newWorld(a.Publisher, b.Publisher)

	stop := background(connect(t, a.address, ca.proxy(t, "p1"), newProxyState(), "boot"))
	defer stop()
	config := ca.proxy(t, "p2")
	remote := connect(t, b.address, config, newProxyState(), "boot")
	remote.until(w.state.Revision())
	a.settled(t, w.state.Revision())

	revision := w.change(nil, w.newKey("x"))
	a.arrived(t, "p1", revision)
	answer, err := a.WaitForRevision(t.Context(), revision, time.Second) // in which the other replica is to answer
	if err != nil || answer.GetApplied() || len(answer.GetBehind()) != 1 || answer.GetBehind()[0].GetReplicaId() != "b" {
		t.Errorf("with one behind at the other replica: %v, %v", answer, err)
	}
	remote.until(revision)
	a.settled(t, revision)
	proxies, unreachable, err := a.Status(t.Context())
	if err != nil || len(unreachable) != 0 || len(proxies) != 2 ||
		proxies[0].GetReplicaId() != "a" || proxies[1].GetReplicaId() != "b" {
		t.Errorf("status = %v, %v, %v", proxies, unreachable, err)
	}

	// The proxy moves; its dead connection at the other replica does not count.
	moved := connect(t, a.address, config, remote.proxyState, "boot")
	defer moved.close()
	revision = w.change(nil, w.newKey("y"))
	moved.until(revision)
	a.settled(t, revision)
	remote.close()
}

func TestUnreachableReplica(t *testing.T) {
	ca := newAuthority(t)
	gone := newReplica(t, ca, Options{ReplicaID: "gone"})
	gone.close()
	var failing error
	a := newReplica(t, ca, Options{
		ReplicaID: "a", PeerTimeout: 100 * time.Millisecond,
		Peers: func(context.Context) ([]*adminv1.Replica, error) {
			return []*adminv1.Replica{{Id: "gone", SyncAddress: gone.address}}, failing
		},
	})
	defer a.close()
	w := newWorld(a.Publisher)
	_, unreachable, err := a.Status(t.Context())
	if err != nil || len(unreachable) != 1 || unreachable[0] != "gone" {
		t.Errorf("status: unreachable = %v, %v", unreachable, err)
	}
	answer, err := a.WaitForRevision(t.Context(), w.state.Revision(), 50*time.Millisecond)
	if err != nil || answer.GetApplied() || len(answer.GetUnreachableReplicas()) != 1 {
		t.Errorf("answer = %v, %v; nothing is known of the other replica's proxies", answer, err)
	}
}

func TestMergeTakesTheNewerConnection(t *testing.T) {
	at := func(s int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: s} }
	got := merge(
		[]*adminv1.Proxy{{Id: "b", ReplicaId: "old", ConnectTime: at(1)}, {Id: "a", ConnectTime: at(1)}},
		[]*adminv1.Proxy{{Id: "b", ReplicaId: "new", ConnectTime: at(2)}},
	)
	if len(got) != 2 || got[0].GetId() != "a" || got[1].GetReplicaId() != "new" {
		t.Errorf("merged %v", got)
	}
}
