package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// identity makes a self-signed certificate for names and addresses.
func identity(t testing.TB, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func overTLS(config *tls.Config, serve func(int, net.Conn)) func(int, net.Conn) {
	return func(n int, c net.Conn) {
		s := tls.Server(c, config)
		defer s.Close()
		serve(n, s)
	}
}

func secureGet(addr, name string) *Request {
	req := get(addr)
	req.Target.TLS, req.Target.Host = true, name
	return req
}

// Requests over TLS: kept, resumed when they must be made anew, HTTP/1.1 only, and never below TLS 1.2.
func TestTLS(t *testing.T) {
	cert, roots := identity(t, "api.test")
	var resumed, alpn atomic.Value
	addr := rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}},
		func(_ int, c net.Conn) {
			if c.(*tls.Conn).Handshake() != nil {
				return
			}
			s := c.(*tls.Conn).ConnectionState()
			resumed.Store(s.DidResume)
			alpn.Store(s.NegotiatedProtocol)
			always(okHello)(0, c)
		}))
	p := newPool(t, Options{RootCAs: roots})
	for i := range 3 {
		if body, reused := mustFetch(t, p, secureGet(addr, "api.test:443")); body != "hello" || reused != (i > 0) {
			t.Errorf("request %d: %q, reused %v", i, body, reused)
		}
	}
	if resumed.Load() != false || alpn.Load() != "http/1.1" {
		t.Errorf("first handshake: resumed %v, protocol %v", resumed.Load(), alpn.Load())
	}
	p.reap(time.Now().Add(2 * time.Minute)) // closes the kept connection
	if _, reused := mustFetch(t, p, secureGet(addr, "api.test")); reused {
		t.Error("reused what was closed")
	}
	if resumed.Load() != true {
		t.Error("the session was not resumed")
	}
}

func TestTLSRefuses(t *testing.T) {
	cert, roots := identity(t, "api.test")
	_, strangers := identity(t, "api.test")
	for _, tt := range []struct {
		name   string
		roots  *x509.CertPool
		host   string
		config *tls.Config
	}{
		{"another name", roots, "evil.test", &tls.Config{}},
		{"an unknown authority", strangers, "api.test", &tls.Config{}},
		{"TLS 1.1", roots, "api.test", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := tt.config
			config.Certificates = []tls.Certificate{cert}
			addr := rawServer(t, overTLS(config, always(okHello)))
			p := newPool(t, Options{RootCAs: tt.roots})
			_, _, _, err := fetch(p, secureGet(addr, tt.host))
			wantError(t, err, PhaseTLS, nil)
			if s := p.stat(addr); s.Open != 0 || s.DialErrors != 1 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

func TestTLSTimeoutAndAbort(t *testing.T) {
	addr := rawServer(t, func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	p := newPool(t, Options{})
	req := secureGet(addr, "api.test")
	req.Target.TLSHandshake = 20 * time.Millisecond
	_, _, _, err := fetch(p, req)
	if e := wantError(t, err, PhaseTLS, nil); !e.Timeout {
		t.Errorf("error = %+v, want a timeout", e)
	}
	hello := make(chan struct{})
	ended := make(chan struct{})
	addr = rawServer(t, func(_ int, c net.Conn) {
		defer close(ended)
		_, _ = c.Read(make([]byte, 1))
		close(hello)
		_, _ = io.Copy(io.Discard, c)
	})
	var call Call
	go func() { <-hello; call.Abort() }()
	_, err = p.Do(context.Background(), &call, secureGet(addr, "api.test"))
	if e := wantError(t, err, PhaseTLS, ErrAborted); !e.Aborted {
		t.Errorf("error = %+v", e)
	}
	<-ended
}

// A cut connection is not the end of a body, even where the end of the connection is: TLS says goodbye.
func TestTLSTruncation(t *testing.T) {
	cert, roots := identity(t, "api.test")
	addr := rawServer(t, func(_ int, c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		_ = readRequest(bufio.NewReader(s))
		_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\n\r\nhalf of it")
		c.Close()
	})
	p := newPool(t, Options{RootCAs: roots})
	_, body, _, err := fetch(p, secureGet(addr, "api.test"))
	wantError(t, err, PhaseBody, io.ErrUnexpectedEOF)
	if body != "half of it" {
		t.Errorf("body = %q", body)
	}
}

// Unasked bytes on a kept TLS connection end it, and a goodbye too.
func TestTLSClosedWhileIdle(t *testing.T) {
	cert, roots := identity(t, "api.test")
	for name, last := range map[string]string{"goodbye": "", "garbage": "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"} {
		t.Run(name, func(t *testing.T) {
			read, said := make(chan struct{}, 2), make(chan struct{}, 2)
			addr := rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, func(_ int, c net.Conn) {
				answering(okHello)(0, c)
				<-read
				if _, _ = io.WriteString(c, last); last == "" {
					c.Close()
				}
				said <- struct{}{}
				_, _ = io.Copy(io.Discard, c)
			}))
			p := newPool(t, Options{RootCAs: roots})
			for range 2 {
				if body, reused := mustFetch(t, p, secureGet(addr, "api.test")); body != "hello" || reused {
					t.Errorf("%q, reused %v", body, reused)
				}
				read <- struct{}{}
				<-said
			}
		})
	}
}

// httpProxy is a small CONNECT proxy: it says what it was asked and connects to where it is told.
func httpProxy(t *testing.T, to string, asked chan<- string, answer string) string {
	return rawServer(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		var lines []string
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimSpace(line); line == "" {
				break
			}
			lines = append(lines, line)
		}
		asked <- strings.Join(lines, "|")
		if _, err := io.WriteString(c, answer); err != nil || !strings.Contains(answer, " 200") {
			return
		}
		splice(c, br, to)
	})
}

