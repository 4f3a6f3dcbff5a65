package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	accounts = 100 // of the channel that the measures use
	// upstreamPorts: a proxy opens at most 1024 connections to one target, and idle streams need more.
	upstreamPorts = 8

	modelPlain = "bench"
	modelTLS   = "bench-tls"
	modelIdle  = "bench-idle" // on all ports of the upstream

	// The same at a provider of another dialect, so that answers are converted.
	modelTold     = "bench-told"
	modelToldIdle = "bench-told-idle"
)

// rig is everything that runs while the bench does, in one temporary directory.
type rig struct {
	dir       string
	nginxPath string
	procs     int      // GOMAXPROCS of the proxy; 0 = Go's own choice
	env       []string // further environment of the proxy
	log       io.Writer

	fairwayBinary, proxyBinary string
	certFile, keyFile          string
	at                         upstreamPlaces
	sync                       string   // the control plane's address for proxies
	adminEnv                   []string // of admin commands
	key                        string   // a client's
	running                    []*process
}

// target is one proxy, or the upstream itself, as the load sees it.
type target struct {
	name       string
	plain, tls string // where clients connect, for an upstream without and with TLS
	ops        string
	pids       []int
	main       *process // nil = not ours to stop
}

// newRig builds Fairway and starts the upstream and the control plane.
func newRig(ctx context.Context, dir, nginxPath string, procs int, log io.Writer) (_ *rig, err error) {
	r := &rig{dir: dir, nginxPath: nginxPath, procs: procs, log: log,
		fairwayBinary: filepath.Join(dir, "fairway"), proxyBinary: filepath.Join(dir, "fairway-dataplane"),
		certFile: filepath.Join(dir, "upstream.pem"), keyFile: filepath.Join(dir, "upstream.key")}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	fmt.Fprintln(log, "building fairway and fairway-dataplane")
	for binary, source := range map[string]string{r.fairwayBinary: "fairway", r.proxyBinary: "fairway/dataplane/cmd/fairway-dataplane"} {
		if _, err := run(ctx, append(os.Environ(), "CGO_ENABLED=0"), "", "go", "build", "-o", binary, source); err != nil {
			return nil, err
		}
	}
	if err := writeCertificate(r.certFile, r.keyFile); err != nil {
		return nil, err
	}
	fmt.Fprintln(log, "starting upstream and control plane")
	if err := r.startUpstream(); err != nil {
		return nil, err
	}
	return r, r.startControlPlane(ctx)
}

// stop ends what is still running, newest first.
func (r *rig) stop() {
	for i := len(r.running) - 1; i >= 0; i-- {
		r.running[i].stop()
	}
	r.running = nil
}

func (r *rig) startUpstream() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	order, err := json.Marshal(upstreamOrder{Ports: upstreamPorts, CertFile: r.certFile, KeyFile: r.keyFile})
	if err != nil {
		return err
	}
	var line string
	p, err := startProcess("upstream", cleanEnv(), &line, self, "upstream", string(order))
	if err != nil {
		return err
	}
	r.running = append(r.running, p)
	return json.Unmarshal([]byte(line), &r.at)
}

func (r *rig) startControlPlane(ctx context.Context) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	data := filepath.Join(r.dir, "data")
	admin, ops := ports[0], ports[2]
	r.sync = ports[1]
	p, err := startProcess("control plane", cleanEnv(), nil, r.fairwayBinary, "controlplane", "--data-dir", data,
		"--admin-listen", admin, "--sync-listen", r.sync, "--ops-listen", ops, "--log-level", "warn")
	if err != nil {
		return err
	}
	r.running = append(r.running, p)
	if err := p.await(ctx, answers("http://"+ops+"/readyz")); err != nil {
		return err
	}
	r.adminEnv = cleanEnv("FAIRWAY_SERVER=http://"+admin, "FAIRWAY_DATA_DIR="+data, "CRED=sk-bench-credential-of-the-fake-upstream")
	if err := r.apply(ctx, r.resources(), modelPlain, modelTLS, modelIdle, modelTold, modelToldIdle); err != nil {
		return err
	}
	r.key, err = r.newKey(ctx, "bench")
	return err
}

