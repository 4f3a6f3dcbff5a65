package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway/pkg/testkit/testcert"
)

// TestEtcdTLS: an outside etcd that wants client certificates, by the flags of the documentation; without them the control
// plane does not come up, and says so.
func TestEtcdTLS(t *testing.T) {
	dir := t.TempDir()
	writeCertificates(t, dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	ports := freePorts(t, 2)
	m := &member{name: "tls", client: "https://" + ports[0]}
	m.args = []string{"--name", "tls", "--data-dir", file("etcd"), "--log-level", "error", "--listen-client-urls", m.client, "--advertise-client-urls", m.client,
		"--listen-peer-urls", "http://" + ports[1], "--initial-advertise-peer-urls", "http://" + ports[1], "--initial-cluster", "tls=http://" + ports[1],
		"--client-cert-auth", "--trusted-ca-file", file("ca.pem"), "--cert-file", file("server.pem"), "--key-file", file("server.key")}
	m.start(t)

	ports = freePorts(t, 3)
	in := &installation{t: t, dataDir: file("data"), admin: ports[0], sync: ports[1], control: ports[2]}
	args := []string{"controlplane", "--data-dir", in.dataDir, "--etcd-endpoints", m.client, "--admin-listen", in.admin, "--sync-listen", in.sync,
		"--ops-listen", in.control, "--etcd-ca-file", file("ca.pem")}
	without := start(t, "controlplane without a client certificate", binaries.fairway, args...)
	eventually(t, "it says why it waits", func() error {
		if !strings.Contains(without.log.String(), "certificate") {
			return os.ErrNotExist
		}
		return nil
	})
	if _, err := get("http://"+in.control+"/readyz", 503); err != nil {
		t.Errorf("a control plane that cannot reach etcd: %v", err)
	}
	without.stop()

	in.server = start(t, "controlplane", binaries.fairway, append(args, "--etcd-cert-file", file("client.pem"), "--etcd-key-file", file("client.key"))...)
	in.ready()
	in.must("group", "create", "g1")
	if out := in.must("group", "list"); !strings.Contains(out, "g1") {
		t.Errorf("groups: %s", out)
	}
}

// writeCertificates makes a CA, a server certificate for 127.0.0.1 and a client certificate.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	ca := testcert.NewCA(t)
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server", "client"} {
		// etcd's own gateway presents the server's certificate to itself, so that one must do for both sides.
		cert := ca.Issue(t, testcert.Leaf{Names: []string{"127.0.0.1"}})
		testcert.Write(t, cert, filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	}
}
