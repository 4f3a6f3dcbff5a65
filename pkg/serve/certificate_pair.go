package serve

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Pair names the files of one certificate, both PEM: the chain, its own certificate first, and the key. They may be one file.
type Pair struct {
	CertFile, KeyFile string
}

// Pairs puts the files of two flags together, in their order.
func Pairs(certFiles, keyFiles []string) ([]Pair, error) {
	if len(certFiles) != len(keyFiles) {
		return nil, fmt.Errorf("%d certificate files and %d key files: each certificate needs its key, in the same order", len(certFiles), len(keyFiles))
	}
	pairs := make([]Pair, len(certFiles))
	for i := range pairs {
		pairs[i] = Pair{CertFile: certFiles[i], KeyFile: keyFiles[i]}
	}
	return pairs, nil
}

// maxPEM is what such a file may have in bytes; a chain has some thousands.
const maxPEM = 1 << 20

// pair is a certificate that follows its files. It belongs to one goroutine; cert is shared and never changed.
type pair struct {
	Pair
	cert *tls.Certificate
	// used and seen are digests of contents: of those that cert was made of, and of those at the last look.
	used, seen [sha256.Size]byte
	told       bool // that what was seen is no good
	noticed    time.Time
}

// load is the first look, whose failure counts.
func (p *pair) load() error {
	chain, key, err := p.read()
	if err != nil {
		return err
	}
	if p.cert, err = p.parse(chain, key); err != nil {
		return err
	}
	p.used = digest(chain, key, nil)
	p.seen = p.used
	return nil
}

// look loads the files if their contents have changed. It reads them, because nothing else tells for sure: links are swapped,
// files renamed, and times kept. Who writes them does so one after the other and not at once, and a chain that is cut short
// may still be one; so contents count only when two looks in a row find the same. If those are no good, each look is an error
// until it is over; news says that it is the first.
func (p *pair) look() (swapped, news bool, err error) {
	chain, key, err := p.read()
	sum := digest(chain, key, err)
	if sum != p.seen {
		p.seen, p.told = sum, false
		return false, false, nil
	}
	if sum == p.used {
		return false, false, nil
	}
	if err == nil {
		var cert *tls.Certificate
		if cert, err = p.parse(chain, key); err == nil {
			p.cert, p.used, p.noticed = cert, sum, time.Time{}
			return true, false, nil
		}
	}
	news, p.told = !p.told, true
	return false, news, err
}

func (p *pair) read() (chain, key []byte, err error) {
	if chain, err = readPEM(p.CertFile); err != nil {
		return nil, nil, fmt.Errorf("read the certificate: %w", err)
	}
	if key, err = readPEM(p.KeyFile); err != nil {
		return nil, nil, fmt.Errorf("read the certificate's key: %w", err)
	}
	return chain, key, nil
}

// parse makes a certificate, whose key belongs to it.
func (p *pair) parse(chain, key []byte) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", p.CertFile, p.KeyFile, err)
	}
	return &cert, nil
}

// readPEM reads a small file. It does not wait on a named pipe.
func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = errors.New("too long for PEM")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// digest stands for contents, or for why there are none, without the key being kept.
func digest(chain, key []byte, err error) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %v\n", len(chain), len(key), err)
	h.Write(chain)
	h.Write(key)
	return [sha256.Size]byte(h.Sum(nil))
}

// names are the hosts that a certificate is for; one without any has its subject.
func names(leaf *x509.Certificate) []string {
	list := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		list = append(list, strings.ToValidUTF8(leaf.Subject.CommonName, "\ufffd"))
	}
	return list
}