// apply makes resources, and models with a price.
func (r *rig) apply(ctx context.Context, resources string, models ...string) error {
	if _, err := run(ctx, r.adminEnv, resources, r.fairwayBinary, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, model := range models {
		if _, err := run(ctx, r.adminEnv, "", r.fairwayBinary, "model", "create", model, "--input-price", "2.50", "--output-price", "10"); err != nil {
			return err
		}
	}
	return nil
}

// newKey makes a client's key and returns its secret.
func (r *rig) newKey(ctx context.Context, name string) (string, error) {
	out, err := run(ctx, r.adminEnv, "", r.fairwayBinary, "key", "create", name, "-o", "json")
	if err != nil {
		return "", err
	}
	var made struct{ Secret string }
	if err := json.Unmarshal(out, &made); err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	return made.Secret, nil
}

// resources are the channels and accounts, as apply reads them: one channel with all the accounts for the measures, the
// same over TLS, and one for each port of the upstream for idle streams.
func (r *rig) resources() string {
	all := channelYAML("plain", "http://"+r.at.Plain[0], modelPlain, "", accounts) + channelYAML("tls", "https://"+r.at.TLS, modelTLS, "", accounts) +
		toldYAML("told", "http://"+r.at.Plain[0], modelTold, accounts)
	for i, addr := range r.at.Plain {
		all += channelYAML(fmt.Sprintf("idle-%d", i), "http://"+addr, modelIdle, "", 1)
		all += toldYAML(fmt.Sprintf("told-idle-%d", i), "http://"+addr, modelToldIdle, 1)
	}
	return all
}

// toldYAML is a channel of a provider that speaks another dialect than the load.
func toldYAML(name, url, model string, accounts int) string {
	return strings.Replace(channelYAML(name, url, model, "", accounts), "provider: openai\n", "provider: anthropic\n", 1)
}

// channelYAML is a channel with so many accounts; more are further lines of the channel.
func channelYAML(name, url, model, more string, accounts int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind: channel\nmetadata: {name: %s}\nprovider: openai\nbase_url: %s\nmodels: [%s]\ngroups: [default]\n%s---\n", name, url, model, more)
	for i := range accounts {
		fmt.Fprintf(&b, "kind: account\nmetadata: {name: %s-%d}\nchannel: %s\nsecret: {env: CRED}\n---\n", name, i, name)
	}
	return b.String()
}

// fairway starts a proxy of its own, which has the state when this returns. flags come on top of those that it needs.
func (r *rig) fairway(ctx context.Context, flags ...string) (*target, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp(r.dir, "proxy-")
	if err != nil {
		return nil, err
	}
	// The upstream's certificate signs itself; Go reads who is trusted from here.
	env := append(cleanEnv("SSL_CERT_FILE="+r.certFile), r.env...)
	if r.procs > 0 {
		env = append(env, fmt.Sprint("GOMAXPROCS=", r.procs))
	}
	flags = append([]string{"--control-plane", r.sync, "--join-token-file", filepath.Join(r.dir, "data", "join.token"),
		"--state-dir", state, "--listen", ports[0], "--ops-listen", ports[1], "--upstream-allow-cidr", "127.0.0.0/8", "--pprof", "--log-level", "warn"}, flags...)
	p, err := startProcess("fairway", env, nil, r.proxyBinary, flags...)
	if err != nil {
		return nil, err
	}
	r.running = append(r.running, p)
	t := &target{name: "fairway", plain: ports[0], tls: ports[0], ops: ports[1], pids: []int{p.pid()}, main: p}
	return t, p.await(ctx, answers("http://"+t.ops+"/readyz"))
}

// nginx starts an nginx. It has one worker: what is measured is CPU per request and per event, and that is lowest when one
// worker finds many events at each look; more of them would also take the cores from load and upstream.
func (r *rig) nginx(ctx context.Context) (*target, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(r.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(r.nginxConfig(ports[0], ports[1])), 0o600); err != nil {
		return nil, err
	}
	p, err := startProcess("nginx", cleanEnv(), nil, r.nginxPath, "-p", dir, "-c", file, "-e", "stderr")
	if err != nil {
		return nil, err
	}
	r.running = append(r.running, p)
	if err := p.await(ctx, listens(ports[1])); err != nil {
		return nil, err
	}
	t := &target{name: "nginx", plain: ports[0], tls: ports[1], main: p}
	// The master listens before there is a worker, and it is the worker whose time counts.
	return t, p.await(ctx, func(context.Context) error {
		pids, err := withChildren(p.pid())
		if err == nil && len(pids) < 2 {
			err = errors.New("it has no worker yet")
		}
		t.pids = pids
		return err
	})
}

func (r *rig) nginxConfig(plain, tls string) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the directory is ours alone
	}
	return strings.NewReplacer("USER", user, "LISTEN_PLAIN", plain, "LISTEN_TLS", tls,
		"UPSTREAM_PLAIN", r.at.Plain[0], "UPSTREAM_TLS", r.at.TLS, "CERT", r.certFile).Replace(`
daemon off;
USER
worker_processes 1;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 16384; }
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	client_max_body_size 0;
	# Large enough for every body here: nothing is written to disk.
	client_body_buffer_size 256k;
	keepalive_requests 100000000;
	keepalive_timeout 300s;
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	proxy_buffering off;
	proxy_read_timeout 1200s;
	proxy_ssl_protocols TLSv1.2 TLSv1.3;
	proxy_ssl_verify on;
	proxy_ssl_trusted_certificate CERT;
	proxy_ssl_name localhost;
	proxy_ssl_server_name on;
	upstream plain { server UPSTREAM_PLAIN; keepalive 1024; keepalive_requests 100000000; keepalive_timeout 300s; }
	upstream secure { server UPSTREAM_TLS; keepalive 1024; keepalive_requests 100000000; keepalive_timeout 300s; }
	server { listen LISTEN_PLAIN backlog=4096; location / { proxy_pass http://plain; } }
	server { listen LISTEN_TLS backlog=4096; location / { proxy_pass https://secure; } }
}
`)
}

// end stops a target that was started for one round.
func (r *rig) end(t *target) {
	if t.main != nil {
		t.main.stop()
	}
}

// writeCertificate makes the upstream's certificate, which signs itself.
func writeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fairway bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey}), 0o600)
}
