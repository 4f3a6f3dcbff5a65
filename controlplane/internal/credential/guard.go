package credential

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

var errAddress = errors.New("is neither public nor allowed (--token-allow-cidr)")

// guard decides which addresses may be dialled: an operator names the endpoint, and must not reach what only this host
// can, such as the cloud's metadata service.
type guard struct {
	allow, refuse        []netip.Prefix
	globalUnicast, nat64 netip.Prefix
}

// newGuard returns a guard that lets through the public internet and what is in allow, after the IANA special-purpose
// registries (RFC 6890).
func newGuard(allow []netip.Prefix) guard {
	g := guard{allow: allow, globalUnicast: netip.MustParsePrefix("2000::/3"), nat64: netip.MustParsePrefix("64:ff9b::/96")}
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		g.refuse = append(g.refuse, netip.MustParsePrefix(p))
	}
	return g
}

func (g guard) check(ip netip.Addr) error {
	ip = ip.WithZone("").Unmap()
	for _, p := range g.allow {
		if p.Contains(ip) {
			return nil
		}
	}
	if g.nat64.Contains(ip) {
		b := ip.As16()
		return g.check(netip.AddrFrom4([4]byte(b[12:])))
	}
	ok := ip.Is4() || g.globalUnicast.Contains(ip)
	for _, p := range g.refuse {
		ok = ok && !p.Contains(ip)
	}
	if !ok {
		return fmt.Errorf("%s %w", ip, errAddress)
	}
	return nil
}

// control sees each address that is about to be dialled, after its name was resolved.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q %w", address, errAddress)
	}
	return g.check(to.Addr())
}
