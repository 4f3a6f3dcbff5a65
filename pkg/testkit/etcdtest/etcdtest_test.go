package etcdtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, LeakOptions()...) }

func TestMemberKeepsItsDataOverRestarts(t *testing.T) {
	c := Start(t, 1)
	if _, err := Client(t, c.Endpoints()...).Put(t.Context(), "a", "1"); err != nil {
		t.Fatal(err)
	}
	c.Stop(0)
	c.Restart(0)
	if diff := cmp.Diff(map[string]string{"a": "1"}, Dump(t, c.Endpoints()[0])); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
}

func TestClusterSurvivesItsLeader(t *testing.T) {
	c := Start(t, 3)
	client := Client(t, c.Endpoints()...)
	if _, err := client.Put(t.Context(), "a", "1"); err != nil {
		t.Fatal(err)
	}
	stopped := c.StopLeader()
	if now := c.Leader(); now == stopped {
		t.Fatalf("member %d leads though it was stopped", now)
	}
	got, err := client.Get(t.Context(), "a")
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("get after the leader's end: %v, %v", got, err)
	}
	c.Restart(stopped)
}
