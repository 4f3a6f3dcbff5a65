package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"fairway/dataplane/internal/accesslog"
	"fairway/dataplane/internal/gateway"
	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/lease"
	"fairway/dataplane/internal/limit"
	"fairway/dataplane/internal/otlp"
	"fairway/dataplane/internal/report"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/sock"
	"fairway/dataplane/internal/subscribe"
	"fairway/dataplane/internal/upstream"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/serve"
	"fairway/pkg/telemetry"
	"fairway/pkg/version"
)

// proxy is one proxy, wired.
type proxy struct {
	c          Config
	registry   *prometheus.Registry
	clients    net.Listener
	ops        net.Listener
	holder     *snapshot.Holder
	health     *health.Keeper
	leases     *lease.Client
	subscriber *subscribe.Subscriber
	upstream   *upstream.Pool
	spool      *report.Spool
	reporter   *report.Reporter
	walk       *gateway.Gateway
	ingress    *ingress.Server
	lookout    *sock.Lookout       // nil = not on this system
	certs      *serve.Certificates // nil = clients speak without TLS
	access     *accesslog.Log
	otlp       *otlp.Exporter
}

// wire opens the listeners and the spool, and connects the rooms.
func (c Config) wire(ctx context.Context, allow []netip.Prefix) (_ *proxy, err error) {
	p := &proxy{c: c, registry: c.Registry, holder: snapshot.NewHolder()}
	if p.registry == nil {
		p.registry = telemetry.NewRegistry()
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.ops, err = serve.Listen(ctx, c.OpsListen); err != nil {
		return nil, fmt.Errorf("ops listener: %w", err)
	}
	if p.clients, err = serve.Listen(ctx, c.Listen); err != nil {
		return nil, fmt.Errorf("proxy listener: %w", err)
	}
	if p.certs, err = c.certificates(p.registry); err != nil {
		return nil, err
	}
	access := c.AccessLog.options()
	access.Log, access.Registry = c.Log.With("room", "accesslog"), p.registry
	if p.access, err = accesslog.New(access); err != nil {
		return nil, err
	}
	if p.lookout, err = sock.NewLookout(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	bootID := ulid.Make().String()
	if p.otlp, err = otlp.New(ctx, c.exporter(hostname, bootID, p.registry)); err != nil {
		return nil, err
	}
	p.subscriber = subscribe.New(p.holder, subscribe.Options{
		Addresses: c.ControlPlane, JoinTokenFile: c.JoinTokenFile, StateDir: c.StateDir,
		Version: version.String(), Hostname: hostname, BootID: bootID,
		Probe:  func(ctx context.Context, asked *syncv1.Probe) *syncv1.ProbeResult { return p.walk.Probe(ctx, asked) },
		Lookup: func(requestID string) *adminv1.Decision { return p.walk.Lookup(requestID) },
		Log:    c.Log.With("room", "subscribe"), Registry: p.registry,
	})
	if p.spool, err = report.OpenSpool(c.StateDir, bootID, report.SpoolOptions{Log: c.Log.With("room", "report")}); err != nil {
		return nil, err
	}
	if p.reporter, err = report.New(p.spool, report.Options{
		Dial: p.dialReport, Addresses: c.ControlPlane, Log: c.Log.With("room", "report"), Registry: p.registry,
	}); err != nil {
		return nil, err
	}
	p.upstream = upstream.New(upstream.Options{
		MaxConnsPerHost: c.MaxUpstreamConns, AllowCIDRs: allow, Lookout: p.lookout, Log: c.Log.With("room", "upstream"), Registry: p.registry,
	})
	p.health = health.New(p.holder, health.Options{
		BootID: bootID, ID: p.id, Dial: p.dialReport, Addresses: c.ControlPlane,
		Probe:  func(ctx context.Context, permit *syncv1.ProbePermit) health.Outcome { return p.walk.Check(ctx, permit) },
		OnTick: func(now time.Time) { route.Refresh(p.holder.Current(), now) },
		Log:    c.Log.With("room", "health"), Registry: p.registry,
	})
	limits := limit.New(limit.Options{
		BootID: bootID, Spooled: p.spool.Spooled, Acked: p.spool.Acked, Registry: p.registry,
	})
	if p.leases, err = lease.New(limits, lease.Options{
		Dial: p.dialReport, Addresses: c.ControlPlane, Log: c.Log.With("room", "lease"),
	}); err != nil {
		return nil, err
	}
	p.walk = gateway.New(gateway.Deps{
		Snapshots: p.holder, Health: p.health, Limits: limits, Upstream: p.upstream, Sink: p.spool, Access: p.access, OTLP: p.otlp,
		Log: c.Log.With("room", "gateway"), Registry: p.registry,
	}, gateway.Options{
		MaxBody: c.MaxBody, MaxBodies: c.MaxBodiesInFlight, MaxRequests: c.MaxRequests, MaxStreams: c.MaxStreams,
		Proxy: p.id,
	})
	p.ingress = ingress.New(p.walk.Serve, ingress.Options{
		MaxConns: c.MaxConns, Grace: c.DrainTimeout, TLS: p.tls(), Lookout: p.lookout, Log: c.Log.With("room", "ingress"), Registry: p.registry,
	})
	return p, nil
}

// id is the proxy's, as the control plane knows it; empty before it has one.
func (p *proxy) id() string {
	who, _ := p.subscriber.Identity()
	return who.ID
}

// dialReport connects to a replica as the proxy that the subscriber's certificate names.
func (p *proxy) dialReport(_ context.Context, address string) (grpc.ClientConnInterface, io.Closer, error) {
	config := p.subscriber.TLS()
	if config == nil {
		return nil, nil, errors.New("the proxy has no certificate yet")
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return conn, conn, nil
}

// close frees what wire opened; run has ended by then.
func (p *proxy) close() {
	for _, ln := range []net.Listener{p.clients, p.ops} {
		if ln != nil {
			ln.Close()
		}
	}
	if p.lookout != nil {
		_ = p.lookout.Close()
	}
	if p.spool != nil {
		if err := p.spool.Close(); err != nil {
			p.c.Log.Warn("usage spool not closed", "error", err)
		}
	}
}

// run runs the rooms; what others stand on starts first and stops last. So the ingress drains while state still flows and
// credits are lent; then the reporter sends what is left, and leases end last of these: all that was spent is on the books.
func (p *proxy) run(ctx context.Context) error {
	return serve.InOrder(ctx,
		serve.Part{Name: "ops", Run: func(ctx context.Context) error {
			return serve.Ops{Registry: p.registry, Ready: p.ready, Pprof: p.c.Pprof}.Serve(ctx, p.ops, p.c.OpsTokenFile)
		}},
		serve.Part{Name: "subscribe", Run: p.subscriber.Run},
		serve.Part{Name: "health", Run: p.health.Run},
		serve.Part{Name: "lease", Run: p.leases.Run},
		serve.Part{Name: "report", Run: p.report},
		serve.Part{Name: "lookout", Run: p.lookOut},
		serve.Part{Name: "upstream", Run: p.upstream.Run},
		serve.Part{Name: "warm connections", Run: p.keepWarm},
		serve.Part{Name: "memory", Run: p.returnMemory},
		serve.Part{Name: "access log", Run: p.logAccess},
		serve.Part{Name: "otlp", Run: p.otlp.Run},
		serve.Part{Name: "certificates", Run: p.followCertificates},
		serve.Part{Name: "ingress", Run: p.serveClients},
	)
}

// report sends usage until ctx ends, then what is left, as far as the control plane takes it within a few seconds. What
// stays in the spool is sent by the next start.
func (p *proxy) report(ctx context.Context) error {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.reporter.Run(sending) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	flushing, cancel := context.WithTimeout(sending, flushTime)
	defer cancel()
	if err := p.reporter.Flush(flushing); err != nil {
		p.c.Log.Warn("usage stays in the spool until the next start", "error", err)
	}
	stop()
	return <-ended
}

// flushTime bounds the last sending of usage.
const flushTime = 5 * time.Second

// serveClients accepts clients as soon as there is a state to serve them from.
func (p *proxy) serveClients(ctx context.Context) error {
	if p.c.Listening != nil {
		p.c.Listening(Addresses{Proxy: serve.Address(p.clients), Ops: serve.Address(p.ops)})
	}
	p.c.Log.Info("proxy is up", "listen", serve.Address(p.clients), "ops", serve.Address(p.ops))
	return p.ingress.Run(ctx, p.clients)
}

// ready: a proxy that has a state serves, however old that is; it says what it is.
func (p *proxy) ready() (bool, string) {
	ready, fromFile := p.holder.Ready()
	age := p.holder.Age(time.Now()).Round(time.Second)
	switch {
	case !ready:
		return false, "no state yet"
	case fromFile:
		return true, fmt.Sprintf("last-known-good state from disk, revision %d, %s old", p.holder.Current().Revision(), age)
	case !p.holder.Connected():
		return true, fmt.Sprintf("no control plane, revision %d, %s old", p.holder.Current().Revision(), age)
	}
	return true, fmt.Sprintf("revision %d", p.holder.Current().Revision())
}
