// Package egress decides which addresses may be dialled for somebody else: an operator names the destination, and must
// not reach what only this host can, such as the cloud's metadata service.
//
// It judges the address that is about to be dialled, after its name was resolved, so that a name that resolves
// differently the second time gains nothing. It refuses to judge names.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// ErrRefused is wrapped by every refusal.
var ErrRefused = errors.New("is neither public nor allowed")

// Guard lets through the public internet, and what is allowed besides. It is immutable; the zero Guard refuses everything.
type Guard struct {
	allow, refuse, never []netip.Prefix
	globalUnicast, nat64 netip.Prefix
	option               string
}

// New returns a guard after the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and what followed it). option
// is how operators allow more, for errors.
func New(allow []netip.Prefix, option string) Guard {
	return Guard{
		allow: allow, option: option,
		globalUnicast: netip.MustParsePrefix("2000::/3"), nat64: netip.MustParsePrefix("64:ff9b::/96"),
		// Of IPv6 everything outside 2000::/3 is refused already: loopback, unique local, link-local, multicast.
		refuse: prefixes(
			"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
			"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
			"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
		),
	}
}

// NoMetadata returns a guard that refuses the clouds' metadata services even where their range is allowed.
func (g Guard) NoMetadata() Guard {
	g.never = prefixes(
		"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32", "192.0.0.192/32",
		"fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128",
	)
	return g
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// Check refuses what is neither public nor allowed. An IPv4 address inside an IPv6 one (mapped, or behind the well-known
// NAT64 prefix) is judged as the IPv4 address that it leads to.
func (g Guard) Check(ip netip.Addr) error {
	ip = ip.WithZone("").Unmap()
	if g.nat64.IsValid() && g.nat64.Contains(ip) && !within(g.allow, ip) {
		b := ip.As16()
		return g.Check(netip.AddrFrom4([4]byte(b[12:])))
	}
	public := (ip.Is4() || g.globalUnicast.Contains(ip)) && !within(g.refuse, ip) && g.globalUnicast.IsValid()
	if within(g.never, ip) || !public && !within(g.allow, ip) {
		if g.option == "" {
			return fmt.Errorf("%s %w", ip, ErrRefused)
		}
		return fmt.Errorf("%s %w (%s)", ip, ErrRefused, g.option)
	}
	return nil
}

func within(all []netip.Prefix, ip netip.Addr) bool {
	for _, p := range all {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Control is a net.Dialer's Control: it sees the address of each connection that is about to be made.
func (g Guard) Control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q %w", address, ErrRefused)
	}
	return g.Check(to.Addr())
}
