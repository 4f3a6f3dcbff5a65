package tunnel

import "encoding/binary"

// maxCloseReason is what fits into a Close frame beside its code.
const maxCloseReason = 123

// frames are the last words as a server sends them (RFC 6455, 5.2): unmasked, each in one frame.
func (f *Farewell) frames() []byte {
	var out []byte
	if n := len(f.Message); n > 0 {
		out = append(out, byte(0x80|opText))
		switch {
		case n < 126:
			out = append(out, byte(n))
		case n <= 0xffff:
			out = binary.BigEndian.AppendUint16(append(out, 126), uint16(n))
		default:
			out = binary.BigEndian.AppendUint64(append(out, 127), uint64(n))
		}
		out = append(out, f.Message...)
	}
	reason := f.Reason[:min(len(f.Reason), maxCloseReason)]
	out = append(out, byte(0x80|opClose), byte(2+len(reason)))
	out = binary.BigEndian.AppendUint16(out, f.Code)
	return append(out, reason...)
}
