package upstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
)

// socksReason names SOCKS5's reasons for a refusal (RFC 1928, 6).
func socksReason(code byte) string {
	reasons := [...]string{
		1: "general failure", 2: "not allowed by the ruleset", 3: "network unreachable", 4: "host unreachable",
		5: "connection refused", 6: "TTL expired", 7: "command not supported", 8: "address type not supported",
	}
	if int(code) < len(reasons) {
		return reasons[code]
	}
	return "code " + strconv.Itoa(int(code))
}

// socks5 asks a SOCKS5 proxy for a connection to addr (RFC 1928), with a user name and password (RFC 1929) if user is
// not nil. Names are resolved by the proxy. It reads exactly what belongs to the handshake.
func socks5(c net.Conn, addr string, user *url.Userinfo) error {
	name, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("target address: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return fmt.Errorf("target port: %w", err)
	}
	if err := socksAuth(c, user); err != nil {
		return err
	}
	ask := []byte{5, 1, 0}
	if ip, err := netip.ParseAddr(name); err == nil {
		ip = ip.Unmap().WithZone("")
		kind := byte(1)
		if ip.Is6() {
			kind = 4
		}
		ask = append(append(ask, kind), ip.AsSlice()...)
	} else {
		if len(name) == 0 || len(name) > 255 {
			return errors.New("target name does not fit into SOCKS5")
		}
		ask = append(append(ask, 3, byte(len(name))), name...)
	}
	if _, err := c.Write(append(ask, byte(port>>8), byte(port))); err != nil {
		return err
	}
	return socksReply(c)
}

func socksAuth(c net.Conn, user *url.Userinfo) error {
	methods := []byte{5, 1, 0}
	if user != nil {
		methods = []byte{5, 1, 2} // not "none" as well: whoever configures a password wants it checked
	}
	if _, err := c.Write(methods); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return fmt.Errorf("SOCKS5 greeting: %w", err)
	}
	if answer[0] != 5 || answer[1] != methods[2] {
		return errors.New("SOCKS5 proxy accepts no authentication that we have")
	}
	if user == nil {
		return nil
	}
	password, _ := user.Password()
	if n := len(user.Username()); n == 0 || n > 255 || len(password) > 255 {
		return errors.New("user name or password does not fit into SOCKS5")
	}
	login := append([]byte{1, byte(len(user.Username()))}, user.Username()...)
	login = append(append(login, byte(len(password))), password...)
	if _, err := c.Write(login); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return fmt.Errorf("SOCKS5 login: %w", err)
	}
	if answer[0] != 1 || answer[1] != 0 {
		return errors.New("SOCKS5 proxy refused the user name or password")
	}
	return nil
}

func socksReply(c net.Conn) error {
	var b [256]byte
	if _, err := io.ReadFull(c, b[:4]); err != nil {
		return fmt.Errorf("SOCKS5 reply: %w", err)
	}
	if b[0] != 5 || b[2] != 0 {
		return errors.New("SOCKS5 reply is malformed")
	}
	if b[1] != 0 {
		return fmt.Errorf("SOCKS5 proxy: %s", socksReason(b[1]))
	}
	var size int
	switch b[3] { // where the proxy is bound; of no use to us
	case 1:
		size = 4
	case 4:
		size = 16
	case 3:
		if _, err := io.ReadFull(c, b[:1]); err != nil {
			return fmt.Errorf("SOCKS5 reply: %w", err)
		}
		size = int(b[0])
	default:
		return errors.New("SOCKS5 reply is malformed")
	}
	if _, err := io.ReadFull(c, b[:size]); err != nil {
		return fmt.Errorf("SOCKS5 reply: %w", err)
	}
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return fmt.Errorf("SOCKS5 reply: %w", err)
	}
	return nil
}
