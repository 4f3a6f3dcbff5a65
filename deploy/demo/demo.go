// Package demo shows all of Fairway on one machine: embedded etcd, control plane, proxy and a fake provider in one process
// and one temporary directory, with real requests by an official SDK. It is a story with an ending that is checked: any
// step that does not do what it says fails the demo.
//
// It is the only shipped path that may use testkit. It refuses to touch anything outside its directory and loopback.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fairway/controlplane"
	"fairway/dataplane"
	"fairway/pkg/serve"
	"fairway/pkg/testkit/fakellm"
)

// Options of a demo.
type Options struct {
	// Once ends the demo after the story; else it stays up until the context ends.
	Once bool
	// Out is where the story goes.
	Out io.Writer
	// Log is where both planes log; the story is not a log.
	Log *slog.Logger
}

// The provider's accounts. The broke one answers 429 to everything.
const (
	goodCredential   = "sk-demo-provider-one"
	brokeCredential  = "sk-demo-provider-two-out-of-quota"
	spareCredential  = "sk-demo-provider-three"
	demoModel        = "gpt-4o-mini"
	claudeModel      = "claude-demo"
	startupAllowance = time.Minute
)

// Run tells the story. It returns nil only if every step did what it says.
func Run(ctx context.Context, o Options) error {
	dir, err := os.MkdirTemp("", "fairway-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintf(o.Out, "%s is left over: %v\n", dir, err)
		}
	}()

	provider := fakellm.New(fakellm.Options{
		Accounts: map[string]fakellm.Behaviour{
			goodCredential:  fakellm.Healthy(),
			brokeCredential: fakellm.Status(429, "insufficient_quota", 0),
			spareCredential: fakellm.Healthy(),
		},
		Models: []string{demoModel, claudeModel},
	})
	upstream, err := provider.Start("127.0.0.1:0") //nolint:contextcheck // it ends with Close, below
	if err != nil {
		return fmt.Errorf("start the fake provider: %w", err)
	}
	defer func() { _ = upstream.Close() }()

	// The planes end when the story has ended, or the story when a plane has.
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	up := make(chan place, 1)
	done := make(chan error, 1)
	go func() {
		err := planes(ctx, dir, o.Log, up)
		end(fmt.Errorf("the planes ended: %w", errors.Join(err, context.Canceled)))
		done <- err
	}()

	told := func() error {
		select {
		case at := <-up:
			at.provider, at.upstream = provider, upstream.URL()
			return tell(ctx, o, at)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(startupAllowance):
			return fmt.Errorf("nothing was up after %s", startupAllowance)
		}
	}()
	if told == nil && !o.Once {
		<-ctx.Done()
	}
	end(nil)
	return errors.Join(told, <-done)
}

// place is where everything is.
type place struct {
	control  controlplane.Addresses
	data     dataplane.Addresses
	dir      string
	provider *fakellm.Provider
	upstream string
}

// planes runs control plane and proxy on free ports until ctx ends.
func planes(ctx context.Context, dir string, log *slog.Logger, up chan<- place) error {
	const anyPort = "127.0.0.1:0"
	listening := make(chan controlplane.Addresses, 1)
	control := controlplane.Config{
		DataDir: dir, Embedded: true, AdminListen: anyPort, SyncListen: anyPort, OpsListen: anyPort,
		Log:       log.With("plane", "control"),
		Listening: func(a controlplane.Addresses) { listening <- a },
	}
	return serve.InOrder(ctx,
		serve.Part{Name: "control plane", Run: func(ctx context.Context) error { return controlplane.Run(ctx, control) }},
		serve.Part{Name: "proxy", Run: func(ctx context.Context) error {
			var at controlplane.Addresses
			select {
			case at = <-listening:
			case <-ctx.Done():
				return nil
			}
			return dataplane.Run(ctx, dataplane.Config{
				ControlPlane: []string{at.Sync}, JoinTokenFile: filepath.Join(dir, "join.token"), StateDir: filepath.Join(dir, "proxy"),
				Listen: anyPort, OpsListen: anyPort, UpstreamAllowCIDRs: []string{"127.0.0.0/8"}, Log: log.With("plane", "data"),
				Listening: func(d dataplane.Addresses) { up <- place{control: at, data: d, dir: dir} },
			})
		}})
}

// tell tells the story from beginning to end.
func tell(ctx context.Context, o Options, at place) error {
	s := &story{ctx: ctx, out: o.Out, at: at}
	for _, step := range []func() error{s.configure, s.plainRequest, s.stream, s.failover, s.limits, s.dialects, s.books, s.explain} {
		if err := step(); err != nil {
			if v := at.provider.Violations(); len(v) > 0 {
				err = fmt.Errorf("%w; the provider found fault with what it was sent: %s", err, strings.Join(v, "; "))
			}
			fmt.Fprintf(o.Out, "\n✗ %v\n", err)
			return err
		}
	}
	if v := at.provider.Violations(); len(v) > 0 {
		return fmt.Errorf("the provider found fault with what it was sent: %s", strings.Join(v, "; "))
	}
	if o.Once {
		s.say("\nThat is all. Everything was in %s and is gone now.", at.dir)
		return nil
	}
	s.farewell()
	return nil
}
