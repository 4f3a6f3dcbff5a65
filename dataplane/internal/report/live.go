package report

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime/debug"
)

// liveShelf is the running spool as its reader sees it.
type liveShelf struct {
	*Spool
}

func (s liveShelf) numbers() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]uint64, len(s.live))
	for i, seg := range s.live {
		out[i] = seg.number
	}
	return out
}

func (s liveShelf) find(number uint64) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.live {
		if seg.number == number {
			return seg, nil
		}
	}
	return nil, fmt.Errorf("usage segment %d is gone", number)
}

func (s liveShelf) open(number uint64) (leaf, error) {
	seg, err := s.find(number)
	if err != nil {
		return leaf{}, err
	}
	reserved := seg.reserved.Load()
	l := leaf{pages: seg.pages, limit: slotsTaken(reserved), sealed: reserved&sealed != 0}
	if base := binary.NativeEndian.Uint64(seg.image[offsetBase:]); base > 0 {
		l.before, l.known = base-1, true
	}
	return l, nil
}

func (s liveShelf) place(number, before uint64) error {
	seg, err := s.find(number)
	if err != nil {
		return err
	}
	return seg.setBefore(before)
}

func (s liveShelf) drop(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) == 0 || s.live[0].number != number {
		return fmt.Errorf("usage segment %d is not the oldest", number)
	}
	seg := s.live[0]
	if err := os.Remove(seg.path); err != nil {
		return fmt.Errorf("delete usage segment: %w", err)
	}
	s.live = s.live[1:]
	s.released += uint64(slotsTaken(seg.reserved.Load()))
	s.freed(int64(len(seg.image)))
	// The reader has passed every slot of it: no writer is left in the mapping.
	return seg.unmap()
}

// guarded runs what reads the mapping; a fault (see Spool.write) becomes an error.
func guarded(read func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			if !isFault(p) {
				panic(p)
			}
			err = fmt.Errorf("read usage segment: %w", ErrFailed)
		}
	}()
	return read()
}
