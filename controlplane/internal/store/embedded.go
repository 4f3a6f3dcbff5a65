package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/etcd/server/v3/embed"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// EmbeddedConfig says where an embedded etcd lives.
type EmbeddedConfig struct {
	// Dir holds the data; it is made with mode 0700, and a wider one is refused.
	Dir string
	Log *slog.Logger
	// QuotaBytes bounds the database file; 0 = 8 GiB.
	QuotaBytes int64
	// CompactEvery is how much history is kept for replicas and watches that were away; 0 = 1h.
	CompactEvery time.Duration
}

const (
	defaultQuota        = 8 << 30
	defaultCompactEvery = time.Hour
	embeddedMaxTxnOps   = 1024
	// maxSocketPath is below the kernel's 108 bytes for socket addresses.
	maxSocketPath = 100
	// stopGrace is how long requests under way may take to end.
	stopGrace = 500 * time.Millisecond
)

// Embedded is an etcd of one member inside this process. It listens only on a socket inside its directory, or, where
// the path is too long for one, on a loopback port.
type Embedded struct {
	closing  atomic.Bool
	etcd     *embed.Etcd
	endpoint string
	lock     *os.File
	close    sync.Once

	mu   sync.Mutex
	grpc *grpc.Server // guarded by mu
}

// StartEmbedded starts etcd and returns when it serves, or when ctx ends.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) {
	if err := privateDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	listen, err := clientURL(cfg.Dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd: %w", err), lock.Close())
	}
	e := &Embedded{endpoint: listen.String(), lock: lock}
	if e.etcd, err = embed.StartEtcd(e.config(cfg, listen)); err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd: %w", err), lock.Close())
	}
	select {
	case <-e.etcd.Server.ReadyNotify():
		return e, nil
	case err := <-e.etcd.Err():
		e.Close()
		return nil, fmt.Errorf("start etcd: %w", err)
	case <-ctx.Done():
		e.Close()
		return nil, fmt.Errorf("start etcd: %w", context.Cause(ctx))
	}
}

// privateDir makes the directory or checks that it is ours alone.
func privateDir(dir string) error {
	if dir == "" {
		return errors.New("no data directory")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("data directory %s has mode %#o; others must have no access (chmod 700)", dir, mode)
	}
	return nil
}

// lockDir makes sure that no other process uses the directory: etcd would take the running one's socket away and then
// wait for its database without a word. The lock ends with the file, so also with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("data directory %s is in use by another process", dir)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func clientURL(dir string) (url.URL, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return url.URL{}, fmt.Errorf("find data directory: %w", err)
	}
	if path := filepath.Join(abs, "etcd.sock"); len(path) < maxSocketPath {
		return url.URL{Scheme: "unix", Path: path}, nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return url.URL{}, fmt.Errorf("find a loopback port: %w", err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return url.URL{}, fmt.Errorf("find a loopback port: %w", err)
	}
	return url.URL{Scheme: "http", Host: addr}, nil
}

func (e *Embedded) config(cfg EmbeddedConfig, listen url.URL) *embed.Config {
	ec := embed.NewConfig()
	ec.Name = "fairway"
	ec.Dir = cfg.Dir
	ec.ListenClientUrls, ec.AdvertiseClientUrls = []url.URL{listen}, []url.URL{listen}
	// The only member listens to no peers; the address only names it in its own membership.
	ec.ListenPeerUrls = nil
	ec.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	// Each new data set is a cluster of its own; the token counts only at the first start.
	ec.InitialClusterToken = ulid.Make().String()
	ec.QuotaBackendBytes = cfg.QuotaBytes
	if ec.QuotaBackendBytes <= 0 {
		ec.QuotaBackendBytes = defaultQuota
	}
	every := cfg.CompactEvery
	if every <= 0 {
		every = defaultCompactEvery
	}
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = strconv.FormatInt(int64(every/time.Second), 10) + "s"
	ec.MaxTxnOps = embeddedMaxTxnOps
	ec.EnableGRPCGateway = false
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapToSlog(cfg.Log, e.expected))
	ec.ServiceRegister = func(g *grpc.Server) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.grpc = g
	}
	return ec
}

// Endpoints are what to put into Config.
func (e *Embedded) Endpoints() []string { return []string{e.endpoint} }

// Failed delivers the error that ended the server by itself.
func (e *Embedded) Failed() <-chan error { return e.etcd.Err() }

// expected says which of etcd's warnings mean nothing here: that a single member serves all on one socket, that its tokens
// are not signed where none are used, and, while it closes, that it does.
func (e *Embedded) expected(message string) bool {
	return e.closing.Load() || strings.HasPrefix(message, "Running http and grpc server on single port") ||
		message == "simple token is not cryptographically signed"
}

// Close stops the server: requests under way get half a second, watches end at once after that. What was acknowledged is
// on disk.
func (e *Embedded) Close() {
	e.close.Do(func() {
		e.closing.Store(true)
		e.mu.Lock()
		g := e.grpc
		e.mu.Unlock()
		if g != nil {
			stopGRPC(g)
		}
		e.etcd.Close()
		// Nothing was written to it.
		_ = e.lock.Close()
	})
}

// stopGRPC is quicker than the server's own way, which waits many seconds for watches that never end by themselves.
func stopGRPC(g *grpc.Server) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.GracefulStop()
	}()
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		g.Stop()
		<-done
	}
}
