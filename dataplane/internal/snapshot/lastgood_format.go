package snapshot

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// The file of a last-known-good state, version 1; numbers are big-endian:
//
//	8 bytes   "fwlgood" and the version
//	8 bytes   when it was saved, unix ms
//	8 bytes   XXH64 of what follows: tells damage from a wrong key
//	12 bytes  nonce
//	rest      AES-256-GCM of the payload; additional data: the first 16 bytes
//
// The payload; numbers are varints, texts and bodies come after their length:
//
//	lineage, revision, digest (8 bytes), count, and per resource: kind, version, id, body,
//	0 or, while it is quarantined over a good version: 1, that version, its body
const (
	lgMagic  = "fwlgood\x01"
	lgHeader = len(lgMagic) + 8 + 8 + 12
)

var (
	errNotLastGood = errors.New("it is not a last-known-good file of a version that this build knows")
	errDamaged     = errors.New("it is damaged: the checksum differs")
	errSeal        = errors.New("it was sealed under another key, or changed")
	errPayload     = errors.New("its content does not parse")
)

// saved is what a file holds.
type saved struct {
	at       time.Time
	lineage  string
	revision int64
	digest   uint64
	current  []*syncv1.Change
	good     []*syncv1.Change // earlier versions of some of current, which are quarantined
}

func newSeal(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal writes an image as a file.
func seal(aead cipher.AEAD, im *Image, at time.Time) []byte {
	size := lgHeader + aead.Overhead() + 4*binary.MaxVarintLen64 + len(im.lineage)
	for id, rec := range im.records() {
		size += 6*binary.MaxVarintLen64 + 1 + len(id.id) + len(rec.body)
		if rec.last != nil {
			size += len(rec.last.body)
		}
	}
	file := make([]byte, 0, size)
	file = append(file, lgMagic...)
	file = binary.BigEndian.AppendUint64(file, uint64(at.UnixMilli()))
	file = append(file, make([]byte, 8+12)...)
	nonce := file[lgHeader-12 : lgHeader]
	rand.Read(nonce) // never fails
	file = appendPayload(file, im)
	file = aead.Seal(file[:lgHeader], nonce, file[lgHeader:], file[:16])
	binary.BigEndian.PutUint64(file[16:], xxhash.Sum64(file[24:]))
	return file
}

// unseal reads a file. It decrypts in place.
func unseal(aead cipher.AEAD, file []byte) (*saved, error) {
	if len(file) < lgHeader || string(file[:len(lgMagic)]) != lgMagic {
		return nil, errNotLastGood
	}
	if binary.BigEndian.Uint64(file[16:]) != xxhash.Sum64(file[24:]) {
		return nil, errDamaged
	}
	payload, err := aead.Open(file[lgHeader:lgHeader], file[lgHeader-12:lgHeader], file[lgHeader:], file[:16])
	if err != nil {
		return nil, errSeal
	}
	s, err := parsePayload(payload)
	if err != nil {
		return nil, err
	}
	s.at = time.UnixMilli(int64(binary.BigEndian.Uint64(file[8:])))
	return s, nil
}

func appendPayload(b []byte, im *Image) []byte {
	b = appendText(b, im.lineage)
	b = binary.AppendVarint(b, im.revision)
	b = binary.BigEndian.AppendUint64(b, im.sums.Root())
	b = binary.AppendUvarint(b, uint64(im.Len()))
	for id, rec := range im.records() {
		b = binary.AppendVarint(b, int64(id.kind))
		b = binary.AppendVarint(b, rec.version)
		b = appendText(b, id.id)
		b = appendText(b, rec.body)
		if rec.last == nil {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		b = binary.AppendVarint(b, rec.last.version)
		b = appendText(b, rec.last.body)
	}
	return b
}

func appendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// parsePayload reads what appendPayload wrote. It allocates in proportion to b, whatever b says.
func parsePayload(b []byte) (*saved, error) {
	r := reader{rest: b}
	s := &saved{lineage: string(r.text()), revision: r.varint()}
	if d := r.take(8); d != nil {
		s.digest = binary.BigEndian.Uint64(d)
	}
	const least = 5 // bytes that a resource takes at least
	n := r.uvarint()
	if n > uint64(len(r.rest))/least {
		return nil, errPayload
	}
	s.current = make([]*syncv1.Change, 0, n)
	for range n {
		kind := r.varint()
		if kind < math.MinInt32 || kind > math.MaxInt32 {
			return nil, errPayload
		}
		c := &syncv1.Change{Kind: syncv1.Kind(kind), Version: r.varint(), Id: string(r.text()), Body: r.body()}
		s.current = append(s.current, c)
		switch flag := r.take(1); {
		case flag == nil, flag[0] > 1:
			return nil, errPayload
		case flag[0] == 1:
			s.good = append(s.good, &syncv1.Change{Kind: c.GetKind(), Id: c.GetId(), Version: r.varint(), Body: r.body()})
		}
	}
	if r.bad || len(r.rest) != 0 {
		return nil, errPayload
	}
	return s, nil
}

// reader takes a payload apart; once bad, it returns zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	t := r.rest[:n]
	r.rest = r.rest[n:]
	return t
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *reader) text() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

// body is a text of its own, so that one resource does not keep the whole file in memory.
func (r *reader) body() []byte { return append([]byte(nil), r.text()...) }

// restore makes a replica hold what was saved. It fails, and changes nothing, when that does not add up.
func (r *Replica) restore(s *saved) error {
	if s.lineage == "" || s.revision <= 0 {
		return fmt.Errorf("%w: no lineage or no revision", errPayload)
	}
	fresh := NewReplica()
	fresh.compile = r.compile
	if len(s.good) > 0 {
		// First the world in which the sick were well; their current versions then quarantine themselves anew.
		well := &pending{lineage: s.lineage, revision: s.revision, replaced: allBuckets}
		well.changes = append(append(well.changes, s.current...), s.good...)
		next, _ := fresh.image.with(well)
		if err := fresh.apply(well, next.sums.Root()); err != nil {
			return err
		}
	}
	p := &pending{lineage: s.lineage, revision: s.revision, replaced: allBuckets, changes: s.current}
	if err := fresh.apply(p, s.digest); err != nil {
		return err
	}
	*r = *fresh
	return nil
}
