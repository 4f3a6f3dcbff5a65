package report

import (
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
)

const (
	// maxBootID leaves room for an epoch in the 64 bytes of the wire's boot id.
	maxBootID = 40
)

func validBootID(id string) bool {
	if id == "" || len(id) > maxBootID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// shelf is where a boot's segments are: the running spool, or files of a boot that is over.
type shelf interface {
	// numbers are those of the kept segments, ascending.
	numbers() []uint64
	open(number uint64) (leaf, error)
	// place writes into a segment how many records come before it.
	place(number, before uint64) error
	// drop deletes a segment.
	drop(number uint64) error
}

// shelfError is a failure of the files themselves, which no other server would cure.
type shelfError struct{ cause error }

func (e *shelfError) Error() string { return e.cause.Error() }
func (e *shelfError) Unwrap() error { return e.cause }

func onShelf(err error) error {
	if err == nil {
		return nil
	}
	return &shelfError{err}
}

// leaf is an open segment.
type leaf struct {
	pages  pages
	before uint64
	known  bool // before is
	limit  int  // slots that may be read
	sealed bool // there will be no more
	over   bool // the writer is dead: empty slots stay empty
}

// cursor is a place between two records of a boot. sequence is that of the record before it. Segment 0 is the start of
// the oldest segment, whichever that will be.
type cursor struct {
	segment  uint64
	slot     int
	sequence uint64
}

// boot reads one boot's records in order. Only the Reporter's goroutine uses it.
type boot struct {
	id      string
	dir     string
	shelf   shelf
	table   *crc32.Table
	at      cursor // everything before is acknowledged
	placed  bool   // at is what the server says, on this connection
	known   bool   // it was placed before
	over    bool
	epoch   epoch
	corrupt uint64
	batch   []Record // memory of next
}

var (
	// errGap: the server's watermark is before the oldest record that is still here.
	errGap = errors.New("watermark is before the oldest kept record")
	// errAhead: the server has records of the running boot that were never spooled.
	errAhead = errors.New("watermark is ahead of the spool: is the boot id used twice?")
	// errUnplaced: segments are missing in a way that leaves the sequence of the rest unknown.
	errUnplaced = errors.New("sequence of the oldest kept segment is unknown")
)

// walk goes on from a cursor, over each record that take accepts, to where there is no more or take says no. A slot of
// a living writer that is not committed yet ends the walk: sequence numbers must not depend on when one looks.
func (b *boot) walk(at cursor, take func(Record) bool) (cursor, error) {
	numbers := b.shelf.numbers()
	i, found := slices.BinarySearch(numbers, at.segment)
	if !found {
		return at, onShelf(fmt.Errorf("%w: segment %d is gone", errUnplaced, at.segment))
	}
	for {
		l, err := b.shelf.open(numbers[i])
		if err != nil {
			return at, onShelf(err)
		}
		for ; at.slot < l.limit; at.slot++ {
			r, state := l.pages.slot(at.slot, b.table)
			if state == slotEmpty && !l.over {
				return at, nil
			}
			if state == slotCorrupt {
				b.corrupt++
			}
			if state != slotGood {
				continue
			}
			if !take(r) {
				return at, nil
			}
			at.sequence++
		}
		if !l.sealed || i+1 == len(numbers) {
			return at, nil
		}
		i++
		at.segment, at.slot = numbers[i], 0
		if err := b.enter(&at); err != nil {
			return at, err
		}
	}
}

// enter writes into the segment that a cursor has come to how many records come before it. That must be on disk before
// the segments it was counted from are deleted. What rotate wrote there is right only if no slot before is empty.
func (b *boot) enter(at *cursor) error {
	l, err := b.shelf.open(at.segment)
	if err != nil {
		return onShelf(err)
	}
	if l.over && l.known && l.before == at.sequence {
		return nil
	}
	return onShelf(b.shelf.place(at.segment, at.sequence))
}

// seek puts the boot behind the record with the sequence watermark and deletes the segments before.
func (b *boot) seek(watermark uint64) error {
	numbers := b.shelf.numbers()
	if len(numbers) == 0 {
		b.placed = true
		return nil
	}
	l, err := b.shelf.open(numbers[0])
	if err != nil {
		return onShelf(err)
	}
	if !l.known {
		return onShelf(errUnplaced)
	}
	if watermark < l.before {
		return fmt.Errorf("%w: %d, kept from %d", errGap, watermark, l.before+1)
	}
	at := cursor{segment: numbers[0], sequence: l.before}
	left := watermark - l.before
	at, err = b.walk(at, func(Record) bool {
		if left == 0 {
			return false
		}
		left--
		return true
	})
	if err != nil {
		return err
	}
	if at.sequence < watermark && !b.over {
		return fmt.Errorf("%w: %d of %d", errAhead, watermark, at.sequence)
	}
	return b.settle(at)
}

// next reads a batch of at most so many records and maxBatchBytes, which is valid until the next call. to is where the boot is once all of it is acknowledged.
func (b *boot) next(most int) (records []Record, to cursor, err error) {
	if len(b.shelf.numbers()) == 0 {
		return nil, b.at, nil
	}
	if b.at.segment == 0 {
		b.at.segment = b.shelf.numbers()[0]
		if err := b.enter(&b.at); err != nil {
			return nil, b.at, err
		}
	}
	l, err := b.shelf.open(b.at.segment)
	if err != nil {
		return nil, b.at, onShelf(err)
	}
	records = slices.Grow(b.batch[:0], max(0, min(most, l.limit-b.at.slot)))
	bytes := 0
	to, err = b.walk(b.at, func(r Record) bool {
		bytes += payloadSize(&r) + messageOverhead
		if len(records) == most || bytes > maxBatchBytes {
			return false
		}
		records = append(records, r)
		breathe(len(records))
		return true
	})
	b.batch = records
	return records, to, err
}

// breathe lets requests go first, again and again while a batch is made: it takes milliseconds, and none of them waits for
// it.
func breathe(done int) {
	if done%64 == 0 {
		runtime.Gosched()
	}
}

// messageOverhead bounds what a record's message is larger than its payload: tags, lengths, 10-byte varints, and
// replacement characters for bytes that are not UTF-8.
const messageOverhead = 64

// settle says that everything before the cursor is on the books, and deletes the segments that are done.
func (b *boot) settle(at cursor) error {
	b.at, b.placed = at, true
	for _, number := range b.shelf.numbers() {
		if number > at.segment {
			break
		}
		if number == at.segment {
			l, err := b.shelf.open(number)
			if err != nil {
				return onShelf(err)
			}
			if !l.sealed || at.slot < l.limit {
				break
			}
			b.at.segment, b.at.slot = 0, 0
		}
		if err := b.shelf.drop(number); err != nil {
			return onShelf(err)
		}
	}
	return nil
}

// begin starts a new epoch at what was acknowledged last, or at the oldest record that is kept.
func (b *boot) begin() error {
	numbers := b.shelf.numbers()
	l, err := b.shelf.open(numbers[0])
	if err != nil {
		return onShelf(err)
	}
	at := b.at
	if at.segment == 0 {
		at = cursor{segment: numbers[0], sequence: l.before}
	}
	e := epoch(at.sequence)
	if err := e.save(b.dir); err != nil {
		return onShelf(err)
	}
	b.epoch = e
	return b.settle(at)
}

// finished says that the boot is over and everything in it is on the books.
func (b *boot) finished() bool {
	return b.over && b.placed && len(b.shelf.numbers()) == 0
}
