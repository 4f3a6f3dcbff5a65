package upstream

import (
	"fmt"
	"net/netip"
	"syscall"
)

// guard decides which addresses may be dialled.
type guard struct {
	allow, refuse        []netip.Prefix
	globalUnicast, nat64 netip.Prefix
}

// newGuard returns a guard that refuses all that is not the public internet and not in allow, after the IANA
// special-purpose registries for IPv4 and IPv6 (RFC 6890 and what followed it).
func newGuard(allow []netip.Prefix) guard {
	g := guard{
		allow:         allow,
		globalUnicast: netip.MustParsePrefix("2000::/3"),
		nat64:         netip.MustParsePrefix("64:ff9b::/96"),
	}
	for _, p := range []string{
		"0.0.0.0/8",       // this network
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // carrier-grade NAT
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local, and the clouds' metadata services
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // IETF protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays
		"192.168.0.0/16",  // private
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved, broadcast

		// Of IPv6 everything outside 2000::/3 is refused already: loopback, unique local, link-local, multicast …
		"2001::/23",     // IETF protocol assignments: Teredo, ORCHID, benchmarks
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4: leads to any IPv4 address, and nobody serves there
		"3fff::/20",     // documentation
	} {
		g.refuse = append(g.refuse, netip.MustParsePrefix(p))
	}
	return g
}

// check refuses what is neither public nor allowed. An IPv4 address inside an IPv6 one (mapped, or behind the
// well-known NAT64 prefix) is judged as the IPv4 address that it leads to.
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
		return fmt.Errorf("%s: %w", ip, ErrBlockedAddress)
	}
	return nil
}

// control is a net.Dialer's Control: it sees the address of each connection that is about to be made, after the name was
// resolved, so a name that resolves differently the second time gains nothing.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, ErrBlockedAddress)
	}
	return g.check(to.Addr())
}
