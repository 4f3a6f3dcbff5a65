package provider

import (
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/h1"
)

// appendSecret appends a header whose value is a credential, after prefix. A credential that is empty, or that would end
// its line, is not sent: the upstream says what is missing.
func appendSecret(dst []byte, name, prefix, secret string) ([]byte, dialect.Span) {
	if secret == "" || !fits(secret) {
		return dst, dialect.Span{Start: len(dst), End: len(dst)}
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, prefix...)
	at := dialect.Span{Start: len(dst), End: len(dst) + len(secret)}
	dst = append(dst, secret...)
	return append(dst, "\r\n"...), at
}

func appendBearer(dst []byte, secret string) ([]byte, dialect.Span) {
	return appendSecret(dst, "Authorization", "Bearer ", secret)
}

// appendHeader appends a header, unless its value is empty or would end its line.
func appendHeader(dst []byte, name, value string) []byte {
	if value == "" || !fits(value) {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// fits says whether a value can stand in a header.
func fits(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isOneOf says whether a header's name is among names, which are in lower case.
func isOneOf(name []byte, names ...string) bool {
	for _, n := range names {
		if h1.Is(name, n) {
			return true
		}
	}
	return false
}

// isJWT says whether a secret looks like a JSON web token: three parts, the first an object in base64. That is what an
// identity provider issues, and no API key.
func isJWT(secret string) bool {
	return strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2
}
