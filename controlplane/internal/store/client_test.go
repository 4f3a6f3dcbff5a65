package store

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/secret"
	"fairway/pkg/testkit/etcdtest"
)

// Under etcd's own authentication, a role for the one prefix is all that Fairway needs.
func TestAuthenticatedEtcd(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	ctx := soon(t)
	admin := etcdtest.Client(t, endpoint)
	const password = "correct-horse"
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.UserAdd(ctx, "root", "root"))
	must(admin.RoleAdd(ctx, "root"))
	must(admin.UserGrantRole(ctx, "root", "root"))
	must(admin.UserAdd(ctx, "fairway", password))
	must(admin.RoleAdd(ctx, "fairway"))
	must(admin.RoleGrantPermission(ctx, "fairway", root, clientv3.GetPrefixRangeEnd(root), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(admin.UserGrantRole(ctx, "fairway", "fairway"))
	must(admin.AuthEnable(ctx))

	cfg := Config{Endpoints: []string{endpoint}, Username: "fairway", Password: secret.New(password)}
	s, err := Open(ctx, cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	rec := follow(t, s)
	defer rec.stop()
	c := create(t, s, channel(t, s, "c"))[0]
	create(t, s, account(t, s, "a", "c"))
	if err := s.WaitRevision(ctx, s.State().Revision()+1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(ctx, "channel", c.GetMetadata().GetId()); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Audit(ctx, AuditQuery{}); err != nil {
		t.Error(err)
	}
	terms, stop := campaignAs(t, s, "r", "v")
	totals := map[UsageKey]*adminv1.UsageCounters{{Hour: 1}: {Requests: 1}}
	if err := s.CommitUsage(ctx, next(t, terms).fence, "boot", 0, 1, totals, nil); err != nil {
		t.Error(err)
	}
	stop()

	cfg.Password = secret.New("wrong-" + password)
	_, err = Open(ctx, cfg, quiet)
	if err == nil {
		t.Fatal("opened with a wrong password")
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	cfg := embed.NewConfig()
	cfg.Dir = dir
	addr, err := clientURL(filepath.Join(dir, strings.Repeat("x", maxSocketPath))) // A loopback port.
	if err != nil {
		t.Fatal(err)
	}
	addr.Scheme = "https"
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{addr}, []url.URL{addr}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ClientAutoTLS = true
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	<-server.Server.ReadyNotify()
	made := filepath.Join(dir, "fixtures", "client")
	config := Config{
		Endpoints: []string{addr.String()}, CAFile: filepath.Join(made, "cert.pem"),
		CertFile: filepath.Join(made, "cert.pem"), KeyFile: filepath.Join(made, "key.pem"),
	}
	s, err := Open(soon(t), config, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	config.CAFile = "" // Then the system's authorities decide, and they do not know it.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if s, err := Open(ctx, config, quiet); err == nil {
		t.Errorf("an unknown authority was trusted: %v", s.Close())
	}
}

func TestTLSFilesAreChecked(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"cert without key": {CertFile: empty},
		"key without cert": {KeyFile: empty},
		"no CA file":       {CAFile: empty + ".none"},
		"empty CA file":    {CAFile: empty},
		"empty cert":       {CertFile: empty, KeyFile: empty},
	} {
		if _, err := tlsFromFiles(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got, err := tlsFromFiles(Config{}); got != nil || err != nil {
		t.Errorf("no files: %v, %v", got, err)
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]bool{"3.4.13": true, "3.5.20": true, "3.6.0": false, "3.7.3": false, "4.0": false, "": false, "x": false} {
		if got := tooOld(version); got != want {
			t.Errorf("tooOld(%q) = %t", version, got)
		}
	}
}
