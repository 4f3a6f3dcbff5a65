package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/store"
	"fairway/pkg/serve"
)

// listeners are open before anything else happens, so that a taken port is the first thing one hears of.
type listeners struct {
	admin, sync, ops net.Listener
	certificates     *serve.Certificates // of admin; nil = it speaks without TLS
}

func (c Config) listen(ctx context.Context, registry *prometheus.Registry) (_ *listeners, err error) {
	ls := &listeners{}
	defer func() {
		if err != nil {
			ls.close()
		}
	}()
	if ls.ops, err = serve.Listen(ctx, c.OpsListen); err != nil {
		return nil, fmt.Errorf("ops listener: %w", err)
	}
	if ls.admin, err = serve.Listen(ctx, c.AdminListen); err != nil {
		return nil, fmt.Errorf("admin listener: %w", err)
	}
	if c.AdminTLSCertFile != "" {
		ls.certificates, err = serve.LoadCertificates([]serve.Pair{{CertFile: c.AdminTLSCertFile, KeyFile: c.AdminTLSKeyFile}},
			serve.CertificateOptions{Protocols: []string{"h2", "http/1.1"}, Log: c.Log.With("listener", "admin"), Registry: registry})
		if err != nil {
			return nil, fmt.Errorf("admin listener: %w", err)
		}
		ls.admin = tls.NewListener(ls.admin, ls.certificates.TLS())
	}
	if ls.sync, err = serve.Listen(ctx, c.SyncListen); err != nil {
		return nil, fmt.Errorf("sync listener: %w", err)
	}
	return ls, nil
}

// close closes what is open; closing twice does no harm.
func (ls *listeners) close() {
	for _, ln := range []net.Listener{ls.admin, ls.sync, ls.ops} {
		if ln != nil {
			ln.Close()
		}
	}
}

func (ls *listeners) addresses() Addresses {
	return Addresses{Admin: serve.Address(ls.admin), Sync: serve.Address(ls.sync), Ops: serve.Address(ls.ops)}
}

// serveOps answers health checks from the first moment on, also while etcd is awaited.
func (c Config) serveOps(ctx context.Context, ls *listeners, registry *prometheus.Registry, ready *readiness) error {
	ops := serve.Ops{Registry: registry, Pprof: c.Pprof, Ready: ready.say}
	return ops.Serve(ctx, ls.ops, c.OpsTokenFile)
}

// readiness is what /readyz says. A replica is ready once its state is loaded, and stays so while etcd is away: lists and
// proxies are served from memory.
type readiness struct {
	store atomic.Pointer[store.Store]
}

// set says which store is loaded; nil = none is.
func (r *readiness) set(st *store.Store) { r.store.Store(st) }

func (r *readiness) say() (bool, string) {
	st := r.store.Load()
	if st == nil {
		return false, "the state is not loaded yet"
	}
	if silent := time.Since(st.Reached()); silent > etcdSilence {
		return true, fmt.Sprintf("etcd has not answered for %s: reads are served from memory, writes fail", silent.Round(time.Second))
	}
	return true, fmt.Sprintf("revision %d", st.State().Revision())
}

// etcdSilence is how long etcd may be silent before that is worth a word; it is asked every ten seconds.
const etcdSilence = 25 * time.Second

// adminServer speaks HTTP/1.1 and HTTP/2, the latter without TLS too, for gRPC clients on loopback.
func adminServer(h http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}
