package ingress

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"fairway/pkg/fault"
)

// head is what the raw head of a request says beyond what fasthttp keeps.
type head struct {
	close bool // the client wants the connection closed
}

func errFraming(message string) *fault.Error { return fault.New(fault.Invalid, "%s", message) }

// readHead looks at a request's head as it came in and refuses what fasthttp accepts although another parser, before us
// or behind, could see another message in it: bare line feeds, folded lines, spaces in names, a length and a transfer
// coding at once, codings other than chunked, versions other than 1.0 and 1.1, and expectations that nobody meets.
// Duplicate lengths, hosts and codings, and lengths that are no numbers, fasthttp refuses by itself.
func readHead(h *fasthttp.RequestHeader) (head, *fault.Error) {
	var out head
	switch string(h.Protocol()) {
	case "HTTP/1.1", "HTTP/1.0":
	default:
		return out, errFraming("this version of HTTP is not served here").
			WithStatus(fasthttp.StatusHTTPVersionNotSupported)
	}
	var length, coding bool
	for raw := h.RawHeaders(); len(raw) > 0; {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return out, errFraming("a line of the request does not end with CRLF")
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			break
		}
		if bytes.IndexByte(line, '\r') >= 0 {
			return out, errFraming("a header of the request holds a bare CR")
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 {
			return out, errFraming("a header of the request is folded or has no name")
		}
		name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
		if bytes.IndexByte(name, ' ') >= 0 || bytes.IndexByte(name, '\t') >= 0 {
			return out, errFraming("a header of the request is folded or has a space in its name")
		}
		switch {
		case is(name, "content-length"):
			if length {
				return out, errFraming("the request has more than one Content-Length")
			}
			length = true
		case is(name, "transfer-encoding"):
			if coding || !bytes.EqualFold(value, []byte("chunked")) {
				return out, errFraming("the request's Transfer-Encoding is not chunked")
			}
			coding = true
		case is(name, "connection"):
			out.close = out.close || hasToken(value, "close")
		case is(name, "expect"):
			if !bytes.EqualFold(value, []byte("100-continue")) {
				return out, errFraming("the request expects what is not served here").
					WithStatus(fasthttp.StatusExpectationFailed)
			}
		}
	}
	if length && coding {
		return out, errFraming("the request has both a Content-Length and a Transfer-Encoding")
	}
	return out, nil
}

// is compares a header's name with one in lower case.
func is(name []byte, lower string) bool {
	return len(name) == len(lower) && bytes.EqualFold(name, []byte(lower))
}

// hasToken says whether a comma-separated list holds token, in any case.
func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		item, rest, _ := bytes.Cut(list, []byte{','})
		if is(bytes.Trim(item, " \t"), token) {
			return true
		}
		list = rest
	}
	return false
}