func splice(c net.Conn, r io.Reader, to string) {
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, r)
		up.Close()
	}()
	_, _ = io.Copy(c, up)
	c.Close()
	<-done
}

func TestHTTPProxy(t *testing.T) {
	cert, roots := identity(t, "api.test")
	secure := rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, always(okHello)))
	plain := rawServer(t, always(okHello))
	basic := base64.StdEncoding.EncodeToString([]byte("user:p@ss"))
	for _, tt := range []struct {
		name, user, to, want string
		tls                  bool
	}{
		{"plain", "", plain, "CONNECT api.test:443 HTTP/1.1|Host: api.test:443", false},
		{"TLS with a password", "user:p%40ss@", secure, "CONNECT api.test:443 HTTP/1.1|Host: api.test:443|Proxy-Authorization: Basic " + basic, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := make(chan string, 4)
			proxy := httpProxy(t, tt.to, asked, "HTTP/1.1 200 Connection established\r\n\r\n")
			p := newPool(t, Options{RootCAs: roots})
			req := get("api.test:443") // a name that only the proxy can resolve
			req.Target.TLS, req.Target.Host = tt.tls, "api.test"
			req.Target.Proxy = mustURL("http://" + tt.user + proxy)
			for i := range 2 {
				if body, reused := mustFetch(t, p, req); body != "hello" || reused != (i == 1) {
					t.Errorf("%q, reused %v", body, reused)
				}
			}
			if got := <-asked; got != tt.want {
				t.Errorf("asked %q, want %q", got, tt.want)
			}
			if s := p.stat("api.test:443"); strings.Contains(fmt.Sprint(s), "ss") {
				t.Errorf("stats show the password: %+v", s)
			}
		})
	}
}

