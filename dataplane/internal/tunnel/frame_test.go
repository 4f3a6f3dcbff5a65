package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reading is what a direction was read as.
type reading struct {
	Messages []string // opcode and payload
	Good     int      // bytes that may be passed on
	Closed   bool
	Code     uint16
	Err      error
}

// readAll feeds stream, cut behind each of the given offsets.
func readAll(masked bool, stream []byte, cuts ...int) reading {
	f := frames{masked: masked}
	var out reading
	var message []byte
	var pc piece
	start := 0
	for _, end := range append(slices.Clone(cuts), len(stream)) {
		for at := start; at < end && !f.closed; {
			n, ok, err := f.next(stream[at:end], &pc)
			if err != nil {
				out.Err = err
				return out
			}
			at += n
			if ok {
				part := make([]byte, len(pc.payload))
				unmask(part, pc.payload, pc.mask)
				if message = append(message, part...); pc.last {
					out.Messages = append(out.Messages, fmt.Sprintf("%d %s", pc.op, message))
					message = message[:0]
				}
			}
			if f.boundary() {
				out.Good = at
			}
		}
		start = end
	}
	out.Closed, out.Code = f.closed, f.code
	return out
}

func TestFrames(t *testing.T) {
	long, huge := strings.Repeat("x", 300), strings.Repeat("y", 70_000)
	ping := frame(opPing, true, []byte("p"), nil)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := map[string]struct {
		stream []byte
		want   reading
	}{
		"nothing":    {nil, reading{}},
		"text":       {said("hello"), reading{Messages: []string{"1 hello"}, Good: 7}},
		"empty":      {said(""), reading{Messages: []string{"1 "}, Good: 2}},
		"binary":     {frame(opBinary, true, []byte{0, 1}, nil), reading{Messages: []string{"2 \x00\x01"}, Good: 4}},
		"16 bits":    {said(long), reading{Messages: []string{"1 " + long}, Good: 304}},
		"64 bits":    {said(huge), reading{Messages: []string{"1 " + huge}, Good: 70_010}},
		"fragmented": {join(frame(opText, false, []byte("a"), nil), ping, frame(opContinuation, false, nil, nil), frame(opContinuation, true, []byte("b"), nil)), reading{Messages: []string{"1 ab"}, Good: 11}},
		"ping, pong": {join(ping, frame(opPong, true, nil, nil)), reading{Good: 5}},
		"unfinished": {join(said("a"), said("bcd")[:4]), reading{Messages: []string{"1 a"}, Good: 3}},
		"close":      {join(closeFrame(1000, "bye", nil), said("late")), reading{Good: 7, Closed: true, Code: 1000}},
		"close without a code": {
			frame(opClose, true, nil, nil), reading{Good: 2, Closed: true}},

		"reserved bit":         {join(said("a"), []byte{0xc1, 0}), reading{Messages: []string{"1 a"}, Good: 3, Err: ErrReservedBits}},
		"opcode 3":             {[]byte{0x83, 0}, reading{Err: ErrOpcode}},
		"opcode 11":            {[]byte{0x8b, 0}, reading{Err: ErrOpcode}},
		"masked":               {asked("a"), reading{Err: ErrMasked}},
		"fragmented ping":      {[]byte{0x09, 0}, reading{Err: ErrControl}},
		"long ping":            {[]byte{0x89, 126, 0, 126}, reading{Err: ErrControl}},
		"continues nothing":    {frame(opContinuation, true, nil, nil), reading{Err: ErrContinuation}},
		"continues no more":    {join(said("a"), frame(opContinuation, true, nil, nil)), reading{Messages: []string{"1 a"}, Good: 3, Err: ErrContinuation}},
		"interleaved":          {join(frame(opText, false, nil, nil), said("a")), reading{Good: 2, Err: ErrInterleaved}},
		"16 bits for 125":      {[]byte{0x81, 126, 0, 125}, reading{Err: ErrLength}},
		"64 bits for 65535":    {[]byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, reading{Err: ErrLength}},
		"64th bit":             {[]byte{0x81, 127, 0x80, 0, 0, 0, 0, 1, 0, 0}, reading{Err: ErrLength}},
		"close with one byte":  {frame(opClose, true, []byte{3}, nil), reading{Err: ErrClosePayload}},
		"close with code 1005": {closeFrame(1005, "", nil), reading{Err: ErrClosePayload}},
		"close with code 1016": {closeFrame(1016, "", nil), reading{Err: ErrClosePayload}},
		"close with code 999":  {closeFrame(999, "", nil), reading{Err: ErrClosePayload}},
		"close without UTF-8":  {closeFrame(1000, "\xff", nil), reading{Err: ErrClosePayload}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, readAll(false, test.stream), cmp.Comparer(errors.Is)); diff != "" {
				t.Error(diff)
			}
			everySplit(t, false, test.stream)
		})
	}
}

func TestMaskedFrames(t *testing.T) {
	mask := []byte{0xde, 0xad, 0, 7}
	stream := bytes.Join([][]byte{
		frame(opText, false, []byte("hello, "), mask), frame(opPing, true, []byte("abc"), []byte{9, 8, 7, 6}),
		frame(opContinuation, true, []byte("wonderful world"), []byte{0, 0, 0, 1}), frame(opBinary, true, nil, mask),
		closeFrame(3000, "done", mask),
	}, nil)
	want := reading{Messages: []string{"1 hello, wonderful world", "2 "}, Good: len(stream), Closed: true, Code: 3000}
	if diff := cmp.Diff(want, readAll(true, stream)); diff != "" {
		t.Error(diff)
	}
	everySplit(t, true, stream)
	if got := readAll(true, said("a")); !errors.Is(got.Err, ErrUnmasked) {
		t.Errorf("unmasked: %v", got.Err)
	}
}

// everySplit reads a short stream cut at every offset, and byte by byte, and finds no difference; of a long one it tries
// the cuts at its ends.
func everySplit(t *testing.T, masked bool, stream []byte) {
	t.Helper()
	want := readAll(masked, stream)
	same := cmp.Comparer(errors.Is)
	all := make([]int, 0, len(stream))
	for cut := range stream {
		all = append(all, cut)
		if cut > 500 && cut < len(stream)-500 {
			continue
		}
		if diff := cmp.Diff(want, readAll(masked, stream, cut), same); diff != "" {
			t.Fatalf("cut at %d: %s", cut, diff)
		}
	}
	if diff := cmp.Diff(want, readAll(masked, stream, all...), same); diff != "" {
		t.Fatalf("byte by byte: %s", diff)
	}
}

func TestUnmask(t *testing.T) {
	mask := [4]byte{1, 2, 3, 4}
	for n := range 40 {
		src := bytes.Repeat([]byte{0x55}, n)
		want := make([]byte, n)
		for i := range src {
			want[i] = src[i] ^ mask[i%4]
		}
		got := make([]byte, n)
		if m := unmask(got, src, mask); m != n || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d, %x, want %x", n, m, got, want)
		}
	}
}
