package tunnel

// firstSize is how much of a message is held without a buffer of its own: most events of the API name their type there.
const firstSize = 512

// messages puts the text messages of one direction together and hands each to the ledger. A message that comes in one
// piece is read where it is; of others no more is held than the ledger wants to see.
type messages struct {
	frames frames
	relay  *Relay
	ledger *ledger

	count int64
	total int64 // bytes of the message under way
	full  bool  // no more of it is held
	held  []byte
	small *[smallSize]byte // what held is in, if not in first
	large *[largeSize]byte
	first [firstSize]byte
}

func (m *messages) reset(r *Relay, l *ledger, client bool) {
	m.relay, m.ledger = r, l
	m.frames.masked = client
	m.release()
}

// feed reads the next bytes of the direction. The first good of them may be passed on: all, but for what follows a Close
// frame or the response behind which the tunnel ends, and the frame that is a violation.
func (m *messages) feed(b []byte) (good int, err error) {
	var pc piece
	for at := 0; at < len(b); {
		if m.frames.closed {
			return at, nil
		}
		n, ok, err := m.frames.next(b[at:], &pc)
		if err != nil {
			return good, err
		}
		at += n
		if ok {
			m.take(&pc)
		}
		if m.frames.boundary() {
			good = at
		}
		if m.dismissed() {
			return at, nil
		}
	}
	return len(b), nil
}

// dismissed says whether the tunnel ends behind what was read last, which is then the end of a message.
func (m *messages) dismissed() bool { return !m.frames.masked && m.ledger.farewell != nil }

func (m *messages) take(pc *piece) {
	if pc.last {
		m.count++
	}
	if pc.op != opText {
		// The API has no binary messages.
		return
	}
	m.total += int64(len(pc.payload))
	if pc.last && m.total == int64(len(pc.payload)) && !m.frames.masked {
		m.ledger.fromUpstream(pc.payload[:min(len(pc.payload), m.relay.o.MaxMessage)], m.total)
		m.total = 0
		return
	}
	m.hold(pc)
	if !pc.last {
		return
	}
	if m.frames.masked {
		m.ledger.fromClient(m.held, m.total)
	} else {
		m.ledger.fromUpstream(m.held, m.total)
	}
	m.release()
}

// hold keeps more of the message under way. Whether it is worth a larger buffer is asked when one is full, and so depends
// on the message alone, not on how it came.
func (m *messages) hold(pc *piece) {
	for at := 0; at < len(pc.payload) && !m.full; {
		if len(m.held) == cap(m.held) {
			if len(m.held) >= m.relay.o.MaxMessage || !m.ledger.wants(m.held, m.frames.masked) {
				m.full = true
				return
			}
			m.grow()
		}
		mask := pc.mask
		for i := range mask {
			mask[i] = pc.mask[(at+i)%len(mask)]
		}
		room := m.held[len(m.held):cap(m.held)]
		n := unmask(room, pc.payload[at:], mask)
		m.held = m.held[:len(m.held)+n]
		at += n
	}
}

// grow moves what is held to the next larger buffer.
func (m *messages) grow() {
	was := m.held
	small, large := m.small, m.large
	m.small, m.large = nil, nil
	var next []byte
	switch cap(was) {
	case firstSize:
		m.small = m.relay.small.Get().(*[smallSize]byte)
		next = m.small[:]
	case smallSize:
		m.large = m.relay.large.Get().(*[largeSize]byte)
		next = m.large[:]
	default:
		next = make([]byte, 4*cap(was))
	}
	limit := min(len(next), m.relay.o.MaxMessage)
	m.held = next[:copy(next[:limit], was):limit]
	m.relay.put(small, large)
}

// release forgets the message.
func (m *messages) release() {
	m.relay.put(m.small, m.large)
	m.small, m.large = nil, nil
	m.held = m.first[:0:min(firstSize, m.relay.o.MaxMessage)]
	m.total, m.full = 0, false
}