func TestHTTPProxyRefusals(t *testing.T) {
	for name, answer := range map[string]string{
		"407":             "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
		"redirect":        "HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n",
		"bytes behind":    "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
		"not HTTP":        "hello 200 \r\n\r\n",
		"endless":         "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 10000) + "\r\n",
		"bare line feeds": "HTTP/1.1 200 OK\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan string, 4)
			target := rawServer(t, always(okHello))
			req := get("api.test:80")
			req.Target.Proxy = mustURL("http://user:secretword@" + httpProxy(t, target, asked, answer))
			p := newPool(t, Options{})
			_, _, _, err := fetch(p, req)
			wantError(t, err, PhaseDial, nil)
			if strings.Contains(err.Error(), "secretword") {
				t.Errorf("error shows the password: %v", err)
			}
			if s := p.stat("api.test:80"); s.Open != 0 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

// socksProxy is a small SOCKS5 proxy. It requires the user "user" with the password "pass" if login.
func socksProxy(t *testing.T, to string, login bool, reply byte, asked chan<- string) string {
	return rawServer(t, func(_ int, c net.Conn) {
		read := func(n int) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(c, b)
			return b
		}
		methods := read(int(read(2)[1]))
		if login {
			if len(methods) != 1 || methods[0] != 2 {
				_, _ = c.Write([]byte{5, 0xff})
				return
			}
			_, _ = c.Write([]byte{5, 2})
			user := string(read(int(read(2)[1])))
			pass := string(read(int(read(1)[0])))
			if user != "user" || pass != "pass" {
				_, _ = c.Write([]byte{1, 1})
				return
			}
			_, _ = c.Write([]byte{1, 0})
		} else {
			_, _ = c.Write([]byte{5, 0})
		}
		host := ""
		switch kind := read(4)[3]; kind {
		case 1:
			host = netip.AddrFrom4([4]byte(read(4))).String()
		case 3:
			host = string(read(int(read(1)[0])))
		case 4:
			host = netip.AddrFrom16([16]byte(read(16))).String()
		}
		port := read(2)
		asked <- fmt.Sprintf("%s:%d", host, int(port[0])<<8|int(port[1]))
		_, _ = c.Write([]byte{5, reply, 0, 3, 4, 'h', 'o', 's', 't', 0, 80})
		if reply == 0 {
			splice(c, c, to)
		}
	})
}

func TestSOCKS5(t *testing.T) {
	cert, roots := identity(t, "api.test")
	secure := rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, always(okHello)))
	plain := rawServer(t, always(okHello))
	for _, tt := range []struct {
		name, user, addr string
		login, tls       bool
		reply            byte
		wantErr          string
	}{
		{name: "name", addr: "api.test:443"},
		{name: "IPv4", addr: "127.0.0.1:8443"},
		{name: "IPv6", addr: "[::1]:8443"},
		{name: "TLS with a password", addr: "api.test:443", user: "user:pass@", login: true, tls: true},
		{name: "wrong password", addr: "api.test:443", user: "user:word@", login: true, wantErr: "refused the user name"},
		{name: "no password", addr: "api.test:443", login: true, wantErr: "no authentication"},
		{name: "refused", addr: "api.test:443", reply: 5, wantErr: "connection refused"},
		{name: "strange refusal", addr: "api.test:443", reply: 200, wantErr: "code 200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := plain
			if tt.tls {
				to = secure
			}
			asked := make(chan string, 4)
			p := newPool(t, Options{RootCAs: roots})
			req := get(tt.addr)
			req.Target.TLS, req.Target.Host = tt.tls, "api.test"
			req.Target.Proxy = mustURL("socks5://" + tt.user + socksProxy(t, to, tt.login, tt.reply, asked))
			_, body, _, err := fetch(p, req)
			if tt.wantErr != "" {
				wantError(t, err, PhaseDial, nil)
				if !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error = %v, want %q in it", err, tt.wantErr)
				}
				return
			}
			if err != nil || body != "hello" {
				t.Fatalf("%q, %v", body, err)
			}
			if got, want := <-asked, strings.NewReplacer("[", "", "]", "").Replace(tt.addr); got != want {
				t.Errorf("asked for %q, want %q", got, want)
			}
		})
	}
}

// The guard judges the proxy's own address, and a target that is written as an address.
func TestProxyAndGuard(t *testing.T) {
	asked := make(chan string, 4)
	proxy := httpProxy(t, "", asked, "HTTP/1.1 200 OK\r\n\r\n")
	p := newPool(t, Options{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	req := get("api.test:443")
	req.Target.Proxy = mustURL("http://" + proxy)
	_, _, _, err := fetch(p, req)
	wantError(t, err, PhaseDial, ErrBlockedAddress)
	p = newPool(t, Options{})
	for _, addr := range []string{"169.254.169.254:80", "[fd00::1]:80"} {
		req = get(addr)
		req.Target.Proxy = mustURL("http://" + proxy)
		_, _, _, err = fetch(p, req)
		wantError(t, err, PhaseDial, ErrBlockedAddress)
	}
	if len(asked) != 0 {
		t.Errorf("the proxy was asked: %s", <-asked)
	}
	req.Target.Proxy = mustURL("ftp://" + proxy)
	if _, _, _, err = fetch(p, req); err == nil {
		t.Error("a proxy of an unknown scheme was used")
	}
}

// A proxy that never answers is left when the dial's time is over, or at once by an abort.
func TestSilentProxy(t *testing.T) {
	for _, scheme := range []string{"http", "socks5"} {
		t.Run(scheme, func(t *testing.T) {
			reached := make(chan struct{}, 2)
			proxy := rawServer(t, func(_ int, c net.Conn) {
				_, _ = c.Read(make([]byte, 1))
				reached <- struct{}{}
				_, _ = io.Copy(io.Discard, c)
			})
			p := newPool(t, Options{})
			req := get("api.test:443")
			req.Target.Proxy = mustURL(scheme + "://" + proxy)
			req.Target.Dial = 300 * time.Millisecond
			_, _, _, err := fetch(p, req)
			if e := wantError(t, err, PhaseDial, nil); !e.Timeout {
				t.Errorf("error = %+v, want a timeout", e)
			}
			<-reached
			req.Target.Dial = time.Hour
			var call Call
			go func() { <-reached; call.Abort() }()
			_, err = p.Do(context.Background(), &call, req)
			if e := wantError(t, err, PhaseDial, ErrAborted); !e.Aborted || !errors.Is(err, ErrAborted) {
				t.Errorf("error = %+v", e)
			}
		})
	}
}
