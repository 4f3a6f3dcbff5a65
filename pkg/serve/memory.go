package serve

import (
	"log/slog"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is what the garbage collector may count on of the memory there is; the rest is for what it does not see:
// memory-mapped files, etcd's among them, and sockets.
const memoryShare = 0.8

// LimitMemory tells the garbage collector how much memory this process may use: a share of its cgroup's limit or, where
// there is none, of the machine's memory. GOMEMLIMIT wins. It changes the whole process; commands call it, not planes.
func LimitMemory(log *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	if err != nil {
		log.Warn("memory limit not set; the garbage collector knows none", "error", err)
		return
	}
	log.Debug("memory limit", "bytes", limit)
}
