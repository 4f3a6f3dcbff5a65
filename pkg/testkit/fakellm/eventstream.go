package fakellm

import (
	"encoding/binary"
	"hash/crc32"
)

// amazonMedia is the content type of a stream of frames.
const amazonMedia = "application/vnd.amazon.eventstream"

// frame renders one frame of an AWS event stream: total length, length of the headers, a checksum of those two, the
// headers, the payload, a checksum of it all; numbers big-endian. Headers come in pairs of name and text.
func frame(payload []byte, headers ...string) []byte {
	const prelude, checksum, textType = 8, 4, 7
	var head []byte
	for i := 0; i+1 < len(headers); i += 2 {
		head = append(append(head, byte(len(headers[i]))), headers[i]...)
		head = binary.BigEndian.AppendUint16(append(head, textType), uint16(len(headers[i+1])))
		head = append(head, headers[i+1]...)
	}
	total := prelude + checksum + len(head) + len(payload) + checksum
	out := make([]byte, 0, total)
	out = binary.BigEndian.AppendUint32(out, uint32(total))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
	out = append(append(out, head...), payload...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

// eventFrame is an event with a JSON payload.
func eventFrame(kind string, payload []byte) []byte {
	return frame(payload, ":event-type", kind, ":content-type", "application/json", ":message-type", "event")
}

// exceptionFrame is an error in the middle of a stream.
func exceptionFrame(kind string, payload []byte) []byte {
	return frame(payload, ":exception-type", kind, ":content-type", "application/json", ":message-type", "exception")
}
