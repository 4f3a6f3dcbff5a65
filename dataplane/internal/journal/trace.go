package journal

// Trace is where a request stands in a trace that began elsewhere.
type Trace struct {
	ID      [16]byte // zero = there is none
	Parent  [8]byte
	Sampled bool // whoever began it wants it recorded
}

// Valid says whether there is one.
func (t Trace) Valid() bool { return t.ID != [16]byte{} }

// ParseTrace reads a traceparent header as W3C Trace Context defines it (https://www.w3.org/TR/trace-context/), version 00
// and what later ones keep of it. What is malformed is no trace: clients write anything there.
func ParseTrace(header []byte) Trace {
	const size = len("00-00000000000000000000000000000000-0000000000000000-00")
	if len(header) < size || header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return Trace{}
	}
	var version, flags [1]byte
	var t Trace
	if !unhex(version[:], header[:2]) || !unhex(t.ID[:], header[3:35]) || !unhex(t.Parent[:], header[36:52]) || !unhex(flags[:], header[53:55]) {
		return Trace{}
	}
	switch {
	case version[0] == 0xff, version[0] == 0 && len(header) != size, len(header) > size && header[size] != '-':
		return Trace{}
	case !t.Valid(), t.Parent == [8]byte{}:
		return Trace{}
	}
	t.Sampled = flags[0]&1 != 0
	return t
}

// unhex reads lower-case hex, the only kind that the header may have.
func unhex(dst, src []byte) bool {
	for i := range dst {
		high, ok1 := nibble(src[2*i])
		low, ok2 := nibble(src[2*i+1])
		if !ok1 || !ok2 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
