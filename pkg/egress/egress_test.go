package egress

import (
	"errors"
	"net/netip"
	"testing"
)

func TestCheck(t *testing.T) {
	private := New([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00::/8")}, "--allow")
	for _, tt := range []struct {
		name, ip string
		guard    Guard
		ok       bool
	}{
		{"public", "93.184.216.34", New(nil, ""), true},
		{"public, IPv6", "2606:4700::1111", New(nil, ""), true},
		{"public behind NAT64", "64:ff9b::5db8:d822", New(nil, ""), true},
		{"loopback", "127.0.0.1", New(nil, ""), false},
		{"loopback, mapped", "::ffff:127.0.0.1", New(nil, ""), false},
		{"loopback, IPv6", "::1", New(nil, ""), false},
		{"this network", "0.0.0.0", New(nil, ""), false},
		{"private", "10.1.2.3", New(nil, ""), false},
		{"private behind NAT64", "64:ff9b::a01:203", New(nil, ""), false},
		{"carrier-grade NAT", "100.64.0.1", New(nil, ""), false},
		{"link-local with a zone", "fe80::1%eth0", New(nil, ""), false},
		{"6to4", "2002:7f00:1::", New(nil, ""), false},
		{"unique local", "fd12::1", New(nil, ""), false},
		{"metadata", "169.254.169.254", New(nil, ""), false},
		{"allowed", "10.1.2.3", private, true},
		{"allowed, mapped", "::ffff:10.1.2.3", private, true},
		{"allowed behind NAT64", "64:ff9b::a01:203", private, true},
		{"beside what is allowed", "10.2.0.1", private, false},
		{"metadata, allowed", "169.254.169.254", private, true},
		{"metadata, allowed and never", "169.254.169.254", private.NoMetadata(), false},
		{"metadata behind NAT64", "64:ff9b::a9fe:a9fe", private.NoMetadata(), false},
		{"metadata, IPv6", "fd00:ec2::254", private.NoMetadata(), false},
		{"allowed beside metadata", "169.254.1.1", private.NoMetadata(), true},
		{"nothing at all", "93.184.216.34", Guard{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.guard.Check(netip.MustParseAddr(tt.ip))
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrRefused)) {
				t.Errorf("Check(%s) = %v", tt.ip, err)
			}
		})
	}
	if err := private.Control("tcp", "example.com:443", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("a name: %v", err)
	}
}
