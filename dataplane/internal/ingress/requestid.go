package ingress

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// RequestIDHeader carries the id of a request in its response; ours, whatever the client sent.
const RequestIDHeader = "X-Request-Id"

const requestIDLen = len("req_") + 32

// appendRequestID appends "req_" and 128 random bits in hex. Ids need to be unique, not secret; the runtime's generator
// is both, without a lock.
func appendRequestID(dst []byte) []byte {
	var random [16]byte
	binary.LittleEndian.PutUint64(random[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(random[8:], rand.Uint64())
	return hex.AppendEncode(append(dst, "req_"...), random[:])
}
