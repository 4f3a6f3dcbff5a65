package meter

// Window remembers the last bytes of a stream. It grows with what it sees, up to its size, and then turns into a ring, so
// that a short stream costs little memory and a long one no copying. The zero value is empty; Reset keeps the memory.
type Window struct {
	buf  []byte
	next int // in a full ring: where the oldest byte is
	full bool
}

// Reset forgets everything.
func (w *Window) Reset() {
	w.buf, w.next, w.full = w.buf[:0], 0, false
}

// Write remembers p, and the last size bytes at most. Every call for one stream has the same size.
func (w *Window) Write(p []byte, size int) {
	if len(p) >= size {
		w.buf = append(w.buf[:0], p[len(p)-size:]...)
		w.next, w.full = 0, true
		return
	}
	if !w.full {
		room := size - len(w.buf)
		if len(p) <= room {
			w.buf = append(w.buf, p...)
			return
		}
		w.buf = append(w.buf, p[:room]...)
		w.full = true
		p = p[room:]
	}
	n := copy(w.buf[w.next:], p)
	if n < len(p) {
		w.next = copy(w.buf, p[n:])
		return
	}
	if w.next += n; w.next == len(w.buf) {
		w.next = 0
	}
}

// Append appends what is remembered to dst, oldest first.
func (w *Window) Append(dst []byte) []byte {
	dst = append(dst, w.buf[w.next:]...)
	return append(dst, w.buf[:w.next]...)
}

// Len is how many bytes are remembered.
func (w *Window) Len() int { return len(w.buf) }
