package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// profiles writes where the proxy's CPU time goes under the loads that matter most, as profiles and as a table by room,
// and where its memory does with idle streams.
func (b *bench) profiles(ctx context.Context, dir string) error {
	fairway := b.proxies[len(b.proxies)-1]
	load := func(kind string) task {
		k := b.task(kind, "plain", fairway)
		k.Window *= 3
		return k
	}
	events, body, idle := load("events"), load("closed"), load("idle")
	events.Conns, events.Every = b.pace.streams, eventsEvery
	body.Body = middleBody
	idle.Conns, idle.Model = b.pace.idle, modelIdle

	cpu := fmt.Sprintf("profile?seconds=%d", max(1, int(2*b.pace.window/time.Second)))
	var names []string
	var rooms []map[string]time.Duration
	for _, p := range []struct {
		name, title string
		load        task
	}{
		{"cpu-request", "request, 1 KiB", load("closed")},
		{"cpu-event", "SSE event", events},
		{"cpu-body-100k", "request, 100 KiB", body},
	} {
		file := filepath.Join(dir, p.name+".pprof")
		if err := b.profile(ctx, fairway, cpu, p.load, file); err != nil {
			return err
		}
		traces, err := run(ctx, os.Environ(), "", "go", "tool", "pprof", "-traces", file)
		if err != nil {
			return err
		}
		of, err := parseTraces(traces)
		if err != nil {
			return err
		}
		names, rooms = append(names, p.title), append(rooms, of)
	}
	table := roomTable(names, rooms)
	fmt.Printf("\n%s\n", table)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "rooms.md"), []byte(table), 0o644),
		b.profile(ctx, fairway, "heap?gc=1", idle, filepath.Join(dir, "heap-idle.pprof")),
	)
}

// profile takes one of the proxy's profiles in the middle of a load.
func (b *bench) profile(ctx context.Context, t *target, name string, k task, file string) error {
	loaded := make(chan error, 1)
	go func() {
		_, err := b.load(ctx, k)
		loaded <- err
	}()
	time.Sleep(2 * k.Warm)
	err := download(ctx, "http://"+t.ops+"/debug/pprof/"+name, file)
	if err := errors.Join(err, <-loaded); err != nil {
		return fmt.Errorf("profile %s: %w", file, err)
	}
	fmt.Printf("go tool pprof -top %s\n", file)
	return nil
}

// download writes what a URL has to a file.
func download(ctx context.Context, url, file string) error {
	raw, err := page(ctx, url)
	if err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o644)
}
