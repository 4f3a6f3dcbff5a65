package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"fairway/pkg/testkit/testcert"
)

// files are the names of a pair in a new directory.
func files(t *testing.T) Pair {
	dir := t.TempDir()
	return Pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
}

// certificates loads pairs, and keeps what is logged.
func certificates(t *testing.T, pairs ...Pair) (*Certificates, *prometheus.Registry, *bytes.Buffer) {
	t.Helper()
	var logged bytes.Buffer
	registry := prometheus.NewRegistry()
	c, err := LoadCertificates(pairs, CertificateOptions{Log: slog.New(slog.NewTextHandler(&logged, nil)), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return c, registry, &logged
}

// shake connects once, says a byte and hears it, and returns what the client saw.
func shake(server, client *tls.Config) (tls.ConnectionState, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return tls.ConnectionState{}, err
	}
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		s := tls.Server(conn, server)
		_, err = io.CopyN(s, s, 1)
		served <- errors.Join(err, conn.Close())
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		_, err = conn.Write([]byte{1})
	}
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	var state tls.ConnectionState
	if conn != nil {
		state = conn.ConnectionState()
		_ = conn.Close()
	}
	_ = ln.Close()
	return state, errors.Join(err, <-served)
}

// shown is the certificate that new connections see.
func shown(t *testing.T, c *Certificates, name string) *x509.Certificate {
	t.Helper()
	state, err := shake(c.TLS(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0]
}

func TestCertificateByName(t *testing.T) {
	ca := testcert.NewCA(t)
	first, second := files(t), files(t)
	testcert.Write(t, ca.Server(t, "a.example", "127.0.0.1"), first.CertFile, first.KeyFile)
	testcert.Write(t, ca.Server(t, "b.example", "*.b.example"), second.CertFile, second.KeyFile)
	c, _, _ := certificates(t, first, second)
	for name, want := range map[string]string{
		"a.example": "a.example", "b.example": "b.example", "x.b.example": "b.example", "B.EXAMPLE": "b.example",
		"x.y.b.example": "a.example", "c.example": "a.example", "": "a.example",
	} {
		if got := shown(t, c, name).Subject.CommonName; got != want {
			t.Errorf("%q sees the certificate of %s, want %s", name, got, want)
		}
	}
}

func TestTLSProtocols(t *testing.T) {
	ca, p := testcert.NewCA(t), files(t)
	testcert.Write(t, ca.Server(t, "a.example"), p.CertFile, p.KeyFile)
	c, _, _ := certificates(t, p)
	client := func(change func(*tls.Config)) *tls.Config {
		conf := &tls.Config{ServerName: "a.example", RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		change(conf)
		return conf
	}
	tests := []struct {
		name   string
		client *tls.Config
		ok     bool
		alpn   string
	}{
		{"1.3", client(func(*tls.Config) {}), true, ""},
		{"1.2", client(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), true, ""},
		{"1.1", client(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), false, ""},
		{"a browser", client(func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }), true, "http/1.1"},
		{"HTTP/2 only", client(func(c *tls.Config) { c.NextProtos = []string{"h2"} }), false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, err := shake(c.TLS(), tt.client)
			if (err == nil) != tt.ok || state.NegotiatedProtocol != tt.alpn {
				t.Fatalf("error %v, protocol %q", err, state.NegotiatedProtocol)
			}
			if !tt.ok {
				return
			}
			if state, err = shake(c.TLS(), tt.client); err != nil || !state.DidResume {
				t.Errorf("the next connection: resumed = %v, %v", state.DidResume, err)
			}
		})
	}
}

func TestLoadCertificatesRefuses(t *testing.T) {
	ca := testcert.NewCA(t)
	good, missing, garbage, mixed, dir, long := files(t), files(t), files(t), files(t), files(t), files(t)
	testcert.Write(t, ca.Server(t, "a.example"), good.CertFile, good.KeyFile)
	write(t, garbage.CertFile, []byte("garbage"))
	write(t, garbage.KeyFile, []byte("garbage"))
	mixed = Pair{good.CertFile, mixed.KeyFile}
	_, key := testcert.PEM(t, ca.Server(t, "b.example"))
	write(t, mixed.KeyFile, key)
	dir.CertFile, dir.KeyFile = t.TempDir(), good.KeyFile
	write(t, long.CertFile, make([]byte, maxPEM+1))
	for _, tt := range []struct {
		name  string
		pairs []Pair
		want  []string // in the error
	}{
		{"none", nil, []string{"no certificate is named"}},
		{"missing", []Pair{missing}, []string{"read the certificate: ", missing.CertFile, "no such file"}},
		{"no key", []Pair{{good.CertFile, missing.KeyFile}}, []string{"read the certificate's key: ", missing.KeyFile}},
		{"garbage", []Pair{garbage}, []string{garbage.CertFile, garbage.KeyFile, "PEM"}},
		{"another's key", []Pair{mixed}, []string{mixed.CertFile, mixed.KeyFile, "does not match"}},
		{"a directory", []Pair{dir}, []string{dir.CertFile, "is not a file"}},
		{"too long", []Pair{long}, []string{long.CertFile, "too long"}},
		{"several", []Pair{good, missing, garbage}, []string{missing.CertFile, garbage.CertFile}},
	} {
		err := CheckCertificates(tt.pairs)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", tt.name, err, want)
			}
		}
	}
	if err := CheckCertificates([]Pair{good}); err != nil {
		t.Error(err)
	}
}

