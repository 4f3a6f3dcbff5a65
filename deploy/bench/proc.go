package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// ticksPerSecond is the unit of CPU time in /proc (USER_HZ): 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// procStat is what a measure needs of /proc/PID/stat, see proc_pid_stat(5).
type procStat struct {
	parent int
	cpu    time.Duration // user and system, all threads, those that ended included; steps of 10 ms
	rss    int64         // bytes
}

// parseStat reads the contents of /proc/PID/stat. The command's name may hold anything, spaces and parentheses too, so
// fields count from the last parenthesis on.
func parseStat(raw []byte) (procStat, error) {
	_, rest, found := lastCut(raw, ')')
	fields := bytes.Fields(rest)
	const parent, user, system, rss = 1, 11, 12, 21 // 4, 14, 15 and 24 in the manual
	if !found || len(fields) <= rss {
		return procStat{}, fmt.Errorf("stat of a process has %d fields: %.80q", len(fields), raw)
	}
	var errs []error
	number := func(i int) int64 {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		errs = append(errs, err)
		return n
	}
	s := procStat{
		parent: int(number(parent)),
		cpu:    time.Duration(number(user)+number(system)) * time.Second / ticksPerSecond,
		rss:    number(rss) * int64(os.Getpagesize()),
	}
	return s, errors.Join(errs...)
}

func lastCut(b []byte, sep byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(b, sep)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}

func readStat(pid int) (procStat, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(raw)
}

// usageOf is the CPU time and resident memory of processes together.
func usageOf(pids []int) (cpu time.Duration, rss int64, err error) {
	for _, pid := range pids {
		s, err := readStat(pid)
		if err != nil {
			return 0, 0, fmt.Errorf("read what a process used: %w", err)
		}
		cpu += s.cpu
		rss += s.rss
	}
	return cpu, rss, nil
}

// callsOf counts the read and write system calls of processes, those that found nothing to read included. recv, send and
// their like are not among them, so this says nothing about programs that use those. It is zero where the kernel does not
// count.
func callsOf(pids []int) (reads, writes int64) {
	for _, pid := range pids {
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "io"))
		if err != nil {
			return 0, 0
		}
		for line := range bytes.Lines(raw) {
			name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
			n, err := strconv.ParseInt(string(value), 10, 64)
			switch {
			case err != nil:
			case string(name) == "syscr":
				reads += n
			case string(name) == "syscw":
				writes += n
			}
		}
	}
	return reads, writes
}

// withChildren is a process and those that it started.
func withChildren(pid int) ([]int, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	pids := []int{pid}
	for _, dir := range all {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		// One that ended meanwhile is no child of interest.
		if s, err := readStat(child); err == nil && s.parent == pid {
			pids = append(pids, child)
		}
	}
	return pids, nil
}
