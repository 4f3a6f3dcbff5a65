package tunnel

import (
	"encoding/binary"
	"unicode/utf8"
)

// ProtocolError says how a side broke RFC 6455.
type ProtocolError string

func (v ProtocolError) Error() string { return "websocket: " + string(v) }

// The violations.
const (
	ErrReservedBits ProtocolError = "a reserved bit is set, but no extension was agreed on"
	ErrOpcode       ProtocolError = "unknown opcode"
	ErrUnmasked     ProtocolError = "a frame of the client is not masked"
	ErrMasked       ProtocolError = "a frame of the upstream is masked"
	ErrLength       ProtocolError = "the length of a frame is not in its shortest form, or beyond 63 bits"
	ErrControl      ProtocolError = "a control frame is fragmented or longer than 125 bytes"
	ErrContinuation ProtocolError = "a continuation frame without a message to continue"
	ErrInterleaved  ProtocolError = "a new message within a fragmented one"
	ErrClosePayload ProtocolError = "the payload of a Close frame is not a valid code and text"
)

// opcode is what a frame is (RFC 6455, 5.2).
type opcode uint8

const (
	opContinuation opcode = 0x0
	opText         opcode = 0x1
	opBinary       opcode = 0x2
	opClose        opcode = 0x8
	opPing         opcode = 0x9
	opPong         opcode = 0xa
)

const (
	maxControl = 125
	maxHeader  = 14 // two bytes, a length of eight and a mask of four
)

// frames reads one direction of a WebSocket connection, in whatever pieces it comes. It holds a header, the payload of a
// Close frame, and nothing else. The zero value is at the start of an upstream's direction.
type frames struct {
	masked  bool // the direction is the client's
	fin     bool
	payload bool   // a header is complete and its payload is not
	closed  bool   // a Close frame came
	have    uint8  // bytes of header
	op      opcode // of the frame
	message opcode // of the message that is not finished; 0 = none is under way
	code    uint16 // of the Close frame; 0 = none
	mask    [4]byte
	header  [maxHeader]byte
	left    uint64 // bytes of payload to come
	closing int    // bytes of a Close frame's payload so far
	reason  [maxControl]byte
}

// piece is a part of a message's payload, as it came.
type piece struct {
	payload []byte
	mask    [4]byte // payload[i] was combined with mask[i%4]
	op      opcode  // of the message: text or binary
	last    bool    // the message ends here
}

// boundary says whether the last byte taken ended a frame, or none was taken.
func (f *frames) boundary() bool { return f.have == 0 && !f.payload }

// next takes n bytes from the front of p, which is not empty. When they bring a part of a message, it is put in pc and ok
// is true. What follows a Close frame means nothing: callers stop at closed.
func (f *frames) next(p []byte, pc *piece) (n int, ok bool, err error) {
	if !f.payload {
		var complete bool
		if n, complete, err = f.head(p); !complete || err != nil {
			return n, false, err
		}
		if f.left > 0 && n == len(p) {
			return n, false, nil
		}
	}
	size := len(p) - n
	if uint64(size) > f.left {
		size = int(f.left)
	}
	part := p[n : n+size]
	n += size
	mask := f.mask
	f.left -= uint64(size)
	f.payload = f.left > 0
	if size%len(mask) != 0 {
		for i := range f.mask {
			f.mask[i] = mask[(i+size)%len(mask)]
		}
	}
	if f.op >= opClose {
		if f.op == opClose {
			err = f.close(part, mask)
		}
		return n, false, err
	}
	*pc = piece{payload: part, mask: mask, op: f.message, last: f.fin && !f.payload}
	if pc.last {
		f.message = 0
	}
	return n, true, nil
}

// head takes bytes of a header from the front of p.
func (f *frames) head(p []byte) (n int, complete bool, err error) {
	need := 2
	if f.have >= 2 {
		need = f.size()
	}
	for {
		take := min(need-int(f.have), len(p)-n)
		copy(f.header[f.have:], p[n:n+take])
		n += take
		f.have += uint8(take)
		if int(f.have) < need {
			return n, false, nil
		}
		if need == 2 {
			// What two bytes show to be wrong is not waited out.
			if err := f.check(f.header[0], f.header[1]); err != nil {
				return n, false, err
			}
			if need = f.size(); need > 2 {
				continue
			}
		}
		return n, true, f.begin()
	}
}

// size is how long the header is whose first two bytes are there.
func (f *frames) size() int {
	size := 2
	switch f.header[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.masked {
		size += len(f.mask)
	}
	return size
}

func (f *frames) check(first, second byte) error {
	op := opcode(first & 0x0f)
	switch {
	case first&0x70 != 0:
		return ErrReservedBits
	case op > opBinary && op < opClose || op > opPong:
		return ErrOpcode
	case f.masked && second&0x80 == 0:
		return ErrUnmasked
	case !f.masked && second&0x80 != 0:
		return ErrMasked
	case op >= opClose && (first&0x80 == 0 || second&0x7f > maxControl):
		return ErrControl
	case op == opContinuation && f.message == 0:
		return ErrContinuation
	case (op == opText || op == opBinary) && f.message != 0:
		return ErrInterleaved
	}
	return nil
}

// begin reads a complete header.
func (f *frames) begin() error {
	rest := f.header[2:f.have]
	switch length := f.header[1] & 0x7f; length {
	case 126:
		f.left = uint64(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
		if f.left <= maxControl {
			return ErrLength
		}
	case 127:
		f.left = binary.BigEndian.Uint64(rest)
		rest = rest[8:]
		if f.left <= 0xffff || f.left > 1<<63-1 {
			return ErrLength
		}
	default:
		f.left = uint64(length)
	}
	copy(f.mask[:], rest)
	f.fin = f.header[0]&0x80 != 0
	f.op = opcode(f.header[0] & 0x0f)
	if f.op == opText || f.op == opBinary {
		f.message = f.op
	}
	f.have, f.payload, f.closing = 0, f.left > 0, 0
	return nil
}

// close takes a part of a Close frame's payload.
func (f *frames) close(part []byte, mask [4]byte) error {
	f.closing += unmask(f.reason[f.closing:], part, mask)
	if f.payload {
		return nil
	}
	if f.closing > 0 {
		if f.closing < 2 || !utf8.Valid(f.reason[2:f.closing]) {
			return ErrClosePayload
		}
		code := binary.BigEndian.Uint16(f.reason[:])
		if !sendable(code) {
			return ErrClosePayload
		}
		f.code = code
	}
	f.closed = true
	return nil
}

// sendable says whether a code may be in a Close frame: RFC 6455, 7.4, and IANA's registry.
func sendable(code uint16) bool {
	switch {
	case code == 1004 || code == 1005 || code == 1006:
		return false
	case code >= 1000 && code <= 1014:
		return true
	}
	return code >= 3000 && code <= 4999
}

// unmask copies src to dst, combined with mask, and returns how much: the shorter of the two.
func unmask(dst, src []byte, mask [4]byte) int {
	n := min(len(dst), len(src))
	if mask == [4]byte{} {
		return copy(dst, src)
	}
	m := binary.LittleEndian.Uint32(mask[:])
	wide := uint64(m)<<32 | uint64(m)
	i := 0
	for ; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(src[i:])^wide)
	}
	for ; i < n; i++ {
		dst[i] = src[i] ^ mask[i%len(mask)]
	}
	return n
}
