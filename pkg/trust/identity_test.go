package trust

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	for _, want := range []Identity{
		{Lineage: "L1", Role: RoleProxy, ID: "01J8"},
		{Lineage: "a-b_c.d", Role: RoleReplica, ID: strings.Repeat("x", 128)},
	} {
		if uri := want.URI().String(); uri != "spiffe://fairway/"+want.Lineage+"/"+string(want.Role)+"/"+want.ID {
			t.Errorf("URI %s", uri)
		}
		got, err := ParseIdentity(want.URI())
		if err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	for _, text := range []string{
		"", "spiffe://fairway", "spiffe://fairway/", "spiffe://fairway/l/proxy", "spiffe://fairway/l/proxy/",
		"spiffe://fairway//proxy/p", "spiffe://fairway/l/proxy/p/", "spiffe://fairway/l/proxy/p/q",
		"spiffe://fairway/l/owner/p", "spiffe://fairway/l//p", "spiffe://fairway/l/PROXY/p",
		"https://fairway/l/proxy/p", "spiffe://other/l/proxy/p", "spiffe://fairway:1/l/proxy/p", "spiffe://u@fairway/l/proxy/p",
		"spiffe://fairway/l/proxy/p?x", "spiffe://fairway/l/proxy/p?", "spiffe://fairway/l/proxy/p#f",
		"spiffe://fairway/l/proxy/%70", "spiffe://fairway/l%2fproxy%2fp", "spiffe://fairway/l/proxy/p%2fq",
		"spiffe://fairway/../proxy/p", "spiffe://fairway/l/proxy/..", "spiffe://fairway/l/proxy/.", "spiffe://fairway/l/proxy/é",
		"spiffe:fairway/l/proxy/p", "spiffe:///l/proxy/p", "/l/proxy/p", "spiffe://fairway/l/proxy/" + strings.Repeat("x", 129),
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if got, err := ParseIdentity(u); !errors.Is(err, ErrIdentity) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if _, err := ParseIdentity(nil); !errors.Is(err, ErrIdentity) {
		t.Errorf("nil: %v", err)
	}
}

func TestIdentityOfWantsOneURI(t *testing.T) {
	u := Identity{Lineage: "l", Role: RoleProxy, ID: "p"}.URI()
	for _, uris := range [][]*url.URL{nil, {u, u}, {{Scheme: "https", Host: "x"}}} {
		if got, err := IdentityOf(&x509.Certificate{URIs: uris}); !errors.Is(err, ErrIdentity) {
			t.Errorf("%v: %v, %v", uris, got, err)
		}
	}
	if _, err := IdentityOf(nil); !errors.Is(err, ErrIdentity) {
		t.Errorf("no certificate: %v", err)
	}
	if _, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{u}}); err != nil {
		t.Errorf("one URI: %v", err)
	}
}

// An identity has one spelling, and none that has a meaning elsewhere.
func FuzzParseIdentity(f *testing.F) {
	f.Add("spiffe://fairway/l/proxy/p")
	f.Add("spiffe://fairway/l/replica/../p")
	f.Add("spiffe://fairway/l/proxy/%70")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		i, err := ParseIdentity(u)
		if err != nil {
			return
		}
		if again, err := ParseIdentity(i.URI()); err != nil || again != i {
			t.Fatalf("%v is written as %s, which is %v, %v", i, i.URI(), again, err)
		}
		if !strings.EqualFold(i.String(), text) || strings.ContainsAny(i.ID+i.Lineage, "/%?#@:") {
			t.Fatalf("%q is %q", text, i)
		}
	})
}
