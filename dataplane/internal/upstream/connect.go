package upstream

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// httpConnect asks an HTTP proxy for a tunnel to addr (RFC 9110, 9.3.6), with basic authentication if user is not nil.
// The proxy's answer is held to the same rules as an upstream's, and nothing may follow it: the upstream speaks second.
func httpConnect(c net.Conn, addr string, user *url.Userinfo) error {
	if strings.ContainsAny(addr, " \r\n\t") {
		return fmt.Errorf("target address %q cannot be sent to a proxy", addr)
	}
	ask := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if user != nil {
		password, _ := user.Password()
		ask += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := c.Write([]byte(ask + "\r\n")); err != nil {
		return err
	}
	b := make([]byte, 0, slabSize)
	var h head
	for {
		if len(b) == cap(b) {
			return fmt.Errorf("answer to CONNECT: %w", ErrTooLarge)
		}
		n, err := c.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		size, bad := h.scan(b)
		switch {
		case bad != nil:
			return fmt.Errorf("answer to CONNECT: %w", bad)
		case size == 0 && n == 0 && err != nil:
			return fmt.Errorf("answer to CONNECT: %w", err)
		case size == 0:
			continue
		case h.status/100 != 2:
			return fmt.Errorf("answer to CONNECT: status %d", h.status)
		case size < len(b):
			return malformed("bytes after the answer to CONNECT")
		}
		return nil
	}
}
