package provider

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Bounds of AWS's event stream, as its SDKs have them.
const (
	maxFrame   = 16 << 20
	maxHeaders = 128 << 10
	preludeLen = 12 // total length, length of the headers, checksum of both
	trailerLen = 4  // checksum of all
)

var errFrame = errors.New("event stream: broken frame")

// frame is one message of AWS's event stream ("application/vnd.amazon.eventstream": total length u32, length of the headers
// u32, CRC-32 of those, headers, payload, CRC-32 of all; big-endian). Its bytes alias what it was read from.
type frame struct {
	message   []byte // :message-type: event, exception or error
	event     []byte // :event-type
	exception []byte // :exception-type, or :error-code
	text      []byte // :error-message
	payload   []byte
}

// frameLen is how long the frame that b begins is; 0 = its prelude is not complete yet.
func frameLen(b []byte) (int, error) {
	if len(b) < preludeLen {
		return 0, nil
	}
	total, headers := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	switch {
	case crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]):
		return 0, fmt.Errorf("%w: checksum of the prelude", errFrame)
	case total > maxFrame || total < preludeLen+trailerLen:
		return 0, fmt.Errorf("%w: length", errFrame)
	case headers > maxHeaders || headers > total-preludeLen-trailerLen:
		return 0, fmt.Errorf("%w: length of the headers", errFrame)
	}
	return int(total), nil
}

// readFrame reads b, which is one whole frame.
func readFrame(b []byte) (frame, error) {
	var f frame
	end := len(b) - trailerLen
	if crc32.ChecksumIEEE(b[:end]) != binary.BigEndian.Uint32(b[end:]) {
		return f, fmt.Errorf("%w: checksum", errFrame)
	}
	split := preludeLen + int(binary.BigEndian.Uint32(b[4:]))
	f.payload = b[split:end]
	for rest := b[preludeLen:split]; len(rest) > 0; {
		name, value, n := readHeader(rest)
		if n == 0 {
			return f, fmt.Errorf("%w: headers", errFrame)
		}
		rest = rest[n:]
		switch string(name) {
		case ":message-type":
			f.message = value
		case ":event-type":
			f.event = value
		case ":exception-type", ":error-code":
			f.exception = value
		case ":error-message":
			f.text = value
		}
	}
	return f, nil
}

// The types of a header's value.
const (
	headerTrue, headerFalse, headerByte, headerInt16, headerInt32, headerInt64 = 0, 1, 2, 3, 4, 5
	headerBytes, headerString, headerTime, headerUUID                          = 6, 7, 8, 9
)

// readHeader reads the header that b begins with, and returns how long it is; 0 = it is broken. value is that of a string.
func readHeader(b []byte) (name, value []byte, n int) {
	at := 1 + int(b[0]) // the type
	if b[0] == 0 || at >= len(b) {
		return nil, nil, 0
	}
	name = b[1:at]
	kind := b[at]
	at++
	size := 0
	switch kind {
	case headerTrue, headerFalse:
	case headerByte:
		size = 1
	case headerInt16:
		size = 2
	case headerInt32:
		size = 4
	case headerInt64, headerTime:
		size = 8
	case headerUUID:
		size = 16
	case headerBytes, headerString:
		if at+2 > len(b) {
			return nil, nil, 0
		}
		size = int(binary.BigEndian.Uint16(b[at:]))
		at += 2
	default:
		return nil, nil, 0
	}
	if at+size > len(b) {
		return nil, nil, 0
	}
	if kind == headerString {
		value = b[at : at+size]
	}
	return name, value, at + size
}
