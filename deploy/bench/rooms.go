package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What the rows of the table are called that are no room.
const (
	kernelRead  = "kernel: read"
	kernelWrite = "kernel: write"
	kernelOther = "kernel: other"
	scheduler   = "runtime: scheduler, netpoll"
	collector   = "runtime: GC"
	otherRoom   = "other"
)

// roomOf says whose the CPU time of a stack is, its innermost function first: the kernel's when it is in a system call, the
// scheduler's or the collector's when the runtime works for itself, and else of the innermost room or library. What a
// room has the runtime and the standard library do is its own.
func roomOf(stack []string) string {
	owner := otherRoom
	called := ""
	for i, f := range stack {
		if is(f, "runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.gcMarkTermination") {
			return collector
		}
		if is(f, "runtime.schedule", "runtime.findRunnable", "runtime.netpoll", "runtime.park_m", "runtime.mcall", "runtime.wakep", "runtime.startm", "runtime.sysmon",
			"runtime.mstart", "runtime.futex", "runtime.ready", "runtime.exitsyscall", "runtime.entersyscall", "runtime.goexit0", "runtime.usleep") {
			return scheduler
		}
		if i == 0 && systemCall(f) {
			called = kernelOther
		}
		if called == kernelOther {
			switch {
			case is(f, "syscall.read", "syscall.Read", "golang.org/x/sys/unix.Read", "syscall.readv", "golang.org/x/sys/unix.Readv", "golang.org/x/sys/unix.read",
				"syscall.recvfrom", "syscall.recvmsg"):
				called = kernelRead
			case is(f, "syscall.write", "syscall.Write", "golang.org/x/sys/unix.Write", "syscall.writev", "internal/poll.writev", "golang.org/x/sys/unix.Writev", "golang.org/x/sys/unix.write",
				"syscall.sendto", "syscall.sendmsg"):
				called = kernelWrite
			}
		}
		if name := moduleOf(f); owner == otherRoom && name != "" {
			owner = name
		}
	}
	if called != "" {
		return called
	}
	return owner
}

// is says whether a function is one of those named, or belongs to it: a method of it, a closure in it, or a numbered form.
func is(function string, names ...string) bool {
	for _, name := range names {
		rest, found := strings.CutPrefix(function, name)
		if found && (rest == "" || rest[0] == '.' || rest[0] == '_' || rest[0] >= '0' && rest[0] <= '9') {
			return true
		}
	}
	return false
}

func systemCall(function string) bool {
	return is(function, "internal/runtime/syscall.Syscall6", "internal/runtime/syscall/linux.Syscall6", "syscall.Syscall", "syscall.RawSyscall", "syscall.rawSyscallNoError",
		"syscall.rawVforkSyscall", "syscall.RawSyscall6", "syscall.Syscall6", "runtime.vdsoCall")
}

// moduleOf is the room, package or library that a function is of; empty when it is of the standard library.
func moduleOf(function string) string {
	// The package's path ends at the first dot after its last slash; generics may have slashes in their brackets.
	plain, _, _ := strings.Cut(function, "[")
	slash := strings.LastIndexByte(plain, '/')
	name, _, _ := strings.Cut(plain[slash+1:], ".")
	path := plain[:slash+1] + name
	parts := strings.Split(path, "/")
	switch {
	case parts[0] == "fairway":
		const room = 4 // fairway/dataplane/internal/<room>
		if len(parts) > room && parts[3] != "dialect" {
			parts = parts[:room]
		}
		return strings.TrimPrefix(strings.Join(parts, "/"), "fairway/")
	case strings.Contains(parts[0], "."):
		return strings.Join(parts[:min(3, len(parts))], "/")
	}
	return ""
}

// parseTraces reads what `go tool pprof -traces` prints: stacks between rules, each with the time spent in it.
func parseTraces(raw []byte) (map[string]time.Duration, error) {
	rooms := map[string]time.Duration{}
	var spent time.Duration
	var stack []string
	done := func() {
		if len(stack) > 0 {
			rooms[roomOf(stack)] += spent
		}
		spent, stack = 0, nil
	}
	began := false
	for line := range bytes.Lines(raw) {
		text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(line)), "(inline)"))
		switch {
		case strings.HasPrefix(text, "-----------+"):
			done()
			began = true
		case !began || text == "":
		case len(stack) == 0:
			// Labels may come before the first function; it is the line that has the time.
			value, function, found := strings.Cut(text, " ")
			d, err := time.ParseDuration(strings.Replace(value, "mins", "m", 1))
			if !found || err != nil {
				continue
			}
			spent, stack = d, append(stack, strings.TrimSpace(function))
		default:
			stack = append(stack, text)
		}
	}
	done()
	if len(rooms) == 0 {
		return nil, fmt.Errorf("no stacks in what pprof printed: %.200q", raw)
	}
	return rooms, nil
}

// roomTable is a table in Markdown of where the CPU time of several loads goes, in percent of each.
func roomTable(loads []string, rooms []map[string]time.Duration) string {
	totals := make([]time.Duration, len(loads))
	most := map[string]float64{}
	for i := range rooms {
		for _, d := range rooms[i] {
			totals[i] += d
		}
		for name, d := range rooms[i] {
			most[name] = max(most[name], float64(d)/float64(totals[i]))
		}
	}
	names := slices.SortedFunc(maps.Keys(most), func(a, b string) int {
		if most[a] != most[b] {
			return int(1e6*most[b]) - int(1e6*most[a])
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	fmt.Fprintf(&b, "| CPU time | %s |\n|---|%s\n", strings.Join(loads, " | "), strings.Repeat("---|", len(loads)))
	const least = 0.002 // of the time, to be worth a line
	for _, name := range names {
		if most[name] < least {
			continue
		}
		fmt.Fprintf(&b, "| %s |", name)
		for i := range rooms {
			fmt.Fprintf(&b, " %.1f%% |", 100*float64(rooms[i][name])/float64(totals[i]))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