func TestPairs(t *testing.T) {
	got, err := Pairs([]string{"a.crt", "b.crt"}, []string{"a.key", "b.key"})
	if diff := cmp.Diff([]Pair{{"a.crt", "a.key"}, {"b.crt", "b.key"}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, keys := range [][]string{nil, {"a.key"}, {"a.key", "b.key", "c.key"}} {
		if _, err := Pairs([]string{"a.crt", "b.crt"}, keys); err == nil {
			t.Errorf("two certificates and %d keys", len(keys))
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Run looks every few seconds.
func TestCertificatesRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, p := testcert.NewCA(t), files(t)
		testcert.Write(t, ca.Server(t, "a.example"), p.CertFile, p.KeyFile)
		c, _, _ := certificates(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		for range 3 {
			renewed := ca.Server(t, "a.example")
			testcert.Write(t, renewed, p.CertFile, p.KeyFile)
			time.Sleep(2 * lookEvery)
			synctest.Wait()
			if !(*c.current.Load())[0].Leaf.Equal(renewed.Leaf) {
				t.Error("the files changed and the certificate did not")
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// An end that is near is worth a warning a day, until the certificate is renewed.
func TestCertificateEnds(t *testing.T) {
	ca, p := testcert.NewCA(t), files(t)
	begin := time.Now()
	leaf := testcert.Leaf{Names: []string{"a.example"}, NotAfter: begin.Add(expiryNotice + 36*time.Hour)}
	testcert.Write(t, ca.Issue(t, leaf), p.CertFile, p.KeyFile)
	c, _, logged := certificates(t, p)
	var warnings []int
	for hour := range 24 * 5 {
		c.look(begin.Add(time.Duration(hour) * time.Hour))
		if hour%24 == 23 {
			warnings = append(warnings, strings.Count(logged.String(), "ends soon"))
		}
	}
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4}, warnings); diff != "" {
		t.Errorf("warnings by day (-want +got):\n%s", diff)
	}
	// Renewed, but not for long: that is news, and told at once.
	leaf.NotAfter = begin.Add(expiryNotice)
	testcert.Write(t, ca.Issue(t, leaf), p.CertFile, p.KeyFile)
	c.look(begin.Add(24*5*time.Hour + time.Minute))
	c.look(begin.Add(24*5*time.Hour + 2*time.Minute))
	if n := strings.Count(logged.String(), "ends soon"); n != 5 {
		t.Errorf("%d warnings, want one more for the new certificate: %s", n, logged)
	}
	leaf.NotAfter = begin.Add(90 * 24 * time.Hour)
	testcert.Write(t, ca.Issue(t, leaf), p.CertFile, p.KeyFile)
	for day := range 9 {
		c.look(begin.Add(time.Duration(6+day) * 24 * time.Hour))
	}
	if n := strings.Count(logged.String(), "ends soon"); n != 5 {
		t.Errorf("%d warnings, want 5: %s", n, logged)
	}
}

func TestCertificateMetrics(t *testing.T) {
	ca := testcert.NewCA(t)
	first, second, bare := files(t), files(t), files(t)
	soon, later := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(2*time.Hour).Truncate(time.Second)
	testcert.Write(t, ca.Issue(t, testcert.Leaf{Names: []string{"a.example", "127.0.0.1"}, NotAfter: later}), first.CertFile, first.KeyFile)
	testcert.Write(t, ca.Issue(t, testcert.Leaf{Names: []string{"a.example", "b.example"}, NotAfter: soon}), second.CertFile, second.KeyFile)
	testcert.Write(t, ca.Issue(t, testcert.Leaf{NotAfter: soon}), bare.CertFile, bare.KeyFile)
	c, registry, _ := certificates(t, first, second, bare)
	const expiry = "fairway_tls_certificate_expiry_timestamp_seconds "
	near, far := float64(soon.Unix()), float64(later.Unix())
	if diff := cmp.Diff(map[string]float64{
		expiry + "a.example": near, expiry + "b.example": near, expiry + "127.0.0.1": far, expiry: near, "fairway_tls_reload_errors_total": 0,
	}, metricsOf(t, registry)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	testcert.Write(t, ca.Issue(t, testcert.Leaf{Names: []string{"c.example"}, NotAfter: later}), second.CertFile, second.KeyFile)
	c.look(time.Now())
	c.look(time.Now())
	if diff := cmp.Diff(map[string]float64{
		expiry + "a.example": far, expiry + "127.0.0.1": far, expiry + "c.example": far, expiry: near, "fairway_tls_reload_errors_total": 0,
	}, metricsOf(t, registry)); diff != "" {
		t.Errorf("after a renewal (-want +got):\n%s", diff)
	}
	if _, err := LoadCertificates([]Pair{first}, CertificateOptions{Registry: registry}); err == nil {
		t.Error("two listeners' certificates in one registry")
	}
}

// metrics are the values in a registry, by name and label.
func metricsOf(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return got
}
