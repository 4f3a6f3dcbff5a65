package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairway/pkg/testkit/testcert"
)

// The ways in which files are replaced.
func TestCertificateReplaced(t *testing.T) {
	ca := testcert.NewCA(t)
	// A mounted secret of Kubernetes: the names are links through a link that is swapped.
	version := func(t *testing.T, dir, name string, cert tls.Certificate) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		testcert.Write(t, cert, filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key"))
		must(t, os.Symlink(name, filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	for name, way := range map[string]func(t *testing.T, p Pair, cert tls.Certificate){
		"in place": func(t *testing.T, p Pair, cert tls.Certificate) { testcert.Write(t, cert, p.CertFile, p.KeyFile) },
		"renamed": func(t *testing.T, p Pair, cert tls.Certificate) {
			testcert.Write(t, cert, p.CertFile+"~", p.KeyFile+"~")
			must(t, errors.Join(os.Rename(p.CertFile+"~", p.CertFile), os.Rename(p.KeyFile+"~", p.KeyFile)))
		},
		"in place, with the times kept": func(t *testing.T, p Pair, cert tls.Certificate) {
			info, err := os.Stat(p.CertFile)
			must(t, err)
			testcert.Write(t, cert, p.CertFile, p.KeyFile)
			must(t, os.Chtimes(p.CertFile, info.ModTime(), info.ModTime()))
			must(t, os.Chtimes(p.KeyFile, info.ModTime(), info.ModTime()))
		},
		"a link swapped": func(t *testing.T, p Pair, cert tls.Certificate) {
			version(t, filepath.Dir(p.CertFile), "..after", cert)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := files(t)
			before, after := ca.Server(t, "a.example"), ca.Server(t, "a.example")
			dir := filepath.Dir(p.CertFile)
			if name == "a link swapped" {
				version(t, dir, "..before", before)
				must(t, errors.Join(os.Symlink("..data/tls.crt", p.CertFile), os.Symlink("..data/tls.key", p.KeyFile)))
			} else {
				testcert.Write(t, before, p.CertFile, p.KeyFile)
			}
			c, _, logged := certificates(t, p)
			way(t, p, after)
			if !shown(t, c, "").Equal(before.Leaf) {
				t.Error("the certificate changed before anybody looked")
			}
			c.look(time.Now())
			if !shown(t, c, "").Equal(before.Leaf) {
				t.Error("the certificate changed when the files may still be written")
			}
			c.look(time.Now())
			if !shown(t, c, "").Equal(after.Leaf) {
				t.Error("the certificate did not change")
			}
			c.look(time.Now())
			if n := strings.Count(logged.String(), "certificate reloaded"); n != 1 {
				t.Errorf("logged %d times: %s", n, logged)
			}
		})
	}
}

// Whatever the files have become, the last good certificate stays; that is said once, counted at each look from the second
// on, and over when the files are good again.
func TestCertificateSpoiled(t *testing.T) {
	ca := testcert.NewCA(t)
	before, after := ca.Server(t, "a.example"), ca.Server(t, "a.example")
	chain, key := testcert.PEM(t, after)
	spoils := map[string]func(t *testing.T, p Pair){
		"no certificate":  func(t *testing.T, p Pair) { must(t, os.Remove(p.CertFile)) },
		"no key":          func(t *testing.T, p Pair) { must(t, os.Remove(p.KeyFile)) },
		"another's key":   func(t *testing.T, p Pair) { write(t, p.KeyFile, key) },
		"another's chain": func(t *testing.T, p Pair) { write(t, p.CertFile, chain) },
		"emptied":         func(t *testing.T, p Pair) { must(t, os.Truncate(p.CertFile, 0)) },
		"no key yet": func(t *testing.T, p Pair) {
			write(t, p.CertFile, chain)
			write(t, p.KeyFile, nil)
		},
		"half a key": func(t *testing.T, p Pair) {
			write(t, p.CertFile, chain)
			write(t, p.KeyFile, key[:len(key)/2])
		},
		"half a certificate": func(t *testing.T, p Pair) {
			write(t, p.CertFile, chain[:len(chain)/4])
			write(t, p.KeyFile, key)
		},
		"too long": func(t *testing.T, p Pair) { write(t, p.CertFile, make([]byte, maxPEM+1)) },
	}
	for name, spoil := range spoils {
		for _, end := range []struct {
			name string
			cert tls.Certificate
		}{{"the new one", after}, {"the old one", before}} {
			t.Run(name+", then "+end.name, func(t *testing.T) {
				p := files(t)
				testcert.Write(t, before, p.CertFile, p.KeyFile)
				c, registry, logged := certificates(t, p)
				spoil(t, p)
				for i, want := range []float64{0, 1, 2} {
					c.look(time.Now())
					if !shown(t, c, "").Equal(before.Leaf) {
						t.Error("the last good certificate is gone")
					}
					if got := metricsOf(t, registry)["fairway_tls_reload_errors_total"]; got != want {
						t.Errorf("look %d: %v errors counted, want %v", i, got, want)
					}
				}
				if n := strings.Count(logged.String(), "certificate not reloaded"); n != 1 || !strings.Contains(logged.String(), p.CertFile) {
					t.Errorf("logged %d times: %s", n, logged)
				}
				testcert.Write(t, end.cert, p.CertFile, p.KeyFile)
				c.look(time.Now())
				c.look(time.Now())
				if !shown(t, c, "").Equal(end.cert.Leaf) {
					t.Error("the good files were not taken")
				}
				if got := metricsOf(t, registry)["fairway_tls_reload_errors_total"]; got != 2 {
					t.Errorf("%v errors counted at the end", got)
				}
				spoil(t, p)
				c.look(time.Now())
				c.look(time.Now())
				if n := strings.Count(logged.String(), "certificate not reloaded"); end.name == "the old one" && n != 2 {
					t.Errorf("the second time was not told: %s", logged)
				}
			})
		}
	}
}

// One spoiled pair does not keep the others from being renewed.
func TestCertificatesApart(t *testing.T) {
	ca := testcert.NewCA(t)
	first, second := files(t), files(t)
	old, renewed := ca.Server(t, "a.example"), ca.Server(t, "b.example")
	testcert.Write(t, old, first.CertFile, first.KeyFile)
	testcert.Write(t, ca.Server(t, "b.example"), second.CertFile, second.KeyFile)
	c, _, _ := certificates(t, first, second)
	must(t, os.Remove(first.KeyFile))
	testcert.Write(t, renewed, second.CertFile, second.KeyFile)
	c.look(time.Now())
	c.look(time.Now())
	if !shown(t, c, "a.example").Equal(old.Leaf) || !shown(t, c, "b.example").Equal(renewed.Leaf) {
		t.Error("the certificates are not those that they should be")
	}
}

// A file is written byte by byte while the listener looks: nobody sees anything but the old certificate and then the new one.
func TestCertificateHalfWritten(t *testing.T) {
	ca, p := testcert.NewCA(t), files(t)
	before := ca.Server(t, "a.example")
	after := before // with the same key, so that a chain that is cut short fits
	der, err := ca.Sign(before.Leaf.PublicKey, testcert.Leaf{Names: []string{"a.example"}})
	must(t, err)
	after.Certificate = [][]byte{der, ca.Cert.Raw}
	after.Leaf, err = x509.ParseCertificate(der)
	must(t, err)
	testcert.Write(t, before, p.CertFile, p.KeyFile)
	c, registry, _ := certificates(t, p)
	chain, key := testcert.PEM(t, after)
	both := append(bytes.Clone(chain), key...)
	for n := range both {
		write(t, p.CertFile, both[:min(n, len(chain))])
		write(t, p.KeyFile, both[len(chain):max(n, len(chain))])
		c.look(time.Now())
		if got := (*c.current.Load())[0].Leaf; !got.Equal(before.Leaf) {
			t.Fatalf("after %d bytes of %d another certificate is shown", n, len(both))
		}
	}
	testcert.Write(t, after, p.CertFile, p.KeyFile)
	c.look(time.Now())
	c.look(time.Now())
	if got := *c.current.Load(); !got[0].Leaf.Equal(after.Leaf) || len(got[0].Certificate) != 2 {
		t.Error("the certificate did not change in the end")
	}
	if got := metricsOf(t, registry)["fairway_tls_reload_errors_total"]; got != 0 {
		t.Errorf("%v errors counted while the files were written", got)
	}
}

// Certificates are swapped while clients connect: none fails, each sees a certificate of ours, those who are connected stay,
// and the last certificate wins.
func TestCertificateSwapWhileConnecting(t *testing.T) {
	ca, p := testcert.NewCA(t), files(t)
	testcert.Write(t, ca.Server(t, "a.example"), p.CertFile, p.KeyFile)
	c, err := LoadCertificates([]Pair{p}, CertificateOptions{Every: time.Millisecond})
	must(t, err)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", c.TLS())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	client := &tls.Config{ServerName: "a.example", RootCAs: ca.Pool()}
	echo := func(conn net.Conn) error {
		if _, err := conn.Write([]byte{7}); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}
	connect := func() (*tls.Conn, error) {
		conn, err := tls.Dial("tcp", ln.Addr().String(), client)
		if err != nil {
			return nil, err
		}
		return conn, echo(conn)
	}
	early, err := connect()
	must(t, err)
	var shakes atomic.Int64
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for {
				conn, err := connect()
				if err != nil {
					t.Errorf("a client could not connect: %v", err)
					return
				}
				_ = conn.Close()
				shakes.Add(1)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	var last tls.Certificate
	for i := range 20 {
		last = ca.Server(t, "a.example")
		testcert.Write(t, last, p.CertFile+"~", p.KeyFile+"~")
		must(t, errors.Join(os.Rename(p.CertFile+"~", p.CertFile), os.Rename(p.KeyFile+"~", p.KeyFile)))
		for before := shakes.Load(); shakes.Load() < before+5 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		if t.Failed() {
			t.Fatalf("at swap %d", i)
		}
	}
	for !(*c.current.Load())[0].Leaf.Equal(last.Leaf) {
		time.Sleep(time.Millisecond)
	}
	close(done)
	clients.Wait()
	if conn, err := connect(); err != nil || !conn.ConnectionState().PeerCertificates[0].Equal(last.Leaf) {
		t.Errorf("the last certificate is not shown: %v", err)
	} else {
		_ = conn.Close()
	}
	if err := echo(early); err != nil {
		t.Errorf("who was connected before was cut off: %v", err)
	}
	_ = early.Close()
	cancel()
	_ = ln.Close()
	wg.Wait()
}
