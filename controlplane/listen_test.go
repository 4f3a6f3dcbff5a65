package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/pkg/testkit/testcert"
)

// TestAdminCertificateRenewed: the admin API speaks TLS with the certificate that the files hold, also after they were
// replaced, and its metrics say when that ends.
func TestAdminCertificateRenewed(t *testing.T) {
	ca, dir := testcert.NewCA(t), t.TempDir()
	c := local(filepath.Join(dir, "data"))
	c.AdminTLSCertFile, c.AdminTLSKeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), c.AdminTLSCertFile) {
		t.Fatalf("without its certificate: %v", err)
	}
	before, after := ca.Server(t, "127.0.0.1"), ca.Server(t, "127.0.0.1")
	testcert.Write(t, before, c.AdminTLSCertFile, c.AdminTLSKeyFile)
	at, stop := replica(t, c)
	shown := func() *x509.Certificate {
		t.Helper()
		protocols := &http.Protocols{}
		protocols.SetHTTP2(true)
		client := &http.Client{Transport: &http.Transport{
			Protocols: protocols, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
		}}
		res, err := client.Get("https://" + at.Admin + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.TLS.PeerCertificates[0]
	}
	if !shown().Equal(before.Leaf) {
		t.Error("not the certificate in the file")
	}
	if _, body := fetch(t, "http://"+at.Ops+"/metrics"); !strings.Contains(body, `fairway_tls_certificate_expiry_timestamp_seconds{name="127.0.0.1"}`) {
		t.Error("the metrics do not say when the certificate ends")
	}
	testcert.Write(t, after, c.AdminTLSCertFile, c.AdminTLSKeyFile)
	for deadline := time.Now().Add(time.Minute); !shown().Equal(after.Leaf); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the certificate was replaced a minute ago and is not shown")
		}
	}
	if err := stop(); err != nil {
		t.Errorf("a clean stop: %v", err)
	}
}
