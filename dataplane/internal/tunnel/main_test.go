package tunnel

import (
	"encoding/binary"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frame renders one frame; a nil mask leaves it unmasked.
func frame(op opcode, fin bool, payload []byte, mask []byte) []byte {
	first := byte(op)
	if fin {
		first |= 0x80
	}
	out := []byte{first}
	second := byte(0)
	if mask != nil {
		second = 0x80
	}
	switch n := len(payload); {
	case n <= maxControl:
		out = append(out, second|byte(n))
	case n <= 0xffff:
		out = binary.BigEndian.AppendUint16(append(out, second|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, second|127), uint64(n))
	}
	out = append(out, mask...)
	for i, c := range payload {
		if mask != nil {
			c ^= mask[i%4]
		}
		out = append(out, c)
	}
	return out
}

func said(text string) []byte  { return frame(opText, true, []byte(text), nil) }
func asked(text string) []byte { return frame(opText, true, []byte(text), []byte{1, 2, 0xfe, 4}) }

func closeFrame(code uint16, reason string, mask []byte) []byte {
	return frame(opClose, true, append(binary.BigEndian.AppendUint16(nil, code), reason...), mask)
}
