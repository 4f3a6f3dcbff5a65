package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

// cursor is what a page token holds: which list it belongs to, the revision of the page before, and where that ended.
// It is a position, not a permission: a forged one shows nothing that the caller could not list.
type cursor struct {
	lineage  string
	revision int64
	list     [8]byte // of listOf
	last     position
}

// listOf identifies a list by what must not change between its pages.
func listOf(kind model.Kind, filter string, o order) (sum [8]byte) {
	h := sha256.New()
	for _, part := range []string{string(kind), filter, o.text} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	copy(sum[:], h.Sum(nil))
	return sum
}

// cursorFormat is the first byte of a token; another layout gets another number.
const cursorFormat = 1

// encode returns the token: base64url of format, revision, list, and three texts, each behind its length in two bytes.
func (c cursor) encode() string {
	b := make([]byte, 0, 64+len(c.lineage)+len(c.last.key)+len(c.last.id))
	b = append(b, cursorFormat)
	b = binary.BigEndian.AppendUint64(b, uint64(c.revision))
	b = append(b, c.list[:]...)
	for _, text := range []string{c.lineage, c.last.key, c.last.id} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
		b = append(b, text...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads a token. The error is a fault of kind Invalid that does not repeat it.
func parseCursor(token string) (cursor, error) {
	malformed := fault.New(fault.Invalid, "page_token: is not one of ours").WithParam("page_token")
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 17 || b[0] != cursorFormat {
		return cursor{}, malformed
	}
	var c cursor
	c.revision = int64(binary.BigEndian.Uint64(b[1:]))
	copy(c.list[:], b[9:])
	b = b[17:]
	for _, text := range []*string{&c.lineage, &c.last.key, &c.last.id} {
		if len(b) < 2 {
			return cursor{}, malformed
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < n {
			return cursor{}, malformed
		}
		*text, b = string(b[:n]), b[n:]
	}
	if len(b) != 0 || c.revision < 0 || c.last.id == "" || len(c.last.key) > maxSortKey {
		return cursor{}, malformed
	}
	return c, nil
}
