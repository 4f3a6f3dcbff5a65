package controlplane

import (
	"strings"
	"testing"
	"time"
)

// TestReplicaDecidesAboutHealth: one that is alone leads, and says so.
func TestReplicaDecidesAboutHealth(t *testing.T) {
	at, _ := replica(t, local(t.TempDir()))
	want := []string{"fairway_health_leader 1", `fairway_accounts{state="closed"} 0`, "fairway_health_proxies 0"}
	end := time.Now().Add(time.Minute)
	for {
		_, metrics := fetch(t, "http://"+at.Ops+"/metrics")
		missing := ""
		for _, line := range want {
			if !strings.Contains(metrics, line+"\n") {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %q in the metrics", missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
