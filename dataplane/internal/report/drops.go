package report

// dropReason is why a record was not taken.
type dropReason int

const (
	dropFull dropReason = iota
	dropFailed
	dropClosed
	dropReasons
)

func (r dropReason) String() string {
	switch r {
	case dropFull:
		return "full"
	case dropFailed:
		return "failed"
	case dropClosed:
		return "closed"
	case dropReasons:
	}
	return "unknown"
}

// drop counts a record that was not taken.
func (s *Spool) drop(why dropReason, err error) error {
	s.drops[why].Add(1)
	return err
}

// Dropped is how many records were not taken.
func (s *Spool) Dropped() uint64 {
	var n uint64
	for i := range s.drops {
		n += s.drops[i].Load()
	}
	return n
}
