package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	template := func(serial int64, name string, usage ...x509.ExtKeyUsage) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage}
	}
	caKey := newKey()
	ca := template(1, "etcd CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", "CERTIFICATE", der)
	// etcd's own gateway presents the server's certificate to itself, so that one must do for both sides.
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for i, name := range []string{"server", "client"} {
		cert := template(int64(2+i), name, both...)
		cert.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		raw, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".key", "PRIVATE KEY", raw)
	}
}
